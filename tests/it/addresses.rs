//! Clusters with several addresses, some of which do not respond.

use std::{
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::client::{Client, TransportPool};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{
    lab::{Lab, settings},
    raw_server::{RawServer, healthy},
};

/// A resolver with one entry.
fn pool(addresses: &'static [Ipv4Addr]) -> Arc<TransportPool> {
    let lookup = move |host: &str| match host {
        "cluster.test" => Ok(addresses.iter().map(|address| (*address).into()).collect()),
        _ => Err(io::Error::other("Name or service not known")),
    };
    Arc::new(TransportPool::with_lookup(lookup))
}

/// A client of the lab's cluster, under a name with these addresses.
fn client(lab: &Lab, addresses: &'static [Ipv4Addr]) -> Client {
    let mut settings = lab.settings.clone();
    settings.url = format!("https://cluster.test:{}", settings.url.port().unwrap()).parse().unwrap();
    Client::new(settings, pool(addresses))
}

const GOOD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn an_unreachable_address_does_not_fail_the_poll() {
    let lab = Lab::new(|_| {}).await;
    for addresses in [&[DEAD, GOOD][..], &[GOOD, DEAD], &[DEAD, DEAD, GOOD]] {
        client(&lab, addresses).poll(Instant::now()).await.unwrap();
    }
}

/// A listener with a full accept queue, so that further connections get no response.
async fn hanging(port: u16) -> (TcpListener, Vec<tokio::task::JoinHandle<io::Result<TcpStream>>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((DEAD, port).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let waiting = (0..4).map(|_| tokio::spawn(TcpStream::connect((DEAD, port)))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    (listener, waiting)
}

#[tokio::test]
async fn an_address_that_does_not_accept_connections_leaves_time_for_the_next() {
    let mut lab = Lab::new(|_| {}).await;
    let _full = hanging(lab.settings.url.port().unwrap()).await;
    (lab.settings.timeout, lab.settings.transport.connect_timeout) = (Duration::from_secs(8), Duration::from_secs(4));
    client(&lab, &[DEAD, GOOD]).poll(Instant::now()).await.unwrap();
}

#[tokio::test]
async fn after_an_address_that_hangs_the_next_poll_uses_another() {
    let mut lab = Lab::new(|_| {}).await;
    // Accepts the connection and then does not respond, so TCP does not try another address.
    let silent = TcpListener::bind((DEAD, lab.settings.url.port().unwrap())).await.unwrap();
    lab.settings.transport.connect_timeout = Duration::from_millis(200);
    let mut client = client(&lab, &[DEAD, GOOD]);
    let failure = client.poll(Instant::now()).await.unwrap_err();
    assert!(failure.message.ends_with("within 200ms, half of poll_timeout"), "{failure:?}");
    client.poll(Instant::now()).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn the_message_about_a_name_without_an_address_is_short() {
    let server = RawServer::http(|_| Some(healthy())).await;
    let mut settings = settings(&format!("http://localhost:{}", server.port), server.probe().settings.credential);
    settings.url = format!("https://other.test:{}", server.port).parse().unwrap();
    settings.transport.tls = Lab::new(|_| {}).await.settings.transport.tls.clone();
    let mut client = Client::new(settings, pool(&[]));
    let failure = client.poll(Instant::now()).await.unwrap_err();
    assert_eq!(failure.message, "cannot resolve other.test: no such name");
}
