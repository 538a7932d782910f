//! Name, type, labels and help of every metric.
//!
//! A test compares the table in `docs/metrics.md` with [`all`].

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug, Eq, PartialEq)]
pub struct Metric {
    /// One line, ending with a full stop.
    pub help: &'static str,
    pub kind: Kind,
    /// Label names in the order in which they are written; `cluster` first if present.
    pub labels: &'static [&'static str],
    pub name: &'static str,
}

// === impl Kind ===

impl Kind {
    /// The value of `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Text of `help` for a polled value.
macro_rules! polled {
    ($help:literal) => {
        concat!(
            $help,
            " Polled in the background; qumulo_encryption_last_successful_poll_timestamp_seconds is the time of the last update."
        )
    };
}

/// Defines metrics and the list of them: kind, name, labels and help of each.
macro_rules! metrics {
    ($(#[$doc:meta])* $list:ident = $($metric:ident $kind:ident $name:literal [$($label:literal)*] $help:expr;)*) => {
        $(
            pub static $metric: Metric =
                Metric { help: $help, kind: Kind::$kind, labels: &[$($label),*], name: $name };
        )*

        $(#[$doc])*
        pub static $list: &[&Metric] = &[$(&$metric),*];
    };
}

metrics! {
    /// Metrics of clusters, in the order in which they are written.
    CLUSTERS =
    UP Gauge "qumulo_encryption_up" ["cluster"]
        "Whether the last poll of the cluster succeeded and its status is younger than stale_after (1) or not (0).";
    STATUS Gauge "qumulo_encryption_status" ["cluster" "status"]
        polled!("Status of encryption at rest: 1 for the current status, 0 for all others.");
    TYPE Gauge "qumulo_encryption_type" ["cluster" "encryption_type"]
        polled!("Type of the key store that holds the master key: 1 for the current type, 0 for all others.");
    CERTIFICATE_EXPIRY Gauge "qumulo_encryption_certificate_expiry_timestamp_seconds" ["cluster" "certificate"]
        polled!("Expiry of the KMS CA certificate, the KMS client certificate and, with probe_kms, the KMS server \
         certificate, in Unix time. Absent with a local key store.");
    LAST_KEY_ROTATION Gauge "qumulo_encryption_last_key_rotation_timestamp_seconds" ["cluster"]
        polled!("When the current master key became active, in Unix time.");
    LAST_STATUS_UPDATE Gauge "qumulo_encryption_last_status_update_timestamp_seconds" ["cluster"]
        polled!("When the cluster last refreshed its status, in Unix time.");
    CLUSTER_INFO Gauge "qumulo_encryption_cluster_info" ["cluster" "cluster_id" "version" "api"]
        polled!("UUID and version of the cluster (empty if unknown) and version of its status API. Always 1.");
    LAST_POLL Gauge "qumulo_encryption_last_poll_timestamp_seconds" ["cluster"]
        "End of the last poll of the cluster, successful or not, in Unix time.";
    LAST_SUCCESSFUL_POLL Gauge "qumulo_encryption_last_successful_poll_timestamp_seconds" ["cluster"]
        "End of the last successful poll of the cluster, in Unix time. Use it for the age of polled values.";
    LAST_POLL_DURATION Gauge "qumulo_encryption_last_poll_duration_seconds" ["cluster"]
        "Duration of the last poll of the cluster, in seconds.";
    STALE_AFTER Gauge "qumulo_encryption_stale_after_seconds" ["cluster"]
        "How long after the last successful poll its status is served (stale_after in the configuration).";
    LAST_POLL_FAILURE Gauge "qumulo_encryption_last_poll_failure" ["cluster" "reason"]
        "Why the last poll failed: 1 for the reason, 0 for all others. All are 0 if it succeeded.";
    POLLS Counter "qumulo_encryption_polls_total" ["cluster"]
        "Total number of polls of the cluster, including failed ones.";
    POLL_FAILURES Counter "qumulo_encryption_poll_failures_total" ["cluster" "reason"]
        "Total number of failed polls of the cluster, by reason.";
    UNREADABLE_FIELDS Counter "qumulo_encryption_unreadable_fields_total" ["cluster" "field"]
        "Total number of dates that could not be read, by field of the API.";
    STATUS_CHANGES Counter "qumulo_encryption_status_changes_total" ["cluster"]
        "Total number of status changes, compared across outages. The first status does not count.";
    FINDING Gauge "qumulo_encryption_finding" ["cluster" "finding" "severity"]
        polled!("1 if the finding applies to the cluster at this severity, 0 if it does not, absent if that is not \
         known.");
    DO_NOT_RESTART Gauge "qumulo_encryption_do_not_restart" ["cluster"]
        polled!("1 if nodes of the cluster must not be restarted, because a finding forbids it or the status is not \
         known, else 0.");
    POLICY_INFO Gauge "qumulo_encryption_policy_info" ["cluster" "require"]
        "What the policy requires of the cluster. Always 1; absent if the policy does not set require.";
    POLICY_CERTIFICATE_WARNING Gauge "qumulo_encryption_policy_certificate_warning_seconds" ["cluster"]
        "Policy limit: a certificate with less time left is a warning.";
    POLICY_CERTIFICATE_CRITICAL Gauge "qumulo_encryption_policy_certificate_critical_seconds" ["cluster"]
        "Policy limit: a certificate with less time left is critical.";
    POLICY_KEY_MAX_AGE Gauge "qumulo_encryption_policy_key_max_age_seconds" ["cluster"]
        "Policy limit: an older master key is a warning.";
    KEY_STORE_INFO Gauge "qumulo_encryption_key_store_info" ["cluster" "host" "port" "key_id"]
        polled!("Address of the KMS and identifier of the master key (empty if unknown). Always 1.");
    KEY_STORE_CONFIGURED Gauge "qumulo_encryption_key_store_configured_timestamp_seconds" ["cluster"]
        polled!("When the KMS was configured on the cluster, in Unix time.");
    KMS_REACHABLE Gauge "qumulo_encryption_kms_reachable" ["cluster"]
        "Whether the KMS presented its certificate to the exporter (1) or not (0). Only with probe_kms; checked \
         every ten minutes.";
    API_CERTIFICATE_EXPIRY Gauge "qumulo_encryption_api_certificate_expiry_timestamp_seconds" ["cluster"]
        "Expiry of the certificate that the cluster's REST API last presented, in Unix time, even if it was rejected \
         as expired.";
    CLOCK_SKEW Gauge "qumulo_encryption_clock_skew_seconds" ["cluster"]
        polled!("Clock of the cluster minus clock of the exporter, accurate to half a second.");
    ACCESS_TOKEN_EXPIRY Gauge "qumulo_encryption_access_token_expiry_timestamp_seconds" ["cluster" "token_id"]
        polled!("Expiry of an access token of the exporter's account, in Unix time. Absent if the account may not \
         list its tokens.");
    EXCESS_PRIVILEGES Gauge "qumulo_encryption_credential_excess_privileges" ["cluster"]
        polled!("Number of privileges of the exporter's account other than PRIVILEGE_ENCRYPTION_READ, the only one \
         it needs.");
}

metrics! {
    /// Metrics of the exporter, without the process metrics.
    EXPORTER =
    BUILD_INFO Gauge "qumulo_encryption_exporter_build_info" ["version" "revision" "rustc"]
        "Version and source revision of the exporter, and the compiler that built it. Always 1.";
    CONFIG_RELOAD_SUCCESSFUL Gauge "qumulo_encryption_exporter_config_last_reload_successful" []
        "Whether the last attempt to load the configuration succeeded (1) or not (0).";
    CONFIG_RELOAD_TIME Gauge "qumulo_encryption_exporter_config_last_reload_success_timestamp_seconds" []
        "When the configuration was last loaded successfully, in Unix time.";
    CONFIG_WARNINGS Gauge "qumulo_encryption_exporter_config_warnings" []
        "Number of warnings about the configuration in use. The status page lists them.";
    WEB_CONFIG_RELOAD_SUCCESSFUL Gauge "qumulo_encryption_exporter_web_config_last_reload_successful" []
        "Whether the last attempt to load the web configuration succeeded (1) or not (0). 1 without a web \
         configuration.";
    LISTENER_CERTIFICATE_EXPIRY Gauge "qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds" []
        "Expiry of the certificate of the exporter's listener, in Unix time. Absent without TLS.";
    TLS_HANDSHAKE_FAILURES Counter "qumulo_encryption_exporter_tls_handshake_failures_total" []
        "Total number of failed TLS handshakes on the listener, for example because of a missing client certificate.";
    LOG_LINES_DROPPED Counter "qumulo_encryption_exporter_log_lines_dropped_total" []
        "Total number of log lines dropped because standard error could not be written or was not read in time.";
    HTTP_REQUESTS Counter "qumulo_encryption_exporter_http_requests_total" ["code" "handler"]
        "Total number of HTTP requests, by path (other for unknown paths) and status code.";
}

metrics! {
    /// The standard process metrics, with the help texts of the official client libraries. Values are from `/proc`.
    PROCESS =
    CPU_SECONDS Counter "process_cpu_seconds_total" []
        "Total user and system CPU time spent in seconds.";
    MAX_FDS Gauge "process_max_fds" []
        "Maximum number of open file descriptors.";
    OPEN_FDS Gauge "process_open_fds" []
        "Number of open file descriptors.";
    RESIDENT_MEMORY Gauge "process_resident_memory_bytes" []
        "Resident memory size in bytes.";
    START_TIME Gauge "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds.";
    THREADS Gauge "process_threads" []
        "Number of OS threads in the process.";
    VIRTUAL_MEMORY Gauge "process_virtual_memory_bytes" []
        "Virtual memory size in bytes.";
    VIRTUAL_MEMORY_MAX Gauge "process_virtual_memory_max_bytes" []
        "Maximum amount of virtual memory available in bytes.";
}

/// All metrics, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    CLUSTERS.iter().chain(EXPORTER).chain(PROCESS).copied()
}
