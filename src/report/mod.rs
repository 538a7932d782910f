//! What to think of each cluster: one judgement for the page, the JSON and `status`. Pure.
//!
//! The thresholds are those of the shipped alert rules. What a status means and what to do about it is inferred from the
//! API's names and from KMIP; that nodes fetch the key only when they start is in Qumulo's documentation of encryption at
//! rest.

mod advice;
pub mod json;

use std::{cmp::Reverse, fmt::Write, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    model::{ApiVersion, DateField, KeyStore, KmsCertificate, Moment, Reading, Status, Timestamp},
    store::{Failure, Snapshot, View},
};

/// Certificates that expire sooner are worth a warning.
pub const WARNING: Duration = Duration::from_secs(30 * 86_400);

/// Certificates that expire sooner are worth getting up for.
pub const CRITICAL: Duration = Duration::from_secs(7 * 86_400);

/// How bad it is; greater is worse. What nobody knows outranks a warning: silence must not look like health.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// All is well.
    Good,
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
    /// By severity, then by what expires first, then by name.
    pub clusters: Vec<ClusterReport>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterReport {
    /// The certificates of the KMS connection whose expiry is known.
    pub certificates: Vec<Certificate>,
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
    /// What it said, while that is fresh.
    pub reading: Option<Reading>,
    /// How long a status is served after the last success.
    pub stale_after: Duration,
    /// See `qumulo_encryption_up`.
    pub up: Option<bool>,
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

/// Something that is not well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What to do.
    pub advice: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

/// Judges every cluster.
pub fn report(view: &View, now: &Moment) -> Report {
    let mut clusters: Vec<ClusterReport> = view.clusters.iter().map(|cluster| judge(cluster, now)).collect();
    clusters.sort_by(|one, other| {
        let severity = Reverse(one.severity()).cmp(&Reverse(other.severity()));
        severity.then(one.nearest_expiry().total_cmp(&other.nearest_expiry())).then_with(|| one.name.cmp(&other.name))
    });
    Report { at: now.wall, clusters }
}

fn judge(cluster: &Snapshot, now: &Moment) -> ClusterReport {
    let (reading, up) = (cluster.fresh(now).cloned(), cluster.up(now));
    let last = cluster.last_poll();
    let last_failure = last.and_then(|last| last.failure.as_ref()).map(|failure| match failure {
        Failure::Crash => ("crash", "the task that polls it has died; it is started again".to_owned()),
        Failure::Poll(failure) => (failure.reason.label(), failure.message.clone()),
    });
    let certificates: Vec<Certificate> = reading.iter().flat_map(|reading| certificates(reading, now)).collect();
    let mut findings = Vec::new();
    if up != Some(true) {
        findings.push(advice::not_up(last));
    }
    if let Some(reading) = &reading {
        findings.extend(advice::status(&reading.status));
        let kms = reading.key_store == KeyStore::Kms;
        findings.extend((kms && certificates.len() < 2).then(advice::expiry_not_known));
    }
    findings.extend(certificates.iter().filter_map(advice::certificate));
    findings.sort_by_key(|finding| Reverse(finding.severity));
    ClusterReport {
        certificates,
        findings,
        last_failure,
        last_poll: last.map(|last| last.at.wall),
        last_success: cluster.last_success().map(|at| at.wall),
        name: cluster.name().to_string(),
        reading,
        stale_after: cluster.stale_after(),
        up,
    }
}

fn certificates(reading: &Reading, now: &Moment) -> impl Iterator<Item = Certificate> {
    KmsCertificate::ALL.into_iter().filter_map(|kind| {
        let expires = reading.dates.get(kind.field()).timestamp()?;
        Some(Certificate { kind, expires, seconds_left: expires.unix_seconds() - now.unix_seconds() })
    })
}

// === impl Severity ===

impl Severity {
    /// All, worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Unknown, Self::Warning, Self::Good];

    /// In one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }

    /// The one with this label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.label() == label)
    }
}

// === impl Report ===

impl Report {
    /// How many clusters are like this.
    pub fn count(&self, severity: Severity) -> usize {
        self.clusters.iter().filter(|cluster| cluster.severity() == severity).count()
    }

    /// The worst of all. Without clusters nobody knows.
    pub fn severity(&self) -> Severity {
        self.clusters.first().map_or(Severity::Unknown, ClusterReport::severity)
    }

    /// Without the clusters that `keep` refuses.
    pub fn filter(mut self, keep: impl Fn(&ClusterReport) -> bool) -> Self {
        self.clusters.retain(keep);
        self
    }
}

// === impl ClusterReport ===

impl ClusterReport {
    /// The worst of the findings.
    pub fn severity(&self) -> Severity {
        self.findings.first().map_or(Severity::Good, |finding| finding.severity)
    }

    /// The state in words.
    pub fn headline(&self) -> String {
        match (&self.reading, self.up) {
            (Some(reading), _) => advice::words(&reading.status),
            (None, None) => "Not polled yet".to_owned(),
            (None, Some(_)) => "No status".to_owned(),
        }
    }

    /// Where the master key is, in words.
    pub fn key_store(&self) -> &'static str {
        match self.reading.as_ref().map(|reading| reading.key_store) {
            Some(KeyStore::Local) => "local",
            Some(KeyStore::Kms) => "KMS",
            Some(KeyStore::Unknown) | None => "unknown",
        }
    }

    /// A date of the reading.
    pub fn date(&self, field: DateField) -> Option<DateTime<Utc>> {
        self.reading.as_ref()?.dates.get(field).timestamp().map(Timestamp::utc)
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
        self.reading.as_ref()?.identity.version.as_ref().map(|version| version.as_str())
    }

    /// UUID.
    pub fn cluster_id(&self) -> Option<&str> {
        self.reading.as_ref()?.identity.cluster_id.as_ref().map(|id| id.as_str())
    }

    /// Which API answered.
    pub fn api(&self) -> Option<&'static str> {
        self.reading.as_ref().map(|reading| ApiVersion::label(reading.api))
    }

    fn nearest_expiry(&self) -> f64 {
        self.certificates.iter().map(|certificate| certificate.seconds_left).fold(f64::MAX, f64::min)
    }
}

/// A length of time as people say it, `3 days`, in its largest unit.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.abs();
    let (count, unit) = [(86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute")]
        .into_iter()
        .find(|(length, _)| seconds >= *length)
        .map_or((seconds, "second"), |(length, unit)| (seconds / length, unit));
    let count = count.floor();
    format!("{count} {unit}{}", if count == 1.0 { "" } else { "s" })
}

/// Text from elsewhere without surprises: control characters, marks of direction and what has no width are written as
/// their code.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ if character.is_control() => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
pub(crate) mod tests;
