//! One cluster: a line, and what it does not say.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{link_to, query};
use crate::{
    model::DateField,
    report::{Certificate, ClusterReport, Severity, findings::certificate_name, span, visible},
};

/// One line, and the details on demand; at once where it is the only one.
pub(super) fn cluster(cluster: &ClusterReport, now: DateTime<Utc>, alone: bool) -> Markup {
    let severity = cluster.severity();
    let said = cluster.findings.first().map_or_else(|| cluster.headline(), |worst| worst.text.clone());
    html! {
        article.cluster.(severity.label()) {
            details open[alone] {
                summary {
                    span.state { (mark(severity)) " " (severity.label()) }
                    h2 { (cluster.name) }
                    span { (visible(&said)) }
                    span.soft {
                        @match cluster.first_expiry() {
                            Some(first) if first.seconds_left <= 0.0 => strong { "expired" },
                            Some(first) => (remaining(first)),
                            None => "",
                        }
                    }
                    span.soft { @if let Some(at) = cluster.last_success { (ago(at, now)) } @else { "never seen" } }
                }
                (details(cluster, now))
            }
        }
    }
}

/// What a line does not say.
fn details(cluster: &ClusterReport, now: DateTime<Utc>) -> Markup {
    html! {
        @if !cluster.findings.is_empty() {
            ul.findings {
                @for finding in &cluster.findings {
                    li {
                        strong { (visible(&finding.text)) "." } " " span.soft { (advice(&finding.instructions())) }
                        " " a href=(format!("runbooks/{}", finding.kind.alert())) { "Runbook" }
                    }
                }
            }
        }
        dl {
            (fact("Address", html! { code { (cluster.url) } }))
            (fact("Status", html! { (visible(&cluster.headline())) }))
            (fact("Key store", html! { (cluster.key_store()) }))
            @if let Some(server) = cluster.kms() {
                (fact("KMS", html! {
                    (server.address()) @if cluster.kms_reachable() == Some(false) { ", not reached by the exporter" }
                }))
                @if !server.key_id().is_empty() { (fact("Key", html! { code { (server.key_id()) } })) }
            }
            @for each in &cluster.certificates { (certificate(each)) }
            @if let Some(at) = cluster.api_certificate { (fact("REST API's certificate", html! { "until " (day(at.utc())) })) }
            @if let Some(at) = cluster.date(DateField::LastKeyRotationTime) {
                (fact("Key age", html! { (span(seconds(at, now))) ", since " (day(at)) }))
            }
            @if let Some(at) = cluster.date(DateField::LastStatusUpdateTime) {
                (fact("Cluster's own check", ago(at, now)))
            }
            @if let Some(at) = cluster.last_poll { (fact("Last poll", ago(at, now))) }
            @if cluster.up != Some(true) {
                (fact("Last success", match cluster.last_success { Some(at) => ago(at, now), None => html! { "never" } }))
            }
            @if let Some(version) = cluster.version() { (fact("Qumulo Core", html! { (version) })) }
            (fact("Links", html! {
                a href=(link_to(&cluster.name)) { "this cluster" } " "
                a href=(format!("probe{}", query("target", &cluster.name))) { "series" }
            }))
        }
    }
}

/// An advice with its commands, all of them of `qq`, as what they are.
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

/// A sign beside the colour, for those who do not see it. Not read aloud: the word follows.
fn mark(severity: Severity) -> Markup {
    let mark = match severity {
        Severity::Good | Severity::Info => "\u{2713}",
        Severity::Warning => "\u{25b2}",
        Severity::Unknown => "?",
        Severity::Critical => "\u{2715}",
    };
    html! { span aria-hidden="true" { (mark) } }
}

fn certificate(certificate: &Certificate) -> Markup {
    fact(certificate_name(certificate.kind), html! { (remaining(certificate)) ", " (day(certificate.expires.utc())) })
}

fn remaining(certificate: &Certificate) -> Markup {
    let left = span(certificate.seconds_left);
    html! { @if certificate.seconds_left > 0.0 { (left) " left" } @else { strong { "expired " (left) " ago" } } }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (span(seconds(at, now))) " ago" } }
}

/// Of something that is years away.
fn day(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (at.format("%Y-%m-%d")) } }
}

fn seconds(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).num_milliseconds().max(0) as f64 / 1e3
}
