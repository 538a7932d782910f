//! What `status` prints for people and for monitoring plugins, made from the JSON of `/api/v1/clusters`: so it is the same for
//! clusters that were polled here and for those of a running exporter.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};
use textwrap::{Options, WordSplitter, core::display_width};

use crate::{
    model::KmsCertificate,
    report::{Severity, format_duration, visible},
};

const HEAD: [&str; 7] = ["CLUSTER", "STATE", "STATUS", "KEY STORE", "KMS CA", "KMS CLIENT", "KEY AGE"];

/// Narrower terminals get lines of this width, so that every word fits into a line.
const MIN_WIDTH: usize = 40;

/// The fields of `/api/v1/clusters` that are needed here.
#[derive(Deserialize)]
pub struct Summary {
    #[serde(deserialize_with = "date")]
    generated_at: DateTime<Utc>,
    /// Worst first.
    clusters: Vec<Cluster>,
    exporter: Exporter,
}

#[derive(Deserialize)]
struct Exporter {
    metrics: Option<String>,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "severity")]
    severity: Severity,
    do_not_restart: bool,
    #[serde(deserialize_with = "text")]
    headline: String,
    findings: Vec<Finding>,
    last_known: Option<LastKnown>,
    encryption_type: Option<String>,
    certificates: Vec<Certificate>,
    last_key_rotation_at: Option<String>,
    policy: Policy,
}

#[derive(Deserialize)]
struct Policy {
    certificate_critical_seconds: Option<u64>,
    certificate_warning_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct LastKnown {
    encryption_type: String,
}

#[derive(Deserialize)]
struct Finding {
    #[serde(deserialize_with = "severity")]
    severity: Severity,
    #[serde(deserialize_with = "text")]
    message: String,
    #[serde(deserialize_with = "text")]
    advice: String,
}

#[derive(Deserialize)]
struct Certificate {
    certificate: String,
    seconds_left: i64,
}

/// RFC 3339.
fn date<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(from)?;
    DateTime::parse_from_rfc3339(&text).map(|date| date.to_utc()).map_err(D::Error::custom)
}

/// Escapes characters that a terminal may obey.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(visible(&String::deserialize(from)?))
}

/// A severity that a newer exporter invents is unknown.
fn severity<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
    Ok(Severity::from_label(&String::deserialize(from)?).unwrap_or(Severity::Unknown))
}

// === impl Summary ===

impl Summary {
    /// `None` if the JSON is another document.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The path of the exporter's metrics, relative to its status page.
    pub fn metrics(&self) -> &str {
        self.exporter.metrics.as_deref().unwrap_or("metrics")
    }

    /// Keeps only these clusters; all if there are no names.
    ///
    /// # Errors
    ///
    /// The first name that no cluster has.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(name) = names.iter().find(|name| !self.clusters.iter().any(|cluster| cluster.name == **name)) {
            return Err(format!("{name}: the exporter watches no cluster of this name"));
        }
        self.clusters.retain(|cluster| names.is_empty() || names.contains(&cluster.name));
        Ok(self)
    }

    /// The worst of all; unknown without clusters.
    pub fn severity(&self) -> Severity {
        self.clusters.iter().map(|cluster| cluster.severity).max().unwrap_or(Severity::Unknown)
    }

    /// The line of a monitoring plugin: what must not be done, the worst findings, and the numbers behind the bar.
    pub fn plugin(&self) -> String {
        const SHOWN: usize = 5;
        let (severity, all) = (self.severity(), self.clusters.len());
        let worst = self.clusters.iter().filter(|cluster| cluster.severity == severity && severity != Severity::Good);
        let worst = worst.filter_map(|cluster| {
            let finding = cluster.findings.iter().find(|finding| finding.severity == severity)?;
            Some(format!("{}: {}", cluster.name, finding.message))
        });
        let mut summary = first_of(worst.collect(), SHOWN, "; ");
        if all == 0 {
            summary = "no clusters are configured".to_owned();
        } else if summary.is_empty() {
            summary = counted(self.count(severity), &format!(" {}", severity.label()));
        }
        let forbidden =
            self.clusters.iter().filter(|cluster| cluster.do_not_restart).map(|cluster| cluster.name.clone());
        let forbidden = first_of(forbidden.collect(), SHOWN, ", ");
        if !forbidden.is_empty() {
            summary = format!("do not restart nodes of {forbidden}; {summary}");
        }
        // One cluster above the limit is enough for an alert.
        let numbers = Severity::ALL.map(|each| {
            let limits = match each {
                Severity::Critical => ";0",
                Severity::Warning => "0;",
                _ => ";",
            };
            format!("{}={};{limits};0;{all}", each.label(), self.count(each))
        });
        let expiries = self.clusters.iter().flat_map(|cluster| {
            cluster.certificates.iter().map(|certificate| (certificate.seconds_left, &cluster.policy))
        });
        let first = expiries.min_by_key(|(left, _)| *left).map(|(left, policy)| first_expiry(left, policy));
        let first = first.unwrap_or_default();
        plugin_line(severity, &summary, &format!("{}{first}", numbers.join(" ")))
    }

    /// A table with the findings below each line; without columns where `width` characters are too few for them.
    pub fn table(&self, coloured: bool, width: Option<usize>) -> String {
        let width = width.map_or(usize::MAX, |width| width.max(MIN_WIDTH));
        let rows: Vec<[String; 7]> = self.clusters.iter().map(|cluster| cluster.cells(self.generated_at)).collect();
        let mut columns = HEAD.map(display_width);
        for cells in &rows {
            for (column, cell) in columns.iter_mut().zip(cells) {
                *column = (*column).max(display_width(cell));
            }
        }
        let columns = (columns.iter().sum::<usize>() + 2 * (columns.len() - 1) <= width).then_some(columns);
        let mut text = String::new();
        if let Some(columns) = &columns {
            row(&mut text, &HEAD, columns, None);
        }
        for (cluster, cells) in self.clusters.iter().zip(&rows) {
            let (cells, colour) = (cells.each_ref().map(String::as_str), coloured.then(|| colour(cluster.severity)));
            match &columns {
                Some(columns) => row(&mut text, &cells, columns, colour),
                None => block(&mut text, &cells, width, colour),
            }
            for Finding { severity, message, advice } in &cluster.findings {
                wrap(&mut text, &format!("{}: {message}. {advice}", severity.label()), ["  ", "    "], width);
            }
        }
        let totals = Severity::ALL.map(|severity| format!("{} {}", self.count(severity), severity.label()));
        wrap(&mut text, &format!("{}: {}", counted(self.clusters.len(), ""), totals.join(", ")), ["", "  "], width);
        text
    }

    fn count(&self, severity: Severity) -> usize {
        self.clusters.iter().filter(|cluster| cluster.severity == severity).count()
    }
}

/// The line of a monitoring plugin when nothing is known about the clusters. One line, whatever `problem` contains.
pub fn plugin_unknown(problem: &str) -> String {
    let lines = problem.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty()).map(str::to_owned);
    let text = first_of(lines.collect(), 3, "; ").replace(":; ", ": ");
    plugin_line(Severity::Unknown, text.strip_prefix("error: ").unwrap_or(&text), "")
}

/// Performance data follow the bar.
fn plugin_line(severity: Severity, summary: &str, numbers: &str) -> String {
    let (label, summary) = (severity.label().to_uppercase(), visible(summary).replace('|', "/"));
    let numbers = if numbers.is_empty() { String::new() } else { format!(" | {numbers}") };
    format!("QUMULO ENCRYPTION {label} - {summary}{numbers}\n")
}

/// At most `count` of the items, and how many more there are.
fn first_of(mut items: Vec<String>, count: usize, separator: &str) -> String {
    let more = items.len().saturating_sub(count);
    items.truncate(count);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items.join(separator)
}

/// Performance data in days: the certificate that expires first. `30:` is a range that alerts below 30, as in the guidelines
/// of monitoring plugins.
fn first_expiry(left: i64, policy: &Policy) -> String {
    const DAY: f64 = 86_400.0;
    let days = |seconds: u64| format!("{}:", (seconds as f64 / DAY * 1000.0).round() / 1000.0);
    let limits = [policy.certificate_warning_seconds, policy.certificate_critical_seconds];
    let [warning, critical] = limits.map(|limit| limit.map(days).unwrap_or_default());
    format!(" first_expiry_days={:.1};{warning};{critical}", left as f64 / DAY)
}

// === impl Cluster ===

impl Cluster {
    /// One cell for each column of [`HEAD`].
    fn cells(&self, now: DateTime<Utc>) -> [String; 7] {
        let until = |kind: KmsCertificate| {
            let certificate = self.certificates.iter().find(|each| each.certificate == kind.label());
            match certificate.map(|each| each.seconds_left as f64) {
                None => "-".to_owned(),
                Some(left) if left <= 0.0 => format!("{} ago", format_duration(left)),
                // Next to a lost key, the remaining time would look like a period of grace.
                Some(_) if self.severity == Severity::Critical => "valid".to_owned(),
                Some(left) => format_duration(left),
            }
        };
        let last_known = self.last_known.as_ref().map(|known| &known.encryption_type);
        let key_store = match self.encryption_type.as_ref().or(last_known).map(String::as_str) {
            Some("kms") => "KMS",
            other => other.unwrap_or("unknown"),
        };
        let rotated = self.last_key_rotation_at.as_ref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        [
            self.name.clone(),
            self.severity.label().to_owned(),
            self.headline.clone(),
            visible(key_store),
            until(KmsCertificate::Ca),
            until(KmsCertificate::Client),
            rotated.map_or("-".to_owned(), |at| format_duration((now - at.to_utc()).num_seconds() as f64)),
        ]
    }
}

/// `1 cluster good`, `2 clusters good`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} cluster{}{what}", if number == 1 { "" } else { "s" })
}

/// The cells in columns; the second one, the state, in colour.
fn row(text: &mut String, cells: &[&str; 7], widths: &[usize; 7], colour: Option<&str>) {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(display_width(cell)) + 2);
        line.push_str(&painted(cell, colour.filter(|_| index == 1)));
        line.push_str(&padding);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The cells as a paragraph, where the terminal is too narrow for columns.
fn block(text: &mut String, cells: &[&str; 7], width: usize, colour: Option<&str>) {
    let [name, state, status, further @ ..] = cells;
    wrap(text, &format!("{name}  {}  {status}", painted(state, colour)), ["", "    "], width);
    let further = HEAD.iter().skip(3).zip(further).filter(|(_, cell)| **cell != "-");
    let further: Vec<String> = further.map(|(head, cell)| format!("{head} {cell}")).collect();
    wrap(text, &further.join(", "), ["    ", "    "], width);
}

/// Appends a paragraph; `first` and `others` are the indentation of its first line and of the others.
fn wrap(text: &mut String, paragraph: &str, [first, others]: [&str; 2], width: usize) {
    for line in textwrap::wrap(
        paragraph,
        Options::new(width).word_splitter(WordSplitter::NoHyphenation).initial_indent(first).subsequent_indent(others),
    ) {
        text.push_str(&line);
        text.push('\n');
    }
}

fn painted(cell: &str, colour: Option<&str>) -> String {
    colour.map_or_else(|| cell.to_owned(), |colour| format!("\u{1b}[{colour}m{cell}\u{1b}[0m"))
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Good | Severity::Info => "32",
        Severity::Warning => "33",
        Severity::Unknown => "35",
        Severity::Critical => "31",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        report::{
            self, json,
            tests::{clock_time as clock, fleet},
        },
        store::Store,
    };

    const GOLDEN: &str = "tests/golden/status.txt";

    /// Of the fleet of the report's tests.
    fn document() -> Vec<u8> {
        let (store, origin) = (Store::default(), Instant::now());
        let _publishers = fleet(&store, origin);
        json::render(&report::report(&store.view(), &clock(origin, 670)), None)
    }

    fn summary() -> Summary {
        Summary::from_json(&document()).unwrap()
    }

    #[test]
    fn table_of_a_fixed_fleet_is_the_golden_file() {
        let summary = summary();
        let got = summary.table(false, None);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(GOLDEN, &got).unwrap();
        }
        assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
        let coloured = summary.table(true, None);
        assert!(coloured.contains("\u{1b}[31mcritical\u{1b}[0m  "), "{coloured}");
        let plain = ["31", "32", "33", "35", "0"]
            .iter()
            .fold(coloured, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(plain, got, "colour moves nothing");
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let summary = summary();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = words(&summary.table(false, None));
        for width in [1, 40, 60, 80, 100, 200] {
            for coloured in [false, true] {
                let table = summary.table(coloured, Some(width));
                let widest = table.lines().map(display_width).max().unwrap();
                assert!(widest <= width.max(MIN_WIDTH), "{width}: {widest}\n{table}");
            }
            for word in words(&summary.table(false, Some(width))) {
                assert!(
                    whole.contains(&word) || whole.contains(&word.trim_end_matches(',').to_owned()),
                    "{word} is cut"
                );
            }
        }
        assert_eq!(summary.table(false, Some(200)).lines().next(), summary.table(false, None).lines().next());
        assert!(
            summary
                .table(false, Some(80))
                .contains("lost  critical  KMS Key Not Found\n    KEY STORE KMS, KMS CA valid")
        );
    }

    #[test]
    fn a_plugin_says_the_worst_in_one_line() {
        assert_eq!(
            summary().plugin(),
            "QUMULO ENCRYPTION CRITICAL - do not restart nodes of lost, expired, failing, never, not-polled, and 1 more; lost: \
             KMS Key Not Found; expired: The KMS CA certificate expired 2 days ago; \
             very-soon: The KMS client certificate expires in 2 days | critical=3;;0;0;10 unknown=3;;;0;10 \
             warning=3;0;;0;10 good=1;;;0;10 first_expiry_days=-2.0;30:;7:\n"
        );
        assert_eq!(
            Summary { clusters: Vec::new(), ..summary() }.plugin(),
            "QUMULO ENCRYPTION UNKNOWN - no clusters are configured | critical=0;;0;0;0 unknown=0;;;0;0 warning=0;0;;0;0 \
             good=0;;;0;0\n"
        );
    }

    #[test]
    fn limits_of_the_performance_data_are_those_of_the_policy() {
        let check = |warning: Option<u64>, critical: Option<u64>, expect: &str| {
            let policy = Policy { certificate_critical_seconds: critical, certificate_warning_seconds: warning };
            assert_eq!(first_expiry(194_400, &policy), expect);
        };
        check(Some(30 * 86_400), Some(7 * 86_400), " first_expiry_days=2.2;30:;7:");
        check(Some(36 * 3_600), None, " first_expiry_days=2.2;1.5:;");
        check(None, Some(3_600), " first_expiry_days=2.2;;0.042:");
        check(None, None, " first_expiry_days=2.2;;");
    }

    #[test]
    fn a_plugin_that_knows_nothing_says_so_in_one_line() {
        let check = |problem: &str, expect: &str| {
            assert_eq!(plugin_unknown(problem), format!("QUMULO ENCRYPTION UNKNOWN - {expect}\n"));
        };
        check("no such file", "no such file");
        check("error: unexpected argument\n\nUsage: x | y\n", "unexpected argument");
        check("error: not provided:\n  --a <A>\n\nUsage: x", "not provided: --a <A>");
        check("a: 1 | 2\nb\u{1b}[31m", "a: 1 / 2; b\\u{1b}[31m");
        check("a\nb\nc\nd\ne", "a; b; c; and 2 more");
        check("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}");
        check("", "");
    }

    #[test]
    fn names_select_clusters() {
        let lost = summary().only(&["lost".to_owned()]).unwrap();
        assert!(lost.table(false, None).starts_with("CLUSTER  STATE     STATUS"), "{}", lost.table(false, None));
        assert_eq!(lost.clusters.len(), 1);
        assert!(summary().only(&["none".to_owned()]).is_err());
    }

    #[test]
    fn documents_of_exporters_are_told_from_others() {
        let metrics = |json: &[u8]| Summary::from_json(json).map(|summary| summary.metrics().to_owned());
        assert_eq!(metrics(&document()).as_deref(), Some("metrics"), "an exporter that does not name it");
        let document = String::from_utf8(document()).unwrap();
        let named = document.replace("\"metrics\": null", "\"metrics\": \"m\"");
        assert_eq!(metrics(named.as_bytes()).as_deref(), Some("m"));
        assert_eq!(metrics(b"<html>"), None);
    }

    #[test]
    fn a_plugin_says_where_restarts_are_forbidden() {
        let line = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let line = summary().only(&names).unwrap().plugin();
            line.split_once(" | ").unwrap().0.trim_start_matches("QUMULO ENCRYPTION ").to_owned()
        };
        for (names, expect) in [
            (&["local"][..], "GOOD - 1 cluster good"),
            (&["soon"], "WARNING - soon: The KMS CA certificate expires in 19 days"),
            (&["new"], "WARNING - do not restart nodes of new; new: Unrecognised status: KMS Quorum Lost"),
            (
                &["very-soon", "failing"],
                "CRITICAL - do not restart nodes of failing; very-soon: The KMS client certificate expires in 2 days",
            ),
        ] {
            assert_eq!(line(names), expect);
        }
    }

    #[test]
    fn what_another_program_says_is_text_and_nothing_else() {
        let evil = "\u{1b}]0;owned\u{7}\u{202e}|x";
        let mut document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        fn spoil(value: &mut serde_json::Value, evil: &str) {
            match value {
                serde_json::Value::String(text) => text.push_str(evil),
                serde_json::Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, evil)),
                serde_json::Value::Object(map) => map.values_mut().for_each(|item| spoil(item, evil)),
                _ => {}
            }
        }
        spoil(&mut document["clusters"], evil);
        let told = Summary::from_json(document.to_string().as_bytes()).unwrap();
        for text in [told.table(false, None), told.table(false, Some(60)), told.plugin()] {
            assert!(text.contains("owned") && !text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        }
        assert_eq!(told.plugin().matches('|').count(), 1, "{}", told.plugin());
        assert_eq!(told.severity(), Severity::Unknown);
    }
}
