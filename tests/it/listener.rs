//! The listener with a web configuration file: TLS, client certificates, reloads.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming};
use qumulo_encryption_exporter::{
    config::ConfigErrors,
    web::{
        handler::Handler,
        listen::{ListenAddress, bind},
        policy::ListenerPolicy,
        respond,
        server::{Limits, serve},
    },
    web_config::WebConfig,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    authority::{Authority, Issued},
    lab::until,
};

const VALID: [i32; 2] = [2000, 2100];
const EXPIRED: [i32; 2] = [2000, 2001];

#[derive(Default)]
struct TestHandler {
    failed_handshakes: AtomicUsize,
}

impl Handler for TestHandler {
    async fn handle(&self, _: Request<Incoming>) -> Response<Bytes> {
        respond::text(StatusCode::OK, "welcome\n")
    }

    fn on_handshake_failure(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// A listener with its web configuration file and certificate in a folder.
struct Listener {
    authority: Authority,
    config: Arc<WebConfig>,
    folder: TempDir,
    /// The arguments of the observer: whether the files could be used, and whether all files are in use.
    outcomes: Arc<Mutex<Vec<(bool, bool)>>>,
    port: u16,
    handler: Arc<TestHandler>,
    _serving: AbortOnDropHandle<usize>,
}

impl Listener {
    /// `lines` are added to `tls_server_config`; `clients.pem` holds the clients' CA certificate.
    async fn start(lines: &str, clients: &Authority) -> Self {
        let (authority, folder) = (Authority::new("Listeners"), tempfile::tempdir().unwrap());
        write(folder.path(), "clients.pem", &clients.pem());
        install(folder.path(), &authority.issue("localhost", VALID));
        write(folder.path(), "web.yml", &web_config(lines));
        let outcomes: Arc<Mutex<Vec<_>>> = Arc::default();
        let recorded = outcomes.clone();
        let observer = move |outcome: Result<&_, &ConfigErrors>, good| {
            recorded.lock().unwrap().push((outcome.is_ok(), good));
        };
        let config = Arc::new(WebConfig::open(&folder.path().join("web.yml"), Box::new(observer)).unwrap());
        let listeners = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0)], "").unwrap();
        let (port, handler) = (listeners[0].local_addr().unwrap().port(), Arc::new(TestHandler::default()));
        let serving = serve(listeners, handler.clone(), config.policy(), Limits::default(), CancellationToken::new());
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Self { authority, config, folder, outcomes, port, handler, _serving }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.folder.path(), name, text);
    }

    /// The response to a client with this certificate that trusts `authority`.
    async fn request(&self, authority: &Authority, certificate: Option<&Issued>) -> io::Result<String> {
        Ok(self.request_as(&Arc::new(client(authority, certificate))).await?.0)
    }

    /// The response, and the kind of handshake.
    async fn request_as(&self, config: &Arc<ClientConfig>) -> io::Result<(String, Option<HandshakeKind>)> {
        let mut stream = self.connect(config).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok((text, stream.get_ref().1.handshake_kind()))
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        TlsConnector::from(config.clone()).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// A connection on which one request was served.
    async fn keep(&self, certificate: Option<&Issued>) -> TlsStream<TcpStream> {
        let mut stream = self.connect(&Arc::new(client(&self.authority, certificate))).await.unwrap();
        assert!(is_served(&mut stream).await);
        stream
    }

    fn policy(&self) -> Arc<ListenerPolicy> {
        self.config.policy().borrow().clone()
    }

    fn outcomes(&self) -> Vec<(bool, bool)> {
        self.outcomes.lock().unwrap().clone()
    }

    async fn admits(&self, certificate: Option<&Issued>) -> bool {
        self.request(&self.authority, certificate).await.is_ok_and(|text| text.ends_with("welcome\n"))
    }
}

/// A client with this certificate that trusts `authority`.
fn client(authority: &Authority, certificate: Option<&Issued>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match certificate {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Whether one more request is served.
async fn is_served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"welcome\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Waits until the server closes the connection.
async fn assert_closed(stream: &mut (impl AsyncRead + Unpin), case: &str) {
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    closed.await.unwrap_or_else(|_| panic!("{case}: the connection stays open")).ok();
}

fn web_config(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: listener.pem\n  key_file: listener.key\n{lines}")
}

/// Replaces a file in one step, as tools that renew certificates do.
fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

fn install(folder: &Path, issued: &Issued) {
    write(folder, "listener.pem", &issued.certificate);
    write(folder, "listener.key", &issued.key);
}

#[tokio::test]
async fn client_certificates_are_required_as_configured() {
    let (clients, strangers) = (Authority::new("Clients"), Authority::new("Strangers"));
    let good = clients.issue("prometheus.example.com", VALID);
    let expired = clients.issue("prometheus.example.com", EXPIRED);
    let other = clients.issue("other.example.com", VALID);
    let stranger = strangers.issue("prometheus.example.com", VALID);
    let ca = "  client_ca_file: clients.pem\n";
    let sans = "  client_allowed_sans: [prometheus.example.com]\n";
    let verify = format!("  client_auth_type: RequireAndVerifyClientCert\n{ca}");
    // No certificate, a valid one, one of another name, an expired one, one of an unknown CA.
    for (lines, expect) in [
        (String::new(), [true, true, true, true, true]),
        ("  client_auth_type: NoClientCert\n".to_owned(), [true, true, true, true, true]),
        ("  client_auth_type: RequestClientCert\n".to_owned(), [true, true, true, true, true]),
        ("  client_auth_type: RequireAnyClientCert\n".to_owned(), [false, true, true, true, true]),
        ("  client_auth_type: RequireClientCert\n".to_owned(), [false, true, true, true, true]),
        (format!("  client_auth_type: VerifyClientCertIfGiven\n{ca}"), [true, true, true, false, false]),
        (verify.clone(), [false, true, true, false, false]),
        (format!("{verify}{sans}"), [false, true, false, false, false]),
    ] {
        let listener = Listener::start(&lines, &clients).await;
        for (certificate, expect) in
            [None, Some(&good), Some(&other), Some(&expired), Some(&stranger)].iter().zip(expect)
        {
            assert_eq!(listener.admits(*certificate).await, expect, "{lines}");
        }
        let refused = expect.iter().filter(|admitted| !**admitted).count();
        until(|| listener.handler.failed_handshakes.load(Ordering::SeqCst) == refused).await;
    }
}

/// A client whose own certificate is in the CA file cannot issue certificates for others, whatever names are allowed.
#[tokio::test]
async fn a_listed_client_certificate_is_trusted_for_itself_only() {
    let listed = Authority::not_a_ca("prometheus.example.com");
    let verify = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";
    for sans in ["", "  client_allowed_sans: [prometheus.example.com]\n"] {
        let listener = Listener::start(&format!("{verify}{sans}"), &listed).await;
        assert!(listener.admits(Some(&listed.issued())).await);
        assert!(!listener.admits(Some(&listed.issue("prometheus.example.com", VALID))).await);
    }
    let old = Authority::with("Clients", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let listener = Listener::start(verify, &old).await;
    assert!(!listener.admits(Some(&old.issue("prometheus.example.com", VALID))).await);
}

/// A resumed session presents no certificate again; it may have expired, or its name may no longer be allowed.
#[tokio::test]
async fn sessions_are_not_resumed_if_certificates_are_requested() {
    use HandshakeKind::{Full, Resumed};
    let clients = Authority::new("Clients");
    let good = clients.issue("prometheus.example.com", VALID);
    let verify = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";
    for (lines, second) in [("", Resumed), ("  client_auth_type: RequestClientCert\n", Full), (verify, Full)] {
        let listener = Listener::start(lines, &clients).await;
        let config = Arc::new(client(&listener.authority, Some(&good)));
        let kind = async || {
            let (answer, kind) = listener.request_as(&config).await.unwrap();
            assert!(answer.ends_with("welcome\n"), "{lines}");
            kind.map(|kind| if kind == Resumed { Resumed } else { Full })
        };
        assert_eq!((kind().await, kind().await), (Some(Full), Some(second)), "{lines}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_handshake() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let mut kept = listener.keep(None).await;
    let new = Authority::new("New listeners");
    install(listener.folder.path(), &new.issue("localhost", VALID));
    listener.config.refresh_certificates().await;
    listener.config.refresh_certificates().await;
    assert_eq!(listener.outcomes(), [(true, true); 2], "reported once");
    assert!(!listener.admits(None).await, "the old CA does not verify the new certificate");
    assert!(listener.request(&new, None).await.is_ok());
    assert!(is_served(&mut kept).await, "open connections stay open");
}

/// A reload must not refill the bucket of an unchanged rate limit.
#[tokio::test]
async fn a_reload_does_not_refill_the_rate_limit() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("rate_limit: {interval: 1h, burst: 5}\n", &clients).await;
    let before = listener.policy();
    for (text, same) in [
        ("rate_limit: {interval: 1h, burst: 5}\nhttp_server_config: {headers: {X-Frame-Options: deny}}\n", true),
        ("rate_limit: {interval: 1h, burst: 6}\n", false),
    ] {
        listener.write("web.yml", &web_config(text));
        listener.config.reload().await.unwrap();
        let (old, new) = (before.rate.as_ref().unwrap(), listener.policy());
        assert_eq!(Arc::ptr_eq(old, new.rate.as_ref().unwrap()), same, "{text}");
    }
}

const VERIFY: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let clients = Authority::new("Clients");
    let listener = Listener::start(VERIFY, &clients).await;
    let good = clients.issue("a.example.com", VALID);
    let mut kept = listener.keep(Some(&good)).await;
    let mut expect = vec![(true, true)];
    for (name, text) in [("listener.key", "-----BEGIN NONSENSE-----\n"), ("listener.pem", ""), ("clients.pem", "")] {
        let before = fs::read_to_string(listener.folder.path().join(name)).unwrap();
        for (text, outcome) in [(text, (false, false)), (&*before, (true, true))] {
            listener.write(name, text);
            listener.config.refresh_certificates().await;
            listener.config.refresh_certificates().await;
            expect.push(outcome);
            assert_eq!(listener.outcomes(), expect, "{name}: each change is reported once");
            assert!(listener.admits(Some(&good)).await && !listener.admits(None).await, "{name}");
        }
    }
    listener.write("web.yml", "tls_server_config:\n  cert_fill: listener.pem\n");
    let errors = listener.config.reload().await.unwrap_err().to_string();
    assert!(errors.contains("web.yml:2:3: tls_server_config.cert_fill: "), "{errors}");
    // A renewed certificate is still used, although another file is invalid.
    install(listener.folder.path(), &listener.authority.issue("localhost", VALID));
    listener.config.refresh_certificates().await;
    expect.extend([(false, false), (true, false)]);
    assert_eq!(listener.outcomes(), expect);
    fs::remove_file(listener.folder.path().join("web.yml")).unwrap();
    assert!(listener.config.reload().await.is_err());
    assert!(!listener.admits(None).await, "a missing file does not disable the checks");
    assert!(is_served(&mut kept).await, "open connections stay open");
}

/// A file that is still being written has no effect.
#[tokio::test]
async fn edits_take_effect_on_an_explicit_reload() {
    let clients = Authority::new("Clients");
    let lines = format!(
        "{VERIFY}  min_version: TLS13\nbasic_auth_users:\n  alice: $2b$04$LPOtlTrREdRwCPSwW2iBJ.fH6B7qe9OJ0ZxJVKlGqyXTWWFNxlnNW\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\nrate_limit: {{interval: 1h, burst: 9}}\n"
    );
    let listener = Listener::start(&lines, &clients).await;
    let (before, text) = (listener.policy(), web_config(&lines));
    for end in (0..text.len()).step_by(9) {
        fs::write(listener.folder.path().join("web.yml"), &text[..end]).unwrap();
        listener.config.refresh_certificates().await;
        assert!(Arc::ptr_eq(&before, &listener.policy()), "cut at {end}");
    }
    listener.write("web.yml", "");
    listener.config.reload().await.unwrap();
    let after = listener.policy();
    assert!(after.tls.is_none() && after.users.is_none() && after.rate.is_none() && after.headers.is_empty());
}

/// What the timer of `--config.enable-auto-reload` does.
#[tokio::test(start_paused = true)]
async fn the_timer_reloads_edits_after_a_pause() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let settle = Duration::from_secs(1);
    listener.config.reload_if_edited(settle).await;
    assert_eq!(listener.outcomes().len(), 1);
    for (text, outcome) in
        [("nonsense: 1\n".to_owned(), (false, false)), (web_config("  min_version: TLS13\n"), (true, true))]
    {
        listener.write("web.yml", &text);
        listener.config.reload_if_edited(settle).await;
        listener.config.reload_if_edited(settle).await;
        assert_eq!(listener.outcomes().last(), Some(&outcome), "{text}");
    }
    assert_eq!(listener.outcomes().len(), 3, "each edit is tried once");
    // The file is written again during the wait.
    listener.write("web.yml", "half: 1\n");
    let write = async {
        tokio::time::sleep(settle / 2).await;
        listener.write("web.yml", &web_config("  min_version: TLS12\n"));
    };
    tokio::join!(listener.config.reload_if_edited(settle), write);
    assert_eq!(listener.outcomes().len(), 3);
    listener.config.reload_if_edited(settle).await;
    assert_eq!(listener.outcomes().last(), Some(&(true, true)));
}

/// A connection that the new rules would reject.
#[tokio::test]
async fn connections_end_when_the_rules_for_them_change() {
    let (clients, others) = (Authority::new("Clients"), Authority::new("Others"));
    let good = clients.issue("a.example.com", VALID);
    let sans = format!("{VERIFY}  client_allowed_sans: [a.example.com]\n");
    for (before, after) in [
        ("", VERIFY),
        ("  client_auth_type: RequestClientCert\n", "  client_auth_type: RequireAnyClientCert\n"),
        (VERIFY, &*sans),
        ("", "  min_version: TLS13\n"),
        ("", "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"),
    ] {
        let listener = Listener::start(before, &clients).await;
        let mut kept = listener.keep(Some(&good)).await;
        // Half of a request has been sent.
        let mut half = listener.connect(&Arc::new(client(&listener.authority, Some(&good)))).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(listener.admits(Some(&good)).await);
        listener.write("web.yml", &web_config(after));
        listener.config.reload().await.unwrap();
        assert_closed(&mut kept, after).await;
        let _ = half.write_all(b"Host: localhost\r\n\r\n").await;
        let mut answer = String::new();
        let _ = half.read_to_string(&mut answer).await;
        assert!(!answer.contains("welcome"), "{answer}");
    }
    // The CA of the clients is replaced, which needs no reload.
    let listener = Listener::start(VERIFY, &clients).await;
    let mut kept = listener.keep(Some(&good)).await;
    listener.write("clients.pem", &others.pem());
    listener.config.refresh_certificates().await;
    assert_closed(&mut kept, "another CA").await;
    assert!(!listener.admits(Some(&good)).await);
}

#[tokio::test]
async fn connections_end_when_tls_is_switched_on_or_off() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let mut encrypted = listener.keep(None).await;
    listener.write("web.yml", "");
    listener.config.reload().await.unwrap();
    assert_closed(&mut encrypted, "TLS off").await;
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port)).await.unwrap();
    assert!(is_served(&mut plain).await);
    listener.write("web.yml", &web_config(""));
    listener.config.reload().await.unwrap();
    assert_closed(&mut plain, "TLS on").await;
}

#[tokio::test]
async fn connections_stay_open_if_their_rules_are_unchanged() {
    let clients = Authority::new("Clients");
    let listener = Listener::start(VERIFY, &clients).await;
    let good = clients.issue("a.example.com", VALID);
    let mut kept = listener.keep(Some(&good)).await;
    let text = format!("{VERIFY}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n");
    listener.write("web.yml", &web_config(&text));
    for _ in 0..3 {
        listener.config.reload().await.unwrap();
        assert!(is_served(&mut kept).await);
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_clients_certificate() {
    let clients = Authority::new("Clients");
    let check = async |lines: &str, ends: bool| {
        let listener = Listener::start(lines, &clients).await;
        let short = clients.issue_for("a.example.com", Duration::from_secs(1));
        let (mut idle, mut busy) = (listener.keep(Some(&short)).await, listener.keep(Some(&short)).await);
        if ends {
            assert_closed(&mut idle, lines).await;
            let closed = async { while is_served(&mut busy).await {} };
            tokio::time::timeout(Duration::from_secs(20), closed).await.expect("a busy connection is closed, too");
        } else {
            tokio::time::sleep(Duration::from_millis(2100)).await;
            assert!(is_served(&mut idle).await && is_served(&mut busy).await);
        }
    };
    tokio::join!(
        check(VERIFY, true),
        check("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: clients.pem\n", true),
        check("  client_auth_type: RequireAnyClientCert\n", false),
    );
}

#[tokio::test]
async fn a_slow_handshake_does_not_delay_other_clients() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let mut slow = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port)).await.unwrap();
    slow.write_all(&[0x16, 0x03]).await.unwrap();
    assert!(listener.admits(None).await);
}
