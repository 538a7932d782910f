//! The findings: what is wrong with a cluster, how severe it is, and what to do about it.
//!
//! One table defines rank, identifier, severities, alert and advice. [`all`] returns the findings for display, also those
//! from a stale status, with its age. [`samples`] returns those for the metric, where a finding applies (1), does not apply (0),
//! or is not known (absent).

use std::{cmp::Reverse, time::Duration};

use chrono::{DateTime, Utc};

use super::{Certificate, ClusterReport, Severity, format_duration};
use crate::{
    model::{
        AccessToken, ClockTime, Date, DateField, FailureReason, KeyStore, KmsCertificate, Policy, PollResult, Require,
        Status, Timestamp,
    },
    store::{Failure, Snapshot},
};

/// A KMS that has been unusable for this long is critical.
pub const KMS_CRITICAL_AFTER: Duration = Duration::from_secs(3600);

/// A status that the cluster has not refreshed for longer is reported.
pub const MAX_STATUS_AGE: Duration = Duration::from_secs(86_400);

pub const MAX_CLOCK_SKEW_SECONDS: f64 = 300.0;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What to do. What must not be done is [`Finding::prohibition`].
    pub advice: &'static str,
    pub kind: Kind,
    pub severity: Severity,
    /// When it began, as far as this process knows.
    pub since: Option<DateTime<Utc>>,
    pub text: String,
}

/// Properties of a kind of finding.
#[derive(Debug)]
struct Row {
    advice: &'static str,
    alert: &'static str,
    id: &'static str,
    rank: u8,
    severities: &'static [Severity],
}

macro_rules! kinds {
    ($($kind:ident $rank:literal $id:literal [$($severity:ident)*] $alert:literal $advice:literal;)*) => {
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
                        rank: $rank,
                        severities: &[$(Severity::$severity),*],
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
const RENEW_ON_KMS: &str = "Renew the certificate on the KMS.";
const MOVE_KEY: &str = "Plan with Qumulo support and the KMS team how to move the key to a KMS. If the key may stay on the nodes, \
                        change require in the policy.";
const ROTATE_IN_KMS: &str = "Create a new key in the KMS and rotate to it with qq rotate_encryption_keys --key-id.";
/// Replaces the advice to rotate the key while rotating it could do damage.
const DO_NOT_ROTATE: &str = "Do not rotate the key now. First resolve the other findings.";
/// Replaces advice to change the key store while the key or the KMS is not available.
const KEY_FIRST: &str = "Do not change the key store now. First resolve the findings about the key and the KMS.";

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

    /// The severities that this kind can have.
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

    fn finding(self, severity: Severity, text: impl Into<String>) -> Finding {
        Finding { advice: self.advice(), kind: self, severity, since: None, text: text.into() }
    }

    fn critical(self, text: impl Into<String>) -> Finding {
        self.finding(Severity::Critical, text)
    }

    fn warning(self, text: impl Into<String>) -> Finding {
        self.finding(Severity::Warning, text)
    }

    fn info(self, text: impl Into<String>) -> Finding {
        self.finding(Severity::Info, text)
    }

    /// Whether the metric is 0 if the finding does not apply; otherwise it is absent.
    fn can_be_excluded(self, cluster: &Snapshot, now: &ClockTime) -> bool {
        match self {
            Self::NotReadable => return cluster.last_poll().is_some(),
            Self::ApiCertificateExpiring => return cluster.api_certificate().is_some(),
            _ => {}
        }
        let Some(result) = cluster.fresh(now) else { return false };
        let policy = &cluster.metadata().policy;
        match self {
            Self::KeyNotFound | Self::KeyInactive => result.status.reveals_key_state(),
            Self::ConfigurationCorrupted | Self::KmsAuthenticationError | Self::KmsCannotConnect => {
                result.status.is_known()
            }
            Self::CertificateExpired | Self::CertificateCritical | Self::CertificateWarning => {
                result.key_store == KeyStore::Local || has_both_dates(result)
            }
            Self::PolicyViolated => violates_policy(result, policy.require).is_some(),
            Self::ExpiryUnknown => result.key_store != KeyStore::Unknown,
            Self::KeyTooOld => !is_age_limited(result, policy) || rotated(result).is_some(),
            Self::ClockSkew => cluster.clock_skew().is_some(),
            Self::StatusNotRefreshed => result.dates.get(DateField::LastStatusUpdateTime).timestamp().is_some(),
            Self::ExcessPrivileges => result.details.account.privileges.is_some(),
            Self::AccessTokenExpiring => result.details.account.tokens.is_some(),
            Self::UnknownStatus
            | Self::UnreadableDate
            | Self::KeyAgeUnknown
            | Self::NotReadable
            | Self::ApiCertificateExpiring => true,
        }
    }
}

// === impl Finding ===

impl Finding {
    /// What must not be done while the finding applies.
    pub fn prohibition(&self) -> Option<&'static str> {
        self.kind.prohibition()
    }

    /// The prohibition, if any, followed by the advice.
    pub fn instructions(&self) -> String {
        match self.prohibition() {
            Some(prohibition) => format!("{prohibition} {}", self.advice),
            None => self.advice.to_owned(),
        }
    }

    fn since(self, since: Option<DateTime<Utc>>) -> Self {
        Self { since, ..self }
    }

    fn with_advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

/// The status as Qumulo's API and documentation spell it.
pub fn status_text(status: &Status) -> String {
    match status {
        Status::ConfigurationCorrupted => "Configuration Corrupted".to_owned(),
        Status::Encrypted => "Encrypted".to_owned(),
        Status::KmsAuthenticationError => "KMS Authentication Error".to_owned(),
        Status::KmsAvailable => "KMS Available".to_owned(),
        Status::KmsCannotConnect => "Cannot connect to KMS server".to_owned(),
        Status::KmsKeyInactive => "KMS Key Inactive".to_owned(),
        Status::KmsKeyNotFound => "KMS Key Not Found".to_owned(),
        Status::NotEncrypted => "Not Encrypted".to_owned(),
        Status::Unknown(text) => format!("Unrecognised status: {text}"),
    }
}

/// All findings of a cluster, worst first. Those from a stale status state its age.
pub fn all(cluster: &Snapshot, now: &ClockTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((at, result)) = cluster.last_known() {
        findings = findings_from_status(cluster, at, result, now);
        if cluster.fresh(now).is_none() {
            let age = format_duration(at.age(now).as_secs_f64());
            findings.iter_mut().for_each(|finding| finding.text.push_str(&format!(" (as of {age} ago)")));
        }
    }
    findings.extend(findings_without_status(cluster, now));
    findings.sort_by_key(|finding| (Reverse(finding.severity), finding.kind.rank()));
    replace_dangerous_advice(&mut findings);
    findings
}

/// Whether a finding forbids restarts; `None` until the first poll has ended.
pub fn do_not_restart(cluster: &Snapshot, now: &ClockTime) -> Option<bool> {
    cluster.last_poll()?;
    Some(all(cluster, now).iter().any(|finding| finding.prohibition().is_some()))
}

/// Every kind and severity for which it is known whether the finding applies, for the metric.
pub fn samples(cluster: &Snapshot, now: &ClockTime) -> Vec<(Kind, Severity, bool)> {
    let mut findings = match cluster.last_known() {
        Some((at, result)) if cluster.fresh(now).is_some() => findings_from_status(cluster, at, result, now),
        _ => Vec::new(),
    };
    if cluster.last_poll().is_some() {
        findings.extend(findings_without_status(cluster, now));
    }
    let worst =
        |kind: Kind| findings.iter().filter(|finding| finding.kind == kind).map(|finding| finding.severity).max();
    let kinds = Kind::ALL.iter().map(|kind| (*kind, worst(*kind)));
    let kinds = kinds.filter(|(kind, worst)| worst.is_some() || kind.can_be_excluded(cluster, now));
    kinds
        .flat_map(|(kind, worst)| {
            kind.severities().iter().map(move |severity| (kind, *severity, worst == Some(*severity)))
        })
        .collect()
}

/// Findings from a status received at `at` and from the history before it.
fn findings_from_status(cluster: &Snapshot, at: &ClockTime, result: &PollResult, now: &ClockTime) -> Vec<Finding> {
    let policy = &cluster.metadata().policy;
    let mut findings = Vec::new();
    findings.extend(status(cluster, result, now));
    findings.extend(key_fault(cluster, result, now));
    findings.extend(policy_finding(result, policy.require).map(|finding| finding.since(status_since(cluster))));
    findings.extend(super::certificates(result, now).iter().filter_map(|each| certificate(each, policy)));
    if result.key_store == KeyStore::Kms && !has_both_dates(result) {
        findings.push(Kind::ExpiryUnknown.warning("The cluster does not report when its KMS certificates expire"));
    }
    findings.extend(key_age(result, policy, now));
    if let Some(updated) = result.dates.get(DateField::LastStatusUpdateTime).timestamp() {
        let age = at.unix_seconds() - updated.unix_seconds();
        if age > MAX_STATUS_AGE.as_secs_f64() {
            let text = format!("The cluster has not refreshed its status for {}", format_duration(age));
            findings.push(Kind::StatusNotRefreshed.info(text).since(Some(updated.utc())));
        }
    }
    if DateField::ALL.into_iter().any(|field| matches!(result.dates.get(field), Date::Unreadable(_))) {
        findings.push(Kind::UnreadableDate.info("The cluster sent a date that cannot be read"));
    }
    let account = &result.details.account;
    findings.extend(account.tokens.iter().flat_map(|tokens| access_tokens(tokens, at, policy, now)));
    findings.extend(account.privileges.as_ref().and_then(|privileges| excess(privileges.excess.len())));
    findings.extend(cluster.clock_skew().filter(|skew| skew.abs() > MAX_CLOCK_SKEW_SECONDS).map(clock_skew));
    findings
}

/// Findings that do not depend on a status.
fn findings_without_status(cluster: &Snapshot, now: &ClockTime) -> impl Iterator<Item = Finding> {
    let api = cluster.api_certificate().and_then(|expires| api_certificate(cluster, expires, now));
    let not_readable = (cluster.up(now) != Some(true)).then(|| not_readable(cluster));
    [api, not_readable].into_iter().flatten()
}

/// Replaces advice that would do damage in the current state of the cluster.
fn replace_dangerous_advice(findings: &mut [Finding]) {
    let key_in_danger = findings.iter().any(|finding| finding.kind.rank() <= 3);
    let kms_unusable =
        findings.iter().any(|finding| matches!(finding.kind, Kind::KmsAuthenticationError | Kind::KmsCannotConnect));
    let unsafe_to_rotate =
        findings.iter().any(|finding| finding.prohibition().is_some() || finding.severity == Severity::Critical);
    for finding in findings {
        match finding.kind {
            Kind::KeyTooOld if unsafe_to_rotate => finding.advice = DO_NOT_ROTATE,
            _ if finding.advice == RENEW_ON_KMS => {}
            Kind::CertificateCritical | Kind::CertificateWarning if key_in_danger || kms_unusable => {
                finding.advice = KEY_FIRST;
            }
            Kind::CertificateExpired | Kind::KmsAuthenticationError | Kind::PolicyViolated if key_in_danger => {
                finding.advice = KEY_FIRST;
            }
            _ => {}
        }
    }
}

fn status_since(cluster: &Snapshot) -> Option<DateTime<Utc>> {
    cluster.history().status.as_ref().map(|(since, _)| since.wall)
}

fn status(cluster: &Snapshot, result: &PollResult, now: &ClockTime) -> Option<Finding> {
    let text = status_text(&result.status);
    let since = status_since(cluster);
    match &result.status {
        Status::Encrypted | Status::KmsAvailable | Status::NotEncrypted => None,
        // See `key_fault`, which can be older than the status.
        Status::KmsKeyNotFound | Status::KmsKeyInactive => None,
        Status::ConfigurationCorrupted => Some(Kind::ConfigurationCorrupted.critical(text).since(since)),
        Status::KmsAuthenticationError => Some(Kind::KmsAuthenticationError.critical(text).since(since)),
        Status::KmsCannotConnect => {
            let unusable = cluster.history().kms_unusable_since;
            let age = unusable.map(|since| since.age(now)).unwrap_or_default();
            let severity = if age >= KMS_CRITICAL_AFTER { Severity::Critical } else { Severity::Warning };
            let text = format!("{text}; KMS unusable for {}", format_duration(age.as_secs_f64()));
            Some(Kind::KmsCannotConnect.finding(severity, text).since(unusable.map(|since| since.wall)))
        }
        Status::Unknown(_) => Some(Kind::UnknownStatus.warning(text).since(since)),
    }
}

/// A missing or inactive key. Applies until a status reveals the state of the key again.
fn key_fault(cluster: &Snapshot, result: &PollResult, now: &ClockTime) -> Option<Finding> {
    let (since, status) = cluster.history().key_fault.as_ref()?;
    let kind = if *status == Status::KmsKeyNotFound { Kind::KeyNotFound } else { Kind::KeyInactive };
    let mut text = status_text(status);
    if result.status != *status {
        let age = format_duration(since.age(now).as_secs_f64());
        text = format!("{text}, reported {age} ago; no later status shows that the key is available");
    }
    Some(kind.critical(text).since(Some(since.wall)))
}

/// `None` if the status or the key store is not recognised.
fn violates_policy(result: &PollResult, require: Option<Require>) -> Option<bool> {
    let encrypted = result.status.is_known().then_some(result.status != Status::NotEncrypted);
    let in_kms = match result.key_store {
        KeyStore::Kms => Some(true),
        KeyStore::Local => Some(false),
        KeyStore::Unknown => None,
    };
    match require {
        Some(Require::Any) => Some(false),
        None | Some(Require::Encrypted) => encrypted.map(|encrypted| !encrypted),
        Some(Require::Kms) => match (encrypted, in_kms) {
            (Some(false), _) | (_, Some(false)) => Some(true),
            (Some(true), Some(true)) => Some(false),
            _ => None,
        },
    }
}

fn policy_finding(result: &PollResult, require: Option<Require>) -> Option<Finding> {
    if violates_policy(result, require) != Some(true) {
        return None;
    }
    let finding = match (&result.status, require) {
        (Status::NotEncrypted, None) => Kind::PolicyViolated.warning("Not Encrypted"),
        (Status::NotEncrypted, _) => Kind::PolicyViolated.critical("Not Encrypted, but the policy requires encryption"),
        _ => Kind::PolicyViolated
            .critical("The master key is stored on the nodes, but the policy requires a KMS")
            .with_advice(MOVE_KEY),
    };
    Some(finding)
}

pub fn certificate_name(kind: KmsCertificate) -> &'static str {
    match kind {
        KmsCertificate::Ca => "KMS CA certificate",
        KmsCertificate::Client => "KMS client certificate",
        KmsCertificate::Server => "KMS server certificate",
    }
}

pub fn certificate(certificate: &Certificate, policy: &Policy) -> Option<Finding> {
    let left = certificate.seconds_left;
    let kind = if left <= 0.0 {
        Kind::CertificateExpired
    } else if is_below(left, policy.certificate_critical) {
        Kind::CertificateCritical
    } else if is_below(left, policy.certificate_warning) {
        Kind::CertificateWarning
    } else {
        return None;
    };
    // Each of these three kinds has one severity.
    let severity = *kind.severities().first()?;
    let text = format!("The {} {}", certificate_name(certificate.kind), expiry(left));
    let finding = kind.finding(severity, text).since((left <= 0.0).then(|| certificate.expires.utc()));
    Some(if certificate.kind == KmsCertificate::Server { finding.with_advice(RENEW_ON_KMS) } else { finding })
}

fn has_both_dates(result: &PollResult) -> bool {
    [KmsCertificate::Ca, KmsCertificate::Client].into_iter().all(|certificate| result.expiry(certificate).is_some())
}

fn rotated(result: &PollResult) -> Option<Timestamp> {
    result.dates.get(DateField::LastKeyRotationTime).timestamp()
}

/// A cluster that is not encrypted has no master key.
fn is_age_limited(result: &PollResult, policy: &Policy) -> bool {
    policy.key_max_age.is_some() && result.status != Status::NotEncrypted
}

fn key_age(result: &PollResult, policy: &Policy, now: &ClockTime) -> Option<Finding> {
    let limit = policy.key_max_age.filter(|_| is_age_limited(result, policy))?;
    let Some(rotated) = rotated(result) else {
        return Some(Kind::KeyAgeUnknown.info("The cluster does not report the age of its master key"));
    };
    let age = now.unix_seconds() - rotated.unix_seconds();
    (age > limit.as_secs_f64()).then(|| {
        let finding = Kind::KeyTooOld.warning(format!("The master key is {} old", format_duration(age)));
        if result.key_store == KeyStore::Kms { finding.with_advice(ROTATE_IN_KMS) } else { finding }
    })
}

/// The certificate of the REST API. If its dates are not verified, polls continue after it has expired.
fn api_certificate(cluster: &Snapshot, expires: Timestamp, now: &ClockTime) -> Option<Finding> {
    let left = expires.unix_seconds() - now.unix_seconds();
    let expired = left <= 0.0;
    if !expired && !is_below(left, cluster.metadata().policy.certificate_warning) {
        return None;
    }
    let severity = if expired && !cluster.metadata().dates_unverified { Severity::Critical } else { Severity::Warning };
    let text = format!("The certificate of the cluster's REST API {}", expiry(left));
    Some(Kind::ApiCertificateExpiring.finding(severity, text).since(expired.then(|| expires.utc())))
}

/// The access tokens of the exporter's account, listed at `at`. Tokens that had expired by then are ignored, because the
/// exporter did not use them. Only the expiry of the longest-lasting token can be critical.
fn access_tokens(tokens: &[AccessToken], at: &ClockTime, policy: &Policy, now: &ClockTime) -> Vec<Finding> {
    let valid = |token: &&AccessToken| token.expires.is_none_or(|expires| expires.unix_seconds() > at.unix_seconds());
    let tokens: Vec<&AccessToken> = tokens.iter().filter(valid).collect();
    let unlimited = tokens.iter().any(|token| token.expires.is_none());
    let last = tokens.iter().filter_map(|token| token.expires).max().filter(|_| !unlimited);
    let findings = tokens.iter().filter_map(|token| {
        let expires = token.expires?;
        let left = expires.unix_seconds() - now.unix_seconds();
        let ends_all = last == Some(expires) && (left <= 0.0 || is_below(left, policy.certificate_critical));
        let severity = if ends_all { Severity::Critical } else { Severity::Warning };
        let text = format!("Access token {} of the exporter's account {}", token.id(), expiry(left));
        (ends_all || left <= 0.0 || is_below(left, policy.certificate_warning))
            .then(|| Kind::AccessTokenExpiring.finding(severity, text))
    });
    findings.collect()
}

fn excess(count: usize) -> Option<Finding> {
    let text = match count {
        0 => return None,
        1 => "The exporter's account has a privilege that it does not need".to_owned(),
        _ => format!("The exporter's account has {count} privileges that it does not need"),
    };
    Some(Kind::ExcessPrivileges.info(text))
}

fn is_below(left: f64, limit: Option<Duration>) -> bool {
    limit.is_some_and(|limit| left < limit.as_secs_f64())
}

fn expiry(left: f64) -> String {
    if left > 0.0 {
        format!("expires in {}", format_duration(left))
    } else {
        format!("expired {} ago", format_duration(left))
    }
}

fn clock_skew(skew: f64) -> Finding {
    let direction = if skew > 0.0 { "ahead of" } else { "behind" };
    Kind::ClockSkew.warning(format!("The cluster's clock is {} {direction} the exporter's", format_duration(skew)))
}

/// Why there is no fresh status.
fn not_readable(cluster: &Snapshot) -> Finding {
    let finding = |text: String| Kind::NotReadable.finding(Severity::Unknown, text);
    let finding = match cluster.last_poll().map(|last| &last.failure) {
        None => finding("Not polled yet".to_owned()),
        Some(None) => finding("The last status is stale".to_owned()).with_advice(
            "If the exporter's host was suspended or its clock was set, wait for the next poll. Otherwise the poller is stuck: \
             restart the exporter and report a bug.",
        ),
        Some(Some(Failure::Crash)) => finding("The polling task panicked and will be restarted".to_owned())
            .with_advice("This is a bug. Please report it with the log."),
        Some(Some(Failure::Poll(failure))) => finding(capitalized(&failure.message)).with_advice(failure_advice(failure.reason)),
    };
    finding.since(cluster.last_success().map(|at| at.wall))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

fn failure_advice(reason: FailureReason) -> &'static str {
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

/// Sort key: severity and rank of the worst finding. The worst cluster comes first.
pub fn order(cluster: &ClusterReport) -> (Reverse<Severity>, u8) {
    let worst = cluster.findings.first();
    worst.map_or((Reverse(Severity::Good), u8::MAX), |worst| (Reverse(worst.severity), worst.kind.rank()))
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
