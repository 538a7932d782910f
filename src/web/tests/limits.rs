//! Limits of requests and connections.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::web::{
    connection::HANDSHAKES,
    listen::{ListenAddress, bind},
    policy::{Fixed, Policy},
    server::{Limits, serve},
    tests::{Server, Site, client::Client},
    tls::{Demands, Tls},
};

#[tokio::test]
async fn requests_that_wait_for_their_answer_are_limited() {
    let server = Server::start(Limits { max_requests: 1, patience: Duration::ZERO, ..Limits::default() });
    let mut waiting = server.connect().await;
    waiting.ask("GET", "/wait", "").await;
    server.site.entered.notified().await;
    let mut other = server.connect().await;
    let refused = other.get("/metrics").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "Limit of concurrent requests reached (1), try again later.\n");
    assert_eq!(other.get("/-/healthy").await.status, 200, "health checks are not limited");
    server.site.release.notify_one();
    assert_eq!(waiting.reply().await.status, 200);
    assert_eq!(other.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn answers_that_are_not_read_keep_nobody_out() {
    let server = Server::start(Limits { max_requests: 1, ..Limits::default() });
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut slow = server.connect().await;
        slow.ask("GET", "/large", "").await;
        assert_eq!(slow.head().await.status, 200);
        readers.push(slow);
    }
    assert_eq!(server.connect().await.get("/metrics").await.status, 200);
    // Each of them is larger than all unsent answers may be.
    let oldest = readers.remove(0);
    let mut bytes = vec![0; 1024 * 1024];
    let ended = async {
        loop {
            oldest.stream.readable().await.unwrap();
            match oldest.stream.try_read(&mut bytes) {
                Ok(0) => return,
                Err(err) if err.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the oldest of them went");
}

#[tokio::test]
async fn zero_is_no_limit_of_requests() {
    let server = Server::start(Limits { max_requests: 0, ..Limits::default() });
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.ask("GET", "/wait", "").await;
        server.site.entered.notified().await;
        clients.push(client);
    }
    for mut client in clients {
        server.site.release.notify_one();
        assert_eq!(client.reply().await.status, 200);
    }
}

#[tokio::test]
async fn the_connection_that_is_silent_for_longest_makes_room() {
    let server = Server::start(Limits { max_connections: 2, ..Limits::default() });
    let mut first = server.connect().await;
    assert_eq!(first.get("/metrics").await.status, 200);
    let silent = server.connect().await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut client = server.connect().await;
        assert_eq!(client.get("/metrics").await.status, 200);
        kept.push(client);
    }
    for gone in [first, silent] {
        gone.stream.readable().await.unwrap();
        assert!(matches!(gone.stream.try_read(&mut [0]), Ok(0) | Err(_)), "it was closed");
    }
}

#[tokio::test]
async fn all_sockets_share_the_limit_of_connections() {
    let any_port = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0);
    let listeners = bind(&[any_port.clone(), any_port], "").unwrap();
    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let shutdown = CancellationToken::new();
    let site = Arc::new(Site::default());
    let task = tokio::spawn(serve(listeners, site, Arc::new(Fixed::default()), limits, shutdown.clone()));
    for port in ports.into_iter().cycle().take(6) {
        let mut client = Client::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
        assert_eq!(client.get("/-/healthy").await.status, 200);
    }
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), 0);
}

/// Notes when a handshake computes: that is when a certificate is chosen.
#[derive(Debug)]
struct Noting {
    key: Arc<CertifiedKey>,
    times: Mutex<Vec<Instant>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.times.lock().unwrap().push(Instant::now());
        Some(self.key.clone())
    }
}

/// The first message of a handshake.
fn client_hello(provider: &Arc<CryptoProvider>) -> Vec<u8> {
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// The clock is paused, so that a handshake's time to compute passes only when all others wait.
#[tokio::test(start_paused = true)]
async fn few_handshakes_compute_at_a_time() {
    const CLIENTS: usize = 40;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = CertifiedKey::from_der(
        vec![issued.cert.der().clone()],
        PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into()),
        &provider,
    );
    let noting = Arc::new(Noting { key: Arc::new(key.unwrap()), times: Mutex::default() });
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_cert_resolver(noting.clone()));
    let tls = Some(Tls { config, demands: Demands::default(), not_after: 0 });
    let server = Server::guarded(Limits::default(), Policy { tls, ..Policy::default() });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.connect().await;
        client.stream.write_all(&client_hello(&provider)).await.unwrap();
        clients.push(client);
    }
    while noting.times.lock().unwrap().len() < CLIENTS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let times = noting.times.lock().unwrap();
    let most = times.iter().map(|time| times.iter().filter(|other| *other == time).count()).max();
    assert!(most <= Some(HANDSHAKES), "{most:?} at the same time");
}
