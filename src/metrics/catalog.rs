//! Every metric that the exporter serves: name, type, labels, help.
//!
//! The README's table is checked against [`all`].

/// How Prometheus is to treat the values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric family.
#[derive(Debug, Eq, PartialEq)]
pub struct Metric {
    /// For `# HELP`: one line.
    pub help: &'static str,
    /// For `# TYPE`.
    pub kind: Kind,
    /// Label names in the order in which they are written. `cluster` comes first where there is one.
    pub labels: &'static [&'static str],
    /// The name, with its unit.
    pub name: &'static str,
}

// === impl Kind ===

impl Kind {
    /// The word in `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { help, kind: Kind::Gauge, labels, name }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { help, kind: Kind::Counter, labels, name }
}

/// What the help of every polled value ends with.
macro_rules! polled {
    ($help:literal) => {
        concat!(
            $help,
            " Polled by the exporter; qumulo_encryption_last_successful_poll_timestamp_seconds tells its age."
        )
    };
}

/// Whether the cluster answers.
pub static UP: Metric = gauge(
    "qumulo_encryption_up",
    &["cluster"],
    "1 if the last poll of the cluster gave an encryption status and the last success is younger than stale_after, else 0.",
);
/// The status, as a set of states.
pub static STATUS: Metric = gauge(
    "qumulo_encryption_status",
    &["cluster", "status"],
    polled!("State of at-rest encryption: 1 for the current status, 0 for all others."),
);
/// The key store, as a set of states.
pub static TYPE: Metric = gauge(
    "qumulo_encryption_type",
    &["cluster", "encryption_type"],
    polled!("Where the master key is kept: 1 for the current key store, 0 for all others."),
);
/// When the certificates of the KMS connection expire.
pub static CERTIFICATE_EXPIRY: Metric = gauge(
    "qumulo_encryption_certificate_expiry_timestamp_seconds",
    &["cluster", "certificate"],
    polled!(
        "When a certificate of the connection to the key management server expires, in Unix time: those that the cluster tells, and \
         with probe_kms the server's own. A local key store has none."
    ),
);
/// When the key became active.
pub static LAST_KEY_ROTATION: Metric = gauge(
    "qumulo_encryption_last_key_rotation_timestamp_seconds",
    &["cluster"],
    polled!("When the current master key became active, in Unix time."),
);
/// The cluster's own freshness clock.
pub static LAST_STATUS_UPDATE: Metric = gauge(
    "qumulo_encryption_last_status_update_timestamp_seconds",
    &["cluster"],
    polled!("When the cluster itself last refreshed its status, in Unix time."),
);
/// Identity.
pub static CLUSTER_INFO: Metric = gauge(
    "qumulo_encryption_cluster_info",
    &["cluster", "cluster_id", "version", "api"],
    polled!("1, with the UUID and the version of the cluster (empty where unknown) and the API version that answers."),
);
/// The exporter's freshness clock: attempts.
pub static LAST_POLL: Metric = gauge(
    "qumulo_encryption_last_poll_timestamp_seconds",
    &["cluster"],
    "When the last poll of the cluster ended, well or not, in Unix time.",
);
/// The exporter's freshness clock: successes.
pub static LAST_SUCCESSFUL_POLL: Metric = gauge(
    "qumulo_encryption_last_successful_poll_timestamp_seconds",
    &["cluster"],
    "When a poll of the cluster last gave a status, in Unix time: the age of all polled values.",
);
/// How long the last poll took.
pub static LAST_POLL_DURATION: Metric =
    gauge("qumulo_encryption_last_poll_duration_seconds", &["cluster"], "How long the last poll of the cluster took.");
/// The setting.
pub static STALE_AFTER: Metric = gauge(
    "qumulo_encryption_stale_after_seconds",
    &["cluster"],
    "How long after the last successful poll the status is still served: the setting stale_after.",
);
/// Why the last poll failed.
pub static LAST_POLL_FAILURE: Metric = gauge(
    "qumulo_encryption_last_poll_failure",
    &["cluster", "reason"],
    "1 for the reason of the last poll's failure; all 0 when it succeeded.",
);
/// All polls.
pub static POLLS: Metric =
    counter("qumulo_encryption_polls_total", &["cluster"], "Polls of the cluster, failed ones included.");
/// Failed polls.
pub static POLL_FAILURES: Metric = counter(
    "qumulo_encryption_poll_failures_total",
    &["cluster", "reason"],
    "Polls of the cluster that gave no status, by reason.",
);
/// Dates that could not be read.
pub static UNREADABLE_FIELDS: Metric = counter(
    "qumulo_encryption_unreadable_fields_total",
    &["cluster", "field"],
    "Answers in which a date could not be read, by the field's name in the API.",
);
/// Status changes.
pub static STATUS_CHANGES: Metric = counter(
    "qumulo_encryption_status_changes_total",
    &["cluster"],
    "Changes of the status, compared across outages; the first status is none.",
);
/// The judgement.
pub static FINDING: Metric = gauge(
    "qumulo_encryption_finding",
    &["cluster", "finding", "severity"],
    polled!(
        "1 while something is wrong with the cluster at this severity, 0 while it is known not to be, absent while nobody can tell."
    ),
);
/// What must not be done.
pub static DO_NOT_RESTART: Metric = gauge(
    "qumulo_encryption_do_not_restart",
    &["cluster"],
    polled!(
        "1 while nodes of the cluster must not be restarted: a finding forbids it, or the status is not known; else 0."
    ),
);
/// What the policy requires.
pub static POLICY_INFO: Metric = gauge(
    "qumulo_encryption_policy_info",
    &["cluster", "require"],
    "1 for what the policy of the configuration requires of the cluster; absent if the configuration requires nothing.",
);
/// A limit of the policy.
pub static POLICY_CERTIFICATE_WARNING: Metric = gauge(
    "qumulo_encryption_policy_certificate_warning_seconds",
    &["cluster"],
    "Certificates with less time left are worth a warning, by the policy of the configuration.",
);
/// A limit of the policy.
pub static POLICY_CERTIFICATE_CRITICAL: Metric = gauge(
    "qumulo_encryption_policy_certificate_critical_seconds",
    &["cluster"],
    "Certificates with less time left are critical, by the policy of the configuration.",
);
/// A limit of the policy.
pub static POLICY_KEY_MAX_AGE: Metric = gauge(
    "qumulo_encryption_policy_key_max_age_seconds",
    &["cluster"],
    "Master keys that are older are worth a warning, by the policy of the configuration.",
);
/// Which key management server.
pub static KEY_STORE_INFO: Metric = gauge(
    "qumulo_encryption_key_store_info",
    &["cluster", "host", "port", "key_id"],
    polled!(
        "1, with the address of the key management server and the identifier of the master key there (empty where unknown)."
    ),
);
/// When the key store was configured.
pub static KEY_STORE_CONFIGURED: Metric = gauge(
    "qumulo_encryption_key_store_configured_timestamp_seconds",
    &["cluster"],
    polled!("When the key management server was configured on the cluster, in Unix time."),
);
/// Whether the key management server itself can be reached.
pub static KMS_REACHABLE: Metric = gauge(
    "qumulo_encryption_kms_reachable",
    &["cluster"],
    "With probe_kms: 1 if the key management server that the cluster uses showed its certificate to the exporter, else 0. Looked \
     at every ten minutes.",
);
/// When the REST API's certificate expires.
pub static API_CERTIFICATE_EXPIRY: Metric = gauge(
    "qumulo_encryption_api_certificate_expiry_timestamp_seconds",
    &["cluster"],
    "When the certificate of the cluster's REST API expires that was shown last, in Unix time; also if it was refused because it \
     has expired.",
);
/// The cluster's clock.
pub static CLOCK_SKEW: Metric = gauge(
    "qumulo_encryption_clock_skew_seconds",
    &["cluster"],
    polled!("The cluster's clock minus the exporter's, right to half a second."),
);
/// The exporter's own credential.
pub static ACCESS_TOKEN_EXPIRY: Metric = gauge(
    "qumulo_encryption_access_token_expiry_timestamp_seconds",
    &["cluster", "token_id"],
    polled!(
        "When an access token of the exporter's account expires, in Unix time, where the cluster tells the account."
    ),
);
/// What the exporter's account could do beyond reading.
pub static EXCESS_PRIVILEGES: Metric = gauge(
    "qumulo_encryption_credential_excess_privileges",
    &["cluster"],
    polled!(
        "How many privileges the exporter's account has beyond PRIVILEGE_ENCRYPTION_READ, the only one that it needs."
    ),
);
/// Build information.
pub static BUILD_INFO: Metric = gauge(
    "qumulo_encryption_exporter_build_info",
    &["version", "revision", "rustc"],
    "1, with the version and the source revision of the exporter, and the compiler that built it.",
);
/// Whether the configuration could be loaded.
pub static CONFIG_RELOAD_SUCCESSFUL: Metric = gauge(
    "qumulo_encryption_exporter_config_last_reload_successful",
    &[],
    "1 if the last attempt to load the configuration succeeded, else 0.",
);
/// When the configuration was loaded.
pub static CONFIG_RELOAD_TIME: Metric = gauge(
    "qumulo_encryption_exporter_config_last_reload_success_timestamp_seconds",
    &[],
    "When the configuration was last loaded successfully, in Unix time.",
);
/// Warnings about the configuration in use.
pub static CONFIG_WARNINGS: Metric = gauge(
    "qumulo_encryption_exporter_config_warnings",
    &[],
    "Warnings about the configuration in use. The status page lists them.",
);
/// Whether the last reading of the web configuration succeeded.
pub static WEB_CONFIG_RELOAD_SUCCESSFUL: Metric = gauge(
    "qumulo_encryption_exporter_web_config_last_reload_successful",
    &[],
    "Whether the last attempt to load the web configuration succeeded; 1 without one. When 0, the one before is in use.",
);
/// The listener's own certificate.
pub static LISTENER_CERTIFICATE_EXPIRY: Metric = gauge(
    "qumulo_encryption_exporter_listener_certificate_expiry_timestamp_seconds",
    &[],
    "When the certificate of the exporter's own listener expires, in Unix time. Absent without TLS.",
);
/// Handshakes with clients that came to nothing.
pub static TLS_HANDSHAKE_FAILURES: Metric = counter(
    "qumulo_encryption_exporter_tls_handshake_failures_total",
    &[],
    "TLS handshakes with clients of the listener that failed, by missing or bad client certificates for example.",
);
/// Lines that nobody read in time.
pub static LOG_LINES_DROPPED: Metric = counter(
    "qumulo_encryption_exporter_log_lines_dropped_total",
    &[],
    "Lines of the log that were dropped, because standard error was not read in time.",
);
/// Requests.
pub static HTTP_REQUESTS: Metric = counter(
    "qumulo_encryption_exporter_http_requests_total",
    &["handler", "code"],
    "HTTP requests answered, by path (other for unknown ones) and status code.",
);
/// The standard process metrics; Linux tells them in /proc.
pub static PROCESS: [Metric; 8] = [
    counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds."),
    gauge("process_max_fds", &[], "Maximum number of open file descriptors."),
    gauge("process_open_fds", &[], "Number of open file descriptors."),
    gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes."),
    gauge("process_start_time_seconds", &[], "Start time of the process since unix epoch in seconds."),
    gauge("process_threads", &[], "Number of OS threads in the process."),
    gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes."),
    gauge("process_virtual_memory_max_bytes", &[], "Maximum amount of virtual memory available in bytes."),
];

/// The metrics of clusters, in the order in which they are served.
pub static DOMAIN: [&Metric; 29] = [
    &UP,
    &STATUS,
    &TYPE,
    &CERTIFICATE_EXPIRY,
    &LAST_KEY_ROTATION,
    &LAST_STATUS_UPDATE,
    &CLUSTER_INFO,
    &LAST_POLL,
    &LAST_SUCCESSFUL_POLL,
    &LAST_POLL_DURATION,
    &STALE_AFTER,
    &LAST_POLL_FAILURE,
    &POLLS,
    &POLL_FAILURES,
    &UNREADABLE_FIELDS,
    &STATUS_CHANGES,
    &FINDING,
    &DO_NOT_RESTART,
    &POLICY_INFO,
    &POLICY_CERTIFICATE_WARNING,
    &POLICY_CERTIFICATE_CRITICAL,
    &POLICY_KEY_MAX_AGE,
    &KEY_STORE_INFO,
    &KEY_STORE_CONFIGURED,
    &KMS_REACHABLE,
    &API_CERTIFICATE_EXPIRY,
    &CLOCK_SKEW,
    &ACCESS_TOKEN_EXPIRY,
    &EXCESS_PRIVILEGES,
];

/// The metrics of the exporter itself, without the process metrics.
pub static OWN: [&Metric; 9] = [
    &BUILD_INFO,
    &CONFIG_RELOAD_SUCCESSFUL,
    &CONFIG_RELOAD_TIME,
    &CONFIG_WARNINGS,
    &WEB_CONFIG_RELOAD_SUCCESSFUL,
    &LISTENER_CERTIFICATE_EXPIRY,
    &TLS_HANDSHAKE_FAILURES,
    &LOG_LINES_DROPPED,
    &HTTP_REQUESTS,
];

/// Every metric, in the order in which they are documented.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    DOMAIN.into_iter().chain(OWN).chain(&PROCESS)
}
