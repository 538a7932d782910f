//! `status`: polls every cluster once, for people and for monitoring plugins.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use url::Url;

use super::{
    record,
    reloader::Loader,
    summary::{self, Summary},
};
use crate::{
    cli::{OutputForm, StatusArgs},
    client::{self, Client, Recorded, Recorder},
    clock,
    config::ConfigErrors,
    limits, metrics,
    model::{escape_hidden, is_hidden},
    poll::{self, ClusterSettings},
    recording,
    report::{self, Severity},
    store::{Store, View},
};

/// How often the progress of the polls is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Prints the status; the exit status is that of monitoring plugins.
pub fn run(args: &StatusArgs) -> ExitCode {
    let printed = match &args.exporter_url {
        Some(url) => from_exporter(url, args),
        None => from_clusters(args),
    };
    match printed.and_then(|(text, severity)| super::print(text.as_bytes()).map(|()| severity)) {
        // The state is in the series, and a script must replace its file by them in an emergency, too.
        Ok(_) if args.output == OutputForm::Prometheus => ExitCode::SUCCESS,
        Ok(severity) => ExitCode::from(code(severity)),
        Err(err) => unknown(&format!("{err:#}"), args.output == OutputForm::Plugin),
    }
}

/// Prints why nothing is known about the clusters: on standard error, and for a monitoring plugin as its one line.
pub fn unknown(problem: &str, plugin: bool) -> ExitCode {
    let _ = writeln!(io::stderr(), "{problem}");
    if plugin {
        let _ = super::print(summary::plugin_unknown(problem).as_bytes());
    }
    ExitCode::from(code(Severity::Unknown))
}

fn from_clusters(args: &StatusArgs) -> anyhow::Result<(String, Severity)> {
    let (view, recorded) = poll(args)?;
    let now = clock::now();
    let report = report::report(&view, &now);
    if let Some(path) = &args.record {
        record::write(path, &recording::record(&recorded, &report, &now, args.record_names))?;
    }
    render(args, report::json::render(&report, None), |_| {
        let mut text = metrics::Text::default();
        metrics::render(&view, &now, &mut text);
        Ok(text.into_string())
    })
}

/// Asks a running exporter, which needs no configuration and no credential.
fn from_exporter(url: &Url, args: &StatusArgs) -> anyhow::Result<(String, Severity)> {
    if !args.names.is_empty() && matches!(args.output, OutputForm::Json | OutputForm::Prometheus) {
        anyhow::bail!("--exporter.url prints all clusters in this form of output; name none");
    }
    let mut base = url.clone();
    if let Ok(mut segments) = base.path_segments_mut() {
        segments.pop_if_empty().push("");
    }
    let get = |path: &str| -> anyhow::Result<Vec<u8>> {
        let url = base.join(path)?;
        super::block_on(async { client::fetch(&url).await.map_err(anyhow::Error::msg) })
    };
    let json = get("api/v1/clusters")?;
    render(args, json, |metrics| cluster_series(&String::from_utf8(get(metrics)?)?).ok_or_else(not_an_exporter))
}

/// The output, and how bad it is. `series` gets the path of the exporter's metrics.
fn render(
    args: &StatusArgs,
    json: Vec<u8>,
    series: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<(String, Severity)> {
    let summary = Summary::from_json(&json).ok_or_else(not_an_exporter)?;
    let summary = summary.only(&args.names).map_err(anyhow::Error::msg)?;
    let text = match args.output {
        OutputForm::Json => escape_hidden(String::from_utf8(json)?),
        OutputForm::Plugin => summary.plugin(),
        OutputForm::Prometheus => series(summary.metrics())?,
        OutputForm::Table => summary.table(coloured(), width()),
    };
    Ok((text, summary.severity()))
}

fn not_an_exporter() -> anyhow::Error {
    anyhow::anyhow!("what answers at --exporter.url is not this exporter; give the address of its status page")
}

/// The families of clusters and exporter; node_exporter has those of the process itself. `None` if the text has characters
/// that a terminal may obey or that nobody sees.
fn cluster_series(text: &str) -> Option<String> {
    let ours = |line: &&str| {
        let name = ["# HELP ", "# TYPE "].iter().find_map(|start| line.strip_prefix(start)).unwrap_or(line);
        name.starts_with("qumulo_")
    };
    let is_plain = !text.contains(|c| is_hidden(c) && c != '\n');
    is_plain.then(|| text.split_inclusive('\n').filter(ours).collect())
}

fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The width of a line: `COLUMNS`, else that of the terminal. `None` for a file or a pipe.
fn width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    columns.or_else(|| Some(terminal_size::terminal_size_of(io::stdout())?.0.0.into()))
}

/// The exit status of monitoring plugins.
fn code(severity: Severity) -> u8 {
    match severity {
        Severity::Good | Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
        Severity::Unknown => 3,
    }
}

/// Polls every cluster once, all at the same time. Also returns what `--record` needs.
fn poll(args: &StatusArgs) -> anyhow::Result<(View, Vec<(ClusterSettings, Recorded)>)> {
    if let Some(path) = &args.record {
        record::check(path)?;
    }
    limits::raise_descriptors();
    super::block_on(async {
        let (loader, store) = (Loader::new(&args.clusters), Store::default());
        let clusters = select(loader.load().await.1?.clusters, &args.names)?;
        // The status of a fast cluster must not become stale while a slow one is polled.
        let longest = 2 * clusters.iter().map(|cluster| cluster.client.timeout).max().unwrap_or_default();
        let (mut polls, mut recorders) = (JoinSet::new(), Vec::new());
        for settings in clusters {
            let mut client = Client::new(settings.client.clone(), loader.pool.clone());
            let mut publisher = store.publisher(settings.name.clone(), settings.stale_after);
            publisher.set_min_fresh(longest);
            store.set_metadata(&settings.name, &settings.metadata);
            if args.record.is_some() {
                let recorder = Arc::<Recorder>::default();
                client.record(recorder.clone());
                recorders.push((settings, recorder));
            }
            polls.spawn(poll::once(client, publisher));
        }
        let (all, mut publishers, started) = (polls.len(), Vec::new(), Instant::now());
        let mut ticks = interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                polled = polls.join_next() => match polled {
                    Some(publisher) => publishers.push(publisher?),
                    None => break,
                },
                _ = ticks.tick() => {}
            }
            progress(publishers.len(), all, started);
        }
        let recorded = recorders.into_iter().map(|(settings, recorder)| (settings, recorder.recorded()));
        Ok((store.view(), recorded.collect()))
    })
}

/// Only the clusters with these names, or all if there are no names; sorted by name.
fn select(mut clusters: Vec<ClusterSettings>, names: &[String]) -> Result<Vec<ClusterSettings>, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    for name in names {
        if !clusters.iter().any(|cluster| cluster.name.as_str() == name) {
            errors.add(name, "no cluster of this name is configured");
        }
    }
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    clusters.retain(|cluster| names.is_empty() || names.iter().any(|name| cluster.name.as_str() == name));
    errors.or(clusters)
}

/// Shows a line that overwrites itself, after the first second.
fn progress(done: usize, all: usize, started: Instant) {
    if !io::stderr().is_terminal() || started.elapsed() < Duration::from_secs(1) {
        return;
    }
    let text = if done == all { "\r\u{1b}[K".to_owned() } else { format!("\r{done} of {all} clusters answered") };
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_slow_cluster_does_not_change_the_setting_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clusters.yml");
        std::fs::write(folder.path().join("token"), "t").unwrap();
        let config = "
global: {authorization: {credentials_file: token}}
clusters:
- {name: fast, url: http://127.0.0.1:1, poll_interval: 10s, poll_timeout: 2s, stale_after: 12s}
- {name: slow, url: http://127.0.0.1:1, poll_timeout: 30s}
";
        std::fs::write(&file, config).unwrap();
        let cli = Cli::try_parse_from(["test", "status", "--config.file", file.to_str().unwrap()]).unwrap();
        let Some(Command::Status(args)) = cli.command else { panic!() };
        let (view, _) = poll(&args).unwrap();
        let settings = view.clusters.iter().map(|each| (each.name().as_str(), each.stale_after().as_secs()));
        assert_eq!(settings.collect::<Vec<_>>(), [("fast", 12), ("slow", 300)]);
    }

    #[test]
    fn only_families_of_ours_go_to_the_node_exporter() {
        let text = "# HELP process_cpu_seconds_total qumulo_x\n# TYPE process_cpu_seconds_total counter\n\
                    process_cpu_seconds_total 1\n# HELP qumulo_a A.\n# TYPE qumulo_a gauge\nqumulo_a{cluster=\"process_b\"} 1\n";
        assert_eq!(cluster_series(text).unwrap(), &text[text.find("# HELP qumulo_a").unwrap()..]);
    }

    #[test]
    fn series_with_hidden_characters_are_refused() {
        for hidden in ["\u{1b}[2J", "\u{9b}", "\u{202e}", "\u{200b}", "\r", "\t", "\0"] {
            for text in [format!("qumulo_a 1\n# {hidden}\n"), format!("qumulo_a{{cluster=\"{hidden}\"}} 1\n")] {
                assert_eq!(cluster_series(&text), None, "{text:?}");
            }
        }
        let text = "qumulo_a{cluster=\"Zürich 東京\"} 1\n";
        assert_eq!(cluster_series(text).as_deref(), Some(text));
    }

    #[test]
    fn exit_codes_are_those_of_monitoring_plugins() {
        let codes = [Severity::Good, Severity::Warning, Severity::Critical, Severity::Unknown].map(code);
        assert_eq!(codes, [0, 1, 2, 3]);
    }
}
