//! The samples of a view. Freshness is decided once per cluster, then every family is written once.

use super::catalog::{self, Metric};
use crate::{
    model::{ClockTime, DateField, FailureReason, KeyStore, KmsCertificate, Labels, PollResult, Status, Timestamp},
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
}

/// Writes one family after the other. A family without samples is omitted.
struct Families<'a, S> {
    rows: Vec<Row<'a>>,
    sink: &'a mut S,
}

// === impl Families ===

impl<'a, S: SampleSink> Families<'a, S> {
    /// Any number of samples per cluster: `write` calls the function that it is given, with labels and value, for each.
    fn samples(&mut self, metric: &'static Metric, write: impl Fn(&Row<'a>, &mut dyn FnMut(&[&str], f64))) {
        for row in &self.rows {
            write(row, &mut |labels, value| self.sink.sample(metric, row.cluster, labels, value));
        }
    }

    /// At most one sample per cluster, without further labels.
    fn value(&mut self, metric: &'static Metric, value: impl Fn(&Row<'a>) -> Option<f64>) {
        self.samples(metric, |row, write| value(row).into_iter().for_each(|value| write(&[], value)));
    }

    fn date(&mut self, metric: &'static Metric, date: impl Fn(&Row<'a>) -> Option<Timestamp>) {
        self.value(metric, |row| Some(date(row)?.unix_seconds()));
    }

    /// One sample per label: 1 for the current one, 0 for the others. `Some(None)`: all are 0. `None`: no samples.
    fn state_set(
        &mut self,
        metric: &'static Metric,
        labels: &[&'static str],
        current: impl Fn(&Row<'a>) -> Option<Option<&'static str>>,
    ) {
        self.samples(metric, |row, write| {
            if let Some(current) = current(row) {
                labels.iter().for_each(|label| write(&[label], f64::from(current == Some(label))));
            }
        });
    }
}

/// Writes the samples of all clusters, family by family.
pub fn render(view: &View, now: &ClockTime, sink: &mut impl SampleSink) {
    let rows = view
        .clusters
        .iter()
        .map(|snapshot| Row { cluster: snapshot.name().as_str(), fresh: snapshot.fresh(now), snapshot })
        .collect();
    let families = &mut Families { rows, sink };
    families.value(&catalog::UP, |row| row.snapshot.up(now).map(f64::from));
    status(families);
    polls(families);
    judgement(families, now);
    key_store(families);
    connection_and_account(families);
}

fn status(families: &mut Families<'_, impl SampleSink>) {
    families.state_set(&catalog::STATUS, &Status::LABELS, |row| Some(Some(row.fresh?.status.label())));
    families.state_set(&catalog::TYPE, &KeyStore::LABELS, |row| Some(Some(row.fresh?.key_store.label())));
    families.samples(&catalog::CERTIFICATE_EXPIRY, |row, write| {
        for certificate in KmsCertificate::ALL {
            if let Some(at) = row.fresh.and_then(|fresh| fresh.expiry(certificate)) {
                write(&[certificate.label()], at.unix_seconds());
            }
        }
    });
    let date = |row: &Row<'_>, field| row.fresh?.dates.get(field).timestamp();
    families.date(&catalog::LAST_KEY_ROTATION, |row| date(row, DateField::LastKeyRotationTime));
    families.date(&catalog::LAST_STATUS_UPDATE, |row| date(row, DateField::LastStatusUpdateTime));
    for row in &families.rows {
        if let Some(PollResult { api, details, .. }) = row.fresh {
            let identity = &details.identity;
            let cluster_id = identity.cluster_id.as_ref().map_or("", |id| id.as_str());
            let version = identity.version.as_ref().map_or("", |version| version.as_str());
            let (labels, own) = ([cluster_id, version, api.label()], &row.snapshot.metadata().labels);
            families.sink.labelled(&catalog::CLUSTER_INFO, row.cluster, &labels, own, 1.0);
        }
    }
}

/// Counters are exact up to 2^53.
fn polls(families: &mut Families<'_, impl SampleSink>) {
    families.value(&catalog::LAST_POLL, |row| Some(row.snapshot.last_poll()?.at.unix_seconds()));
    families.value(&catalog::LAST_SUCCESSFUL_POLL, |row| Some(row.snapshot.last_success()?.unix_seconds()));
    families.value(&catalog::LAST_POLL_DURATION, |row| Some(row.snapshot.last_poll()?.duration.as_secs_f64()));
    families.value(&catalog::STALE_AFTER, |row| Some(row.snapshot.stale_after().as_secs_f64()));
    families.state_set(&catalog::LAST_POLL_FAILURE, &FailureReason::LABELS, |row| {
        Some(row.snapshot.last_poll()?.reason().map(FailureReason::label))
    });
    families.value(&catalog::POLLS, |row| Some(row.snapshot.counters().polls as f64));
    families.samples(&catalog::POLL_FAILURES, |row, write| {
        for reason in FailureReason::ALL {
            write(&[reason.label()], row.snapshot.counters().failures(reason) as f64);
        }
    });
    families.samples(&catalog::UNREADABLE_FIELDS, |row, write| {
        for field in DateField::ALL {
            write(&[field.label()], row.snapshot.counters().unreadable(field) as f64);
        }
    });
    families.value(&catalog::STATUS_CHANGES, |row| Some(row.snapshot.counters().status_changes as f64));
}

/// Findings and policy. A limit that is off is absent.
fn judgement(families: &mut Families<'_, impl SampleSink>, now: &ClockTime) {
    families.samples(&catalog::FINDING, |row, write| {
        for (kind, severity, applies) in findings::samples(row.snapshot, now) {
            write(&[kind.id(), severity.label()], f64::from(applies));
        }
    });
    families.value(&catalog::DO_NOT_RESTART, |row| findings::do_not_restart(row.snapshot, now).map(f64::from));
    let policy = |row: &Row<'_>| row.snapshot.metadata().policy;
    families.samples(&catalog::POLICY_INFO, |row, write| {
        if let Some(require) = policy(row).require {
            write(&[require.label()], 1.0);
        }
    });
    families.value(&catalog::POLICY_CERTIFICATE_WARNING, |row| Some(policy(row).certificate_warning?.as_secs_f64()));
    families.value(&catalog::POLICY_CERTIFICATE_CRITICAL, |row| Some(policy(row).certificate_critical?.as_secs_f64()));
    families.value(&catalog::POLICY_KEY_MAX_AGE, |row| Some(policy(row).key_max_age?.as_secs_f64()));
}

fn key_store(families: &mut Families<'_, impl SampleSink>) {
    families.samples(&catalog::KEY_STORE_INFO, |row, write| {
        if let Some(server) = row.fresh.and_then(|fresh| fresh.details.kms.as_ref()) {
            let port = server.port.map(|port| port.to_string()).unwrap_or_default();
            write(&[server.host(), &port, server.key_id()], 1.0);
        }
    });
    families.date(&catalog::KEY_STORE_CONFIGURED, |row| row.fresh?.details.kms.as_ref()?.configured);
    families.value(&catalog::KMS_REACHABLE, |row| row.fresh?.kms_probe?.reachable().map(f64::from));
}

/// The certificate of the REST API, the cluster's clock, and the exporter's account.
fn connection_and_account(families: &mut Families<'_, impl SampleSink>) {
    families.date(&catalog::API_CERTIFICATE_EXPIRY, |row| row.snapshot.api_certificate());
    families.value(&catalog::CLOCK_SKEW, |row| row.fresh.and(row.snapshot.clock_skew()));
    families.samples(&catalog::ACCESS_TOKEN_EXPIRY, |row, write| {
        for token in row.fresh.iter().flat_map(|fresh| fresh.details.account.tokens.iter().flatten()) {
            if let Some(expires) = token.expires {
                write(&[token.id()], expires.unix_seconds());
            }
        }
    });
    families.value(&catalog::EXCESS_PRIVILEGES, |row| {
        Some(row.fresh?.details.account.privileges.as_ref()?.excess.len() as f64)
    });
}
