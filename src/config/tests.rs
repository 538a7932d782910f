use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::client::{Credential, ProxySettings, SecretSource};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The files of a folder with this ending. An empty folder would test nothing, so it fails.
fn files(name: &str, ending: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect();
    assert!(!files.is_empty(), "no .{ending} files in {name}");
    files
}

#[test]
fn every_good_file_is_understood() {
    for path in files("good", "yml") {
        let config = load(&path).unwrap_or_else(|err| panic!("{err}"));
        assert!(!config.clusters.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_bad_file_gives_its_message() {
    for path in files("bad", "yml") {
        let expect_path = path.with_extension("txt");
        let got = match load(&path).unwrap_err() {
            ConfigError::Mistakes { mistakes, .. } => format!("{mistakes}\n"),
            other => panic!("{other}"),
        };
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        let expect = fs::read_to_string(&expect_path).unwrap_or_default();
        assert_eq!(got, expect, "{}", path.display());
        assert!(!got.contains("hunter2"), "a secret in the message for {}", path.display());
    }
    assert_eq!(files("bad", "yml").len(), files("bad", "txt").len());
}

#[test]
fn example_of_the_contract_resolves_to_its_settings() {
    let config = load(&folder("good/contract.yml")).unwrap();
    let [east, lab] = config.clusters.as_slice() else { panic!("{config:?}") };
    assert_eq!(east.name.as_str(), "prod-east");
    assert_eq!(east.client.url.as_str(), "https://prod-east.example.com:8000/");
    assert_eq!((east.interval, east.client.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!(east.stale_after, Duration::from_secs(300));
    assert_eq!(east.client.credential, Credential::Token(SecretSource::File(folder("good/prod-east.token"))));
    assert_eq!(east.client.transport.proxy, ProxySettings::Direct);
    assert_eq!((lab.interval, lab.stale_after), (Duration::from_secs(30), Duration::from_secs(150)));
    let tls = lab.client.transport.tls.as_ref().unwrap();
    assert_eq!(tls.ca_file, Some(folder("good/lab-ca.pem")));
    assert!(matches!(&lab.client.credential, Credential::Login { username, .. } if username == "monitor"));
}

#[test]
fn short_intervals_have_short_timeouts() {
    let text =
        "global: {poll_interval: 2s}\nclusters:\n- {name: a, url: 'https://a', authorization: {credentials_file: t}}";
    let config = parse(text, Path::new("/etc")).unwrap();
    assert_eq!(config.clusters[0].client.timeout, Duration::from_secs(2));
    assert_eq!(config.clusters[0].stale_after, Duration::from_secs(10));
}

#[test]
fn insecure_settings_are_warned_about() {
    let config = load(&folder("good/everything.yml")).unwrap();
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("insecure_skip_verify"), "{:?}", config.warnings);
}

#[test]
fn a_single_cluster_needs_no_file() {
    let cluster = SingleCluster {
        url: "https://prod.example.com".to_owned(),
        token_file: Some("token".into()),
        ..SingleCluster::default()
    };
    let config = single(&cluster).unwrap();
    assert_eq!(config.clusters[0].name.as_str(), "prod.example.com");
    let message = single(&SingleCluster { url: "http://prod".to_owned(), ..SingleCluster::default() });
    assert_eq!(
        message.unwrap_err().to_string(),
        "--cluster.url (QUMULO_URL): must be https: a credential is never sent in the clear, except to this machine\n\
         --cluster.token-file (QUMULO_TOKEN_FILE): is missing: the file that holds the access token"
    );
    let pinned = SingleCluster { pin_sha256: vec!["zz".to_owned()], ..cluster };
    assert!(single(&pinned).unwrap_err().to_string().starts_with("--cluster.pin-sha256 (QUMULO_PIN_SHA256): "));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let message = load(Path::new("/nowhere/at-all.yml")).unwrap_err().to_string();
    assert!(message.contains("/nowhere/at-all.yml") && message.contains("--config.file"), "{message}");
}

#[test]
fn schema_is_in_step_with_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.schema.json");
    let mut schema = serde_json::to_string_pretty(&schemars::schema_for!(raw::Raw)).unwrap();
    schema.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert_eq!(schema, fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 cargo test accepts the difference");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(clusters|global|name|url|[-:{}\\[\\]&*!|>'\"#\n ]|\\PC){0,60}") {
        let _ = parse(&text, Path::new(""));
    }
}
