//! The samples of a view. Freshness is decided once per cluster, then every family is written once.

use std::time::Duration;

use super::catalog::{self, Metric};
use crate::{
    model::{
        ApiVersion, ClockTime, DateField, FailureReason, KeyStore, KmsCertificate, KmsProbe, Labels, Policy,
        PollResult, Require, Status,
    },
    report::findings,
    store::{Snapshot, View},
};

pub trait SampleSink {
    /// `labels` are the values of the labels after `cluster`. They come from a closed list or have been validated.
    fn sample(&mut self, metric: &'static Metric, cluster: &str, labels: &[&str], value: f64) {
        self.labelled(metric, cluster, labels, &Labels::default(), value);
    }

    /// Like [`Self::sample`], followed by the user-defined labels `own`.
    fn labelled(&mut self, metric: &'static Metric, cluster: &str, labels: &[&str], own: &Labels, value: f64);
}

/// A cluster at the time of the scrape.
struct Row<'a> {
    cluster: &'a str,
    fresh: Option<&'a PollResult>,
    snapshot: &'a Snapshot,
    up: Option<bool>,
}

/// Writes the samples of all clusters, family by family. A family without samples is omitted.
pub fn render(view: &View, now: &ClockTime, sink: &mut impl SampleSink) {
    let rows: Vec<Row<'_>> = view.clusters.iter().map(|snapshot| Row::new(snapshot, now)).collect();
    up(&rows, sink);
    state_sets(&rows, sink);
    dates(&rows, sink);
    info(&rows, sink);
    poll_clocks(&rows, sink);
    counters(&rows, sink);
    judgement(&rows, now, sink);
    policies(&rows, sink);
    key_stores(&rows, sink);
    credential_and_clock_metrics(&rows, sink);
}

impl<'a> Row<'a> {
    fn new(snapshot: &'a Snapshot, now: &ClockTime) -> Self {
        let (fresh, up) = (snapshot.fresh(now), snapshot.up(now));
        Self { cluster: snapshot.name().as_str(), fresh, snapshot, up }
    }
}

fn up(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        if let Some(up) = row.up {
            sink.sample(&catalog::UP, row.cluster, &[], flag(up));
        }
    }
}

fn state_sets(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        if let Some(fresh) = row.fresh {
            one_hot(sink, &catalog::STATUS, row.cluster, &Status::LABELS, Some(fresh.status.label()));
        }
    }
    for row in rows {
        if let Some(fresh) = row.fresh {
            one_hot(sink, &catalog::TYPE, row.cluster, &KeyStore::LABELS, Some(fresh.key_store.label()));
        }
    }
}

fn dates(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        for certificate in KmsCertificate::ALL {
            if let Some(at) = row.fresh.and_then(|fresh| fresh.expiry(certificate)) {
                sink.sample(&catalog::CERTIFICATE_EXPIRY, row.cluster, &[certificate.label()], at.unix_seconds());
            }
        }
    }
    for (field, metric) in [
        (DateField::LastKeyRotationTime, &catalog::LAST_KEY_ROTATION),
        (DateField::LastStatusUpdateTime, &catalog::LAST_STATUS_UPDATE),
    ] {
        for row in rows {
            if let Some(at) = row.fresh.and_then(|fresh| fresh.dates.get(field).timestamp()) {
                sink.sample(metric, row.cluster, &[], at.unix_seconds());
            }
        }
    }
}

fn info(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        if let Some(PollResult { api, details, .. }) = row.fresh {
            let identity = &details.identity;
            let cluster_id = identity.cluster_id.as_ref().map_or("", |id| id.as_str());
            let version = identity.version.as_ref().map_or("", |version| version.as_str());
            let labels = [cluster_id, version, ApiVersion::label(*api)];
            sink.labelled(&catalog::CLUSTER_INFO, row.cluster, &labels, &row.snapshot.metadata().labels, 1.0);
        }
    }
}

fn poll_clocks(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        if let Some(last) = row.snapshot.last_poll() {
            sink.sample(&catalog::LAST_POLL, row.cluster, &[], last.at.unix_seconds());
        }
    }
    for row in rows {
        if let Some(success) = row.snapshot.last_success() {
            sink.sample(&catalog::LAST_SUCCESSFUL_POLL, row.cluster, &[], success.unix_seconds());
        }
    }
    for row in rows {
        if let Some(last) = row.snapshot.last_poll() {
            sink.sample(&catalog::LAST_POLL_DURATION, row.cluster, &[], last.duration.as_secs_f64());
        }
    }
    for row in rows {
        sink.sample(&catalog::STALE_AFTER, row.cluster, &[], row.snapshot.stale_after().as_secs_f64());
    }
    for row in rows {
        if let Some(last) = row.snapshot.last_poll() {
            let reason = last.reason().map(FailureReason::label);
            one_hot(
                sink,
                &catalog::LAST_POLL_FAILURE,
                row.cluster,
                &FailureReason::ALL.map(FailureReason::label),
                reason,
            );
        }
    }
}

/// Counters are exact up to 2^53.
fn counters(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        sink.sample(&catalog::POLLS, row.cluster, &[], row.snapshot.counters().polls as f64);
    }
    for row in rows {
        for reason in FailureReason::ALL {
            let count = row.snapshot.counters().failures(reason) as f64;
            sink.sample(&catalog::POLL_FAILURES, row.cluster, &[reason.label()], count);
        }
    }
    for row in rows {
        for field in DateField::ALL {
            let count = row.snapshot.counters().unreadable(field) as f64;
            sink.sample(&catalog::UNREADABLE_FIELDS, row.cluster, &[field.label()], count);
        }
    }
    for row in rows {
        sink.sample(&catalog::STATUS_CHANGES, row.cluster, &[], row.snapshot.counters().status_changes as f64);
    }
}

fn judgement(rows: &[Row<'_>], now: &ClockTime, sink: &mut impl SampleSink) {
    for row in rows {
        for (kind, severity, holds) in findings::samples(row.snapshot, now) {
            sink.sample(&catalog::FINDING, row.cluster, &[kind.id(), severity.label()], flag(holds));
        }
    }
    for row in rows {
        if let Some(forbidden) = findings::do_not_restart(row.snapshot, now) {
            sink.sample(&catalog::DO_NOT_RESTART, row.cluster, &[], flag(forbidden));
        }
    }
}

type Limit = fn(&Policy) -> Option<Duration>;

/// A limit that is off is absent.
fn policies(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    let policy = |row: &Row<'_>| row.snapshot.metadata().policy;
    for row in rows {
        if let Some(require) = policy(row).require.map(Require::label) {
            sink.sample(&catalog::POLICY_INFO, row.cluster, &[require], 1.0);
        }
    }
    let limits: [(&Metric, Limit); 3] = [
        (&catalog::POLICY_CERTIFICATE_WARNING, |policy| policy.certificate_warning),
        (&catalog::POLICY_CERTIFICATE_CRITICAL, |policy| policy.certificate_critical),
        (&catalog::POLICY_KEY_MAX_AGE, |policy| policy.key_max_age),
    ];
    for (metric, limit) in limits {
        for row in rows {
            if let Some(limit) = limit(&policy(row)) {
                sink.sample(metric, row.cluster, &[], limit.as_secs_f64());
            }
        }
    }
}

fn key_stores(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    let servers = || rows.iter().filter_map(|row| Some((row.cluster, row.fresh?.details.kms.as_ref()?)));
    for (cluster, server) in servers() {
        let port = server.port.map(|port| port.to_string()).unwrap_or_default();
        sink.sample(&catalog::KEY_STORE_INFO, cluster, &[server.host(), &port, server.key_id()], 1.0);
    }
    for (cluster, server) in servers() {
        if let Some(at) = server.configured {
            sink.sample(&catalog::KEY_STORE_CONFIGURED, cluster, &[], at.unix_seconds());
        }
    }
    for row in rows {
        match row.fresh.and_then(|fresh| fresh.kms_probe) {
            Some(KmsProbe::Shown(_)) => sink.sample(&catalog::KMS_REACHABLE, row.cluster, &[], 1.0),
            Some(KmsProbe::Unreachable) => sink.sample(&catalog::KMS_REACHABLE, row.cluster, &[], 0.0),
            Some(KmsProbe::NotAllowed) | None => {}
        }
    }
}

fn credential_and_clock_metrics(rows: &[Row<'_>], sink: &mut impl SampleSink) {
    for row in rows {
        if let Some(at) = row.snapshot.api_certificate() {
            sink.sample(&catalog::API_CERTIFICATE_EXPIRY, row.cluster, &[], at.unix_seconds());
        }
    }
    for row in rows {
        if let Some(skew) = row.snapshot.clock_skew().filter(|_| row.fresh.is_some()) {
            sink.sample(&catalog::CLOCK_SKEW, row.cluster, &[], skew);
        }
    }
    for row in rows {
        for token in row.fresh.iter().flat_map(|fresh| fresh.details.account.tokens.iter().flatten()) {
            if let Some(expires) = token.expires {
                sink.sample(&catalog::ACCESS_TOKEN_EXPIRY, row.cluster, &[token.id()], expires.unix_seconds());
            }
        }
    }
    for row in rows {
        if let Some(privileges) = row.fresh.and_then(|fresh| fresh.details.account.privileges.as_ref()) {
            sink.sample(&catalog::EXCESS_PRIVILEGES, row.cluster, &[], privileges.excess.len() as f64);
        }
    }
}

/// One series per value: 1 for `current`, 0 for the others.
fn one_hot(sink: &mut impl SampleSink, metric: &'static Metric, cluster: &str, values: &[&str], current: Option<&str>) {
    for value in values {
        sink.sample(metric, cluster, &[value], flag(current == Some(value)));
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}
