//! Recordings of `status --record`: they contain no secrets, and replaying them results in the report that they contain. To test
//! with the recording of a real cluster, add its file to `tests/recorded`.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use qumulo_encryption_exporter::{
    client::{
        Client, ClientSettings, Credential, NoProxy, ProxyAccount, ProxySettings, Recorder, SecretSource, TlsSettings,
        TransportPool,
    },
    clock,
    model::{
        ClockTime, ClusterMetadata, ClusterName, KmsProbe, Policy, PollFailure, PollResult, Require, ServerClock,
        Timestamp,
    },
    poll::ClusterSettings,
    recording, report,
    secret::Secret,
    store::Store,
};
use qumulo_simulator::{Fleet, FleetSpec, SimCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    authority::Authority,
    lab::{self, Lab, run_exporter},
    raw_server::{RawServer, Request, reply},
};

/// Clusters with responses that the exporter cannot interpret, or only in part.
const NOT_UNDERSTOOD: &str = r#"
clusters:
  - name: another-shape
    body: '{"type": "KMS", "state": {"kms": "Available", "node": "node-1"}, "hostname": "kms.corp.example"}'
  - name: refused
    auth: { password: another }
  - name: something-in-between
    body: "<html>\n <p>The proxy of the corporation</p>"
    faults: { http_status: 200 }
  - name: strange-values
    type: KMS
    status: Cannot reach kms.corp.example any more
    ca_cert_expiry: next spring
    client_cert_expiry: 1700000000
    last_key_rotation_time: -30d
    profile: core-7.x
  - name: pre-release
    profile: core-6.2.1
    type: KMS
    client_cert_expiry: +20d
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// Parses a time in a recording.
fn time(value: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
}

// === Replay ===

/// The credential for a replayed cluster.
fn credential(cluster: &SimCluster) -> Credential {
    let auth = cluster.spec().auth;
    match auth.login {
        true => Credential::Login {
            password: SecretSource::Fixed(Secret::new(&auth.password)),
            username: auth.username.clone(),
        },
        false => Credential::Token(SecretSource::Fixed(Secret::new(&cluster.spec().token()))),
    }
}

/// Polls a replayed cluster. In the result, the cluster's clock and address are replaced by the recorded ones.
async fn poll(cluster: &SimCluster, recorded: &Value, at: ClockTime) -> Result<PollResult, PollFailure> {
    let mut settings = lab::settings(&cluster.url(), credential(cluster));
    settings.transport.tls =
        Some(TlsSettings { pins: vec![cluster.fingerprint().parse().unwrap()], ..TlsSettings::default() });
    let mut result = Client::new(settings, Arc::default()).poll(Instant::now()).await.map_err(|failure| {
        let (address, url) = (cluster.addr().to_string(), recorded["url"].as_str().unwrap());
        let host = url.split_once("://").unwrap().1;
        PollFailure { message: failure.message.replace(&address, host), ..failure }
    })?;
    let since = clock::now().wall - at.wall;
    result.clock = result
        .clock
        .and_then(|clock| Some(ServerClock { at: at.mono, date: Timestamp::new(clock.date.utc() - since)? }));
    // A recording contains only the result of the KMS probe.
    let server = recorded["certificates"].as_array().unwrap().iter().find(|each| each["certificate"] == "kms_server");
    result.kms_probe = match recorded["key_store"]["reachable"].as_bool() {
        None => None,
        Some(false) => Some(KmsProbe::Unreachable),
        Some(true) => Some(KmsProbe::Shown(Timestamp::new(time(&server.unwrap()["expires_at"])).unwrap())),
    };
    Ok(result)
}

fn metadata(cluster: &Value, recorded: &Value) -> ClusterMetadata {
    let seconds = |key: &str| recorded["policy"][key].as_u64().map(Duration::from_secs);
    ClusterMetadata {
        dates_unverified: ["insecure_skip_verify", "pin_sha256"]
            .map(Value::from)
            .contains(&cluster["settings"]["trust"]),
        policy: Policy {
            certificate_critical: seconds("certificate_critical_seconds"),
            certificate_warning: seconds("certificate_warning_seconds"),
            key_max_age: seconds("key_max_age_seconds"),
            require: recorded["policy"]["require"].as_str().and_then(Require::from_label),
        },
        url: recorded["url"].as_str().unwrap().into(),
        ..ClusterMetadata::default()
    }
}

/// The clusters of a report in the order of their names, without the parts that a replay cannot reproduce.
fn comparable(report: &Value) -> Vec<Value> {
    let mut clusters = report["clusters"].as_array().unwrap().clone();
    clusters.sort_by_key(|cluster| cluster["name"].to_string());
    for cluster in &mut clusters {
        // The advice follows from the finding.
        for finding in cluster["findings"].as_array_mut().unwrap() {
            finding["advice"] = Value::Null;
        }
        // Without a response there is nothing to replay. The reason of the failure may differ.
        if ["connect", "dns", "proxy", "timeout", "tls"]
            .map(Value::from)
            .contains(&cluster["last_poll_failure"]["reason"])
        {
            *cluster = json!({ "name": cluster["name"], "severity": cluster["severity"] });
        }
    }
    clusters
}

/// The report about the recorded responses at the time of the recording.
async fn replay(text: &str) -> Value {
    let recording: Value = serde_json::from_str(text).unwrap();
    let recorded = |name: &Value| {
        recording["report"]["clusters"].as_array().unwrap().iter().find(|cluster| cluster["name"] == *name).unwrap()
    };
    let fleet = Fleet::start(FleetSpec::replay(text).unwrap()).await.unwrap();
    let now = ClockTime { mono: Instant::now(), wall: time(&recording["recorded_at"]) };
    let (store, mut publishers) = (Store::default(), Vec::new());
    for cluster in recording["clusters"].as_array().unwrap() {
        let recorded = recorded(&cluster["name"]);
        let wall = time(&cluster["polled_at"]);
        let at = ClockTime { mono: now.mono - (now.wall - wall).to_std().unwrap(), wall };
        let replayed = fleet.cluster(cluster["name"].as_str().unwrap()).unwrap();
        let outcome = poll(replayed, recorded, at).await;
        let stale_after = Duration::from_secs_f64(recorded["stale_after_seconds"].as_f64().unwrap());
        let name = ClusterName::new(replayed.name()).unwrap();
        let mut publisher = store.publisher(name.clone(), stale_after);
        let certificate = &recorded["api_certificate_expires_at"];
        publisher.set_api_certificate(certificate.is_string().then(|| Timestamp::new(time(certificate)).unwrap()));
        publisher.record(at, Duration::ZERO, outcome);
        store.set_metadata(&name, &metadata(cluster, recorded));
        publishers.push(publisher);
    }
    assert!(fleet.iter().all(|cluster| cluster.counts().refused_writes == 0));
    let report = report::json::render(&report::report(&store.view(), &now), None);
    let mut report: Value = serde_json::from_slice(&report).unwrap();
    report["exporter"] = recording["report"]["exporter"].clone();
    for cluster in report["clusters"].as_array_mut().unwrap() {
        let recorded = &recorded(&cluster["name"])["clock_skew_seconds"];
        // The clock skew is calculated from a header with whole seconds.
        let skew = &mut cluster["clock_skew_seconds"];
        if skew.as_f64().zip(recorded.as_f64()).is_some_and(|(one, other)| (one - other).abs() < 3.0) {
            *skew = recorded.clone();
        }
    }
    report
}

/// Replays a recording, and compares the report with the recorded one.
async fn check(name: &str, text: &str) {
    let recording: Value = serde_json::from_str(text).unwrap();
    let (replayed, recorded) = (comparable(&replay(text).await), comparable(&recording["report"]));
    assert_eq!(replayed.len(), recorded.len(), "{name}");
    for (replayed, recorded) in replayed.iter().zip(&recorded) {
        assert_eq!(
            replayed, recorded,
            "{name}: replayed (left), recorded (right); to accept it: UPDATE_GOLDEN=1 cargo test"
        );
    }
}

/// Replaces the report in a recording by the current one.
async fn accept(path: &Path, text: &str) {
    // The report is the last part of the file.
    let (responses, _) = text.split_once("\n  \"report\": ").unwrap();
    let report = serde_json::to_string_pretty(&json!({ "report": replay(text).await })).unwrap();
    fs::write(path, format!("{responses}{}\n", &report[1..])).unwrap();
}

#[tokio::test]
async fn recordings_replay_to_the_same_report() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert!(files.len() >= 2, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        match std::env::var_os("UPDATE_GOLDEN") {
            Some(_) => accept(&path, &text).await,
            None => check(&path.display().to_string(), &text).await,
        }
    }
}

// === Recording ===

/// Writes a configuration of these clusters. The one called `refused` has a login, the others have access tokens.
fn configuration(folder: &TempDir, fleet: &Fleet) -> PathBuf {
    let mut text = "clusters:\n".to_owned();
    for cluster in fleet.iter() {
        let (name, spec) = (cluster.name(), cluster.spec());
        let secret = folder.path().join(name);
        let credential = if name == "refused" {
            fs::write(&secret, "secret").unwrap();
            format!("login: {{username: {}, password_file: {name}}}", spec.auth.username)
        } else {
            fs::write(&secret, spec.token()).unwrap();
            format!("authorization: {{credentials_file: {name}}}")
        };
        let (url, pin) = (cluster.url(), cluster.fingerprint());
        text += &format!("- {{name: {name}, url: '{url}', {credential}, tls_config: {{pin_sha256: '{pin}'}}}}\n");
    }
    let path = folder.path().join("config.yml");
    fs::write(&path, text).unwrap();
    path
}

/// With `UPDATE_GOLDEN=1`, this test also recreates the recordings of simulated clusters that were deleted.
#[tokio::test]
async fn status_writes_a_recording_that_can_be_played_back() {
    for (name, spec) in [("demo", FleetSpec::demo()), ("not-understood", FleetSpec::parse(NOT_UNDERSTOOD).unwrap())] {
        let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::start(spec).await.unwrap());
        let (config, file) = (configuration(&folder, &fleet), folder.path().join("recording.json"));
        let status = async |options: &[&str]| run_exporter("status", &config, options, &[]).await;
        let done = status(&["--record", file.to_str().unwrap()]).await;
        let printed = String::from_utf8(done.stderr).unwrap();
        assert!(printed.contains("recording.json: the responses") && printed.contains("cluster names ("), "{printed}");
        assert!(String::from_utf8(done.stdout).unwrap().starts_with("CLUSTER"), "the usual output");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        for cluster in fleet.iter() {
            let spec = cluster.spec();
            let key_store = [spec.cluster_id(), spec.kms.hostname.clone(), spec.kms.key_id.clone()];
            for hidden in
                [spec.name.clone(), spec.token(), spec.auth.password, cluster.fingerprint()].iter().chain(&key_store)
            {
                assert!(!text.contains(&format!("\"{hidden}\"")), "{hidden} in {text}");
            }
        }
        for hidden in ["corp", "node-1", "corporation", "session-v1:", "access-v1:"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
        check(name, &text).await;
        let golden = self::folder().join(format!("{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden.exists() {
            fs::write(golden, &text).unwrap();
        }
        let again = status(&["--record", file.to_str().unwrap()]).await;
        let printed = String::from_utf8(again.stderr).unwrap();
        assert_eq!((again.status.code(), printed.contains("already exists; remove it")), (Some(3), true), "{printed}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "the file is not overwritten");
        let named = folder.path().join("named.json");
        status(&["--record", named.to_str().unwrap(), "--record-names"]).await;
        let text = fs::read_to_string(named).unwrap();
        assert!(fleet.iter().all(|cluster| text.contains(cluster.name()) && !text.contains(&cluster.spec().token())));
    }
}

// === Secrets ===

/// The access token, the password and the token of the session.
const SECRETS: [&str; 3] = ["access-hunter2-token", "the \"hunter2\" p\u{e4}ssword \u{1d11e}", "session-hunter2-token"];

/// A secret of the cluster that the exporter does not know, in fields that it does not record.
const FOREIGN: &str = "sw0rdfish";

/// The spellings of a JSON string, without its quotes.
fn spellings(text: &str) -> Vec<String> {
    let plain = serde_json::to_string(text).unwrap();
    let escape = |unit: u16, upper: bool| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
    let mut spellings = vec![plain[1..plain.len() - 1].to_owned()];
    for upper in [false, true] {
        spellings.push(text.encode_utf16().map(|unit| escape(unit, upper)).collect());
    }
    // Every second character is an escape, with upper and lower case digits.
    let mixed = text.chars().enumerate().map(|(index, character)| match (index % 2, character) {
        (0, _) | (_, '"') => {
            character.encode_utf16(&mut [0; 2]).iter().map(|unit| escape(*unit, index % 4 == 0)).collect::<String>()
        }
        _ => character.to_string(),
    });
    spellings.push(mixed.collect());
    spellings
}

/// Responses that contain `text`, a JSON string without quotes, in every place.
fn responses(text: &str) -> Vec<String> {
    let header = text.replace(|c: char| !c.is_ascii_graphic() && c != ' ', "");
    let unknown =
        format!("{{\"{FOREIGN}\": \"{FOREIGN}\", \"description\": \"{FOREIGN}\", \"type\": {{\"a\": \"{FOREIGN}\"}}}}");
    let mut bodies = vec![
        unknown,
        format!("{{\"status\": \"{text}\", \"type\": \"{text}\", \"error_class\": \"{text}\"}}"),
        format!("{{\"status\": \"KMS Available\", \"type\": \"KMS\", \"ca_cert_expiry\": \"{text}\"}}"),
        format!("{{\"status\": \"Encrypted\", \"type\": \"Local\", \"{text}\": 1}}"),
        format!("{{\"status\": \"Encrypted\", \"value\": [{{\"a\": [\"x {text} y\"]}}]}}"),
        format!("{{\"kms_store\": {{\"hostname\": \"{text}\", \"key_id\": \"{text}\"}}, \"cluster_id\": \"{text}\"}}"),
        format!("{{\"id\": \"{text}\", \"privileges\": [\"{text}\"], \"revision_id\": \"Qumulo Core {text}\"}}"),
        format!("{{\"description\": \"{text}\", \"stack\": [\"{text}\"]}}"),
        format!("<html>{text}"),
        format!("{{\"status\": \"{text}"),
        format!("\"{text}\""),
        format!("{{\"bearer_token\": \"{text}\"}}"),
    ];
    bodies.extend(
        ["-----BEGIN PRIVATE KEY-----", "access-v1:another"].map(|secret| format!("{{\"status\": \"{secret}\"}}")),
    );
    let mut responses = Vec::new();
    for body in bodies {
        responses.extend(["200 OK", "401 No", "500 Oh"].map(|status| reply(status, &body)));
    }
    let good = "{\"status\": \"Encrypted\", \"type\": \"Local\"}";
    responses.push(reply(&format!("500 {header}"), good));
    for name in ["Content-Type", "Date", "Location", "Retry-After", "Server", "Set-Cookie", "X-Another"] {
        for status in ["200 OK", "302 Found", "429 No"] {
            responses
                .push(format!("HTTP/1.1 {status}\r\n{name}: {header}\r\nContent-Length: {}\r\n\r\n{good}", good.len()));
        }
    }
    responses
}

/// Every string of a document, keys included.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(values) => {
            values.iter().flat_map(|(key, value)| [vec![key.clone()], strings(value)].concat()).collect()
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => Vec::new(),
    }
}

/// Records one poll of a server that sends `response` to every request, except to a login unless `response` has a token.
async fn record(response: &str, login: bool, keep_names: bool) -> String {
    let response = response.to_owned();
    let server = RawServer::http(move |request: &Request| {
        let session = request.head.starts_with("POST ") && !response.contains("bearer_token");
        Some(if session {
            reply("200 OK", &json!({ "bearer_token": SECRETS[2] }).to_string())
        } else {
            response.clone()
        })
    })
    .await;
    let [token, password, _] = SECRETS.map(|secret| SecretSource::Fixed(Secret::new(secret)));
    let credential =
        if login { Credential::Login { password, username: FOREIGN.to_owned() } } else { Credential::Token(token) };
    record_poll(lab::settings(&format!("http://localhost:{}", server.port), credential), keep_names).await
}

/// Records one poll.
async fn record_poll(client: ClientSettings, keep_names: bool) -> String {
    let settings = ClusterSettings {
        client,
        interval: Duration::from_secs(60),
        metadata: ClusterMetadata::default(),
        name: ClusterName::new("prod").unwrap(),
        stale_after: Duration::from_secs(300),
    };
    let (recorder, store) = (Arc::<Recorder>::default(), Store::default());
    let pool = TransportPool::with_lookup(|host| match host {
        "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    let mut client = Client::new(settings.client.clone(), Arc::new(pool));
    client.record(recorder.clone());
    let outcome = client.poll(Instant::now()).await;
    let (now, mut publisher) = (clock::now(), store.publisher(settings.name.clone(), settings.stale_after));
    publisher.record(now, Duration::ZERO, outcome);
    let report = report::report(&store.view(), &now);
    recording::record(&[(settings, recorder.recorded())], &report, &now, keep_names).text
}

#[tokio::test]
async fn no_secret_is_recorded_wherever_it_is_and_however_it_is_written() {
    for (index, secret) in SECRETS.into_iter().enumerate() {
        let login = index > 0;
        for (spelling, keep_names) in spellings(secret).iter().zip([false, true, false, true]) {
            assert_eq!(serde_json::from_str::<String>(&format!("\"{spelling}\"")).unwrap(), secret);
            for response in responses(spelling) {
                let text = record(&response, login, keep_names).await;
                let found: Vec<String> = strings(&serde_json::from_str(&text).unwrap())
                    .into_iter()
                    .filter(|text| {
                        text.contains("hunter2")
                            || text.contains("BEGIN")
                            || text.contains("another") && text.contains("v1:")
                    })
                    .collect();
                assert!(found.is_empty() && !text.contains("hunter2"), "{found:?} of {response}: {text}");
                assert!(keep_names || !text.contains(FOREIGN), "{response}: {text}");
                assert!(text.contains("\"exchanges\""), "{text}");
            }
        }
    }
}

/// The report in a recording has the messages of failed polls, which contain many names.
#[tokio::test]
async fn messages_are_recorded_without_the_names_in_them() {
    let authority = Authority::new("Acme Root");
    let middle = authority.below("Acme Middle", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let leaf = authority.issue("kms.acme.test", [2020, 2100]);
    let through = middle.issue("127.0.0.1", [2020, 2100]).through(&middle);
    let strange = Authority::not_a_ca("Acme Person");
    let (lab, lab_through) = (Lab::new(|spec| leaf.install(spec)).await, Lab::new(|spec| through.install(spec)).await);
    let ca =
        |name: &str, pem: &str| TlsSettings { ca_file: Some(lab.write(name, pem).into()), ..TlsSettings::default() };
    let with_tls = |lab: &Lab, tls: TlsSettings| {
        let mut settings = lab.settings.clone();
        settings.transport.tls = Some(tls);
        settings
    };
    let token = |path: &str| Credential::Token(SecretSource::File(PathBuf::from(path).into()));
    let mut proxied = lab::settings("https://acme.test", token("/acme/token"));
    proxied.credential = Credential::Token(SecretSource::Fixed(Secret::new(SECRETS[0])));
    let password = SecretSource::Fixed(Secret::new(SECRETS[1]));
    proxied.transport.proxy = ProxySettings::Url {
        account: Some(ProxyAccount { password, username: "acme".to_owned() }),
        no_proxy: NoProxy::default(),
        url: "http://proxy.acme.test:3128".parse().unwrap(),
    };
    let pin = "AC:".repeat(31) + "AC";
    for (settings, words) in [
        (lab::settings("https://acme.test", token("/acme/token")), "no such file"),
        (proxied, "the proxy"),
        (with_tls(&lab, ca("acme.pem", &authority.pem())), "is not for 127.0.0.1 but for host-"),
        (with_tls(&lab, ca("acme-person.pem", &strange.pem())), "is not signed by a trusted CA"),
        (with_tls(&lab_through, ca("acme.pem", &authority.pem())), "its intermediate CA certificate \"name-"),
        (
            with_tls(&lab, TlsSettings { pins: vec![pin.parse().unwrap()], ..TlsSettings::default() }),
            "but pin_sha256 is 00:00:",
        ),
    ] {
        let text = record_poll(settings, false).await;
        let message =
            serde_json::from_str::<Value>(&text).unwrap()["report"]["clusters"][0]["last_poll_failure"]["message"]
                .clone();
        assert!(message.as_str().unwrap().contains(words), "{message}");
        assert!(!text.to_lowercase().contains("acme") && !text.contains("AC:AC"), "{text}");
    }
}
