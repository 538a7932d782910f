//! The table of next expiries: KMS certificates, REST API certificates and access tokens of all clusters.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{instant, query::cluster_link};
use crate::{
    model::Timestamp,
    report::{ClusterReport, Kind, Severity, findings, format_duration},
};

const HORIZON_DAYS: f64 = 90.0;

const MAX_ROWS: usize = 10;

struct Expiry<'a> {
    cluster: &'a str,
    expires: DateTime<Utc>,
    left: f64,
    severity: Severity,
    what: String,
}

/// Empty if nothing has expired or expires within [`HORIZON_DAYS`].
pub fn table(clusters: &[&ClusterReport], now: DateTime<Utc>) -> Markup {
    let mut next: Vec<Expiry<'_>> = clusters.iter().flat_map(|cluster| expiries(cluster, now)).collect();
    next.retain(|expiry| expiry.left < HORIZON_DAYS * 86_400.0);
    next.sort_by_key(|expiry| expiry.expires);
    html! {
        @if !next.is_empty() {
            div.expiries {
                h2 #expiries { "Expired or expiring within " (HORIZON_DAYS) " days" }
                div.scroll role="region" aria-labelledby="expiries" tabindex="0" {
                    table {
                        thead { tr { th scope="col" { "Date" } th scope="col" { "Expires" } th scope="col" { "What" } th scope="col" { "Cluster" } } }
                        tbody {
                            @for expiry in next.iter().take(MAX_ROWS) {
                                tr.(expiry.severity.label()) {
                                    td { (instant(expiry.expires)) }
                                    td.state { (when(expiry.left)) }
                                    td { (expiry.what) }
                                    td { a href=(cluster_link(expiry.cluster)) { (expiry.cluster) } }
                                }
                            }
                        }
                    }
                }
                @if next.len() > MAX_ROWS { p.soft { (next.len() - MAX_ROWS) " more expire later." } }
            }
        }
    }
}

fn when(left: f64) -> String {
    if left > 0.0 { format!("in {}", format_duration(left)) } else { format!("expired {} ago", format_duration(left)) }
}

fn expiries(cluster: &ClusterReport, now: DateTime<Utc>) -> Vec<Expiry<'_>> {
    let expiry = |what: String, expires: Timestamp, kinds: &[Kind]| {
        let left = (expires.utc() - now).num_milliseconds() as f64 / 1e3;
        let about = cluster.findings.iter().filter(|each| each.expires == Some(expires) && kinds.contains(&each.kind));
        let severity = about.map(|finding| finding.severity).max().unwrap_or(Severity::Good);
        Expiry { cluster: &cluster.name, expires: expires.utc(), left, severity, what }
    };
    let kms = cluster.certificates.iter().map(|each| {
        let kinds = [Kind::CertificateExpired, Kind::CertificateCritical, Kind::CertificateWarning];
        expiry(findings::certificate_name(each.kind).to_owned(), each.expires, &kinds)
    });
    let api = cluster
        .api_certificate
        .map(|expires| expiry("REST API certificate".to_owned(), expires, &[Kind::ApiCertificateExpiring]));
    let tokens = cluster.last_result().and_then(|result| result.details.account.tokens.as_ref()).into_iter().flatten();
    let tokens = tokens.filter_map(|token| {
        let what = format!("Access token {} of the exporter", token.id());
        Some(expiry(what, token.expires?, &[Kind::AccessTokenExpiring]))
    });
    kms.chain(api).chain(tokens).collect()
}
