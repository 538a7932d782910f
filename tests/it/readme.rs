//! Compares the tables, examples and outputs in README and documentation with the program.

use std::{collections::BTreeSet, time::Duration};

use clap::CommandFactory;
use qumulo_encryption_exporter::{
    cli::{self, Cli, WebArgs},
    client::{
        ClientSettings, Credential, Pin, ProxySettings, SecretSource, TlsSettings, TransportPool, TransportSettings,
    },
    clock, config,
    metrics::{self, Text, catalog},
    model::{ClusterMetadata, ClusterName, FailureReason, KeyStore, Status},
    poll::{self, Poller},
    secret::Secret,
    store::Store,
};
use qumulo_simulator::{Fleet, FleetSpec};

const README: &str = concat!(
    include_str!("../../README.md"),
    include_str!("../../benches/README.md"),
    include_str!("../../dashboards/README.md"),
    include_str!("../../deploy/README.md"),
    include_str!("../../deploy/prometheus/README.md"),
    include_str!("../../docs/configuration.md"),
    include_str!("../../docs/metrics.md"),
    include_str!("../../docs/reliability.md"),
    include_str!("../../docs/status.md"),
);

/// The content of all fenced code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The cells of all table rows whose first cell is in backticks.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = README.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

#[test]
fn metrics_table_is_the_catalog() {
    let rows = rows();
    let named = |name: &str| name.starts_with("qumulo_encryption_") || name.starts_with("process_");
    let documented: BTreeSet<&str> = rows.iter().map(|row| row[0]).filter(|name| named(name)).collect();
    let served: BTreeSet<&str> = catalog::all().map(|metric| metric.name).collect();
    assert_eq!(documented, served);
    for metric in catalog::all() {
        let row = rows.iter().find(|row| row[0] == metric.name).unwrap();
        assert_eq!(row[1], metric.kind.as_str(), "type of {}", metric.name);
        let labels: Vec<&str> = metric.labels.iter().copied().filter(|label| *label != "cluster").collect();
        let shown: Vec<&str> =
            row[2].split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty()).collect();
        assert_eq!(shown, labels, "labels of {}", metric.name);
    }
}

#[test]
fn every_label_value_is_documented() {
    let values = Status::LABELS.into_iter().chain(KeyStore::LABELS).chain(FailureReason::LABELS);
    for value in values {
        assert!(README.contains(&format!("`{value}`")), "{value}");
    }
    for reason in FailureReason::ALL {
        assert!(README.contains(&format!("\n| `{}` |", reason.label())), "{reason:?} has no row in Troubleshooting");
    }
}

#[test]
fn every_flag_is_documented_with_its_variable() {
    let command = cli::command();
    let flags: Vec<_> =
        command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg.get_env()?.to_str()?))).collect();
    assert!(flags.len() > 10);
    for (flag, variable) in &flags {
        assert!(README.contains(&format!("\n| `--{flag}` | `{variable}` |")), "--{flag}");
    }
    let documented = README.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(documented, flags.len(), "every row is for an existing flag");
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let keys = config::keys();
    assert!(keys.len() > 30, "{}", keys.len());
    for (key, _) in keys {
        let name = key.rsplit(['.', ']']).next().unwrap();
        let documented = include_str!("../../docs/configuration.md");
        assert!(name.is_empty() || documented.contains(name), "{key} is not in docs/configuration.md");
    }
}

#[test]
fn configuration_examples_are_good() {
    let examples: Vec<_> = blocks("yaml").into_iter().filter(|block| block.contains("clusters:")).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let text = example.to_owned();
        let source = config::SourceFile { path: "/etc/config.yml".into(), text };
        config::parse(&source.into()).unwrap_or_else(|errors| panic!("{errors}\n{example}"));
    }
}

#[test]
fn commands_are_understood() {
    let mut checked = 0;
    for line in blocks("sh").into_iter().flat_map(str::lines) {
        let words = line.split(" > ").next().unwrap();
        let arguments = words
            .strip_prefix("cargo run --")
            .or_else(|| words.strip_prefix("target/release/qumulo-encryption-exporter"))
            .or_else(|| words.strip_prefix("qumulo-encryption-exporter"));
        if let Some(arguments) = arguments {
            let parsed =
                Cli::command().try_get_matches_from(std::iter::once("exporter").chain(arguments.split_whitespace()));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn ci_runs_the_test_command_as_written() {
    const CI: &str = include_str!("../../.ci/run");
    let command = "cargo test";
    assert!(blocks("sh").contains(&"cargo test\n"), "the README names the command");
    assert!(CI.lines().any(|line| line == command), "CI runs it unchanged");
}

#[test]
fn defaults_in_the_text_are_the_defaults() {
    let text = "clusters: [{name: a, url: 'https://a', authorization: {credentials_file: t}}]".to_owned();
    let source = config::SourceFile { path: "config.yml".into(), text };
    let cluster = config::parse(&source.into()).unwrap().clusters.remove(0);
    assert!(README.contains("70 seconds by default") && README.contains("`stale_after` (5 minutes by default)"));
    assert_eq!(cluster.interval + cluster.client.timeout, Duration::from_secs(70));
    assert_eq!(cluster.stale_after, Duration::from_secs(300));
    let mut web = clap::Command::new("web");
    web = <WebArgs as clap::Args>::augment_args(web);
    let default = |id: &str| {
        let arg = web.get_arguments().find(|arg| arg.get_id() == id).unwrap();
        arg.get_default_values()[0].to_str().unwrap().to_owned()
    };
    assert_eq!((default("max_requests").as_str(), default("telemetry_path").as_str()), ("40", "/metrics"));
}

/// The output of `status` for the fleet of `demo`.
#[tokio::test]
async fn output_of_the_demonstration_is_real() {
    let fleet = Fleet::start(FleetSpec::demo()).await.unwrap();
    let store = Store::default();
    let mut poller = Poller::new(store.clone());
    let pool = std::sync::Arc::<TransportPool>::default();
    let settings = fleet.iter().map(|cluster| {
        let pins = vec![cluster.fingerprint().parse::<Pin>().unwrap()];
        let transport = TransportSettings {
            connect_timeout: Duration::from_secs(5),
            proxy: ProxySettings::Direct,
            tls: Some(TlsSettings { pins, ..TlsSettings::default() }),
        };
        let credential = Credential::Token(SecretSource::Fixed(Secret::new(&cluster.spec().token())));
        let client = ClientSettings {
            credential,
            kms_probe: None,
            transport,
            timeout: Duration::from_secs(10),
            url: cluster.url().parse().unwrap(),
        };
        let (name, interval) = (ClusterName::new(cluster.name()).unwrap(), Duration::from_secs(60));
        poll::ClusterSettings {
            client,
            interval,
            metadata: ClusterMetadata::default(),
            name,
            stale_after: interval * 5,
        }
    });
    poller.apply(settings.collect(), &pool);
    while !store.view().all_polled() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut text = Text::default();
    metrics::render(&store.view(), &clock::now(), &mut text);
    let text = text.into_string();
    let current: Vec<&str> =
        text.lines().filter(|line| line.starts_with("qumulo_encryption_status") && line.ends_with(" 1")).collect();
    let current: Vec<&str> = current.into_iter().filter(|line| !line.contains("_total")).collect();
    assert_eq!(current.join("\n") + "\n", blocks("text")[0]);
    for sample in blocks("text")[1].lines() {
        assert!(text.lines().any(|line| line == sample), "{sample}");
    }
}
