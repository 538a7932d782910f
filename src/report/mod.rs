//! What is wrong with each cluster: one judgement for the metric, the page, the JSON and `status`. Pure.
//!
//! The judgement itself is in [`findings`]; its limits are those of the configuration's policy. Alert rules and dashboards
//! read it as a metric. What a status means and what to do about it is inferred from the API's names and from KMIP; that
//! nodes fetch the key only when they start is in Qumulo's documentation of encryption at rest.

pub mod findings;
pub mod json;

use std::{fmt::Write, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::findings::{Finding, Kind};
use crate::{
    model::{
        ApiVersion, ClockTime, DateField, KeyStore, KmsCertificate, KmsProbe, KmsServer, Policy, PollResult, Status,
        Timestamp, is_hidden,
    },
    store::{Failure, Snapshot, View},
};

/// How bad it is; greater is worse. What nobody knows outranks a warning: silence must not look like health.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// All is well.
    Good,
    /// Worth knowing; a cluster with no more than that is good.
    Info,
    /// Somebody should look at it soon.
    Warning,
    /// Nobody can say.
    Unknown,
    /// Data is at stake.
    Critical,
}

/// All clusters at one instant, worst first.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// When.
    pub at: DateTime<Utc>,
    /// By the severity of the worst finding, then by its rank, then by what expires first, then by name.
    pub clusters: Vec<ClusterReport>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterReport {
    /// When the certificate of its REST API expires that was shown last.
    pub api_certificate: Option<Timestamp>,
    /// The certificates of the KMS connection whose expiry is known, from the last answer.
    pub certificates: Vec<Certificate>,
    /// By how many seconds its clock is ahead.
    pub clock_skew: Option<f64>,
    /// What is not well, worst first; empty is good.
    pub findings: Vec<Finding>,
    /// Why the last poll failed: the label and the words.
    pub last_failure: Option<(&'static str, String)>,
    /// When the last poll ended.
    pub last_poll: Option<DateTime<Utc>>,
    /// When a poll last gave a status.
    pub last_success: Option<DateTime<Utc>>,
    /// Its name.
    pub name: String,
    /// What it is judged by.
    pub policy: Policy,
    /// What it said, while that is fresh.
    pub reading: Option<PollResult>,
    /// What it said last, if that is not fresh any more, and how long ago.
    pub last_known: Option<(Duration, PollResult)>,
    /// How long a status is served after the last success.
    pub stale_after: Duration,
    /// See `qumulo_encryption_up`.
    pub up: Option<bool>,
    /// Where it is asked.
    pub url: Arc<str>,
}

/// A certificate of the KMS connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    /// Which one.
    pub kind: KmsCertificate,
    /// Its notAfter.
    pub expires: Timestamp,
    /// Until then; negative afterwards.
    pub seconds_left: f64,
}

/// Judges every cluster.
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
    let (reading, up) = (cluster.fresh(now).cloned(), cluster.up(now));
    let last = cluster.last_poll();
    let last_failure = last.and_then(|last| last.failure.as_ref()).map(|failure| match failure {
        Failure::Crash => ("crash", "the task that polls it has died; it is started again".to_owned()),
        Failure::Poll(failure) => (failure.reason.label(), failure.message.clone()),
    });
    let known = cluster.last_known();
    let certificates: Vec<Certificate> = known.iter().flat_map(|(_, reading)| certificates(reading, now)).collect();
    let findings = findings::all(cluster, now);
    let last_known = known.filter(|_| reading.is_none()).map(|(at, reading)| (at.age(now), reading.clone()));
    ClusterReport {
        api_certificate: cluster.api_certificate(),
        certificates,
        clock_skew: cluster.clock_skew(),
        findings,
        last_failure,
        last_known,
        last_poll: last.map(|last| last.at.wall),
        last_success: cluster.last_success().map(|at| at.wall),
        name: cluster.name().to_string(),
        policy: cluster.metadata().policy,
        reading,
        stale_after: cluster.stale_after(),
        up,
        url: cluster.metadata().url.clone(),
    }
}

/// A local key store has none, whatever dates the cluster goes on reporting.
fn certificates(reading: &PollResult, now: &ClockTime) -> Vec<Certificate> {
    let kinds = KmsCertificate::ALL.into_iter().filter(|_| reading.key_store != KeyStore::Local);
    kinds
        .filter_map(|kind| {
            let expires = reading.expiry(kind)?;
            Some(Certificate { kind, expires, seconds_left: expires.unix_seconds() - now.unix_seconds() })
        })
        .collect()
}

// === impl Severity ===

impl Severity {
    /// Those that a cluster can have, worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Unknown, Self::Warning, Self::Good];

    /// In one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }

    /// The one with this label.
    pub fn from_label(label: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Self::Info]);
        all.into_iter().find(|severity| severity.label().eq_ignore_ascii_case(label))
    }
}

// === impl Report ===

impl Report {
    /// How many clusters are like this.
    pub fn count(&self, severity: Severity) -> usize {
        self.clusters.iter().filter(|cluster| cluster.severity() == severity).count()
    }

    /// Without the clusters that `keep` refuses.
    pub fn filter(mut self, keep: impl Fn(&ClusterReport) -> bool) -> Self {
        self.clusters.retain(keep);
        self
    }
}

// === impl ClusterReport ===

impl ClusterReport {
    /// The worst of the findings; what is only worth knowing leaves a cluster good.
    pub fn severity(&self) -> Severity {
        let all = self.findings.iter().map(|finding| finding.severity);
        all.filter(|severity| *severity > Severity::Info).max().unwrap_or(Severity::Good)
    }

    /// The worst finding that forbids restarts.
    pub fn restart_forbidden_by(&self) -> Option<&Finding> {
        self.findings.iter().filter(|finding| finding.prohibition().is_some()).min_by_key(|finding| finding.kind.rank())
    }

    /// The state in words.
    pub fn headline(&self) -> String {
        match (&self.reading, &self.last_known, self.up) {
            (Some(reading), _, _) => findings::status_text(&reading.status),
            (None, Some((age, reading)), _) => {
                format!("{}, {} ago", findings::status_text(&reading.status), format_duration(age.as_secs_f64()))
            }
            (None, None, None) => "Not polled yet".to_owned(),
            (None, None, Some(_)) => "No status".to_owned(),
        }
    }

    /// Where the master key is, in words.
    pub fn key_store(&self) -> &'static str {
        match self.known().map(|reading| reading.key_store).unwrap_or(KeyStore::Unknown) {
            KeyStore::Kms => "KMS",
            other => other.label(),
        }
    }

    /// The key management server in use.
    pub fn kms(&self) -> Option<&KmsServer> {
        self.known()?.details.kms.as_ref()
    }

    /// Whether the exporter reached that server, if it may try.
    pub fn kms_reachable(&self) -> Option<bool> {
        match self.known()?.kms_probe? {
            KmsProbe::NotAllowed => None,
            KmsProbe::Shown(_) => Some(true),
            KmsProbe::Unreachable => Some(false),
        }
    }

    /// What it said last, fresh or not.
    pub fn known(&self) -> Option<&PollResult> {
        self.reading.as_ref().or(self.last_known.as_ref().map(|(_, reading)| reading))
    }

    /// A date of what it said last.
    pub fn date(&self, field: DateField) -> Option<DateTime<Utc>> {
        self.known()?.dates.get(field).timestamp().map(Timestamp::utc)
    }

    /// The text of a status that this version does not know.
    pub fn raw_status(&self) -> Option<&str> {
        match &self.reading.as_ref()?.status {
            Status::Unknown(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Version of Qumulo Core.
    pub fn version(&self) -> Option<&str> {
        self.known()?.details.identity.version.as_ref().map(|version| version.as_str())
    }

    /// UUID.
    pub fn cluster_id(&self) -> Option<&str> {
        self.known()?.details.identity.cluster_id.as_ref().map(|id| id.as_str())
    }

    /// Which API answered.
    pub fn api(&self) -> Option<&'static str> {
        self.reading.as_ref().map(|reading| ApiVersion::label(reading.api))
    }

    /// The certificate that expires first.
    pub fn first_expiry(&self) -> Option<&Certificate> {
        self.certificates.iter().min_by(|one, other| one.seconds_left.total_cmp(&other.seconds_left))
    }
}

/// A length of time as people say it, `3 days`, in its largest unit.
pub fn format_duration(seconds: f64) -> String {
    let seconds = seconds.abs();
    let (count, unit) = [(86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute")]
        .into_iter()
        .find(|(length, _)| seconds >= *length)
        .map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    let count = count.floor();
    format!("{count} {unit}{}", if count == 1.0 { "" } else { "s" })
}

/// Text from elsewhere without surprises: what [`is_hidden`] is written as its code.
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
