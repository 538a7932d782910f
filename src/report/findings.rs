//! The judgement: what is not well with a cluster, how bad it is, and what to do about it.
//!
//! One table decides (rank, identifier, severity, condition); the alert rules in `deploy/prometheus` follow the same, and a
//! test holds the two together.

use std::time::Duration;

use super::{Certificate, ClusterReport, Severity, span};
use crate::{
    model::{
        Account, Date, DateField, FailureReason, KeyStore, KmsCertificate, Moment, Policy, Reading, Require, Status,
        Timestamp,
    },
    store::{Failure, LastPoll, Snapshot},
};

/// A KMS that has been of no use for so long is critical.
pub const KMS_UNUSABLE: Duration = Duration::from_secs(3600);

/// A cluster that has not refreshed its status for so long is worth a look.
pub const NOT_REFRESHED: Duration = Duration::from_secs(86_400);

/// Clocks that differ by more, in seconds, are worth a look.
pub const CLOCKS_DIFFER: f64 = 300.0;

/// Something that is not well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What to do.
    pub advice: &'static str,
    /// What it is, for programs. Never renamed.
    pub id: &'static str,
    /// Its place among all findings: 1 is the worst damage.
    pub rank: u8,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for people.
    pub text: String,
}

const DO_NOT: &str = "Do not reboot, upgrade or power-cycle nodes";

/// A finding in the making: the parts that are fixed for each identifier.
struct Kind {
    advice: &'static str,
    /// Empty if there is none.
    alert: &'static str,
    /// While it is not critical.
    milder: &'static str,
    id: &'static str,
    rank: u8,
}

macro_rules! kinds {
    ($($name:ident $rank:literal $id:literal $alert:literal $(or $milder:literal)? $advice:literal;)*) => {
        $(const $name: Kind =
            Kind { advice: $advice, alert: $alert, milder: kinds!(@ $alert $($milder)?), id: $id, rank: $rank };)*
        /// All of them.
        const KINDS: &[Kind] = &[$($name),*];
    };
    (@ $alert:literal) => { $alert };
    (@ $alert:literal $milder:literal) => { $milder };
}

kinds! {
    KEY_NOT_FOUND 1 "key_not_found" "QumuloEncryptionKeyNotFound"
        "Do not reboot, upgrade or power-cycle nodes: without the key they cannot read their data again. Restore the key in \
         the KMS, or the cluster's permission to see it.";
    CONFIGURATION_CORRUPTED 2 "configuration_corrupted" "QumuloEncryptionConfigurationCorrupted"
        "Do not reboot, upgrade or power-cycle nodes. Call Qumulo's support; set the key store again only on their advice.";
    KEY_INACTIVE 3 "key_inactive" "QumuloEncryptionKeyInactive"
        "Do not reboot, upgrade or power-cycle nodes. Reactivate the key in the KMS, or rotate to an active one.";
    CERTIFICATE_EXPIRED 4 "certificate_expired" "QumuloEncryptionCertificateExpired"
        "Do not reboot, upgrade or power-cycle nodes. Issue a new certificate and set it with qq encryption_set_key_store.";
    KMS_AUTHENTICATION_ERROR 5 "kms_authentication_error" "QumuloEncryptionKmsAuthenticationError"
        "Do not reboot, upgrade or power-cycle nodes. Check the client certificate and the user that the KMS maps it to; set a \
         new one with qq encryption_set_key_store.";
    KMS_CANNOT_CONNECT 6 "kms_cannot_connect" "QumuloEncryptionKmsCannotConnectForLong" or "QumuloEncryptionKmsCannotConnect"
        "Do not reboot, upgrade or power-cycle nodes. Check that the KMS runs and that the cluster reaches it (name, route, \
         port 5696), and its certificate.";
    CERTIFICATE_CRITICAL 7 "certificate_critical" "QumuloEncryptionCertificateExpiring"
        "Issue a new one and set it with qq encryption_set_key_store, before any node restarts.";
    NOT_READABLE 8 "not_readable" "QumuloEncryptionClusterNotPolled" "";
    POLICY_VIOLATED 9 "policy_violated" "QumuloEncryptionPolicyViolated" or "QumuloEncryptionNotEncrypted"
        "Encryption cannot be switched on in place: it takes a new cluster and a migration. A key store is moved to a KMS with \
         qq encryption_set_key_store.";
    UNKNOWN_STATUS 10 "unknown_status" "QumuloEncryptionUnknownStatus"
        "Probably a newer Qumulo Core: look at its release notes, and update this exporter.";
    CERTIFICATE_WARNING 11 "certificate_warning" "QumuloEncryptionCertificateExpiringSoon"
        "Issue a new one and set it with qq encryption_set_key_store, before any node restarts.";
    EXPIRY_UNKNOWN 12 "expiry_unknown" "QumuloEncryptionExpiryUnknown"
        "Ask for the dates with qq encryption_get_status; the log says if the cluster sent something unreadable.";
    KEY_TOO_OLD 13 "key_too_old" "QumuloEncryptionKeyTooOld" "Rotate it with qq rotate_encryption_keys while the status is good.";
    API_CERTIFICATE_EXPIRING 14 "api_certificate_expiring" "QumuloEncryptionApiCertificateExpiring" or "QumuloEncryptionApiCertificateExpiringSoon"
        "Install a new one with qq ssl_modify_certificate. If its fingerprint is pinned, add the new one to the exporter's \
         configuration first.";
    ACCESS_TOKEN_EXPIRING 14 "access_token_expiring" "QumuloEncryptionAccessTokenExpiring" or "QumuloEncryptionAccessTokenExpiringSoon"
        "Create another one with qq auth_create_access_token and replace the exporter's file; then delete this one.";
    CLOCK_SKEW 15 "clock_skew" "QumuloEncryptionClockSkew"
        "Compare both with their time servers: dates of certificates and ages are wrong by as much.";
    STATUS_NOT_REFRESHED 16 "status_not_refreshed" "QumuloEncryptionStatusNotRefreshed"
        "Look at the cluster's own health; how often it checks is not documented.";
    EXCESS_PRIVILEGES 16 "excess_privileges" "QumuloEncryptionExcessPrivileges"
        "Give the exporter a user of its own, whose role has PRIVILEGE_ENCRYPTION_READ alone.";
    UNREADABLE_DATE 16 "unreadable_date" "" "Report it with the log: the cluster sent a date in a form that nobody knows.";
}

// === impl Kind ===

impl Kind {
    fn finding(&self, severity: Severity, text: String) -> Finding {
        Finding { advice: self.advice, id: self.id, rank: self.rank, severity, text }
    }
}

// === impl Finding ===

impl Finding {
    /// The alert of the same trouble, and thereby its runbook.
    pub fn alert(&self) -> Option<&'static str> {
        let kind = KINDS.iter().find(|kind| kind.id == self.id)?;
        let alert = if self.severity == Severity::Critical { kind.alert } else { kind.milder };
        Some(alert).filter(|alert| !alert.is_empty())
    }

    /// Whether the advice begins with what must not be done now.
    pub fn forbids_restarts(&self) -> bool {
        self.advice.starts_with(DO_NOT)
    }
}

/// The alerts of all findings that have one.
pub fn alerts() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| [kind.alert, kind.milder]).filter(|alert| !alert.is_empty())
}

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

/// Everything that is not well with a cluster, the worst first. `certificates` are those of the last answer.
pub fn all(cluster: &Snapshot, certificates: &[Certificate], now: &Moment) -> Vec<Finding> {
    let policy = cluster.about().policy;
    let mut findings = Vec::new();
    if let Some((at, reading)) = cluster.last_known() {
        let stale = cluster.fresh(now).is_none().then(|| at.age(now));
        let mut known = status(cluster, reading, now);
        known.extend(certificates.iter().filter_map(|each| certificate(each, &policy)));
        known.extend(further(reading, at, &policy, now));
        known.extend(cluster.clock_skew().filter(|skew| skew.abs() > CLOCKS_DIFFER).map(clock_skew));
        if let Some(age) = stale {
            let age = span(age.as_secs_f64());
            known.iter_mut().for_each(|finding| finding.text.push_str(&format!(" (as of {age} ago)")));
        }
        findings.extend(known);
    }
    findings.extend(verdict(cluster, now));
    findings.extend(cluster.certificate().and_then(|expires| api_certificate(expires, &policy, now)));
    if cluster.up(now) != Some(true) {
        findings.push(not_readable(cluster.last_poll()));
    }
    findings.sort_by_key(|finding| finding.rank);
    findings
}

/// What the status says.
fn status(cluster: &Snapshot, reading: &Reading, now: &Moment) -> Vec<Finding> {
    let text = words(&reading.status);
    let finding = match &reading.status {
        Status::Encrypted | Status::KmsAvailable | Status::NotEncrypted => None,
        Status::KmsKeyNotFound => Some(KEY_NOT_FOUND.finding(Severity::Critical, text)),
        Status::ConfigurationCorrupted => Some(CONFIGURATION_CORRUPTED.finding(Severity::Critical, text)),
        Status::KmsKeyInactive => Some(KEY_INACTIVE.finding(Severity::Critical, text)),
        Status::KmsAuthenticationError => Some(KMS_AUTHENTICATION_ERROR.finding(Severity::Critical, text)),
        Status::KmsCannotConnect => {
            let since = cluster.history().kms_unusable_since.map(|since| since.age(now)).unwrap_or_default();
            let severity = if since >= KMS_UNUSABLE { Severity::Critical } else { Severity::Warning };
            Some(KMS_CANNOT_CONNECT.finding(severity, format!("{text} for {}", span(since.as_secs_f64()))))
        }
        Status::Unknown(_) => Some(UNKNOWN_STATUS.finding(Severity::Warning, text)),
    };
    let violated = policy(&reading.status, reading.key_store, cluster.about().policy.require);
    [finding, violated].into_iter().flatten().collect()
}

/// What the operator requires and is not so.
fn policy(status: &Status, key_store: KeyStore, require: Option<Require>) -> Option<Finding> {
    let (plain, local) = (*status == Status::NotEncrypted, key_store == KeyStore::Local);
    match require {
        None if plain => Some(POLICY_VIOLATED.finding(Severity::Warning, "Not encrypted".to_owned())),
        Some(Require::Encrypted | Require::Kms) if plain => {
            Some(POLICY_VIOLATED.finding(Severity::Critical, "Not encrypted, which the policy requires".to_owned()))
        }
        Some(Require::Kms) if local => Some(
            POLICY_VIOLATED
                .finding(Severity::Critical, "The key is on the nodes, and the policy requires a KMS".to_owned()),
        ),
        _ => None,
    }
}

/// What is not well with a certificate.
pub fn certificate(certificate: &Certificate, policy: &Policy) -> Option<Finding> {
    let name = match certificate.kind {
        KmsCertificate::Ca => "The certificate of the KMS's authority",
        KmsCertificate::Client => "The cluster's client certificate",
        KmsCertificate::Server => "The certificate of the KMS itself",
    };
    let left = certificate.seconds_left;
    let severity = running_out(left, policy)?;
    let kind = match severity {
        _ if left <= 0.0 => CERTIFICATE_EXPIRED,
        Severity::Critical => CERTIFICATE_CRITICAL,
        _ => CERTIFICATE_WARNING,
    };
    Some(kind.finding(severity, format!("{name} {}", expiry(left))))
}

/// What the rest of an answer of the moment `at` says.
fn further(reading: &Reading, at: &Moment, policy: &Policy, now: &Moment) -> Vec<Finding> {
    let mut findings = Vec::new();
    let told = |certificate| reading.expiry(certificate).is_some();
    if reading.key_store == KeyStore::Kms && !KmsCertificate::TOLD.into_iter().all(told) {
        let text = "The cluster does not say when its KMS certificates expire".to_owned();
        findings.push(EXPIRY_UNKNOWN.finding(Severity::Warning, text));
    }
    let since = |field, moment: &Moment| {
        let date = reading.dates.get(field).timestamp()?;
        Some(moment.unix_seconds() - date.unix_seconds())
    };
    if let (Some(age), Some(limit)) = (since(DateField::LastKeyRotationTime, now), policy.key_max_age)
        && age > limit.as_secs_f64()
        && reading.status != Status::NotEncrypted
    {
        findings.push(KEY_TOO_OLD.finding(Severity::Warning, format!("The master key is {} old", span(age))));
    }
    if let Some(age) = since(DateField::LastStatusUpdateTime, at)
        && age > NOT_REFRESHED.as_secs_f64()
    {
        let text = format!("The cluster had not refreshed its status for {}", span(age));
        findings.push(STATUS_NOT_REFRESHED.finding(Severity::Info, text));
    }
    if DateField::ALL.into_iter().any(|field| matches!(reading.dates.get(field), Date::Unreadable(_))) {
        let text = "The cluster sent a date that cannot be read".to_owned();
        findings.push(UNREADABLE_DATE.finding(Severity::Info, text));
    }
    findings.extend(account(&reading.details.account, at, policy, now));
    findings
}

/// The certificate that the cluster shows to the exporter, and to everybody else.
fn api_certificate(expires: Timestamp, policy: &Policy, now: &Moment) -> Option<Finding> {
    let left = expires.unix_seconds() - now.unix_seconds();
    let severity = running_out(left, policy)?;
    Some(
        API_CERTIFICATE_EXPIRING
            .finding(severity, format!("The certificate of the cluster's REST API {}", expiry(left))),
    )
}

/// The exporter's own credential, by an answer of the moment `at`. What had expired by then is not what it asked with.
fn account(account: &Account, at: &Moment, policy: &Policy, now: &Moment) -> Vec<Finding> {
    let mut findings = Vec::new();
    for token in account.tokens.iter().filter(|token| token.expires.unix_seconds() > at.unix_seconds()) {
        let left = token.expires.unix_seconds() - now.unix_seconds();
        if let Some(severity) = running_out(left, policy) {
            let text = format!("Access token {} of the exporter's account {}", token.id(), expiry(left));
            findings.push(ACCESS_TOKEN_EXPIRING.finding(severity, text));
        }
    }
    let excess = account.privileges.as_ref().map_or(0, |privileges| privileges.excess.len());
    if excess > 0 {
        let text = match excess {
            1 => "The exporter's account has a privilege that it does not need".to_owned(),
            _ => format!("The exporter's account has {excess} privileges that it does not need"),
        };
        findings.push(EXCESS_PRIVILEGES.finding(Severity::Info, text));
    }
    findings
}

/// How bad it is that so many seconds are left, by the limits for certificates.
fn running_out(left: f64, policy: &Policy) -> Option<Severity> {
    let below = |limit: Option<Duration>| limit.is_some_and(|limit| left < limit.as_secs_f64());
    if left <= 0.0 || below(policy.certificate_critical) {
        Some(Severity::Critical)
    } else {
        below(policy.certificate_warning).then_some(Severity::Warning)
    }
}

fn expiry(left: f64) -> String {
    if left > 0.0 { format!("expires in {}", span(left)) } else { format!("expired {} ago", span(left)) }
}

/// A verdict about the key that stands although the last status is another one.
fn verdict(cluster: &Snapshot, now: &Moment) -> Option<Finding> {
    let (since, status) = cluster.history().verdict.as_ref()?;
    let current = cluster.last_known().map(|(_, reading)| &reading.status);
    if current == Some(status) {
        return None;
    }
    let kind = if *status == Status::KmsKeyNotFound { KEY_NOT_FOUND } else { KEY_INACTIVE };
    let (text, age) = (words(status), span(since.age(now).as_secs_f64()));
    Some(kind.finding(
        Severity::Critical,
        format!("{text}, reported {age} ago; no status since then says that the key is back"),
    ))
}

fn clock_skew(skew: f64) -> Finding {
    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
    CLOCK_SKEW.finding(Severity::Warning, format!("The cluster's clock is {} {direction} the exporter's", span(skew)))
}

/// Why there is no up-to-date status.
fn not_readable(last: Option<&LastPoll>) -> Finding {
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
    Finding { advice, ..NOT_READABLE.finding(Severity::Unknown, text) }
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
            "Check the trust settings of the cluster (tls_config, --cluster.ca-file, --cluster.pin-sha256) against its \
             certificate."
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

/// The worst of the findings, for the order of clusters; without findings the last.
pub fn rank(cluster: &ClusterReport) -> u8 {
    cluster.findings.first().map_or(u8::MAX, |finding| finding.rank)
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
