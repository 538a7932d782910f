//! HTTP proxies, configured or from the environment.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::{ProxyAccount, ProxySettings, SecretSource},
    model::{CredentialRejection, FailureReason, PollFailure, PollResult},
    secret::Secret,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::Authority,
    lab::{Lab, Probe, run_exporter},
    leak::{self, PROXY_PASSWORD},
    raw_server::{RawServer, head, header, healthy, reply},
    tls::server,
};

/// A proxy that records its CONNECT requests.
struct Proxy {
    heads: Arc<Mutex<Vec<String>>>,
    server: RawServer,
}

impl Proxy {
    /// The response to CONNECT; `None` opens the tunnel.
    async fn start(rejection: Option<&'static str>) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let server = RawServer::serve(move |stream, _| tunnel(stream, rejection, seen.clone())).await;
        Self { heads, server }
    }

    /// Settings with an account whose password is in a file of the lab.
    fn settings(&self, lab: &Lab, no_proxy: &str) -> ProxySettings {
        let file = lab.write("proxy-password", &format!("{PROXY_PASSWORD}\n"));
        let account = ProxyAccount { password: SecretSource::File(file.into()), username: "monitor".to_owned() };
        proxied(&format!("http://127.0.0.1:{}", self.server.port), Some(account), no_proxy)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn proxied(url: &str, account: Option<ProxyAccount>, no_proxy: &str) -> ProxySettings {
    ProxySettings::Url { account, no_proxy: no_proxy.parse().unwrap(), url: url.parse().unwrap() }
}

async fn tunnel(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    rejection: Option<&'static str>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream).await;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head);
    if let Some(rejection) = rejection {
        let whole = if rejection.starts_with("HTTP/") { rejection.to_owned() } else { reply(rejection, "") };
        return stream.write_all(whole.as_bytes()).await.unwrap();
    }
    let mut onward = TcpStream::connect(target).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    // Ends when either side closes the connection.
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// One poll of a healthy cluster through a proxy, and the requests to the proxy.
async fn poll(rejection: Option<&'static str>, no_proxy: &str) -> (Result<PollResult, PollFailure>, Vec<String>) {
    let proxy = Proxy::start(rejection).await;
    let mut lab = Lab::new(|_| {}).await;
    let no_proxy = no_proxy.replace("{port}", &lab.settings.url.port().unwrap().to_string());
    lab.settings.transport.proxy = proxy.settings(&lab, &no_proxy);
    (lab.poll().await, proxy.heads())
}

#[tokio::test]
async fn a_configured_proxy_is_used_with_its_password() {
    let (outcome, heads) = poll(None, "").await;
    outcome.unwrap();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("CONNECT 127.0.0.1:"), "{heads:?}");
    let password = header(&heads[0], "Proxy-Authorization");
    assert!(leak::shows_secret(&password), "the search for secrets recognises base64: {password}");
    assert_eq!(header(&heads[0], "Authorization"), "", "the token is for the cluster only");
}

#[tokio::test]
async fn exceptions_are_reached_without_the_proxy() {
    for no_proxy in ["127.0.0.1", "example.com, 127.0.0.0/8", "*", "127.0.0.1:{port}"] {
        let (outcome, heads) = poll(None, no_proxy).await;
        outcome.unwrap();
        assert_eq!(heads, [""; 0], "{no_proxy}");
    }
    for no_proxy in ["example.com,10.0.0.0/8", "127.0.0.1:1", "localhost"] {
        let (outcome, heads) = poll(None, no_proxy).await;
        outcome.unwrap();
        assert_eq!(heads.len(), 1, "{no_proxy}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_not_mistaken_for_the_cluster() {
    for (rejection, words, locks) in [
        ("407 Proxy Authentication Required", "refused the user and password of proxy_authorization (407)", true),
        ("403 Forbidden", "its response to CONNECT was not 200", false),
        ("502 Bad Gateway", "its response to CONNECT was not 200", false),
    ] {
        let failure = poll(Some(rejection), "").await.0.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Proxy, "{failure:?}");
        assert!(failure.message.starts_with("the proxy 127.0.0.1:") && failure.message.contains(words), "{failure:?}");
        assert_eq!(failure.rejection, locks.then_some(CredentialRejection::LockoutRisk), "{failure:?}");
    }
}

/// The failure with a proxy without an account.
async fn check_proxy(url: &str, words: &[&str]) {
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxied(url, None, "");
    let failure = lab.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Proxy, "{failure:?}");
    assert!(words.iter().all(|words| failure.message.contains(words)), "{words:?} in {failure:?}");
    assert_eq!(failure.rejection, None, "{failure:?}");
}

#[tokio::test]
async fn an_unreachable_proxy_is_named() {
    let demanding = Proxy::start(Some("407 Proxy Authentication Required")).await;
    check_proxy(&format!("http://127.0.0.1:{}", demanding.server.port), &["requires a user and password (407)"]).await;
    let closes = RawServer::serve(|stream, _| async move { drop(stream) }).await;
    check_proxy(&format!("http://127.0.0.1:{}", closes.port), &["the proxy 127.0.0.1:", "before it connected to"])
        .await;
    let stopped = {
        let server = RawServer::serve(|_, _| async {}).await;
        server.port
    };
    // The port of a stopped server. It stops accepting when its task ends.
    tokio::task::yield_now().await;
    check_proxy(&format!("http://127.0.0.1:{stopped}"), &["the proxy cannot be used", "127.0.0.1"]).await;
    let unresolvable = format!("http://{}.invalid:3128", "x".repeat(64));
    check_proxy(&unresolvable, &["the proxy cannot be used: cannot resolve xxx"]).await;
}

#[tokio::test]
async fn a_renewed_password_of_a_proxy_is_used_by_the_next_poll() {
    let proxy = Proxy::start(None).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    assert!(!probe.client.credential_changed().await);
    lab.write("proxy-password", "hunter2 renewed");
    assert!(probe.client.credential_changed().await);
    probe.poll().await.unwrap();
    let sent: Vec<_> = proxy.heads().iter().map(|head| header(head, "Proxy-Authorization")).collect();
    assert!(sent.len() == 2 && sent[0] != sent[1], "{}", sent.len());
}

#[tokio::test]
async fn the_certificate_expiry_is_known_through_a_proxy() {
    let proxy = Proxy::start(None).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    let mut probe = lab.probe();
    assert!(probe.client.certificate().is_none());
    probe.poll().await.unwrap();
    assert!(probe.client.certificate().is_some());
}

#[tokio::test]
async fn plain_http_never_takes_a_proxy() {
    let proxy = Proxy::start(None).await;
    let server = RawServer::http(|_| Some(healthy())).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("http://localhost:{}", server.port).parse().unwrap();
    (lab.settings.transport.proxy, lab.settings.transport.tls) = (proxy.settings(&lab, ""), None);
    Probe::new(&lab.settings, &lab.pool).unwrap().poll().await.unwrap();
    assert_eq!(proxy.heads(), [""; 0]);
}

/// Polls all clusters at the same time.
async fn poll_all(probes: &mut Vec<Probe>, now: Instant) -> Vec<PollFailure> {
    let poll = |mut probe: Probe| {
        tokio::spawn(async move {
            let failure = probe.poll_at(now).await.unwrap_err();
            (probe, failure)
        })
    };
    let tasks: Vec<_> = std::mem::take(probes).into_iter().map(poll).collect();
    let mut failures = Vec::new();
    for task in tasks {
        let (probe, failure) = task.await.unwrap();
        probes.push(probe);
        failures.push(failure);
    }
    failures
}

/// A wrong password, with any HTTP version and many clusters: only the first poll sends it.
#[tokio::test]
async fn a_refused_account_is_not_used_by_another_cluster_either() {
    for rejection in ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "HTTP/1.0 407 No\r\n\r\n"] {
        let proxy = Proxy::start(Some(rejection)).await;
        let first = Lab::new(|_| {}).await;
        let settings = proxy.settings(&first, "");
        let (mut labs, mut probes) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let mut lab = Lab::new(|_| {}).await;
            (lab.pool, lab.settings.transport.proxy) = (first.pool.clone(), settings.clone());
            probes.push(lab.probe());
            labs.push(lab);
        }
        let now = Instant::now();
        for round in 1..=2 {
            for failure in poll_all(&mut probes, now).await {
                assert_eq!(
                    (failure.reason, failure.rejection),
                    (FailureReason::Proxy, Some(CredentialRejection::LockoutRisk)),
                    "{failure:?}"
                );
                assert_eq!(failure.retry_after, Some(Duration::from_secs(300)), "{failure:?}");
                assert!(failure.message.contains("refused the user and password"), "{failure:?}");
            }
            assert_eq!(proxy.heads().len(), 1, "round {round}");
        }
        // The pause also applies to a new client, as after a reload.
        probes[0] = Probe::new(&probes[0].settings, &first.pool).unwrap();
        probes[0].poll_at(now).await.unwrap_err();
        assert_eq!(proxy.heads().len(), 1);
        // A different password is sent at once. The same password in a new file does not count as different.
        first.write("proxy-password", "hunter2 another");
        probes[0].poll_at(now).await.unwrap_err();
        assert_eq!(proxy.heads().len(), 2);
        first.write("proxy-password", "hunter2 another\n");
        probes[1].poll_at(now).await.unwrap_err();
        assert_eq!(proxy.heads().len(), 2);
        // One attempt after the pause.
        poll_all(&mut probes, now + Duration::from_secs(301)).await;
        assert_eq!(proxy.heads().len(), 3);
    }
}

/// After the proxy rejects the first request, details and the older API are not requested.
#[tokio::test]
async fn a_password_that_is_refused_in_the_middle_of_a_poll_is_not_sent_again() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    // The first tunnel is for the status.
    let server =
        RawServer::serve(move |stream, connection| tunnel(stream, (connection > 0).then_some("407 No"), seen.clone()))
            .await;
    let proxy = Proxy { heads, server };
    let mut lab = Lab::new(|spec| spec.faults.close = true).await;
    lab.settings.transport.proxy = proxy.settings(&lab, "");
    lab.poll().await.unwrap();
    assert_eq!(proxy.heads().len(), 2);
}

/// A configuration file with the lab's cluster. `tls` is added to its `tls_config`, which pins the certificate.
fn config(lab: &Lab, tls: &str, settings: &str) -> PathBuf {
    let (url, pin) = (&lab.settings.url, lab.cluster.fingerprint());
    let cluster = format!("name: a, url: '{url}', authorization: {{credentials_file: token}}, {settings}");
    lab.write("config.yml", &format!("clusters: [{{{cluster}, tls_config: {{pin_sha256: '{pin}'{tls}}}}}]\n"))
}

/// What the program reports about the cluster. It runs as a process of its own because tests cannot change their environment.
async fn status(config: &Path, variables: &[(&str, &str)]) -> Value {
    let output = run_exporter("status", config, &["--output", "json"], variables).await;
    let report = serde_json::from_slice::<Value>(&output.stdout);
    report.unwrap_or_else(|err| panic!("{err}: {output:?}"))["clusters"][0].clone()
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_only_when_asked() {
    let (proxy, lab) = (Proxy::start(None).await, Lab::new(|_| {}).await);
    let url = format!("http://svc:{PROXY_PASSWORD}@127.0.0.1:{}", proxy.server.port);
    for (enabled, variables, requests) in [
        (false, [("HTTPS_PROXY", &*url), ("NO_PROXY", "")], 0),
        (true, [("HTTPS_PROXY", ""), ("https_proxy", &url)], 1),
        (true, [("HTTPS_PROXY", &url), ("NO_PROXY", "*")], 1),
        (true, [("HTTPS_PROXY", &url), ("NO_PROXY", "127.0.0.1")], 1),
        (true, [("HTTPS_PROXY", &url), ("NO_PROXY", "a.test,127.0.0.0/8")], 1),
    ] {
        let config = config(&lab, "", &format!("proxy_from_environment: {enabled}"));
        let cluster = status(&config, &variables).await;
        assert_eq!(cluster["up"], true, "{cluster}");
        assert_eq!(proxy.heads().len(), requests, "{enabled} {variables:?}");
    }
    assert!(leak::shows_secret(&header(&proxy.heads()[0], "Proxy-Authorization")));
}

/// The account of `HTTPS_PROXY` is not in a file.
#[tokio::test]
async fn a_wrong_password_in_the_environment_is_sent_once() {
    let (proxy, mut lab) = (Proxy::start(Some("407 Proxy Authentication Required")).await, Lab::new(|_| {}).await);
    let password = SecretSource::Fixed(Secret::new(PROXY_PASSWORD));
    let account = ProxyAccount { password, username: "svc".to_owned() };
    lab.settings.transport.proxy = proxied(&format!("http://127.0.0.1:{}", proxy.server.port), Some(account), "");
    for _ in 0..3 {
        let failure = lab.poll().await.unwrap_err();
        assert!(failure.message.contains("user and password of HTTPS_PROXY (407)"), "{failure:?}");
        assert_eq!(failure.rejection, Some(CredentialRejection::LockoutRisk), "{failure:?}");
    }
    assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
}

#[tokio::test]
async fn an_environment_that_cannot_be_used_is_refused() {
    let lab = Lab::new(|_| {}).await;
    for variables in [
        [("HTTPS_PROXY", "socks5://127.0.0.1:1080"), ("NO_PROXY", "")],
        [("HTTPS_PROXY", "http://svc:x@hunter2#x@127.0.0.1:3128"), ("NO_PROXY", "")],
        [("HTTPS_PROXY", "http://127.0.0.1:3128"), ("NO_PROXY", "a.test hunter2")],
    ] {
        for (enabled, error) in [(true, "proxy_from_environment: uses "), (false, "")] {
            let config = config(&lab, "", &format!("proxy_from_environment: {enabled}"));
            let output = run_exporter("check-config", &config, &[], &variables).await;
            let printed = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() != enabled && printed.contains(error), "{variables:?}: {printed}");
        }
    }
}

/// A proxy that speaks TLS, and the number of clients that presented a certificate.
async fn tls_proxy(config: ServerConfig) -> (RawServer, Arc<AtomicUsize>) {
    let (acceptor, certificates) = (TlsAcceptor::from(Arc::new(config)), Arc::new(AtomicUsize::new(0)));
    let counter = certificates.clone();
    let server = RawServer::serve(move |stream, _| {
        let (accept, counter) = (acceptor.accept(stream), counter.clone());
        async move {
            let Ok(stream) = accept.await else { return };
            counter.fetch_add(usize::from(stream.get_ref().1.peer_certificates().is_some()), Ordering::SeqCst);
            tunnel(stream, None, Arc::default()).await;
        }
    })
    .await;
    (server, certificates)
}

/// The proxy is verified with the system's CA certificates and its own name, whatever is set for the cluster, and does not
/// receive the cluster's client certificate.
#[tokio::test]
async fn tls_config_does_not_apply_to_a_proxy_that_speaks_tls() {
    let (system, clients) = (Authority::new("System"), Authority::new("Clients"));
    let own = clients.issue("exporter", [2000, 4000]);
    for (issued, works) in [
        (system.issue("127.0.0.1", [2000, 4000]), true),
        (system.issue("proxy.test", [2000, 4000]), false),
        (Authority::new("Stranger").issue("127.0.0.1", [2000, 4000]), false),
    ] {
        for version in [&TLS12, &TLS13] {
            let config = server(&issued.certificate, &issued.key, version);
            let (proxy, certificates) = tls_proxy(client_certificates(config, &clients, version, false)).await;
            let lab = Lab::new(|spec| spec.client_ca_pem = Some(clients.pem())).await;
            lab.write("own.pem", &own.certificate);
            lab.write("own.key", &own.key);
            let trusted = lab.write("system.pem", &system.pem());
            let url = format!("proxy_url: 'https://127.0.0.1:{}'", proxy.port);
            let config = self::config(&lab, ", cert_file: own.pem, key_file: own.key", &url);
            let cluster = status(&config, &[("SSL_CERT_FILE", trusted.to_str().unwrap())]).await;
            assert_eq!(cluster["up"], works, "{version:?}: {cluster}");
            if !works {
                let failure = &cluster["last_poll_failure"];
                let (reason, message) = (&failure["reason"], failure["message"].as_str().unwrap());
                let start = format!("the proxy cannot be used: TLS with 127.0.0.1:{} failed: its", proxy.port);
                assert!(reason == "proxy" && message.starts_with(&start), "{version:?}: {failure}");
                assert!(!message.contains("pin_sha256"), "{message}");
            }
            assert_eq!(certificates.load(Ordering::SeqCst), 0, "only the cluster receives the client certificate");
            let is_known = cluster["api_certificate_expires_at"].is_string();
            assert_eq!(is_known, works, "the proxy's certificate is not taken for the cluster's: {cluster}");
        }
    }
}

#[tokio::test]
async fn tls_errors_of_a_proxy_do_not_suggest_tls_config() {
    let (system, clients) = (Authority::new("System"), Authority::new("Clients"));
    let issued = system.issue("127.0.0.1", [2000, 4000]);
    // A cluster that rejects the handshake without a request for a client certificate: alert, fatal, handshake_failure.
    let cluster = RawServer::serve(async |mut stream, _| {
        let _ = stream.read(&mut [0; 5]).await;
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let lab = Lab::with_server(cluster.port).await;
    let trusted = lab.write("system.pem", &system.pem());
    for version in [&TLS12, &TLS13] {
        for (demands, expect) in [
            (true, "requires a client certificate, which the exporter does not send to it"),
            (false, "no cipher suite or key type in common (RSA-PSS"),
        ] {
            let config = server(&issued.certificate, &issued.key, version);
            let (proxy, _) = tls_proxy(client_certificates(config, &clients, version, demands)).await;
            let config = self::config(&lab, "", &format!("proxy_url: 'https://127.0.0.1:{}'", proxy.port));
            let cluster = status(&config, &[("SSL_CERT_FILE", trusted.to_str().unwrap())]).await;
            let message = cluster["last_poll_failure"]["message"].as_str().unwrap();
            assert!(message.contains(expect) && !message.contains("tls_config"), "{version:?}: {message}");
        }
    }
}

#[tokio::test]
async fn without_ca_certificates_the_proxy_that_needs_them_is_named() {
    let lab = Lab::new(|_| {}).await;
    let config = config(&lab, "", "proxy_url: 'https://127.0.0.1:3128'");
    let variables = [("SSL_CERT_FILE", "/nonexistent/ca.pem"), ("SSL_CERT_DIR", lab.folder.path().to_str().unwrap())];
    let output = run_exporter("check-config", &config, &[], &variables).await;
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("which the https proxy needs") && !printed.contains("ca_file"), "{printed}");
}

/// Adds client authentication to the configuration of a server.
fn client_certificates(
    config: ServerConfig,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
    demands: bool,
) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
    let provider = config.crypto_provider().clone();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if demands { verifier } else { verifier.allow_unauthenticated() };
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(config.cert_resolver.clone())
}
