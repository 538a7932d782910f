//! Limits of requests and connections.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, time::Duration};
use tokio_util::sync::CancellationToken;

use crate::web::{
    listen::{ListenAddress, bind},
    policy::{ListenerPolicy, fixed},
    server::{Limits, serve},
    tests::{Server, TestHandler, client::Client},
    tls::Tls,
};

#[tokio::test]
async fn requests_that_wait_for_their_answer_are_limited() {
    let server = Server::start(Limits { max_requests: 1, patience: Duration::ZERO, ..Limits::default() });
    let mut waiting = server.connect().await;
    waiting.request("GET", "/wait", "").await;
    server.handler.entered.notified().await;
    let mut other = server.connect().await;
    let refused = other.get("/metrics").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "Limit of concurrent requests reached (1), try again later.\n");
    assert_eq!(other.get("/-/healthy").await.status, 200, "health checks are not limited");
    server.handler.release.notify_one();
    assert_eq!(waiting.response().await.status, 200);
    assert_eq!(other.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn answers_that_are_not_read_keep_nobody_out() {
    let server = Server::start(Limits { max_requests: 1, ..Limits::default() });
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut slow = server.connect().await;
        slow.request("GET", "/large", "").await;
        assert_eq!(slow.head().await.status, 200);
        readers.push(slow);
    }
    assert_eq!(server.connect().await.get("/metrics").await.status, 200);
    // Each of them is larger than the limit of unread bytes.
    let oldest = readers.remove(0);
    tokio::time::timeout(Duration::from_secs(20), ended(&oldest.stream)).await.expect("the oldest of them was closed");
}

/// Waits until a connection has ended, with or without an error.
async fn ended(stream: &TcpStream) {
    let mut bytes = vec![0; 1024 * 1024];
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Err(err) if err.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

#[tokio::test]
async fn zero_is_no_limit_of_requests() {
    let server = Server::start(Limits { max_requests: 0, ..Limits::default() });
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.request("GET", "/wait", "").await;
        server.handler.entered.notified().await;
        clients.push(client);
    }
    for mut client in clients {
        server.handler.release.notify_one();
        assert_eq!(client.response().await.status, 200);
    }
}

/// Many more connections than the limit. No client closes one.
#[tokio::test]
async fn the_limit_of_connections_holds_and_those_who_ask_are_served() {
    let server = Server::start(Limits { max_connections: 8, ..Limits::default() });
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut client = server.connect().await;
        if number % 10 == 0 {
            assert_eq!(client.get("/metrics").await.status, 200);
        }
        clients.push(client);
    }
    let mut open = clients.len();
    for client in &clients {
        // Connections that are still open do not end within this time.
        if tokio::time::timeout(Duration::from_millis(20), ended(&client.stream)).await.is_ok() {
            open -= 1;
        }
    }
    assert!(open <= 8, "{open} are open");
}

#[tokio::test]
async fn all_sockets_share_the_limit_of_connections() {
    let any_port = ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0);
    let listeners = bind(&[any_port.clone(), any_port], "").unwrap();
    let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let shutdown = CancellationToken::new();
    let handler = Arc::new(TestHandler::default());
    let task = tokio::spawn(serve(listeners, handler, fixed(ListenerPolicy::default()), limits, shutdown.clone()));
    for port in ports.into_iter().cycle().take(6) {
        let mut client = Client::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
        assert_eq!(client.get("/-/healthy").await.status, 200);
    }
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), 0);
}

/// Records how often another task ran before each handshake was computed, which is when a certificate is chosen.
#[derive(Debug)]
struct RecordingResolver {
    key: Arc<CertifiedKey>,
    steps: Arc<AtomicUsize>,
    times: Mutex<Vec<usize>>,
}

impl ResolvesServerCert for RecordingResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.times.lock().unwrap().push(self.steps.load(Ordering::SeqCst));
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

/// On one thread, a task that is always ready runs between any two handshakes.
#[tokio::test]
async fn a_flood_of_handshakes_leaves_time_for_others() {
    const CLIENTS: usize = 40;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = CertifiedKey::from_der(
        vec![issued.cert.der().clone()],
        PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into()),
        &provider,
    );
    let steps = Arc::new(AtomicUsize::new(0));
    let resolver =
        Arc::new(RecordingResolver { key: Arc::new(key.unwrap()), steps: steps.clone(), times: Mutex::default() });
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_cert_resolver(resolver.clone()));
    let tls = Some(Tls { config, not_after: None, rules: String::new(), verifies_clients: false });
    let server = Server::with_policy(Limits::default(), ListenerPolicy { tls, ..ListenerPolicy::default() });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.connect().await);
    }
    let stepping = tokio::spawn(std::future::poll_fn(move |cx| {
        steps.fetch_add(1, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        std::task::Poll::<()>::Pending
    }));
    for client in &clients {
        // Without awaiting, so that all of them arrive at once.
        let hello = client_hello(&provider);
        assert_eq!(client.stream.try_write(&hello).unwrap(), hello.len());
    }
    while resolver.times.lock().unwrap().len() < CLIENTS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stepping.abort();
    let times = resolver.times.lock().unwrap();
    let most = times.iter().map(|time| times.iter().filter(|other| *other == time).count()).max();
    assert!(most <= Some(2), "{most:?} without a pause");
}
