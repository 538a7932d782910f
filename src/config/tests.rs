use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    client::{Credential, ProxySettings, SecretSource},
    file::ConfiguredPath,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The files of a folder with this extension. Fails if there are none, because nothing would be tested.
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
        load(&path).unwrap_or_else(|err| panic!("{err}"));
    }
}

/// Uses the stack size of the threads that parse files, where an overflow would abort the process.
#[test]
fn however_deep_a_file_is_nested_it_is_read_or_refused() {
    let read = || {
        for depth in [1, 5, 14, 15, 16, 17, 40, 64, 100, 200, 1_000, 10_000] {
            let list = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let map = format!("{}1{}", "{a: ".repeat(depth), "}".repeat(depth));
            let lines: String = (1..depth.min(1_000)).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
            let aliases: String =
                (1..depth.min(1_000)).map(|level| format!("x-{level}: &a{level} [*a{}]\n", level - 1)).collect();
            for text in [
                format!("x-a: {list}\n"),
                format!("x-a: {map}\n"),
                format!("x-a:\n{lines}"),
                format!("x-0: &a0 a\n{aliases}"),
            ] {
                let text = format!("{text}clusters: []\n");
                let loaded = parse(&text, Path::new(""));
                match loaded {
                    Ok(_) => assert!(depth <= 16, "{depth}"),
                    Err(errors) => {
                        assert!(depth > 10 && errors.to_string().contains("too deeply"), "{depth}: {errors}")
                    }
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(crate::file::STACK).spawn(read).unwrap().join().unwrap();
}

#[test]
fn every_bad_file_gives_its_message() {
    for path in files("bad", "yml") {
        let expect_path = path.with_extension("txt");
        let errors = load(&path).unwrap_err();
        let got = format!("{errors}\n").replace(&format!("{}/", folder("bad").display()), "");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        let expect = fs::read_to_string(&expect_path).unwrap_or_default();
        assert_eq!(got, expect, "{}", path.display());
        assert!(!got.contains("hunter2"), "a secret in the message for {}", path.display());
    }
    assert_eq!(files("bad", "yml").len(), files("bad", "txt").len());
}

/// Parses a text as if it were a file in `folder`.
fn parse(text: &str, folder: &Path) -> Result<Config, ConfigErrors> {
    super::parse(&SourceFile { path: folder.join("config.yml"), text: text.to_owned() }.into())
}

/// All errors of a text, one per line.
fn errors(text: &str) -> String {
    parse(text, Path::new("")).unwrap_err().to_string()
}

#[test]
fn example_of_the_contract_resolves_to_its_settings() {
    let config = load(&folder("good/contract.yml")).unwrap();
    let [east, lab] = config.clusters.as_slice() else { panic!("{config:?}") };
    assert_eq!(east.name.as_str(), "prod-east");
    assert_eq!(east.client.url.as_str(), "https://prod-east.example.com:8000/");
    assert_eq!((east.interval, east.client.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!(east.stale_after, Duration::from_secs(300));
    assert_eq!(
        east.client.credential,
        Credential::Token(SecretSource::File(ConfiguredPath::new(&folder("good"), Path::new("prod-east.token"))))
    );
    assert_eq!(east.client.transport.proxy, ProxySettings::Direct);
    assert_eq!((lab.interval, lab.stale_after), (Duration::from_secs(30), Duration::from_secs(150)));
    let tls = lab.client.transport.tls.as_ref().unwrap();
    assert_eq!(tls.ca_file.as_ref().unwrap().path(), folder("good/lab-ca.pem"));
    assert_eq!(lab.metadata.labels.iter().collect::<Vec<_>>(), [("site", "berlin")]);
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
    let warnings: Vec<_> = config.warnings.iter().map(|warning| (warning.cluster.as_deref(), &*warning.key)).collect();
    assert_eq!(warnings, [(Some("insecure"), "tls_config.insecure_skip_verify")]);
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
        "--cluster.url (QUMULO_URL): must use https: credentials are not sent without TLS, except to this host\n\
         --cluster.token-file (QUMULO_TOKEN_FILE): is missing; set the file that contains the access token"
    );
    for (url, token_file) in [("https://prod\n", "t"), ("https://prod", "t\n")] {
        let flags =
            SingleCluster { url: url.to_owned(), token_file: Some(token_file.into()), ..SingleCluster::default() };
        let message = single(&flags).unwrap_err().to_string();
        assert!(message.contains("a line break") && message.starts_with("--cluster."), "{message}");
    }
    let pinned = SingleCluster { pin_sha256: vec!["zz".to_owned()], ..cluster };
    assert!(single(&pinned).unwrap_err().to_string().starts_with("--cluster.pin-sha256 (QUMULO_PIN_SHA256): "));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let message = load(Path::new("/nowhere/at-all.yml")).unwrap_err().to_string();
    assert!(message.contains("/nowhere/at-all.yml") && message.contains("--config.file"), "{message}");
}

#[test]
fn global_holds_everything_but_what_makes_a_cluster() {
    let text = "
global:
  login: {username: monitor, password_file: password}
  tls_config: {ca_file: ca.pem}
  proxy_url: http://proxy:3128
  proxy_authorization: {username: p, password_file: proxy.password}
clusters:
- {name: inherits, url: 'https://a'}
- {name: own, url: 'https://b', authorization: {credentials_file: t}, tls_config: {min_version: TLS13}, no_proxy: b, proxy_url: 'http://other:1'}
- {name: direct, url: 'https://c', proxy_from_environment: false}
";
    let config = parse(text, Path::new("/etc")).unwrap();
    let [inherits, own, direct] = config.clusters.as_slice() else { panic!("{config:?}") };
    assert!(matches!(&inherits.client.credential, Credential::Login { username, .. } if username == "monitor"));
    let tls = |cluster: &poll::ClusterSettings| cluster.client.transport.tls.clone().unwrap();
    assert!(tls(inherits).ca_file.is_some() && tls(own).ca_file.is_none() && tls(own).only_tls13);
    assert!(matches!(&inherits.client.transport.proxy, ProxySettings::Url { account: Some(_), .. }));
    assert!(matches!(&own.client.transport.proxy, ProxySettings::Url { account: None, .. }), "never half of it");
    assert!(matches!(&own.client.credential, Credential::Token(_)));
    assert_eq!(direct.client.transport.proxy, ProxySettings::Direct);
}

#[test]
fn the_name_of_a_cluster_stands_in_paths() {
    let text = "
global:
  authorization: {credentials_file: 'tokens/{name}'}
  tls_config: {ca_file: '{name}/ca.pem', cert_file: '{name}.pem', key_file: '/keys/{name}.key'}
  proxy_url: http://proxy:3128
  proxy_authorization: {username: p, password_file: '{name}.proxy'}
clusters:
- {name: prod-east, url: 'https://a'}
- {name: own, url: 'https://b', login: {username: u, password_file: '{name}.password'}, tls_config: {ca_file: ca.pem}}
";
    let config = parse(text, Path::new("/etc/{name}")).unwrap();
    let files = |index: usize| -> Vec<String> {
        let client = &config.clusters[index].client;
        let secret = match &client.credential {
            Credential::Token(SecretSource::File(file))
            | Credential::Login { password: SecretSource::File(file), .. } => file.path(),
            other => panic!("{other:?}"),
        };
        let paths = [secret].into_iter().chain(client.transport.files());
        paths.map(|path| path.display().to_string()).collect()
    };
    for path in ["tokens/prod-east", "prod-east/ca.pem", "prod-east.pem", "prod-east.proxy"] {
        assert!(files(0).contains(&format!("/etc/{{name}}/{path}")), "{path}: {:?}", files(0));
    }
    assert!(files(0).contains(&"/keys/prod-east.key".to_owned()), "{:?}", files(0));
    for path in ["own.password", "ca.pem", "own.proxy"] {
        assert!(files(1).contains(&format!("/etc/{{name}}/{path}")), "{path}: {:?}", files(1));
    }
    for name in ["..", ".", ".hidden", "../../etc/passwd", "/etc/passwd", "a/b"] {
        let refused = errors(&text.replace("prod-east", name));
        assert!(refused.contains("name: cannot replace `{name}` in a path"), "{name}: {refused}");
        let free = text.replace("{name}", "all").replace("prod-east", name);
        assert!(parse(&free, Path::new("")).is_ok(), "{name}");
    }
}

#[test]
fn a_fingerprint_is_taken_as_people_paste_it() {
    let hex = ["AB"; 32].join(":");
    let read = |value: &str| {
        let text = format!(
            "clusters: [{{name: a, url: 'https://a', authorization: {{credentials_file: t}}, tls_config: {{pin_sha256: {value}}}}}]"
        );
        parse(&text, Path::new("")).map(|config| config.clusters[0].client.transport.tls.clone().unwrap().pins)
    };
    let pin: crate::client::Pin = hex.parse().unwrap();
    for value in [
        hex.clone(),
        hex.replace(':', ""),
        format!("'{hex}'"),
        format!("[{hex}]"),
        format!("sha256 Fingerprint={hex}"),
        format!("[SHA256 Fingerprint={hex}]"),
        format!("['{}']", hex.to_lowercase()),
    ] {
        assert_eq!(read(&value), Ok(vec![pin]), "{value}");
    }
    assert_eq!(read(&format!("[{hex}, {hex}]")), Ok(vec![pin, pin]));
    let wrong = |value: &str, expect: &str| {
        let text = read(value).unwrap_err().to_string();
        assert!(text.contains(expect), "{value}: {text}");
    };
    wrong("AB:CD", "tls_config.pin_sha256: a SHA-256 fingerprint is 64");
    wrong("[AB:CD]", "tls_config.pin_sha256[0]: a SHA-256 fingerprint is 64");
    wrong("''", "tls_config.pin_sha256: a SHA-256 fingerprint is 64");
    wrong("[]", "is an empty list");
    wrong("{a: b}", "must be a list");
    let flags = SingleCluster {
        url: "https://a".to_owned(),
        token_file: Some("t".into()),
        pin_sha256: vec![format!("sha256 Fingerprint={hex}")],
        ..SingleCluster::default()
    };
    assert_eq!(single(&flags).unwrap().clusters[0].client.transport.tls.as_ref().unwrap().pins, [pin]);
}

#[test]
fn a_byte_order_mark_is_passed_over_in_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let entry = "clusters: [{name: NAME, url: 'https://a', authorization: {credentials_file: t}}]\n";
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("main.yml", format!("\u{feff}cluster_files: [more.yml]\n{}", entry.replace("NAME", "one")));
    write("more.yml", format!("\u{feff}{}", entry.replace("NAME", "two")));
    assert_eq!(load(&folder.path().join("main.yml")).unwrap().clusters.len(), 2);
}

#[test]
fn a_pattern_that_matches_no_file_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("main.yml", "cluster_files:\n- 'm*.yaml'\n- '*.yaml'\n- 'clusters.d/*.yml'\n");
    let entry = "clusters: [{name: a, url: 'https://a', authorization: {credentials_file: t}}]\n";
    write("more.yaml", entry);
    let warnings = || {
        let config = load(&folder.path().join("main.yml")).unwrap();
        config.warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.problem)).collect::<Vec<_>>()
    };
    let problem = "cluster_files[2]: matches no file; check the pattern and the folder's permissions";
    assert_eq!(warnings(), [problem], "a file that two patterns match counts for both");
    fs::create_dir(folder.path().join("clusters.d")).unwrap();
    write("clusters.d/b.yml", &entry.replace("name: a", "name: b"));
    assert_eq!(warnings(), [""; 0]);
}

#[test]
fn errors_of_global_are_reported_once() {
    let text = "
global: {poll_timeout: 2h, tls_config: {pin_sha256: [zz]}, authorization: {credentials_file: t}}
clusters:
- {name: a, url: 'https://a'}
- {name: b, url: 'https://b'}
";
    let text = errors(text);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("config.yml:2:10: global.poll_timeout: must be at most"), "{text}");
}

#[test]
fn a_configuration_can_be_split_and_be_without_clusters() {
    let config = load(&folder("good/split.yml")).unwrap();
    let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["first", "east", "west"]);
    assert!(config.error(2, "x").to_string().contains("split.d/west.yml:3:5: cluster \"west\""));
    let none = parse("clusters: []", Path::new("")).unwrap();
    assert_eq!(none.warnings.to_string(), "config.yml: has no clusters, so nothing is monitored");
    assert_eq!(
        errors("cluster_files: [a.yml, 'b*.yml']\nclusters: [x]"),
        "config.yml:2:12: must be a mapping (`key: value`)"
    );
}

#[test]
fn keys_for_anchors_are_free() {
    let text = "
x-trust: &trust {ca_file: ca.pem}
clusters:
- {name: a, url: 'https://a', authorization: {credentials_file: t}, tls_config: *trust}
";
    assert!(parse(text, Path::new("")).unwrap().clusters[0].client.transport.tls.as_ref().unwrap().ca_file.is_some());
}

#[test]
fn schemas_are_in_step_with_the_types() {
    for (name, mut schema) in [
        ("config.schema.json", schemars::schema_for!(Raw)),
        ("cluster-file.schema.json", schemars::schema_for!(RawClusterFile)),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
        schema::finish(&mut schema);
        let mut schema = serde_json::to_string_pretty(&schema).unwrap();
        schema.push('\n');
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &schema).unwrap();
        }
        assert_eq!(schema, fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 cargo test accepts the difference");
    }
}

/// A token in the wrong place is reported without repeating it.
#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let secret = "access-v1:hunter2";
    let template = fs::read_to_string(folder("good/everything.yml")).unwrap();
    let mut tried = 0;
    for (index, line) in template.lines().enumerate() {
        let Some((key, value)) = line.rsplit_once(": ").filter(|_| !line.contains('{')) else { continue };
        if value.is_empty() || key.starts_with('#') {
            continue;
        }
        tried += 1;
        for pasted in [format!("{key}: {secret}"), format!("{key}: [{secret}]"), format!("{secret}: {value}")] {
            let mut lines: Vec<&str> = template.lines().collect();
            lines[index] = &pasted;
            let text = match parse(&lines.join("\n"), &folder("good")) {
                Ok(config) => format!("{config:?}"),
                Err(errors) => format!("{errors} {errors:?}"),
            };
            assert!(!text.contains("hunter2"), "{pasted}: {text}");
        }
    }
    assert!(tried > 15, "{tried}");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(clusters|global|name|url|[-:{}\\[\\]&*!|>'\"#\n ]|\\PC){0,60}") {
        let _ = parse(&text, Path::new(""));
    }
}
