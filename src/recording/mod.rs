//! The file of `status --record`: the responses of clusters without secrets, with placeholders for names. Pure.
//!
//! `answers` redacts bodies, `names` replaces names. The simulator has its own parser of the file, for `simulate --replay`;
//! the recordings in `tests/recorded` test both.

mod answers;
mod names;

use std::{collections::BTreeMap, time::Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use self::names::Kind;
use self::names::Names;
use crate::{
    client::{
        Credential, Exchange, Pin, ProxySettings, Recorded, RecordedBody, SecretSource, TlsSettings, http_date,
        san_address,
    },
    model::{ClockTime, escape_hidden},
    poll::ClusterSettings,
    report::{self, Report},
};

/// The version of the file format. Increased when older versions of `simulate --replay` cannot read the file.
const FORMAT: u32 = 1;

/// The values of `Content-Type` that are recorded.
const CONTENT_TYPES: [&str; 4] = ["application/json", "text/html", "text/plain", "text/xml"];

#[derive(Debug)]
pub struct Recording {
    /// Names that were replaced, by kind.
    pub replaced: BTreeMap<Kind, usize>,
    /// Strings of which only the length was kept.
    pub strings: usize,
    pub text: String,
}

#[derive(Serialize)]
struct Document {
    format: u32,
    /// When the report was made.
    recorded_at: String,
    names: &'static str,
    clusters: Vec<Cluster>,
    /// The output of `status --output json`, redacted.
    report: Value,
}

#[derive(Serialize)]
struct Cluster {
    name: String,
    /// When the poll ended.
    polled_at: Option<String>,
    settings: Value,
    /// `None` without a connection.
    tls: Option<Value>,
    exchanges: Vec<RecordedExchange>,
}

#[derive(Serialize)]
struct RecordedExchange {
    sent_at: String,
    method: String,
    path: String,
    /// `None` if it was never complete.
    response: Option<Response>,
}

#[derive(Serialize)]
struct Response {
    seconds: f64,
    status: u16,
    headers: BTreeMap<&'static str, String>,
    body: Value,
}

/// Makes the file of the recorded clusters and of the report at `now`. With `keep_names`, names are not replaced.
pub fn record(
    clusters: &[(ClusterSettings, Recorded)],
    report: &Report,
    now: &ClockTime,
    keep_names: bool,
) -> Recording {
    let secrets = clusters.iter().flat_map(|(_, recorded)| recorded.secrets.iter().cloned()).collect();
    let mut names = Names::new(keep_names, secrets);
    // Twice, because a text can contain a name that occurs later.
    document(clusters, report, now, keep_names, &mut names);
    names.left_out = 0;
    let document = document(clusters, report, now, keep_names, &mut names);
    // Cannot fail: all keys are strings.
    let text = escape_hidden(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n");
    Recording { replaced: names.counts(), strings: names.left_out, text }
}

fn document(
    clusters: &[(ClusterSettings, Recorded)],
    report: &Report,
    now: &ClockTime,
    keep_names: bool,
    names: &mut Names,
) -> Document {
    let clusters =
        clusters.iter().map(|(settings, recorded)| cluster(settings, recorded, report, now, names)).collect();
    let json: Value = serde_json::from_slice(&report::json::render(report, None)).unwrap_or_default();
    Document {
        format: FORMAT,
        recorded_at: time(report.at),
        names: if keep_names { "kept" } else { "replaced" },
        clusters,
        report: redact_report(&json, "", names),
    }
}

fn cluster(
    settings: &ClusterSettings,
    recorded: &Recorded,
    report: &Report,
    now: &ClockTime,
    names: &mut Names,
) -> Cluster {
    let judged = report.clusters.iter().find(|cluster| cluster.name == settings.name.as_str());
    let chain: Vec<Value> = recorded.chain.iter().map(|der| certificate(der, names)).collect();
    Cluster {
        name: names.name(Kind::Cluster, settings.name.as_str()),
        polled_at: judged.and_then(|judged| judged.last_poll).map(time),
        settings: redact_settings(settings, names),
        tls: (!chain.is_empty()).then(|| json!({ "version": recorded.tls_version, "chain": chain })),
        exchanges: recorded.exchanges.iter().map(|each| exchange(each, now, names)).collect(),
    }
}

/// The settings of a cluster, without its policy, which is in the report.
fn redact_settings(settings: &ClusterSettings, names: &mut Names) -> Value {
    let (client, transport) = (&settings.client, &settings.client.transport);
    let (credential, username, secret) = match &client.credential {
        Credential::Login { username, password } => ("login", Some(names.name(Kind::User, username)), password),
        Credential::Token(token) => ("token", None, token),
    };
    let credential_file = match secret {
        SecretSource::File(file) => Some(file.path()),
        SecretSource::Fixed(_) => None,
    };
    // Messages can contain them.
    for file in transport.files().into_iter().chain(credential_file) {
        names.name(Kind::File, &file.display().to_string());
    }
    let tls = transport.tls.as_ref();
    for pin in tls.iter().flat_map(|tls| &tls.pins) {
        names.name(Kind::Fingerprint, &pin.to_string());
    }
    let cluster_url = url(client.url.as_str(), names);
    let server_name = tls.and_then(|tls| tls.server_name.as_ref()).map(|name| names.name(Kind::Host, name));
    let proxy = match &transport.proxy {
        ProxySettings::Direct => None,
        ProxySettings::Url { account, url: proxy, .. } => {
            if let Some(account) = account {
                names.name(Kind::User, &account.username);
            }
            Some(url(proxy.as_str(), names))
        }
    };
    json!({
        "url": cluster_url,
        "credential": credential,
        "username": username,
        "poll_interval_seconds": settings.interval.as_secs_f64(),
        "poll_timeout_seconds": client.timeout.as_secs_f64(),
        "stale_after_seconds": settings.stale_after.as_secs_f64(),
        "trust": tls.map(trust),
        "server_name": server_name,
        "client_certificate": tls.is_some_and(|tls| tls.client.is_some()),
        "proxy": proxy,
        "probe_kms": client.kms_probe.is_some(),
    })
}

/// How the certificate is verified: a key of `tls_config`, or `system`.
fn trust(tls: &TlsSettings) -> &'static str {
    if tls.insecure_skip_verify {
        "insecure_skip_verify"
    } else if !tls.pins.is_empty() {
        "pin_sha256"
    } else if tls.ca_file.is_some() {
        "ca_file"
    } else {
        "system"
    }
}

/// Scheme, host and port.
fn url(text: &str, names: &mut Names) -> String {
    let Ok(url) = url::Url::parse(text) else { return names.length(text) };
    let host = url.host_str().unwrap_or_default();
    let host = match url.host() {
        Some(url::Host::Ipv6(address)) => format!("[{}]", names.name(Kind::Host, &address.to_string())),
        _ => names.name(Kind::Host, host),
    };
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

fn certificate(der: &[u8], names: &mut Names) -> Value {
    let sha256 = names.name(Kind::Fingerprint, &Pin::of(der).to_string());
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return json!({ "sha256": sha256 }) };
    let date = |at: i64| DateTime::from_timestamp(at, 0).map(time);
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|extension| &extension.value.general_names);
    json!({
        "subject": names.name(Kind::Subject, &certificate.subject().to_string()),
        "issuer": names.name(Kind::Subject, &certificate.issuer().to_string()),
        "names": alternative.map(|name| alternative_name(name, names)).collect::<Vec<_>>(),
        "not_before": date(certificate.validity().not_before.timestamp()),
        "not_after": date(certificate.validity().not_after.timestamp()),
        "sha256": sha256,
    })
}

fn alternative_name(name: &GeneralName<'_>, names: &mut Names) -> String {
    match name {
        GeneralName::DNSName(host) => names.name(Kind::Host, host),
        GeneralName::IPAddress(bytes) => {
            let address = san_address(bytes);
            address.map(|address| names.name(Kind::Host, &address.to_string())).unwrap_or_default()
        }
        GeneralName::RFC822Name(text) | GeneralName::URI(text) => names.name(Kind::Host, text),
        other => names.name(Kind::Subject, &other.to_string()),
    }
}

fn exchange(exchange: &Exchange, now: &ClockTime, names: &mut Names) -> RecordedExchange {
    // Its query has the number of an account.
    let path = exchange.path.split('?').next().unwrap_or_default();
    RecordedExchange {
        sent_at: time(wall(exchange.sent, now)),
        method: exchange.method.to_string(),
        path: format!("/{path}"),
        response: exchange.response.as_ref().map(|response| Response {
            seconds: response.took.as_millis() as f64 / 1e3,
            status: response.status.as_u16(),
            headers: headers(&response.headers),
            body: match &response.body {
                RecordedBody::Secret => json!({ "left_out": "it repeats a credential" }),
                RecordedBody::Session => json!({ "left_out": "it opens a session" }),
                RecordedBody::Bytes(bytes) => body(bytes, path, names),
            },
        }),
    }
}

/// Only well-known values and values in a normal form, because any other text could contain a secret.
fn headers(headers: &HeaderMap) -> BTreeMap<&'static str, String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(CONTENT_TYPE).map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let kind = kind.map(|kind| if CONTENT_TYPES.contains(&&*kind) { kind } else { "another".to_owned() });
    let retry_after = text(RETRY_AFTER).and_then(|text| match text.parse::<u32>() {
        Ok(seconds) => Some(seconds.to_string()),
        Err(_) => http_date(text).map(format_http_date),
    });
    let all = [
        ("content-type", kind),
        ("date", text(DATE).and_then(http_date).map(format_http_date)),
        ("retry-after", retry_after),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The redacted JSON, or the place where the body stops being JSON.
fn body(bytes: &[u8], path: &str, names: &mut Names) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value) => json!({ "json": answers::redact(&value, path, "", names) }),
        Err(err) => json!({ "not_json": { "bytes": bytes.len(), "line": err.line(), "column": err.column() } }),
    }
}

/// The report, without the names that its texts contain.
fn redact_report(value: &Value, at: &str, names: &mut Names) -> Value {
    match value {
        Value::String(text) => Value::String(match at {
            "/clusters/*/access_tokens/*/token_id" => names.name(Kind::Number, text),
            "/clusters/*/cluster_id" => names.name(Kind::ClusterId, text),
            "/clusters/*/excess_privileges/*" => names.text(text),
            "/clusters/*/key_store/host" => names.name(Kind::Host, text),
            "/clusters/*/key_store/key_id" => names.name(Kind::Key, text),
            "/clusters/*/name" => names.name(Kind::Cluster, text),
            "/clusters/*/url" => url(text, names),
            "/clusters/*/findings/*/message"
            | "/clusters/*/headline"
            | "/clusters/*/last_poll_failure/message"
            | "/clusters/*/raw_status" => names.message(text),
            _ => text.clone(),
        }),
        Value::Array(values) => {
            let at = format!("{at}/*");
            Value::Array(values.iter().map(|value| redact_report(value, &at, names)).collect())
        }
        Value::Object(values) => {
            let redact =
                |(key, value): (&String, &Value)| (key.clone(), redact_report(value, &format!("{at}/{key}"), names));
            Value::Object(values.iter().map(redact).collect())
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => value.clone(),
    }
}

/// The wall clock at a time of the monotonic one.
fn wall(at: Instant, now: &ClockTime) -> DateTime<Utc> {
    now.wall - now.mono.saturating_duration_since(at)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn format_http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
