//! The KMS probe: only in allowed networks, limited in time and number, and without affecting the status.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::{Networks, TransportPool},
    model::{KmsCertificate, KmsProbe},
};
use qumulo_simulator::{ClusterSpec, SimCluster};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    authority::Authority,
    lab::{Lab, Probe, until},
    leak,
    raw_server::RawServer,
};

fn loopback() -> Option<Networks> {
    Some(Networks(vec!["127.0.0.0/8".parse().unwrap()]))
}

/// A cluster whose KMS is at this port of this host.
async fn lab(port: u16, networks: Option<Networks>) -> Lab {
    let mut lab = Lab::new(|spec| {
        (spec.key_store_type, spec.status) = (json!("KMS"), json!("KMS Available"));
        (spec.kms.hostname, spec.kms.port) = ("127.0.0.1".to_owned(), port);
    })
    .await;
    lab.settings.kms_probe = networks;
    lab
}

/// Polls until a probe has ended. Polls do not wait for it.
async fn seen(probe: &mut Probe) -> KmsProbe {
    let started = Instant::now();
    loop {
        if let Some(seen) = probe.poll().await.unwrap().kms_probe {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the probe did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_certificate_is_read_from_a_server_that_requests_one() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    for demands in [false, true] {
        let mut spec = ClusterSpec::named("kms");
        authority.issue("127.0.0.1", [2000, 4000]).install(&mut spec);
        spec.client_ca_pem = demands.then(|| clients.pem());
        let server = SimCluster::start(spec).await.unwrap();
        let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        let lab = lab(port, loopback()).await;
        let mut probe = lab.probe();
        assert_eq!(probe.poll().await.unwrap().kms_probe, None, "the poll does not wait for the probe");
        assert!(matches!(seen(&mut probe).await, KmsProbe::Shown(_)), "{demands}");
        assert!(probe.poll().await.unwrap().expiry(KmsCertificate::Server).is_some());
        assert_eq!((server.counts().requests, server.counts().handshakes), (0, 0), "the probe ends at the certificate");
    }
}

/// A server that accepts connections and does not respond, and the number of connections.
async fn counting() -> (RawServer, Arc<AtomicU64>) {
    let connections = Arc::new(AtomicU64::new(0));
    let counter = connections.clone();
    let server = RawServer::serve(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async {}
    })
    .await;
    (server, connections)
}

#[tokio::test]
async fn addresses_outside_the_allowed_networks_are_not_contacted() {
    let (server, connections) = counting().await;
    let port = server.port;
    let without = lab(port, None).await;
    for _ in 0..3 {
        assert_eq!(without.probe().poll().await.unwrap().kms_probe, None);
    }
    for networks in [Networks::default(), Networks(vec!["10.0.0.0/8".parse().unwrap()])] {
        let lab = lab(port, Some(networks)).await;
        assert_eq!(seen(&mut lab.probe()).await, KmsProbe::NotAllowed);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_misbehaves_is_unreachable_and_does_not_delay_polls() {
    let hang = RawServer::serve(async |mut stream, _| drop(stream.read_to_end(&mut Vec::new()).await)).await;
    let close = RawServer::serve(async |_, _| {}).await;
    let plain = RawServer::serve(async |mut stream, _| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let endless = RawServer::serve(async |mut stream, _| {
        // TLS records of an incomplete handshake.
        let record = [&[22, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
        while stream.write_all(&record).await.is_ok() {}
    })
    .await;
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for port in [hang.port, close.port, plain.port, endless.port, refused] {
        let lab = lab(port, loopback()).await;
        let mut probe = lab.probe();
        let started = Instant::now();
        assert_eq!(probe.poll().await.unwrap().status.label(), "kms_available");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        assert_eq!(seen(&mut probe).await, KmsProbe::Unreachable);
    }
}

#[tokio::test]
async fn clusters_that_share_a_kms_share_the_probe() {
    let (server, connections) = counting().await;
    let first = lab(server.port, loopback()).await;
    let mut second = lab(server.port, loopback()).await;
    second.pool = first.pool.clone();
    let (mut one, mut other) = (first.probe(), second.probe());
    assert_eq!(seen(&mut one).await, KmsProbe::Unreachable);
    assert_eq!(seen(&mut other).await, KmsProbe::Unreachable);
    let now = Instant::now();
    for seconds in [60, 300, 590] {
        one.poll_at(now + Duration::from_secs(seconds)).await.unwrap();
        other.poll_at(now + Duration::from_secs(seconds)).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    other.poll_at(now + Duration::from_secs(601)).await.unwrap();
    one.poll_at(now + Duration::from_secs(602)).await.unwrap();
    until(|| connections.load(Ordering::SeqCst) == 2).await;
}

/// A KMS that presents its certificate: address and number of connections.
async fn kms() -> (SimCluster, u16) {
    let mut spec = ClusterSpec::named("kms");
    Authority::new("servers").issue("127.0.0.1", [2000, 4000]).install(&mut spec);
    let server = SimCluster::start(spec).await.unwrap();
    let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
    (server, port)
}

/// A name with several addresses, one of which hangs or refuses connections, as a node that is down does.
#[tokio::test]
async fn every_address_of_a_name_is_tried_in_time() {
    let (_server, port) = kms().await;
    // Accepts connections to the same port at another address and does not respond.
    let silent = tokio::net::TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    for addresses in [["127.0.0.2", "127.0.0.1"], ["127.0.0.3", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]] {
        let mut lab = lab(port, loopback()).await;
        lab.cluster.update(|spec| spec.kms.hostname = "kms.example.com".to_owned());
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        lab.pool = Arc::new(TransportPool::with_lookup(move |_| Ok(addresses.clone())));
        assert!(matches!(seen(&mut lab.probe()).await, KmsProbe::Shown(_)));
    }
    drop(silent);
}

#[tokio::test]
async fn the_tenth_address_of_a_name_is_tried_although_nine_hang() {
    let (_server, port) = kms().await;
    let mut silent = Vec::new();
    let mut addresses = Vec::new();
    for last in 2..=10 {
        let address = std::net::Ipv4Addr::new(127, 0, 0, last);
        silent.push(tokio::net::TcpListener::bind((address, port)).await.unwrap());
        addresses.push(address.into());
    }
    addresses.push("127.0.0.1".parse().unwrap());
    let mut lab = lab(port, loopback()).await;
    lab.cluster.update(|spec| spec.kms.hostname = "kms.example.com".to_owned());
    lab.pool = Arc::new(TransportPool::with_lookup(move |_| Ok(addresses.clone())));
    assert!(matches!(seen(&mut lab.probe()).await, KmsProbe::Shown(_)));
}

/// As some clusters write an IPv6 address.
#[tokio::test]
async fn an_address_in_brackets_is_understood() {
    let lab = lab(9, loopback()).await;
    lab.cluster.update(|spec| spec.kms.hostname = "[::1]".to_owned());
    assert_eq!(seen(&mut lab.probe()).await, KmsProbe::NotAllowed);
}

/// Whatever address a cluster reports, it causes at most one probe in ten minutes.
#[tokio::test]
async fn a_cluster_that_reports_changing_servers_causes_no_more_probes() {
    let (server, connections) = counting().await;
    let mut lab = lab(server.port, loopback()).await;
    lab.pool = Arc::new(TransportPool::with_lookup(|_| Ok(vec!["127.0.0.1".parse().unwrap()])));
    let mut probe = lab.probe();
    assert_eq!(seen(&mut probe).await, KmsProbe::Unreachable);
    let now = Instant::now();
    for minute in 1..9 {
        lab.cluster.update(|spec| {
            spec.kms.hostname = format!("kms-{minute}.example.com");
            spec.key_store_type = json!(if minute % 2 == 0 { "KMS" } else { "Local" });
        });
        probe.poll_at(now + Duration::from_secs(60 * minute)).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    lab.cluster.update(|spec| spec.key_store_type = json!("KMS"));
    probe.poll_at(now + Duration::from_secs(601)).await.unwrap();
    until(|| connections.load(Ordering::SeqCst) == 2).await;
}

/// Cipher suites with CBC and without forward secrecy, as in KMIP's first profile. The server rejects the handshake by an alert.
#[tokio::test]
async fn a_server_without_a_suite_in_common_is_unreachable_and_the_log_says_why() {
    let server = RawServer::serve(async |mut stream, _| {
        let mut hello = [0; 5];
        let _ = stream.read_exact(&mut hello).await;
        // Alert, fatal, handshake_failure.
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let lab = lab(server.port, loopback()).await;
    assert_eq!(seen(&mut lab.probe()).await, KmsProbe::Unreachable);
    let lines = leak::logged(&format!("port={}", server.port));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("level=warn") && lines[0].contains("cannot read the certificate of a KMS"), "{lines:?}");
    assert!(lines[0].contains("no TLS version, cipher suite or key type in common"), "{lines:?}");
}
