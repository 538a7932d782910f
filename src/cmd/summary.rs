//! What `status` prints for people and for monitoring plugins: from clusters that were asked, or from what a running exporter
//! says of them.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use textwrap::{Options, WordSplitter, core::display_width};

use crate::{
    model::{DateField, KmsCertificate},
    report::{ClusterReport, Report, Severity, format_duration, visible},
};

const HEAD: [&str; 7] = ["CLUSTER", "STATE", "STATUS", "KEY STORE", "KMS CA", "KMS CLIENT", "KEY AGE"];

/// The least width that is believed, so that a word fits into a line.
const NARROWEST: usize = 40;

/// All clusters, worst first.
#[derive(Debug)]
pub struct Summary(Vec<Line>);

/// One cluster.
#[derive(Debug)]
struct Line {
    /// As they stand below [`HEAD`].
    cells: [String; 7],
    findings: Vec<(Severity, String, String)>,
    /// Of the first certificate to expire, until when, and the policy's limits.
    first_expiry: Option<Expiry>,
    severity: Severity,
}

/// Days left, and below which number of days that is worth a warning, or critical.
#[derive(Clone, Copy, Debug)]
struct Expiry {
    critical: Option<f64>,
    left: f64,
    warning: Option<f64>,
}

/// The fields of `/api/v1/clusters` that are needed here.
#[derive(Deserialize)]
struct Document {
    generated_at: String,
    clusters: Vec<Cluster>,
    exporter: Exporter,
}

#[derive(Deserialize)]
struct Exporter {
    metrics: Option<String>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    severity: String,
    headline: String,
    findings: Vec<Finding>,
    last_known: Option<LastKnown>,
    encryption_type: Option<String>,
    certificates: Vec<Certificate>,
    last_key_rotation_at: Option<String>,
    policy: Limits,
}

#[derive(Deserialize)]
struct Limits {
    certificate_critical_seconds: Option<u64>,
    certificate_warning_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct LastKnown {
    encryption_type: String,
}

#[derive(Deserialize)]
struct Finding {
    severity: String,
    message: String,
    advice: String,
}

#[derive(Deserialize)]
struct Certificate {
    certificate: String,
    seconds_left: i64,
}

// === impl Summary ===

impl Summary {
    /// Of clusters that were asked.
    pub fn new(report: &Report) -> Self {
        Self(report.clusters.iter().map(|cluster| Line::from_report(cluster, report.at)).collect())
    }

    /// Of the JSON of a running exporter, with the path of its metrics. `None` if it is another document.
    pub fn of_document(json: &[u8]) -> Option<(Self, String)> {
        let document: Document = serde_json::from_slice(json).ok()?;
        let at = moment(&document.generated_at)?;
        let summary = Self(document.clusters.into_iter().map(|cluster| Line::from_document(cluster, at)).collect());
        Some((summary, document.exporter.metrics.unwrap_or_else(|| "metrics".to_owned())))
    }

    /// Only these clusters.
    ///
    /// # Errors
    ///
    /// The first name that no cluster has.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        if let Some(name) = names.iter().find(|name| !self.0.iter().any(|line| line.cells[0] == **name)) {
            return Err(format!("{name}: the exporter watches no cluster of this name"));
        }
        if !names.is_empty() {
            self.0.retain(|line| names.iter().any(|name| line.cells[0] == *name));
        }
        Ok(self)
    }

    /// The worst of all. Without clusters nobody knows.
    pub fn severity(&self) -> Severity {
        self.0.iter().map(|line| line.severity).max().unwrap_or(Severity::Unknown)
    }

    /// The summary of a monitoring plugin: the worst findings, and the numbers behind the bar.
    pub fn plugin(&self) -> String {
        const SHOWN: usize = 5;
        let (severity, all) = (self.severity(), self.0.len());
        let worst = self.0.iter().filter(|line| line.severity == severity && severity != Severity::Good);
        let mut summary: Vec<String> = worst
            .filter_map(|line| {
                let (_, text, _) = line.findings.iter().find(|(each, _, _)| *each == severity)?;
                Some(format!("{}: {text}", line.cells.first()?))
            })
            .collect();
        let more = summary.len().saturating_sub(SHOWN);
        summary.truncate(SHOWN);
        if more > 0 {
            summary.push(format!("and {more} more"));
        }
        if all == 0 {
            summary.push("no clusters are configured".to_owned());
        } else if summary.is_empty() {
            summary.push(counted(self.count(severity), &format!(" {}", severity.label())));
        }
        // One such cluster is too many.
        let numbers = Severity::ALL.map(|each| {
            let limits = match each {
                Severity::Critical => ";0",
                Severity::Warning => "0;",
                _ => ";",
            };
            format!("{}={};{limits};0;{all}", each.label(), self.count(each))
        });
        let first = self.0.iter().filter_map(|line| line.first_expiry).min_by(|a, b| a.left.total_cmp(&b.left));
        let first = first.map(|expiry| expiry.performance()).unwrap_or_default();
        plugin_line(severity, &summary.join("; "), &format!("{}{first}", numbers.join(" ")))
    }

    /// A table with the findings below each line; without columns where `width` characters are too few for them.
    pub fn table(&self, coloured: bool, width: Option<usize>) -> String {
        let width = width.map_or(usize::MAX, |width| width.max(NARROWEST));
        let mut columns = HEAD.map(display_width);
        for line in &self.0 {
            for (column, cell) in columns.iter_mut().zip(&line.cells) {
                *column = (*column).max(display_width(cell));
            }
        }
        let columns = (columns.iter().sum::<usize>() + 2 * (columns.len() - 1) <= width).then_some(columns);
        let mut text = String::new();
        if let Some(columns) = &columns {
            row(&mut text, &HEAD, columns, None);
        }
        for line in &self.0 {
            let (cells, colour) = (line.cells.each_ref().map(String::as_str), coloured.then(|| colour(line.severity)));
            match &columns {
                Some(columns) => row(&mut text, &cells, columns, colour),
                None => block(&mut text, &cells, width, colour),
            }
            for (severity, finding, advice) in &line.findings {
                wrap(&mut text, &format!("{}: {finding}. {advice}", severity.label()), ["  ", "    "], width);
            }
        }
        let totals = Severity::ALL.map(|severity| format!("{} {}", self.count(severity), severity.label()));
        wrap(&mut text, &format!("{}: {}", counted(self.0.len(), ""), totals.join(", ")), ["", "  "], width);
        text
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|line| line.severity == severity).count()
    }
}

/// What a monitoring plugin prints when it cannot say anything about the clusters: one line, whatever is in `problem`.
pub fn plugin_unknown(problem: &str) -> String {
    const SHOWN: usize = 3;
    let lines = problem.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    let mut text = lines.join("; ").replace(":; ", ": ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    plugin_line(Severity::Unknown, text.strip_prefix("error: ").unwrap_or(&text), "")
}

/// The bar begins the numbers.
fn plugin_line(severity: Severity, summary: &str, numbers: &str) -> String {
    let (label, summary) = (severity.label().to_uppercase(), visible(summary).replace('|', "/"));
    let numbers = if numbers.is_empty() { String::new() } else { format!(" | {numbers}") };
    format!("QUMULO ENCRYPTION {label} - {summary}{numbers}\n")
}

// === impl Expiry ===

impl Expiry {
    /// Of seconds.
    fn first(left: impl IntoIterator<Item = f64>, warning: Option<u64>, critical: Option<u64>) -> Option<Self> {
        const DAY: f64 = 86_400.0;
        let first = left.into_iter().min_by(f64::total_cmp)?;
        let days = |seconds: u64| (seconds as f64 / DAY * 1000.0).round() / 1000.0;
        Some(Self { critical: critical.map(days), left: first / DAY, warning: warning.map(days) })
    }

    /// `30:` is a range that alerts below 30, as the guidelines of monitoring plugins have it.
    fn performance(self) -> String {
        let range = |limit: Option<f64>| limit.map(|days| format!("{days}:")).unwrap_or_default();
        format!(" first_expiry_days={:.1};{};{}", self.left, range(self.warning), range(self.critical))
    }
}

// === impl Line ===

impl Line {
    fn from_report(cluster: &ClusterReport, now: DateTime<Utc>) -> Self {
        let left = |kind: KmsCertificate| {
            let certificate = cluster.certificates.iter().find(|certificate| certificate.kind == kind);
            certificate.map(|certificate| certificate.seconds_left)
        };
        let age = cluster.date(DateField::LastKeyRotationTime).map(|at| (now - at).num_seconds() as f64);
        let findings = cluster.findings.iter();
        let seconds = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_secs());
        Self::new(
            cluster.severity(),
            [seconds(cluster.policy.certificate_warning), seconds(cluster.policy.certificate_critical)],
            [&cluster.name, &cluster.headline(), cluster.key_store()],
            KmsCertificate::ALL.map(left),
            age,
            findings.map(|each| (each.severity, visible(&each.text), each.instructions())).collect(),
        )
    }

    fn from_document(cluster: Cluster, now: DateTime<Utc>) -> Self {
        let left = |kind: KmsCertificate| {
            let certificate = cluster.certificates.iter().find(|each| each.certificate == kind.label());
            certificate.map(|each| each.seconds_left as f64)
        };
        let key_store = cluster.encryption_type.or(cluster.last_known.map(|known| known.encryption_type));
        let key_store = match key_store.as_deref() {
            Some("kms") => "KMS",
            other => other.unwrap_or("unknown"),
        };
        let findings = cluster.findings.into_iter().map(|each| {
            (
                Severity::from_label(&each.severity).unwrap_or(Severity::Unknown),
                visible(&each.message),
                visible(&each.advice),
            )
        });
        Self::new(
            Severity::from_label(&cluster.severity).unwrap_or(Severity::Unknown),
            [cluster.policy.certificate_warning_seconds, cluster.policy.certificate_critical_seconds],
            [&cluster.name, &cluster.headline, key_store],
            KmsCertificate::ALL.map(left),
            cluster.last_key_rotation_at.and_then(|at| Some((now - moment(&at)?).num_seconds() as f64)),
            findings.collect(),
        )
    }

    fn new(
        severity: Severity,
        [warning, critical]: [Option<u64>; 2],
        [name, status, key_store]: [&str; 3],
        left: [Option<f64>; 3],
        key_age: Option<f64>,
        findings: Vec<(Severity, String, String)>,
    ) -> Self {
        let until = |seconds: Option<f64>| match seconds {
            None => "-".to_owned(),
            Some(left) if left <= 0.0 => format!("{} ago", format_duration(left)),
            // Beside a lost key, the time that is left would read like a period of grace.
            Some(_) if severity == Severity::Critical => "valid".to_owned(),
            Some(left) => format_duration(left),
        };
        // The third, of the server, is one of the findings when it matters.
        let [ca, client, _] = left.map(until);
        let age = key_age.map_or("-".to_owned(), format_duration);
        let first_expiry = Expiry::first(left.into_iter().flatten(), warning, critical);
        let cells = [visible(name), severity.label().to_owned(), visible(status), visible(key_store), ca, client, age];
        Self { cells, findings, first_expiry, severity }
    }
}

/// A time as the exporter writes it, RFC 3339.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

/// `1 cluster good`, `2 clusters good`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} cluster{}{what}", if number == 1 { "" } else { "s" })
}

/// Cells side by side; the second one, the state, in colour.
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

/// The same cells one after the other, with what the head would say.
fn block(text: &mut String, cells: &[&str; 7], width: usize, colour: Option<&str>) {
    let [name, state, status, further @ ..] = cells;
    wrap(text, &format!("{name}  {}  {status}", painted(state, colour)), ["", "    "], width);
    let further = HEAD.iter().skip(3).zip(further).filter(|(_, cell)| **cell != "-");
    let further: Vec<String> = further.map(|(head, cell)| format!("{head} {cell}")).collect();
    wrap(text, &further.join(", "), ["    ", "    "], width);
}

/// A paragraph with the beginnings of its first line and of the others.
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
            tests::{fleet, moment as clock},
        },
        store::Store,
    };

    const GOLDEN: &str = "tests/golden/status.txt";

    fn reported() -> Report {
        let (store, origin) = (Store::default(), Instant::now());
        let _publishers = fleet(&store, origin);
        report::report(&store.view(), &clock(origin, 670))
    }

    #[test]
    fn table_of_a_fixed_fleet_is_the_golden_file() {
        let summary = Summary::new(&reported());
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
        let summary = Summary::new(&reported());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = words(&summary.table(false, None));
        for width in [1, 40, 60, 80, 100, 200] {
            for coloured in [false, true] {
                let table = summary.table(coloured, Some(width));
                let widest = table.lines().map(display_width).max().unwrap();
                assert!(widest <= width.max(NARROWEST), "{width}: {widest}\n{table}");
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
            Summary::new(&reported()).plugin(),
            "QUMULO ENCRYPTION CRITICAL - lost: KMS Key Not Found; expired: The KMS CA certificate expired 2 days ago; \
             very-soon: The KMS client certificate expires in 2 days | critical=3;;0;0;10 unknown=3;;;0;10 \
             warning=3;0;;0;10 good=1;;;0;10 first_expiry_days=-2.0;30:;7:\n"
        );
        assert_eq!(
            Summary(Vec::new()).plugin(),
            "QUMULO ENCRYPTION UNKNOWN - no clusters are configured | critical=0;;0;0;0 unknown=0;;;0;0 warning=0;0;;0;0 \
             good=0;;;0;0\n"
        );
    }

    #[test]
    fn limits_of_the_performance_data_are_those_of_the_policy() {
        let check = |warning: Option<u64>, critical: Option<u64>, expect: &str| {
            let first = Expiry::first([864_000.0, 86_400.0 * 2.25], warning, critical).unwrap();
            assert_eq!(first.performance(), expect);
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
    fn what_an_exporter_says_reads_as_if_the_clusters_had_been_asked() {
        let report = reported();
        let (asked, told) = (Summary::new(&report), Summary::of_document(&json::render(&report, Some("m"))).unwrap());
        let (told, metrics) = told;
        assert_eq!(metrics, "m");
        assert_eq!(told.severity(), asked.severity());
        assert_eq!(told.plugin(), asked.plugin());
        let (told_again, metrics) = Summary::of_document(&json::render(&report, None)).unwrap();
        assert_eq!(metrics, "metrics", "an exporter that does not name it");
        let lost = told_again.only(&["lost".to_owned()]).unwrap();
        assert_eq!(told.table(false, None), asked.table(false, None));
        assert!(lost.table(false, None).starts_with("CLUSTER  STATE     STATUS"), "{}", lost.table(false, None));
        assert!(told.only(&["none".to_owned()]).is_err());
        assert!(Summary::of_document(b"<html>").is_none());
    }

    #[test]
    fn what_another_program_says_is_text_and_nothing_else() {
        let evil = "\u{1b}]0;owned\u{7}\u{202e}|x";
        let mut document: serde_json::Value = serde_json::from_slice(&json::render(&reported(), None)).unwrap();
        fn spoil(value: &mut serde_json::Value, evil: &str) {
            match value {
                serde_json::Value::String(text) => text.push_str(evil),
                serde_json::Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, evil)),
                serde_json::Value::Object(map) => map.values_mut().for_each(|item| spoil(item, evil)),
                _ => {}
            }
        }
        spoil(&mut document["clusters"], evil);
        let (told, _) = Summary::of_document(document.to_string().as_bytes()).unwrap();
        for text in [told.table(false, None), told.table(false, Some(60)), told.plugin()] {
            assert!(text.contains("owned") && !text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        }
        assert_eq!(told.plugin().matches('|').count(), 1, "{}", told.plugin());
        assert_eq!(told.severity(), Severity::Unknown);
    }
}
