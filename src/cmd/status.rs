//! `status`: every cluster asked once, for people and for monitoring plugins.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::reload::{Clusters, Source};
use crate::{
    cli::{OutputForm, StatusArgs},
    clock, limits, metrics,
    model::{DateField, KmsCertificate},
    report::{self, ClusterReport, Report, Severity, span, visible},
    store::{Store, View},
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Asks, prints, and judges by the exit status.
pub fn run(args: &StatusArgs) -> ExitCode {
    match ask(args) {
        Ok(view) => {
            let now = clock::now();
            let report = report::report(&view, &now);
            let text = match args.output {
                OutputForm::Json => report::json::render(&report),
                OutputForm::Plugin => plugin(&report).into_bytes(),
                OutputForm::Prometheus => {
                    let mut text = metrics::Text::default();
                    metrics::render(&view, &now, &mut text);
                    text.into_string().into_bytes()
                }
                OutputForm::Table => {
                    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                    table(&report, colour).into_bytes()
                }
            };
            match super::print(&text) {
                Ok(()) => ExitCode::from(code(report.severity())),
                Err(err) => unknown(&err),
            }
        }
        Err(err) => unknown(&err),
    }
}

/// Nothing can be said of the clusters, and why.
fn unknown(err: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{err:#}");
    ExitCode::from(code(Severity::Unknown))
}

/// As monitoring plugins have it.
fn code(severity: Severity) -> u8 {
    match severity {
        Severity::Good | Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
        Severity::Unknown => 3,
    }
}

/// Polls with the daemon's own parts until every first poll has ended.
fn ask(args: &StatusArgs) -> anyhow::Result<View> {
    limits::raise_descriptors();
    super::runtime()?.block_on(async {
        let store = Store::default();
        let mut clusters = Clusters::new(Source::new(&args.clusters), store.clone());
        clusters.only(&args.names);
        clusters.load().await?;
        let started = Instant::now();
        loop {
            let view = store.view();
            let done = view.clusters.iter().filter(|cluster| cluster.last_poll().is_some()).count();
            progress(done, view.clusters.len(), started);
            if done == view.clusters.len() {
                return Ok(view);
            }
            sleep(LOOK).await;
        }
    })
}

/// One line that overwrites itself, for those who wait.
fn progress(done: usize, all: usize, started: Instant) {
    if !io::stderr().is_terminal() || started.elapsed() < Duration::from_secs(1) {
        return;
    }
    let text = if done == all { "\r\u{1b}[K".to_owned() } else { format!("\r{done} of {all} clusters answered") };
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The summary of a monitoring plugin: the worst findings, and the numbers behind the bar.
fn plugin(report: &Report) -> String {
    let severity = report.severity();
    let all = report.clusters.len();
    let worst = report.clusters.iter().filter(|cluster| cluster.severity() == severity && severity != Severity::Good);
    let mut summary: Vec<String> = worst
        .filter_map(|cluster| {
            let finding = cluster.findings.iter().max_by_key(|finding| finding.severity)?;
            // The bar begins the numbers.
            Some(format!("{}: {}", visible(&cluster.name), visible(&finding.text)).replace('|', "/"))
        })
        .collect();
    let (shown, more) = (5, summary.len().saturating_sub(5));
    summary.truncate(shown);
    if more > 0 {
        summary.push(format!("and {more} more"));
    }
    if summary.is_empty() {
        summary.push(counted(all, "good"));
    }
    let numbers = Severity::ALL.map(|severity| format!("{}={};;;0;{all}", severity.label(), report.count(severity)));
    let days =
        report.clusters.iter().flat_map(|cluster| &cluster.certificates).map(|each| each.seconds_left / 86_400.0);
    let first = days.min_by(f64::total_cmp).map(|days| format!(" first_expiry_days={days:.1}")).unwrap_or_default();
    let (label, summary) = (severity.label().to_uppercase(), summary.join("; "));
    format!("QUMULO ENCRYPTION {label} - {summary} | {}{first}\n", numbers.join(" "))
}

/// `1 cluster good`, `2 clusters good`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} cluster{} {what}", if number == 1 { "" } else { "s" })
}

fn table(report: &Report, coloured: bool) -> String {
    let head = ["CLUSTER", "STATE", "STATUS", "KEY STORE", "KMS CA", "KMS CLIENT", "KEY AGE"].map(str::to_owned);
    let rows: Vec<[String; 7]> = report.clusters.iter().map(|cluster| row(cluster, report)).collect();
    let mut widths = head.each_ref().map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, &head, &widths, None);
    for (row, cluster) in rows.iter().zip(&report.clusters) {
        line(&mut text, row, &widths, coloured.then(|| colour(cluster.severity())));
        for finding in &cluster.findings {
            let _ = writeln!(text, "  {}: {}. {}", finding.severity.label(), visible(&finding.text), finding.advice);
        }
    }
    let totals = Severity::ALL.map(|severity| format!("{} {}", report.count(severity), severity.label()));
    let _ = writeln!(text, "{}: {}", counted(report.clusters.len(), "").trim_end(), totals.join(", "));
    text
}

fn row(cluster: &ClusterReport, report: &Report) -> [String; 7] {
    let left = |kind: KmsCertificate| {
        let certificate = cluster.certificates.iter().find(|certificate| certificate.kind == kind);
        certificate.map_or("-".to_owned(), |certificate| {
            let span = span(certificate.seconds_left);
            if certificate.seconds_left > 0.0 { span } else { format!("{span} ago") }
        })
    };
    let age = cluster.date(DateField::LastKeyRotationTime);
    [
        visible(&cluster.name),
        cluster.severity().label().to_owned(),
        visible(&cluster.headline()),
        cluster.key_store().to_owned(),
        left(KmsCertificate::Ca),
        left(KmsCertificate::Client),
        age.map_or("-".to_owned(), |at| span((report.at - at).num_seconds() as f64)),
    ]
}

/// Cells side by side; the second one, the state, in colour.
fn line(text: &mut String, cells: &[String; 7], widths: &[usize; 7], colour: Option<&str>) {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 2);
        match colour {
            Some(colour) if index == 1 => line.push_str(&format!("\u{1b}[{colour}m{cell}\u{1b}[0m{padding}")),
            _ => line.push_str(&format!("{cell}{padding}")),
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
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
    use crate::report::tests::{fleet, moment};

    const GOLDEN: &str = "tests/golden/status.txt";

    #[test]
    fn table_of_a_fixed_fleet_is_the_golden_file() {
        let (store, origin) = (Store::default(), Instant::now());
        let _publishers = fleet(&store, origin);
        let report = report::report(&store.view(), &moment(origin, 670));
        let got = table(&report, false);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(GOLDEN, &got).unwrap();
        }
        assert_eq!(got, std::fs::read_to_string(GOLDEN).unwrap(), "to accept it: UPDATE_GOLDEN=1 cargo test");
        let coloured = table(&report, true);
        assert!(coloured.contains("\u{1b}[31mcritical\u{1b}[0m  "), "{coloured}");
        let plain = ["31", "32", "33", "35", "0"]
            .iter()
            .fold(coloured, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(plain, got, "colour moves nothing");
    }

    #[test]
    fn a_plugin_says_the_worst_in_one_line() {
        let (store, origin) = (Store::default(), Instant::now());
        let _publishers = fleet(&store, origin);
        let text = plugin(&report::report(&store.view(), &moment(origin, 670)));
        assert_eq!(
            text,
            "QUMULO ENCRYPTION CRITICAL - lost: KMS key not found; expired: The certificate of the KMS's authority expired 2 \
             days ago; very-soon: The cluster's client certificate expires in 2 days | critical=3;;;0;10 unknown=3;;;0;10 \
             warning=3;;;0;10 good=1;;;0;10 first_expiry_days=-2.0\n"
        );
    }

    #[test]
    fn exit_codes_are_those_of_monitoring_plugins() {
        let codes = [Severity::Good, Severity::Warning, Severity::Critical, Severity::Unknown].map(code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
