//! What a state means, and what to do about it.

use super::{CRITICAL, Certificate, Finding, Severity, WARNING, span};
use crate::{
    model::{FailureReason, KmsCertificate, Status},
    store::{Failure, LastPoll},
};

/// A status in words.
pub fn words(status: &Status) -> String {
    match status {
        Status::ConfigurationCorrupted => "Key store configuration corrupted".to_owned(),
        Status::Encrypted => "Encrypted".to_owned(),
        Status::KmsAuthenticationError => "KMS refuses the cluster".to_owned(),
        Status::KmsAvailable => "KMS available".to_owned(),
        Status::KmsCannotConnect => "Cannot connect to the KMS".to_owned(),
        Status::KmsKeyInactive => "KMS key inactive".to_owned(),
        Status::KmsKeyNotFound => "KMS key not found".to_owned(),
        Status::NotEncrypted => "Not encrypted".to_owned(),
        Status::Unknown(text) => format!("Unrecognised status: {text}"),
    }
}

/// What is not well with a status.
pub fn status(status: &Status) -> Option<Finding> {
    let (severity, advice) = match status {
        Status::Encrypted | Status::KmsAvailable => return None,
        Status::ConfigurationCorrupted => (
            Severity::Critical,
            "Do not reboot, upgrade or power-cycle nodes. Call Qumulo's support; set the key store again only on their \
             advice.",
        ),
        Status::KmsKeyNotFound => (
            Severity::Critical,
            "Do not reboot, upgrade or power-cycle nodes: without the key they cannot read their data again. Restore the \
             key in the KMS, or the cluster's permission to see it.",
        ),
        Status::KmsKeyInactive => (
            Severity::Critical,
            "Do not reboot, upgrade or power-cycle nodes. Reactivate the key in the KMS, or rotate to an active one.",
        ),
        Status::KmsAuthenticationError => (
            Severity::Critical,
            "Do not reboot, upgrade or power-cycle nodes. Check the client certificate and the user that the KMS maps it \
             to; set a new one with qq encryption_set_key_store.",
        ),
        Status::KmsCannotConnect => (
            Severity::Warning,
            "Do not reboot, upgrade or power-cycle nodes. Check that the KMS runs and that the cluster reaches it (name, \
             route, port 5696), and its certificate.",
        ),
        Status::NotEncrypted => {
            (Severity::Warning, "Encryption cannot be switched on in place: it takes a new cluster and a migration.")
        }
        Status::Unknown(_) => {
            (Severity::Warning, "Probably a newer Qumulo Core: look at its release notes, and update this exporter.")
        }
    };
    Some(Finding { advice, severity, text: words(status) })
}

/// What is not well with a certificate.
pub fn certificate(certificate: &Certificate) -> Option<Finding> {
    let name = match certificate.kind {
        KmsCertificate::Ca => "The certificate of the KMS's authority",
        KmsCertificate::Client => "The cluster's client certificate",
    };
    let left = certificate.seconds_left;
    let (severity, text) = if left <= 0.0 {
        (Severity::Critical, format!("{name} expired {} ago", span(left)))
    } else if left < CRITICAL.as_secs_f64() {
        (Severity::Critical, format!("{name} expires in {}", span(left)))
    } else if left < WARNING.as_secs_f64() {
        (Severity::Warning, format!("{name} expires in {}", span(left)))
    } else {
        return None;
    };
    let advice = "Issue a new one and set it with qq encryption_set_key_store, before any node restarts.";
    Some(Finding { advice, severity, text })
}

/// A KMS is used, and not all of its certificates' dates are known.
pub fn expiry_not_known() -> Finding {
    Finding {
        advice: "Ask for the dates with qq encryption_get_status; the log says if the cluster sent something unreadable.",
        severity: Severity::Warning,
        text: "The cluster does not say when its KMS certificates expire".to_owned(),
    }
}

/// Why there is no up-to-date status.
pub fn not_up(last: Option<&LastPoll>) -> Finding {
    let (text, advice) = match last.map(|last| &last.failure) {
        None => ("Not polled yet".to_owned(), "Wait for the first poll to end."),
        Some(None) => {
            let advice = "If this machine was suspended or its clock was set, wait for the next poll. Otherwise the poller is \
                          stuck: restart the exporter, and report it.";
            ("The last status is stale".to_owned(), advice)
        }
        Some(Some(Failure::Crash)) => {
            ("Polling broke down and is started again".to_owned(), "This is a bug: report it with the log.")
        }
        Some(Some(Failure::Poll(failure))) => (sentence(&failure.message), reason(failure.reason)),
    };
    Finding { advice, severity: Severity::Unknown, text }
}

/// With a capital letter, since it stands alone here.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

fn reason(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Dns => {
            "Check the host name in the cluster's URL, and ask the resolver of the exporter's machine."
        }
        FailureReason::Connect => "Check that the cluster runs and that no firewall blocks it.",
        FailureReason::Tls => {
            "Check the trust settings of the cluster (tls_config, --cluster.ca-file, --cluster.pin-sha256) against its certificate."
        }
        FailureReason::Timeout => {
            "Look at the cluster. If it is only slow, raise poll_timeout (in a configuration file)."
        }
        FailureReason::Authentication => "Write a good token or password into the credential's file.",
        FailureReason::Permission => "Give the user's role the privilege PRIVILEGE_ENCRYPTION_READ.",
        FailureReason::Unsupported => "Check the cluster's URL, and whether this is Qumulo Core 3.1.5 or later.",
        FailureReason::RateLimited => {
            "Raise poll_interval (in a configuration file): the cluster asks for fewer requests."
        }
        FailureReason::HttpError => "Look for a proxy in between, and at the cluster's own state.",
        FailureReason::Proxy => "Check proxy_url, and the proxy: its log says why it makes no connection.",
        FailureReason::Malformed => "Check that the URL is the cluster itself; report it with the log if it is.",
    }
}
