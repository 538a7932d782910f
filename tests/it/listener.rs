//! The listener behind a web configuration file, as clients with all kinds of certificates find it.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming};
use qumulo_encryption_exporter::{
    web::{
        handler::Handler,
        listen::{ListenAddress, bind},
        policy::Policies,
        respond,
        server::{Limits, serve},
    },
    web_config::{WebConfig, WebConfigErrors},
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    authority::{Authority, Issued},
    lab::until,
};

/// Short, so that tests do not wait for long; the program's is a second.
const SETTLE: Duration = Duration::from_millis(100);

const VALID: [i32; 2] = [2000, 2100];
const EXPIRED: [i32; 2] = [2000, 2001];

#[derive(Default)]
struct Site {
    failed_handshakes: AtomicUsize,
}

impl Handler for Site {
    async fn handle(&self, _: Request<Incoming>) -> Response<Full<Bytes>> {
        respond::text(StatusCode::OK, "come in\n")
    }

    fn handshake_failed(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// A listener that follows `web.yml` in a folder with a certificate.
struct Listener {
    authority: Authority,
    config: Arc<WebConfig>,
    folder: TempDir,
    /// What came of each reading.
    outcomes: Arc<Mutex<Vec<Result<(), WebConfigErrors>>>>,
    port: u16,
    site: Arc<Site>,
    _serving: AbortOnDropHandle<usize>,
}

impl Listener {
    /// With these lines under `tls_server_config`; `clients.pem` is the authority of clients.
    async fn start(lines: &str, clients: &Authority) -> Self {
        let (authority, folder) = (Authority::new("Listeners"), tempfile::tempdir().unwrap());
        write(folder.path(), "clients.pem", &clients.pem());
        install(folder.path(), &authority.issue("localhost", VALID));
        write(folder.path(), "web.yml", &web_config(lines));
        let outcomes: Arc<Mutex<Vec<_>>> = Arc::default();
        let told = outcomes.clone();
        let observer = move |outcome: Result<&_, &WebConfigErrors>| {
            told.lock().unwrap().push(outcome.map(|_| ()).map_err(WebConfigErrors::clone));
        };
        let config = Arc::new(WebConfig::open(&folder.path().join("web.yml"), SETTLE, Box::new(observer)).unwrap());
        let listeners = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0)], "").unwrap();
        let (port, site) = (listeners[0].local_addr().unwrap().port(), Arc::new(Site::default()));
        let serving = serve(listeners, site.clone(), config.clone(), Limits::default(), CancellationToken::new());
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Self { authority, config, folder, outcomes, port, site, _serving }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.folder.path(), name, text);
    }

    /// The answer to a client with this certificate, that trusts `authority`.
    async fn ask(&self, authority: &Authority, certificate: Option<&Issued>) -> io::Result<String> {
        Ok(self.ask_as(&Arc::new(client(authority, certificate))).await?.0)
    }

    /// The answer, and what the handshake was like.
    async fn ask_as(&self, config: &Arc<ClientConfig>) -> io::Result<(String, Option<HandshakeKind>)> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok((text, stream.get_ref().1.handshake_kind()))
    }

    /// Waits for the outcome of this reading.
    async fn outcome(&self, number: usize) -> Result<(), WebConfigErrors> {
        until(|| {
            self.config.look();
            self.outcomes.lock().unwrap().len() >= number
        })
        .await;
        self.outcomes.lock().unwrap()[number - 1].clone()
    }

    async fn admits(&self, certificate: Option<&Issued>) -> bool {
        self.ask(&self.authority, certificate).await.is_ok_and(|text| text.ends_with("come in\n"))
    }
}

/// A client with this certificate, that trusts `authority`.
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

fn web_config(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: listener.pem\n  key_file: listener.key\n{lines}")
}

/// In one step, as tools that renew certificates do it.
fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

fn install(folder: &Path, issued: &Issued) {
    write(folder, "listener.pem", &issued.certificate);
    write(folder, "listener.key", &issued.key);
}

#[tokio::test]
async fn clients_are_asked_for_what_the_policy_says() {
    let (clients, strangers) = (Authority::new("Clients"), Authority::new("Strangers"));
    let good = clients.issue("prometheus.example.com", VALID);
    let expired = clients.issue("prometheus.example.com", EXPIRED);
    let other = clients.issue("other.example.com", VALID);
    let stranger = strangers.issue("prometheus.example.com", VALID);
    let ca = "  client_ca_file: clients.pem\n";
    let sans = "  client_allowed_sans: [prometheus.example.com]\n";
    let verify = format!("  client_auth_type: RequireAndVerifyClientCert\n{ca}");
    // None, good, of another name, expired, of a stranger.
    for (lines, expect) in [
        (String::new(), [true, true, true, true, true]),
        ("  client_auth_type: NoClientCert\n".to_owned(), [true, true, true, true, true]),
        ("  client_auth_type: RequestClientCert\n".to_owned(), [true, true, true, true, true]),
        ("  client_auth_type: RequireAnyClientCert\n".to_owned(), [false, true, true, true, true]),
        ("  client_auth_type: RequireClientCert\n".to_owned(), [false, true, true, true, true]),
        (format!("  client_auth_type: VerifyClientCertIfGiven\n{ca}"), [true, true, true, false, false]),
        (verify.clone(), [false, true, true, false, false]),
        (format!("{verify}{sans}"), [false, true, false, false, false]),
        (format!("  client_auth_type: RequireAnyClientCert\n{sans}"), [false, true, false, true, true]),
    ] {
        let listener = Listener::start(&lines, &clients).await;
        for (certificate, expect) in
            [None, Some(&good), Some(&other), Some(&expired), Some(&stranger)].iter().zip(expect)
        {
            assert_eq!(listener.admits(*certificate).await, expect, "{lines}");
        }
        let refused = expect.iter().filter(|admitted| !**admitted).count();
        until(|| listener.site.failed_handshakes.load(Ordering::SeqCst) == refused).await;
    }
}

/// A resumed session shows no certificate again, which may have expired or be of a name that is allowed no more.
#[tokio::test]
async fn no_session_is_resumed_where_certificates_are_asked_for() {
    use HandshakeKind::{Full, Resumed};
    let clients = Authority::new("Clients");
    let good = clients.issue("prometheus.example.com", VALID);
    let verify = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";
    for (lines, second) in [("", Resumed), ("  client_auth_type: RequestClientCert\n", Full), (verify, Full)] {
        let listener = Listener::start(lines, &clients).await;
        let config = Arc::new(client(&listener.authority, Some(&good)));
        let kind = async || {
            let (answer, kind) = listener.ask_as(&config).await.unwrap();
            assert!(answer.ends_with("come in\n"), "{lines}");
            kind.map(|kind| if kind == Resumed { Resumed } else { Full })
        };
        assert_eq!((kind().await, kind().await), (Some(Full), Some(second)), "{lines}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_handshake() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    assert!(listener.admits(None).await);
    let new = Authority::new("New listeners");
    install(listener.folder.path(), &new.issue("localhost", VALID));
    assert_eq!(listener.outcome(2).await, Ok(()));
    assert!(!listener.admits(None).await, "the old authority is not enough any more");
    assert!(listener.ask(&new, None).await.is_ok());
}

/// Whoever can make the file change must not get a full bucket for it.
#[tokio::test]
async fn an_edit_fills_no_bucket() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("rate_limit: {interval: 1h, burst: 5}\n", &clients).await;
    let before = listener.config.current();
    for (round, (text, same)) in [
        ("rate_limit: {interval: 1h, burst: 5}\nhttp_server_config: {headers: {X-Frame-Options: deny}}\n", true),
        ("rate_limit: {interval: 1h, burst: 6}\n", false),
    ]
    .into_iter()
    .enumerate()
    {
        listener.write("web.yml", &web_config(text));
        assert_eq!(listener.outcome(round + 2).await, Ok(()));
        let (old, new) = (before.rate.as_ref().unwrap(), listener.config.current());
        assert_eq!(Arc::ptr_eq(old, new.rate.as_ref().unwrap()), same, "{text}");
    }
}

#[tokio::test]
async fn a_broken_edit_leaves_the_last_good_rules_in_force() {
    let clients = Authority::new("Clients");
    let listener =
        Listener::start("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n", &clients)
            .await;
    let good = clients.issue("a.example.com", VALID);
    for (round, (name, text)) in [
        ("web.yml", "tls_server_config:\n  cert_fill: listener.pem\n"),
        ("listener.key", "-----BEGIN NONSENSE-----\n"),
        ("clients.pem", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let before = fs::read_to_string(listener.folder.path().join(name)).unwrap();
        listener.write(name, text);
        assert!(listener.outcome(2 * round + 2).await.is_err(), "{name} is reported");
        for _ in 0..2 {
            assert!(listener.admits(Some(&good)).await && !listener.admits(None).await, "{name}");
        }
        listener.write(name, &before);
        assert_eq!(listener.outcome(2 * round + 3).await, Ok(()), "{name}");
        assert!(listener.admits(Some(&good)).await, "{name}");
    }
    assert_eq!(listener.outcomes.lock().unwrap().len(), 7, "each change is told once");
    fs::remove_file(listener.folder.path().join("web.yml")).unwrap();
    assert!(listener.outcome(8).await.is_err());
    assert!(!listener.admits(None).await, "without its file it does not open up");
}

/// What an edit would take away, and what it says about that.
#[tokio::test]
async fn protection_is_taken_away_only_when_somebody_asks() {
    let clients = Authority::new("Clients");
    let (verify, user) = (
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n",
        "basic_auth_users:\n  alice: $2b$04$LPOtlTrREdRwCPSwW2iBJ.fH6B7qe9OJ0ZxJVKlGqyXTWWFNxlnNW\n",
    );
    let sans = format!("{verify}  client_allowed_sans: [a.example.com]\n");
    for (before, after, words) in [
        ("", None, "switch TLS off"),
        (user, Some(""), "without a password"),
        (verify, Some("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: clients.pem\n"), "a certificate"),
        (verify, Some("  client_auth_type: RequireAnyClientCert\n"), "of any authority"),
        (&sans, Some(verify), "of any name"),
    ] {
        let listener = Listener::start(before, &clients).await;
        listener.write("web.yml", &after.map(web_config).unwrap_or_default());
        let refusal = listener.outcome(2).await.unwrap_err().to_string();
        assert!(refusal.contains(words) && refusal.contains("SIGHUP"), "{refusal}");
        let kept = listener.config.current();
        assert!(kept.tls.is_some() && kept.users.is_some() == (before == user));
        listener.config.reload().unwrap();
        assert_eq!(listener.config.current().tls.is_some(), after.is_some());
        assert!(listener.config.current().users.is_none());
    }
}

/// While the file is rewritten in place in every order of bytes, nobody comes in without a certificate or a password.
#[tokio::test]
async fn a_file_that_is_being_rewritten_opens_nothing() {
    let clients = Authority::new("Clients");
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n";
    let listener = Arc::new(Listener::start(lines, &clients).await);
    let (path, text) = (listener.folder.path().join("web.yml"), web_config(lines));
    let done = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (listener, done) = (listener.clone(), done.clone());
        async move {
            let mut asked = 0;
            while !done.load(Ordering::SeqCst) {
                assert!(!listener.admits(None).await, "a client without a certificate came in");
                listener.config.look();
                let policy = listener.config.current();
                let demands = policy.tls.as_ref().map(|tls| tls.demands).unwrap_or_default();
                assert!(demands.mandatory && demands.verified);
                let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port)).await.unwrap();
                plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
                let mut answer = Vec::new();
                let _ = plain.read_to_end(&mut answer).await;
                assert!(!answer.starts_with(b"HTTP"), "plain HTTP was answered");
                asked += 1;
            }
            asked
        }
    });
    // Forwards as `cp` writes, backwards as nobody does, and every prefix that stays for longer than files must rest.
    tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::FileExt;
        for _ in 0..5 {
            for end in 0..=text.len() {
                fs::write(&path, &text[..end]).unwrap();
            }
            let file = fs::File::create(&path).unwrap();
            for at in (0..text.len()).rev() {
                file.write_all_at(&text.as_bytes()[at..=at], at as u64).unwrap();
            }
        }
        for end in [0, 1, text.len() / 3, text.find("  client_auth").unwrap(), text.find("  client_ca").unwrap()] {
            fs::write(&path, &text[..end]).unwrap();
            std::thread::sleep(2 * SETTLE);
        }
        fs::write(&path, &text).unwrap();
    })
    .await
    .unwrap();
    done.store(true, Ordering::SeqCst);
    assert!(asking.await.unwrap() > 10);
}

#[tokio::test]
async fn a_client_that_is_slow_to_shake_hands_holds_up_no_other() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let mut slow = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port)).await.unwrap();
    slow.write_all(&[0x16, 0x03]).await.unwrap();
    assert!(listener.admits(None).await);
}
