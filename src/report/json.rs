//! The report as JSON, for `/api/v1/clusters` and `status --output json`. Fields may be added, but not renamed or removed.
//!
//! `deploy/clusters.schema.json` is generated from these types, including their doc comments.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::{ClusterReport, Report, Severity};
use crate::model::{self, DateField, Require, escape_hidden};

/// Output of /api/v1/clusters and of status --output json.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "qumulo-encryption-exporter clusters"))]
pub(super) struct Document<'a> {
    generated_at: String,
    exporter: Exporter<'a>,
    totals: Totals,
    clusters: Vec<Cluster<'a>>,
}

/// Version of the exporter, for audits.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Exporter<'a> {
    version: &'static str,
    revision: &'static str,
    metrics: Option<&'a str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Totals {
    clusters: usize,
    critical: usize,
    unknown: usize,
    warning: usize,
    good: usize,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Cluster<'a> {
    name: &'a str,
    url: &'a str,
    #[cfg_attr(test, schemars(extend("enum" = Severity::ALL.map(Severity::label))))]
    severity: &'static str,
    do_not_restart: bool,
    headline: String,
    findings: Vec<Finding<'a>>,
    policy: Policy,
    up: Option<bool>,
    status: Option<&'static str>,
    last_known: Option<LastKnown>,
    raw_status: Option<&'a str>,
    encryption_type: Option<&'static str>,
    certificates: Vec<Certificate>,
    key_store: Option<KeyStore<'a>>,
    api_certificate_expires_at: Option<String>,
    clock_skew_seconds: Option<f64>,
    access_tokens: Option<Vec<AccessToken<'a>>>,
    excess_privileges: Option<Vec<&'a str>>,
    last_key_rotation_at: Option<String>,
    last_status_update_at: Option<String>,
    last_poll_at: Option<String>,
    last_successful_poll_at: Option<String>,
    last_poll_failure: Option<Failure<'a>>,
    stale_after_seconds: f64,
    cluster_id: Option<&'a str>,
    version: Option<&'a str>,
    api: Option<&'static str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LastKnown {
    #[cfg_attr(test, schemars(extend("enum" = model::Status::LABELS)))]
    status: &'static str,
    #[cfg_attr(test, schemars(extend("enum" = model::KeyStore::LABELS)))]
    encryption_type: &'static str,
    seconds_ago: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Finding<'a> {
    #[cfg_attr(test, schemars(extend("enum" = super::Kind::ALL.iter().map(|kind| kind.id()).collect::<Vec<_>>())))]
    id: &'static str,
    #[cfg_attr(test, schemars(extend("enum" = ["critical", "unknown", "warning", "info"])))]
    severity: &'static str,
    message: &'a str,
    since: Option<String>,
    advice: String,
    runbook: String,
}

/// Limits for the findings; null means no limit.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Policy {
    require: Option<&'static str>,
    certificate_warning_seconds: Option<u64>,
    certificate_critical_seconds: Option<u64>,
    key_max_age_seconds: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Certificate {
    #[cfg_attr(test, schemars(extend("enum" = model::KmsCertificate::ALL.map(model::KmsCertificate::label))))]
    certificate: &'static str,
    expires_at: String,
    seconds_left: i64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KeyStore<'a> {
    host: &'a str,
    port: Option<u16>,
    key_id: &'a str,
    configured_at: Option<String>,
    reachable: Option<bool>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AccessToken<'a> {
    token_id: &'a str,
    expires_at: String,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Failure<'a> {
    reason: &'static str,
    message: &'a str,
}

/// The document with a trailing newline. `metrics` is the URL of the metrics, relative to the status page.
pub fn render(report: &Report, metrics: Option<&str>) -> Vec<u8> {
    let document = Document {
        generated_at: time(report.at),
        exporter: Exporter {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"),
            metrics,
        },
        totals: Totals {
            clusters: report.clusters.len(),
            critical: report.count(Severity::Critical),
            unknown: report.count(Severity::Unknown),
            warning: report.count(Severity::Warning),
            good: report.count(Severity::Good),
        },
        clusters: report.clusters.iter().map(cluster).collect(),
    };
    // Serialising strings, numbers and lists cannot fail.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    escape_hidden(text).into_bytes()
}

fn cluster(cluster: &ClusterReport) -> Cluster<'_> {
    let findings = cluster.findings.iter().map(|each| Finding {
        id: each.kind.id(),
        severity: each.severity.label(),
        message: &each.text,
        since: each.since.map(time),
        advice: each.instructions(),
        // Relative to the status page.
        runbook: format!("runbooks/{}", each.kind.alert()),
    });
    let certificates = cluster.certificates.iter().map(|each| Certificate {
        certificate: each.kind.label(),
        expires_at: time(each.expires.utc()),
        // Certificates have a resolution of one second.
        seconds_left: each.seconds_left.floor() as i64,
    });
    let account = cluster.last_result().map(|result| &result.details.account);
    Cluster {
        name: &cluster.name,
        url: &cluster.url,
        severity: cluster.severity().label(),
        do_not_restart: cluster.restart_forbidden_by().is_some(),
        headline: cluster.headline(),
        findings: findings.collect(),
        policy: policy(&cluster.policy),
        up: cluster.up,
        status: cluster.fresh.as_ref().map(|result| result.status.label()),
        last_known: cluster.last_known.as_ref().map(|(age, result)| LastKnown {
            status: result.status.label(),
            encryption_type: result.key_store.label(),
            seconds_ago: age.as_secs(),
        }),
        raw_status: cluster.raw_status(),
        encryption_type: cluster.fresh.as_ref().map(|result| result.key_store.label()),
        certificates: certificates.collect(),
        key_store: cluster.kms().map(|server| KeyStore {
            host: server.host(),
            port: server.port,
            key_id: server.key_id(),
            configured_at: server.configured.map(|at| time(at.utc())),
            reachable: cluster.kms_reachable(),
        }),
        api_certificate_expires_at: cluster.api_certificate.map(|at| time(at.utc())),
        clock_skew_seconds: cluster.clock_skew,
        access_tokens: account.and_then(|account| account.tokens.as_ref()).map(|tokens| {
            let expiring = tokens.iter().filter_map(|token| Some((token.id(), token.expires?)));
            expiring.map(|(token_id, expires)| AccessToken { token_id, expires_at: time(expires.utc()) }).collect()
        }),
        excess_privileges: account
            .and_then(|account| account.privileges.as_ref())
            .map(|privileges| privileges.excess.iter().map(|name| &**name).collect()),
        last_key_rotation_at: cluster.date(DateField::LastKeyRotationTime).map(time),
        last_status_update_at: cluster.date(DateField::LastStatusUpdateTime).map(time),
        last_poll_at: cluster.last_poll.map(time),
        last_successful_poll_at: cluster.last_success.map(time),
        last_poll_failure: cluster.last_failure.as_ref().map(|(reason, message)| Failure { reason, message }),
        stale_after_seconds: cluster.stale_after.as_secs_f64(),
        cluster_id: cluster.cluster_id(),
        version: cluster.version(),
        api: cluster.api(),
    }
}

fn policy(policy: &model::Policy) -> Policy {
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    Policy {
        require: policy.require.map(Require::label),
        certificate_warning_seconds: seconds(policy.certificate_warning),
        certificate_critical_seconds: seconds(policy.certificate_critical),
        key_max_age_seconds: seconds(policy.key_max_age),
    }
}

/// RFC 3339 in UTC, in whole seconds.
fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
