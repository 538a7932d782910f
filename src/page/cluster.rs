//! One cluster: a summary line with details on demand.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{
    instant,
    query::{cluster_link, query_string},
    runbook, runbook_name,
};
use crate::{
    model::DateField,
    report::{Certificate, ClusterReport, Finding, Severity, findings::certificate_name, format_duration, visible},
};

/// `open` shows the details without a click.
pub(super) fn cluster(cluster: &ClusterReport, now: DateTime<Utc>, open: bool) -> Markup {
    let severity = cluster.severity();
    let headline = cluster.findings.first().filter(|_| severity > Severity::Good);
    let headline = headline.map_or_else(|| cluster.headline(), |worst| worst.text.clone());
    html! {
        article.cluster.(severity.label()) {
            details open[open] {
                summary {
                    span.state { (mark(severity)) " " (severity.label()) }
                    h2 { (cluster.name) }
                    span { (visible(&headline)) }
                    span.soft { (until_or_since(cluster)) }
                    span.soft {
                        @match cluster.last_success { Some(at) => { "read " (ago(at, now)) } None => "never read" }
                    }
                }
                (details(cluster, now))
            }
        }
    }
}

/// Since when a problem exists, or the next expiry if there is none. Next to a problem, a date in the future would look like a
/// grace period.
fn until_or_since(cluster: &ClusterReport) -> Markup {
    let forbidding = cluster.restart_forbidden_by();
    let since = forbidding.or(cluster.findings.first()).and_then(|finding| finding.since);
    html! {
        @if forbidding.is_some() || cluster.severity() >= Severity::Unknown {
            @if let Some(since) = since { "since " (instant(since)) }
        } @else if let Some(first) = cluster.first_expiry() {
            "next expiry " (day(first.expires.utc()))
        }
    }
}

fn details(cluster: &ClusterReport, now: DateTime<Utc>) -> Markup {
    html! {
        @if !cluster.findings.is_empty() { ul.findings { @for each in &cluster.findings { li { (finding(each)) } } } }
        dl {
            (fact("Address", html! { code { (cluster.url) } }))
            (fact("Status", html! { (visible(&cluster.headline())) }))
            (fact("Key store", html! { (cluster.key_store()) }))
            @if let Some(server) = cluster.kms() {
                (fact("KMS", html! {
                    (server.address()) @if cluster.kms_reachable() == Some(false) { ", not reachable from the exporter" }
                }))
                @if !server.key_id().is_empty() { (fact("Key", html! { code { (server.key_id()) } })) }
            }
            @for each in &cluster.certificates { (certificate(each)) }
            @if let Some(at) = cluster.api_certificate { (fact("REST API certificate", html! { "expires " (day(at.utc())) })) }
            @if let Some(at) = cluster.date(DateField::LastKeyRotationTime) {
                (fact("Key age", html! { (format_duration(seconds(at, now))) ", since " (day(at)) }))
            }
            @if let Some(at) = cluster.date(DateField::LastStatusUpdateTime) {
                (fact("Status refreshed by the cluster", ago(at, now)))
            }
            @if let Some(at) = cluster.last_poll { (fact("Last poll", ago(at, now))) }
            @if cluster.up != Some(true) {
                (fact("Last success", match cluster.last_success { Some(at) => ago(at, now), None => html! { "never" } }))
            }
            @if let Some(version) = cluster.version() { (fact("Qumulo Core", html! { (version) })) }
        }
        (commands(cluster))
        ul.links {
            li { a href=(cluster_link(&cluster.name)) { "Permanent link to " (cluster.name) } }
            li { a href=(format!("probe{}", query_string([("target", &cluster.name)]))) { "Metrics of " (cluster.name) } }
            li { a href=(format!("api/v1/clusters{}", query_string([("cluster", &cluster.name)]))) { "JSON of " (cluster.name) } }
        }
    }
}

fn finding(finding: &Finding) -> Markup {
    html! {
        div.(finding.severity.label()) {
            p {
                span.state { (finding.severity.label()) } " " strong { (visible(&finding.text)) "." }
                @if let Some(since) = finding.since { span.soft { " Since " (instant(since)) "." } }
            }
            @if let Some(prohibition) = finding.kind.prohibition() { p.forbidden { strong { (prohibition) } } }
            p { (advice(finding.advice)) " " a href=(runbook(finding)) { (runbook_name(finding)) } }
        }
    }
}

/// Commands of `qq` to copy.
fn commands(cluster: &ClusterReport) -> Markup {
    let Some((host, port)) = url::Url::parse(&cluster.url)
        .ok()
        .and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?)))
    else {
        return html! {};
    };
    html! {
        p.soft { "To investigate, run after " code { "qq --host " (host) " --port " (port) " login" } ":" }
        pre {
            code {
                "qq --host " (host) " --port " (port) " encryption_get_status"
                @if cluster.restart_forbidden_by().is_some() {
                    "\nqq --host " (host) " --port " (port) " reboot_status"
                    "\nqq --host " (host) " --port " (port) " upgrade_status --no-monitor"
                }
            }
        }
    }
}

/// The advice with its `qq` commands marked as code.
fn advice(text: &str) -> Markup {
    let mut words = text.split_inclusive(' ').peekable();
    html! {
        @while let Some(word) = words.next() {
            @if word == "qq " {
                @let command = words.next().unwrap_or_default();
                @let end = command.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(command.len());
                code { "qq " (command.get(..end).unwrap_or_default()) } (command.get(end..).unwrap_or_default())
            } @else {
                (word)
            }
        }
    }
}

/// A symbol in addition to the colour. Hidden from screen readers, because the severity follows as a word.
fn mark(severity: Severity) -> Markup {
    let mark = match severity {
        Severity::Good | Severity::Info => "\u{2713}",
        Severity::Warning => "\u{25b2}",
        Severity::Unknown => "?",
        Severity::Critical => "\u{2715}",
    };
    html! { span aria-hidden="true" { (mark) } }
}

/// Shows the date, not the days left: next to a lost key, they would look like a grace period.
fn certificate(certificate: &Certificate) -> Markup {
    let expires = day(certificate.expires.utc());
    let value = if certificate.seconds_left > 0.0 {
        html! { "expires " (expires) }
    } else {
        html! { strong { "expired " (expires) } }
    };
    fact(certificate_name(certificate.kind), value)
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    time(at, &format!("{} ago", format_duration(seconds(at, now))))
}

fn day(at: DateTime<Utc>) -> Markup {
    time(at, &at.format("%Y-%m-%d").to_string())
}

/// With the exact time as tooltip.
fn time(at: DateTime<Utc>, text: &str) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (text) } }
}

fn seconds(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).num_milliseconds().max(0) as f64 / 1e3
}
