//! The look at a key management server itself: where the operator lets it, bounded, and never at the cost of a status.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::Networks,
    model::{KmsCertificate, KmsProbe},
    sim::{ClusterSpec, SimCluster},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    authority::Authority,
    bare::Bare,
    lab::{Lab, Probe},
};

fn loopback() -> Option<Networks> {
    Some(Networks(vec!["127.0.0.0/8".parse().unwrap()]))
}

/// A cluster whose server is at this port of this machine.
async fn lab(port: u16, networks: Option<Networks>) -> Lab {
    let mut lab = Lab::new(|spec| {
        (spec.key_store_type, spec.status) = (json!("KMS"), json!("KMS Available"));
        (spec.kms.hostname, spec.kms.port) = ("127.0.0.1".to_owned(), port);
    })
    .await;
    lab.settings.kms_probe = networks;
    lab
}

/// Polls until a look has ended, which is no poll's business.
async fn seen(probe: &mut Probe) -> KmsProbe {
    let started = Instant::now();
    loop {
        if let Some(seen) = probe.poll().await.unwrap().kms_probe {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no look ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_certificate_is_seen_although_the_server_wants_one_too() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    for demands in [false, true] {
        let mut spec = ClusterSpec::named("kms");
        authority.issue("127.0.0.1", [2000, 4000]).install(&mut spec);
        spec.client_ca_pem = demands.then(|| clients.pem());
        let server = SimCluster::start(spec).await.unwrap();
        let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        let lab = lab(port, loopback()).await;
        let mut probe = lab.probe();
        assert_eq!(probe.poll().await.unwrap().kms_probe, None, "nobody waits for it");
        assert!(matches!(seen(&mut probe).await, KmsProbe::Shown(_)), "{demands}");
        assert!(probe.poll().await.unwrap().expiry(KmsCertificate::Server).is_some());
        assert_eq!((server.counts().requests, server.counts().handshakes), (0, 0), "as far as the certificate");
    }
}

/// A server that takes connections and says nothing, and how many it took.
async fn counting() -> (Bare, Arc<AtomicU64>) {
    let connections = Arc::new(AtomicU64::new(0));
    let counter = connections.clone();
    let server = Bare::serve(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async {}
    })
    .await;
    (server, connections)
}

#[tokio::test]
async fn nothing_is_contacted_that_nobody_allowed() {
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
async fn a_server_that_misbehaves_is_unreachable_and_costs_no_poll() {
    let hang = Bare::serve(async |mut stream, _| drop(stream.read_to_end(&mut Vec::new()).await)).await;
    let close = Bare::serve(async |_, _| {}).await;
    let plain = Bare::serve(async |mut stream, _| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let endless = Bare::serve(async |mut stream, _| {
        // Records of a handshake that never says anything.
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
async fn clusters_that_share_a_server_share_the_look() {
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
    // The second one is for a server that knows no suite of today.
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    other.poll_at(now + Duration::from_secs(601)).await.unwrap();
    one.poll_at(now + Duration::from_secs(602)).await.unwrap();
    let started = Instant::now();
    while connections.load(Ordering::SeqCst) < 3 {
        assert!(started.elapsed() < Duration::from_secs(30), "there was no second look");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
