//! The listener behind a web configuration file, as clients with all kinds of certificates find it.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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
    web_config::{Refusal, WebConfig},
};
use rustls::{
    ClientConfig, RootCertStore,
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
    outcomes: Arc<Mutex<Vec<Result<(), Refusal>>>>,
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
        let observer = move |outcome: Result<&_, &Refusal>| {
            told.lock().unwrap().push(outcome.map(|_| ()).map_err(Refusal::clone));
        };
        let config = Arc::new(WebConfig::open(&folder.path().join("web.yml"), Box::new(observer)).unwrap());
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
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    async fn admits(&self, certificate: Option<&Issued>) -> bool {
        self.ask(&self.authority, certificate).await.is_ok_and(|text| text.ends_with("come in\n"))
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

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_handshake() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    assert!(listener.admits(None).await);
    let new = Authority::new("New listeners");
    install(listener.folder.path(), &new.issue("localhost", VALID));
    assert!(!listener.admits(None).await, "the old authority is not enough any more");
    assert!(listener.ask(&new, None).await.is_ok());
}

#[tokio::test]
async fn a_broken_edit_leaves_the_last_good_rules_in_force() {
    let clients = Authority::new("Clients");
    let listener =
        Listener::start("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n", &clients)
            .await;
    let good = clients.issue("a.example.com", VALID);
    for (name, text) in [
        ("web.yml", "tls_server_config:\n  cert_fill: listener.pem\n"),
        ("listener.key", "-----BEGIN NONSENSE-----\n"),
        ("clients.pem", ""),
    ] {
        let before = fs::read_to_string(listener.folder.path().join(name)).unwrap();
        listener.write(name, text);
        for _ in 0..2 {
            assert!(listener.admits(Some(&good)).await && !listener.admits(None).await, "{name}");
        }
        let last = listener.outcomes.lock().unwrap().last().unwrap().clone();
        assert!(last.is_err(), "{name} is reported");
        listener.write(name, &before);
        assert!(listener.admits(Some(&good)).await, "{name}");
        assert_eq!(*listener.outcomes.lock().unwrap().last().unwrap(), Ok(()), "{name}");
    }
    assert_eq!(listener.outcomes.lock().unwrap().len(), 7, "each change is told once");
    fs::remove_file(listener.folder.path().join("web.yml")).unwrap();
    assert!(!listener.admits(None).await, "without its file it does not open up");
}

#[tokio::test]
async fn tls_can_be_switched_off_and_on() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    listener.write("web.yml", "");
    assert!(listener.config.current().tls.is_none());
    assert!(!listener.admits(None).await);
    listener.write("web.yml", &web_config(""));
    assert!(listener.admits(None).await);
}

#[tokio::test]
async fn a_client_that_is_slow_to_shake_hands_holds_up_no_other() {
    let clients = Authority::new("Clients");
    let listener = Listener::start("", &clients).await;
    let mut slow = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port)).await.unwrap();
    slow.write_all(&[0x16, 0x03]).await.unwrap();
    assert!(listener.admits(None).await);
}
