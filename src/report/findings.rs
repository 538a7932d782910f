//! The findings: what is wrong with a cluster, how severe it is, and what to do about it.
//!
//! The table in `kind.rs` defines rank, identifier, severities, alert and advice. [`all`] returns the findings for display, also those
//! from a stale status, with its age. [`samples`] returns those for the metric, where a finding applies (1), does not apply (0),
//! or is not known (absent).

use std::{cmp::Reverse, time::Duration};

use chrono::{DateTime, Utc};

use super::{
    Certificate, ClusterReport, Kind, Severity, format_duration,
    kind::{DO_NOT_ROTATE, KEY_FIRST, MOVE_KEY, RENEW_ON_KMS, ROTATE_IN_KMS, failure_advice},
};
use crate::{
    model::{
        AccessToken, ClockTime, Date, DateField, KeyStore, KmsCertificate, Policy, PollResult, Require, Status,
        Timestamp,
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
    /// What to do. What must not be done is [`Kind::prohibition`].
    pub advice: &'static str,
    /// When the certificate or access token expires, if the finding is about one.
    pub expires: Option<Timestamp>,
    pub kind: Kind,
    pub severity: Severity,
    /// When it began, as far as this process knows.
    pub since: Option<DateTime<Utc>>,
    pub text: String,
}

// === impl Finding ===

impl Finding {
    /// With the mildest severity and the usual advice of its kind.
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        let (advice, severity) = (kind.advice(), kind.mildest_severity());
        Self { advice, expires: None, kind, severity, since: None, text: text.into() }
    }

    /// The prohibition, if any, followed by the advice.
    pub fn instructions(&self) -> String {
        match self.kind.prohibition() {
            Some(prohibition) => format!("{prohibition} {}", self.advice),
            None => self.advice.to_owned(),
        }
    }

    fn critical_if(self, condition: bool) -> Self {
        if condition { Self { severity: Severity::Critical, ..self } } else { self }
    }

    fn since(self, since: Option<DateTime<Utc>>) -> Self {
        Self { since, ..self }
    }

    /// About something that expires in `left` seconds, or has expired.
    fn expiring(self, expires: Timestamp, left: f64) -> Self {
        let since = if left <= 0.0 { Some(expires.utc()) } else { self.since };
        Self { expires: Some(expires), since, ..self }
    }

    fn with_advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

pub fn status_text(status: &Status) -> String {
    let prefix = if status.is_known() { "" } else { "Unrecognised status: " };
    format!("{prefix}{}", status.text())
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
    Some(all(cluster, now).iter().any(|finding| finding.kind.prohibition().is_some()))
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
    let mut samples = Vec::new();
    for kind in Kind::ALL.iter().copied() {
        let worst = findings.iter().filter(|finding| finding.kind == kind).map(|finding| finding.severity).max();
        if worst.is_some() || can_be_excluded(kind, cluster, now) {
            samples.extend(kind.severities().iter().map(|severity| (kind, *severity, worst == Some(*severity))));
        }
    }
    samples
}

/// Whether the metric is 0 if the finding does not apply; otherwise it is absent.
fn can_be_excluded(kind: Kind, cluster: &Snapshot, now: &ClockTime) -> bool {
    if kind == Kind::ApiCertificateExpiring {
        return cluster.api_certificate().is_some();
    }
    let Some(result) = cluster.fresh(now) else { return false };
    let policy = &cluster.metadata().policy;
    match kind {
        Kind::KeyNotFound | Kind::KeyInactive => result.status.reveals_key_state(),
        Kind::ConfigurationCorrupted | Kind::KmsAuthenticationError | Kind::KmsCannotConnect => {
            result.status.is_known()
        }
        Kind::CertificateExpired | Kind::CertificateCritical | Kind::CertificateWarning => {
            result.key_store == KeyStore::Local || has_both_dates(result)
        }
        Kind::PolicyViolated => violates_policy(result, policy.require).is_some(),
        Kind::ExpiryUnknown => result.key_store != KeyStore::Unknown,
        Kind::KeyTooOld => !is_age_limited(result, policy) || rotated(result).is_some(),
        Kind::ClockSkew => cluster.clock_skew().is_some(),
        Kind::StatusNotRefreshed => result.dates.get(DateField::LastStatusUpdateTime).timestamp().is_some(),
        Kind::ExcessPrivileges => result.details.account.privileges.is_some(),
        Kind::AccessTokenExpiring => result.details.account.tokens.is_some(),
        Kind::UnknownStatus
        | Kind::UnreadableDate
        | Kind::KeyAgeUnknown
        | Kind::NotReadable
        | Kind::ApiCertificateExpiring => true,
    }
}

/// Findings from a status received at `at` and from the history before it.
fn findings_from_status(cluster: &Snapshot, at: &ClockTime, result: &PollResult, now: &ClockTime) -> Vec<Finding> {
    let policy = &cluster.metadata().policy;
    let mut findings = Vec::new();
    findings.extend(status(cluster, result, now));
    findings.extend(key_fault(cluster, result, now));
    findings.extend(policy_finding(result, policy.require).map(|finding| finding.since(status_since(cluster))));
    findings.extend(super::certificates(result, now).iter().filter_map(|each| certificate(each, policy)));
    if result.key_store == KeyStore::Kms {
        findings.extend(expiry_unknown(result));
    }
    findings.extend(key_age(result, policy, now));
    if let Some(updated) = result.dates.get(DateField::LastStatusUpdateTime).timestamp() {
        let age = at.unix_seconds() - updated.unix_seconds();
        if age > MAX_STATUS_AGE.as_secs_f64() {
            let text = format!("The cluster has not refreshed its status for {}", format_duration(age));
            findings.push(Finding::new(Kind::StatusNotRefreshed, text).since(Some(updated.utc())));
        }
    }
    if DateField::ALL.into_iter().any(|field| matches!(result.dates.get(field), Date::Unreadable(_))) {
        findings.push(Finding::new(Kind::UnreadableDate, "The cluster sent a date that cannot be read"));
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
        findings.iter().any(|finding| finding.kind.prohibition().is_some() || finding.severity == Severity::Critical);
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
    let kind = match &result.status {
        Status::Encrypted | Status::KmsAvailable | Status::NotEncrypted => return None,
        // See `key_fault`, which can be older than the status.
        Status::KmsKeyNotFound | Status::KmsKeyInactive => return None,
        Status::KmsCannotConnect => {
            let unusable = cluster.history().kms_unusable_since;
            let age = unusable.map(|since| since.age(now)).unwrap_or_default();
            let text = format!("{text}; KMS unusable for {}", format_duration(age.as_secs_f64()));
            let finding = Finding::new(Kind::KmsCannotConnect, text).critical_if(age >= KMS_CRITICAL_AFTER);
            return Some(finding.since(unusable.map(|since| since.wall)));
        }
        Status::ConfigurationCorrupted => Kind::ConfigurationCorrupted,
        Status::KmsAuthenticationError => Kind::KmsAuthenticationError,
        Status::Unknown(_) => Kind::UnknownStatus,
    };
    Some(Finding::new(kind, text).since(status_since(cluster)))
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
    Some(Finding::new(kind, text).since(Some(since.wall)))
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
    let finding = |text| Finding::new(Kind::PolicyViolated, text).critical_if(require.is_some());
    Some(match (&result.status, require) {
        (Status::NotEncrypted, None) => finding("Not Encrypted"),
        (Status::NotEncrypted, Some(_)) => finding("Not Encrypted, but the policy requires encryption"),
        _ => finding("The master key is stored on the nodes, but the policy requires a KMS").with_advice(MOVE_KEY),
    })
}

pub fn certificate_name(kind: KmsCertificate) -> &'static str {
    match kind {
        KmsCertificate::Ca => "KMS CA certificate",
        KmsCertificate::Client => "KMS client certificate",
        KmsCertificate::Server => "KMS server certificate",
    }
}

pub(super) fn certificate(certificate: &Certificate, policy: &Policy) -> Option<Finding> {
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
    let text = format!("The {} {}", certificate_name(certificate.kind), expiry(left));
    let finding = Finding::new(kind, text).expiring(certificate.expires, left);
    Some(if certificate.kind == KmsCertificate::Server { finding.with_advice(RENEW_ON_KMS) } else { finding })
}

fn has_both_dates(result: &PollResult) -> bool {
    missing_expiries(result).is_empty()
}

/// The certificates whose expiry the cluster should report and does not.
fn missing_expiries(result: &PollResult) -> Vec<KmsCertificate> {
    let reported = [KmsCertificate::Ca, KmsCertificate::Client];
    reported.into_iter().filter(|certificate| result.expiry(*certificate).is_none()).collect()
}

fn expiry_unknown(result: &PollResult) -> Option<Finding> {
    let what = match missing_expiries(result).as_slice() {
        [] => return None,
        [certificate] => format!("{} expires", certificate_name(*certificate)),
        _ => "KMS certificates expire".to_owned(),
    };
    Some(Finding::new(Kind::ExpiryUnknown, format!("The cluster does not report when its {what}")))
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
        return Some(Finding::new(Kind::KeyAgeUnknown, "The cluster does not report the age of its master key"));
    };
    let age = now.unix_seconds() - rotated.unix_seconds();
    (age > limit.as_secs_f64()).then(|| {
        let finding = Finding::new(Kind::KeyTooOld, format!("The master key is {} old", format_duration(age)));
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
    let text = format!("The certificate of the cluster's REST API {}", expiry(left));
    let finding = Finding::new(Kind::ApiCertificateExpiring, text).expiring(expires, left);
    Some(finding.critical_if(expired && !cluster.metadata().dates_unverified))
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
        let text = format!("Access token {} of the exporter's account {}", token.id(), expiry(left));
        (ends_all || left <= 0.0 || is_below(left, policy.certificate_warning))
            .then(|| Finding::new(Kind::AccessTokenExpiring, text).expiring(expires, left).critical_if(ends_all))
    });
    findings.collect()
}

fn excess(count: usize) -> Option<Finding> {
    let text = match count {
        0 => return None,
        1 => "The exporter's account has a privilege that it does not need".to_owned(),
        _ => format!("The exporter's account has {count} privileges that it does not need"),
    };
    Some(Finding::new(Kind::ExcessPrivileges, text))
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
    let text = format!("The cluster's clock is {} {direction} the exporter's", format_duration(skew));
    Finding::new(Kind::ClockSkew, text)
}

/// Why there is no fresh status.
fn not_readable(cluster: &Snapshot) -> Finding {
    let (text, advice) = match cluster.last_poll().map(|last| &last.failure) {
        None => ("Not polled yet".to_owned(), Kind::NotReadable.advice()),
        Some(None) => (
            "The last status is stale".to_owned(),
            "If the exporter's host was suspended or its clock was set, wait for the next poll. Otherwise the poller is stuck: \
             restart the exporter and report a bug.",
        ),
        Some(Some(failure @ Failure::Crash)) => {
            (capitalized(failure.message()), "This is a bug. Please report it with the log.")
        }
        Some(Some(Failure::Poll(failure))) => (capitalized(&failure.message), failure_advice(failure.reason)),
    };
    let finding = Finding::new(Kind::NotReadable, text).with_advice(advice);
    finding.since(cluster.last_success().map(|at| at.wall))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

/// Sort key: severity and rank of the worst finding. The worst cluster comes first.
pub fn order(cluster: &ClusterReport) -> (Reverse<Severity>, u8) {
    let worst = cluster.findings.first();
    worst.map_or((Reverse(Severity::Good), u8::MAX), |worst| (Reverse(worst.severity), worst.kind.rank()))
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
