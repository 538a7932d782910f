//! The next expiries of all clusters as a picture: bars of ninety days, drawn in SVG, with the same in words for those who do
//! not see it.

use maud::{Markup, html};

use crate::report::{Certificate, ClusterReport, Report, Severity, findings::certificate_name, span};

/// How far the picture looks ahead, in days.
const DAYS: f64 = 90.0;

/// So many certificates at most.
const MOST: usize = 8;

const ROW: usize = 22;

/// The certificates that expire first, within the next ninety days; nothing if there is none.
pub fn picture(report: &Report) -> Markup {
    let all = report.clusters.iter().flat_map(|cluster| cluster.certificates.iter().map(move |each| (cluster, each)));
    let mut next: Vec<(&ClusterReport, &Certificate)> =
        all.filter(|(_, certificate)| certificate.seconds_left < DAYS * 86_400.0).collect();
    next.sort_by(|(_, one), (_, other)| one.seconds_left.total_cmp(&other.seconds_left));
    next.truncate(MOST);
    let height = next.len() * ROW;
    html! {
        @if !next.is_empty() {
            section.expiries aria-labelledby="expiries" {
                h2 #expiries { "Next expiries" }
                div.picture {
                    svg viewBox=(format!("0 0 300 {height}")) width="300" height=(height) aria-hidden="true" focusable="false" {
                        @for (row, (cluster, certificate)) in next.iter().enumerate() {
                            rect.bar.(state(cluster, certificate)) x="0" y=(row * ROW + 4) height="14"
                                width=(format!("{:.0}", width(certificate))) {}
                        }
                    }
                    ol { @for (cluster, certificate) in &next { li { (words(cluster, certificate)) } } }
                }
            }
        }
    }
}

/// At least a mark: what has expired has no length.
fn width(certificate: &Certificate) -> f64 {
    (certificate.seconds_left / 86_400.0 / DAYS * 300.0).clamp(3.0, 300.0)
}

/// As the cluster's findings judge it.
fn state(cluster: &ClusterReport, certificate: &Certificate) -> &'static str {
    let judged = crate::report::findings::certificate(certificate, &cluster.policy);
    judged.map_or(Severity::Good, |finding| finding.severity).label()
}

fn words(cluster: &ClusterReport, certificate: &Certificate) -> Markup {
    let left = span(certificate.seconds_left);
    let when = if certificate.seconds_left > 0.0 { format!("in {left}") } else { format!("{left} ago") };
    html! { a href=(super::link_to(&cluster.name)) { (cluster.name) } ", " (certificate_name(certificate.kind)) ": " strong { (when) } }
}
