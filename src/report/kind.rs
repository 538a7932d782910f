//! The kinds of findings: a table of their properties, what they forbid, and advice for special cases.

use super::Severity;
use crate::model::FailureReason;

/// Properties of a kind of finding.
#[derive(Debug)]
struct Row {
    advice: &'static str,
    alert: &'static str,
    id: &'static str,
    mildest: Severity,
    rank: u8,
    severities: &'static [Severity],
}

macro_rules! kinds {
    ($($kind:ident $rank:literal $id:literal [$mildest:ident $($worse:ident)?] $alert:literal $advice:literal;)*) => {
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Kind { $($kind),* }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            fn row(self) -> &'static Row {
                match self {
                    $(Self::$kind => &Row {
                        advice: $advice,
                        alert: concat!("QumuloEncryption", $alert),
                        id: $id,
                        mildest: Severity::$mildest,
                        rank: $rank,
                        severities: &[Severity::$mildest $(, Severity::$worse)?],
                    },)*
                }
            }
        }
    };
}

kinds! {
    KeyNotFound 1 "key_not_found" [Critical] "KeyNotFound"
        "Restore the key in the KMS, or the cluster's permission to use it. Without the key, a restarted node cannot read its data.";
    ConfigurationCorrupted 2 "configuration_corrupted" [Critical] "ConfigurationCorrupted"
        "Contact Qumulo support. Set the key store again only on their advice.";
    KeyInactive 3 "key_inactive" [Critical] "KeyInactive"
        "Reactivate the key in the KMS. If that is not possible, contact Qumulo support before changing anything.";
    CertificateExpired 4 "certificate_expired" [Critical] "CertificateExpired"
        "Issue a new certificate. Give it to the cluster while it reports KMS Available; otherwise contact Qumulo support first.";
    KmsAuthenticationError 5 "kms_authentication_error" [Critical] "KmsAuthenticationError"
        "Check the KMS client certificate and its account in the KMS. If a new certificate is needed, contact Qumulo support \
         before giving it to the cluster.";
    KmsCannotConnect 6 "kms_cannot_connect" [Warning Critical] "KmsUnusable"
        "Check that the KMS is running, that the cluster can reach it (name, route, port 5696), and that its certificate is valid.";
    CertificateCritical 7 "certificate_critical" [Critical] "CertificateExpiring"
        "Issue a new certificate and set it with qq encryption_set_key_store before any node restarts.";
    NotReadable 8 "not_readable" [Unknown] "ClusterNotPolled" "Wait for the first poll to end.";
    PolicyViolated 9 "policy_violated" [Warning Critical] "PolicyViolated"
        "Encryption cannot be enabled in place: migrate to a new cluster. If the cluster may stay unencrypted, set require: any in \
         its policy.";
    UnknownStatus 10 "unknown_status" [Warning] "UnknownStatus"
        "Probably a newer Qumulo Core: read its release notes and update the exporter.";
    CertificateWarning 11 "certificate_warning" [Warning] "CertificateExpiring"
        "Issue a new certificate and set it with qq encryption_set_key_store before any node restarts.";
    ExpiryUnknown 12 "expiry_unknown" [Warning] "ExpiryUnknown"
        "Compare with qq encryption_get_status. If a date could not be read, it is in the exporter's log.";
    KeyTooOld 13 "key_too_old" [Warning] "KeyTooOld" "Rotate the key with qq rotate_encryption_keys.";
    ApiCertificateExpiring 14 "api_certificate_expiring" [Warning Critical] "ApiCertificateExpiring"
        "Install a new certificate with qq ssl_modify_certificate. If the fingerprint is pinned, first add the new one to the \
         exporter's configuration.";
    AccessTokenExpiring 14 "access_token_expiring" [Warning Critical] "AccessTokenExpiring"
        "Create a new token with qq auth_create_access_token and write it to the exporter's token file, then delete the old one.";
    ClockSkew 15 "clock_skew" [Warning] "ClockSkew"
        "Fix time synchronisation on the side that is wrong. Until then, ages and remaining times are off by the same amount.";
    StatusNotRefreshed 16 "status_not_refreshed" [Info] "StatusNotRefreshed"
        "Check the health of the cluster. Qumulo does not document how often this status is refreshed.";
    UnreadableDate 16 "unreadable_date" [Info] "UnreadableDate"
        "Report a bug with a recording of the cluster (status --record FILE), which contains the date.";
    ExcessPrivileges 16 "excess_privileges" [Info] "ExcessPrivileges"
        "Use a dedicated user for the exporter, with a role that has only PRIVILEGE_ENCRYPTION_READ.";
    KeyAgeUnknown 16 "key_age_unknown" [Info] "KeyAgeUnknown"
        "Compare with qq encryption_get_status. If the cluster does not report it, set key_max_age: 0s in its policy.";
}

/// For the KMS server certificate, which is not set on the cluster.
pub(super) const RENEW_ON_KMS: &str = "Renew the certificate on the KMS.";
pub(super) const MOVE_KEY: &str = "Plan with Qumulo support and the KMS team how to move the key to a KMS. If the key may stay on the nodes, \
                        change require in the policy.";
pub(super) const ROTATE_IN_KMS: &str =
    "Create a new key in the KMS and rotate to it with qq rotate_encryption_keys --key-id.";
/// Replaces the advice to rotate the key while rotating it could do damage.
pub(super) const DO_NOT_ROTATE: &str = "Do not rotate the key now. First resolve the other findings.";
/// Replaces advice to change the key store while the key or the KMS is not available.
pub(super) const KEY_FIRST: &str =
    "Do not change the key store now. First resolve the findings about the key and the KMS.";

// === impl Kind ===

impl Kind {
    /// The value of the label `finding` and of `id` in JSON.
    pub fn id(self) -> &'static str {
        self.row().id
    }

    /// Order within a severity: 1 is the most urgent.
    pub fn rank(self) -> u8 {
        self.row().rank
    }

    pub fn endangers_data(self) -> bool {
        self.rank() <= 6
    }

    pub(super) fn mildest_severity(self) -> Severity {
        self.row().mildest
    }

    /// The severities that this kind can have, mildest first.
    pub fn severities(self) -> &'static [Severity] {
        self.row().severities
    }

    /// Name of the alert and of its runbook.
    pub fn alert(self) -> &'static str {
        self.row().alert
    }

    /// What to do, unless the state of the cluster calls for something else.
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    /// What must not be done while the finding applies.
    pub fn prohibition(self) -> Option<&'static str> {
        match self {
            kind if kind.endangers_data() => Some("Do not reboot, upgrade or power-cycle nodes."),
            Self::NotReadable | Self::UnknownStatus => {
                Some("Do not reboot, upgrade or power-cycle nodes while the status is not known.")
            }
            _ => None,
        }
    }
}

pub(super) fn failure_advice(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Dns => "Check the host name in the cluster's URL and the DNS resolver of the exporter's host.",
        FailureReason::Connect => "Check that the cluster is running and that no firewall blocks it.",
        FailureReason::Tls => {
            "The message says what to change, on the cluster or in its trust settings (tls_config, --cluster.ca-file, \
             --cluster.pin-sha256)."
        }
        FailureReason::Timeout => {
            "Check the health of the cluster. If it is only slow, raise poll_timeout (in a configuration file)."
        }
        FailureReason::Authentication => "Write a valid token or password to the credential file.",
        FailureReason::Permission => "Grant the privilege PRIVILEGE_ENCRYPTION_READ to the user's role.",
        FailureReason::Unsupported => "Check the cluster's URL, and that the cluster runs Qumulo Core 3.1.5 or later.",
        FailureReason::RateLimited => {
            "Raise poll_interval (in a configuration file): the cluster limits the request rate."
        }
        FailureReason::HttpError => {
            "Check for a proxy between exporter and cluster, and check the health of the cluster."
        }
        FailureReason::Proxy => "Check proxy_url and the log of the proxy.",
        FailureReason::Malformed => {
            "Check that the URL is that of the cluster. If it is, report a bug with a recording (status --record FILE)."
        }
    }
}
