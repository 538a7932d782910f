//! What is wrong with each cluster, for the metric, the status page, the JSON and the command `status`. Pure.
//!
//! [`findings`] determines it, with the limits of the configured policy; alert rules and dashboards use the resulting metric.
//! Qumulo documents that nodes fetch the key only when they start. It does not document the meaning of each status: that, and
//! the advice, are inferred from the names in the API and from KMIP.

pub mod findings;
pub mod json;
mod kind;

use std::{fmt::Write, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::{findings::Finding, kind::Kind};
use crate::{
    model::{
        ApiVersion, ClockTime, DateField, FailureReason, KeyStore, KmsCertificate, KmsServer, Policy, PollResult,
        Status, Timestamp, is_hidden,
    },
    store::{Snapshot, View},
};

/// Greater is worse. Unknown outranks a warning, because a missing status must not look like a healthy cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    Good,
    /// Severity of a finding only: a cluster without worse findings is good.
    Info,
    Warning,
    /// There is no fresh status.
    Unknown,
    Critical,
}

/// All clusters at one instant, worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub at: DateTime<Utc>,
    /// Sorted by severity and rank of the worst finding, then by the first certificate expiry, then by name.
    pub clusters: Vec<ClusterReport>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClusterReport {
    /// `notAfter` of the certificate that the REST API last presented.
    pub api_certificate: Option<Timestamp>,
    /// KMS certificates with a known expiry, from the last success.
    pub certificates: Vec<Certificate>,
    /// Cluster time minus exporter time, in seconds.
    pub clock_skew: Option<f64>,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// The last success while it is fresh.
    pub fresh: Option<PollResult>,
    /// Value of the label `reason`, or `crash`, and the message.
    pub last_failure: Option<(&'static str, String)>,
    pub last_poll: Option<DateTime<Utc>>,
    pub last_success: Option<DateTime<Utc>>,
    pub name: String,
    pub policy: Policy,
    /// The last success once it is stale, and its age.
    pub last_known: Option<(Duration, PollResult)>,
    pub stale_after: Duration,
    /// As `qumulo_encryption_up`.
    pub up: Option<bool>,
    pub url: Arc<str>,
}

/// Expiry of a KMS certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    pub kind: KmsCertificate,
    /// `notAfter`.
    pub expires: Timestamp,
    /// Negative after the expiry.
    pub seconds_left: f64,
}

pub fn report(view: &View, now: &ClockTime) -> Report {
    let mut clusters: Vec<ClusterReport> = view.clusters.iter().map(|cluster| judge(cluster, now)).collect();
    clusters.sort_by(|one, other| {
        let left = |cluster: &ClusterReport| cluster.first_expiry().map_or(f64::MAX, |first| first.seconds_left);
        let worst = findings::order(one).cmp(&findings::order(other));
        worst.then(left(one).total_cmp(&left(other))).then_with(|| one.name.cmp(&other.name))
    });
    Report { at: now.wall, clusters }
}

fn judge(cluster: &Snapshot, now: &ClockTime) -> ClusterReport {
    let (fresh, up) = (cluster.fresh(now).cloned(), cluster.up(now));
    let last = cluster.last_poll();
    let last_failure = last.and_then(|last| {
        Some((last.reason().map_or("crash", FailureReason::label), last.failure.as_ref()?.message().to_owned()))
    });
    let known = cluster.last_known();
    let certificates: Vec<Certificate> = known.iter().flat_map(|(_, result)| certificates(result, now)).collect();
    let findings = findings::all(cluster, now);
    let last_known = known.filter(|_| fresh.is_none()).map(|(at, result)| (at.age(now), result.clone()));
    ClusterReport {
        api_certificate: cluster.api_certificate(),
        certificates,
        clock_skew: cluster.clock_skew(),
        findings,
        fresh,
        last_failure,
        last_known,
        last_poll: last.map(|last| last.at.wall),
        last_success: cluster.last_success().map(|at| at.wall),
        name: cluster.name().to_string(),
        policy: cluster.metadata().policy,
        stale_after: cluster.stale_after(),
        up,
        url: cluster.metadata().url.clone(),
    }
}

/// None with a local key store, even if the cluster still reports their dates.
fn certificates(result: &PollResult, now: &ClockTime) -> Vec<Certificate> {
    let kinds = KmsCertificate::ALL.into_iter().filter(|_| result.key_store != KeyStore::Local);
    kinds
        .filter_map(|kind| {
            let expires = result.expiry(kind)?;
            Some(Certificate { kind, expires, seconds_left: expires.unix_seconds() - now.unix_seconds() })
        })
        .collect()
}

// === impl Severity ===

impl Severity {
    /// The severities of clusters, worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Unknown, Self::Warning, Self::Good];

    /// The value of the label `severity`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }

    /// Ignores case.
    pub fn from_label(label: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Self::Info]);
        all.into_iter().find(|severity| severity.label().eq_ignore_ascii_case(label))
    }
}

// === impl Report ===

impl Report {
    /// Number of clusters with this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.clusters.iter().filter(|cluster| cluster.severity() == severity).count()
    }

    /// Keeps the clusters for which `keep` is true.
    pub fn filter(mut self, keep: impl Fn(&ClusterReport) -> bool) -> Self {
        self.clusters.retain(keep);
        self
    }
}

// === impl ClusterReport ===

impl ClusterReport {
    /// The worst severity of the findings; `Good` if none is worse than `Info`.
    pub fn severity(&self) -> Severity {
        let all = self.findings.iter().map(|finding| finding.severity);
        all.filter(|severity| *severity > Severity::Info).max().unwrap_or(Severity::Good)
    }

    /// The worst finding that forbids restarts.
    pub fn restart_forbidden_by(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.kind.prohibition().is_some())
            .min_by_key(|finding| finding.kind.rank())
    }

    /// The status as text, with its age if it is stale.
    pub fn headline(&self) -> String {
        match (&self.fresh, &self.last_known, self.up) {
            (Some(result), _, _) => findings::status_text(&result.status),
            (None, Some((age, result)), _) => {
                format!("{}, {} ago", findings::status_text(&result.status), format_duration(age.as_secs_f64()))
            }
            (None, None, None) => "Not polled yet".to_owned(),
            (None, None, Some(_)) => "No status".to_owned(),
        }
    }

    /// Type of the key store, for display.
    pub fn key_store(&self) -> &'static str {
        match self.last_result().map(|result| result.key_store).unwrap_or(KeyStore::Unknown) {
            KeyStore::Kms => "KMS",
            other => other.label(),
        }
    }

    pub fn kms(&self) -> Option<&KmsServer> {
        self.last_result()?.details.kms.as_ref()
    }

    /// Result of `probe_kms`; `None` if the KMS was not contacted.
    pub fn kms_reachable(&self) -> Option<bool> {
        self.last_result()?.kms_probe?.reachable()
    }

    /// The last success, fresh or stale.
    pub fn last_result(&self) -> Option<&PollResult> {
        self.fresh.as_ref().or(self.last_known.as_ref().map(|(_, result)| result))
    }

    /// A date from the last success.
    pub fn date(&self, field: DateField) -> Option<DateTime<Utc>> {
        self.last_result()?.dates.get(field).timestamp().map(Timestamp::utc)
    }

    /// The status as received, if it is fresh and not recognised.
    pub fn raw_status(&self) -> Option<&str> {
        match &self.fresh.as_ref()?.status {
            Status::Unknown(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub fn version(&self) -> Option<&str> {
        self.last_result()?.details.identity.version.as_ref().map(|version| version.as_str())
    }

    pub fn cluster_id(&self) -> Option<&str> {
        self.last_result()?.details.identity.cluster_id.as_ref().map(|id| id.as_str())
    }

    /// Version of the status endpoint.
    pub fn api(&self) -> Option<&'static str> {
        self.fresh.as_ref().map(|result| ApiVersion::label(result.api))
    }

    pub fn first_expiry(&self) -> Option<&Certificate> {
        self.certificates.iter().min_by(|one, other| one.seconds_left.total_cmp(&other.seconds_left))
    }
}

/// Absolute value in its largest unit, rounded down: `3 days`.
pub fn format_duration(seconds: f64) -> String {
    let seconds = seconds.abs();
    let (count, unit) = [(86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute")]
        .into_iter()
        .find(|(length, _)| seconds >= *length)
        .map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    let count = count.floor();
    format!("{count} {unit}{}", if count == 1.0 { "" } else { "s" })
}

/// Escapes control characters and invisible characters ([`is_hidden`]) as `\u{200b}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
pub(crate) mod tests;
