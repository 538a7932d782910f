//! Starts, stops and changes of a cluster; certificates.

use std::{io::ErrorKind, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::net::TcpStream;

use super::{STATUS, client, client::Client, cluster};
use crate::SimCluster;

/// Checks whether the cluster refuses connections.
async fn check_refused(cluster: &SimCluster, refused: bool) {
    let result = TcpStream::connect(cluster.addr()).await;
    let kind = result.err().map(|error| error.kind());
    assert_eq!(kind, refused.then_some(ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn a_cluster_that_is_down_refuses_connections_and_comes_back_on_its_port() {
    let cluster = cluster(|spec| spec.faults.down = true).await;
    check_refused(&cluster, true).await;
    for _ in 0..3 {
        cluster.update(|spec| spec.faults.down = false);
        let mut client = client(&cluster).await;
        assert_eq!(client.get(STATUS).await.unwrap().status, 200);
        cluster.update(|spec| spec.faults.down = true);
        check_refused(&cluster, true).await;
        assert_eq!(client.closed().await, ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn dropping_a_cluster_frees_its_port_and_closes_its_connections() {
    let first = cluster(|_| {}).await;
    let port = first.addr().port();
    let mut client_of_first = client(&first).await;
    assert_eq!(client_of_first.get(STATUS).await.unwrap().status, 200);
    drop(first);
    assert_eq!(client_of_first.closed().await, ErrorKind::UnexpectedEof);
    let second = cluster(|spec| spec.port = port).await;
    check_refused(&second, false).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let first = cluster(|_| {}).await;
    let mut spec = first.spec();
    spec.port = first.addr().port();
    assert_eq!(SimCluster::start(spec).await.err().unwrap().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_new_spec_acts_on_open_connections() {
    let cluster = cluster(|_| {}).await;
    let mut client = client(&cluster).await;
    for status in ["Not Encrypted", "KMS Quorum Lost"] {
        cluster.update(|spec| spec.status = json!(status));
        assert_eq!(client.get(STATUS).await.unwrap().json()["status"], status);
    }
    assert_eq!(cluster.counts().connections, 1);
}

#[tokio::test]
async fn only_the_status_update_follows_the_clock() {
    let cluster = cluster(|spec| {
        spec.ca_cert_expiry = json!("+25d");
        spec.last_status_update_time = json!("-5m");
    })
    .await;
    let mut client = client(&cluster).await;
    let before = client.get(STATUS).await.unwrap().json();
    cluster.advance_clock(Duration::from_secs(86_400));
    let after = client.get(STATUS).await.unwrap().json();
    assert_eq!(before["ca_cert_expiry"], after["ca_cert_expiry"]);
    assert_ne!(before["last_status_update_time"], after["last_status_update_time"]);
}

#[tokio::test]
async fn both_versions_of_tls_are_served() {
    let cluster = cluster(|_| {}).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = Client::connect_with(&cluster, &[version], None).await.unwrap();
        assert_eq!(client.get("/v1/version").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_swapped_certificate_is_another_and_closes_old_connections() {
    let cluster = cluster(|_| {}).await;
    let (fingerprint, pem) = (cluster.fingerprint(), cluster.certificate_pem());
    let mut old = client(&cluster).await;
    assert_eq!(old.get(STATUS).await.unwrap().status, 200);
    cluster.swap_certificate();
    assert_eq!(old.closed().await, ErrorKind::UnexpectedEof);
    assert_ne!((cluster.fingerprint(), cluster.certificate_pem()), (fingerprint, pem));
    assert_eq!(client(&cluster).await.get(STATUS).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_checks_refuses_expired_certificates_and_authorities() {
    for (expiry, is_ca, accepted) in [("+1d", false, true), ("-1d", false, false), ("+1d", true, false)] {
        let cluster = cluster(|spec| {
            spec.certificate_expiry = String::from(expiry);
            spec.certificate_is_ca = is_ca;
        })
        .await;
        assert_eq!(Client::connect(&cluster).await.is_ok(), accepted, "{expiry} {is_ca}");
    }
}

#[tokio::test]
async fn a_given_certificate_is_used_and_a_bad_one_is_not() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![String::from("127.0.0.1")]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let cluster = cluster(|spec| {
        spec.certificate_pem = Some(pem.clone() + &key.serialize_pem());
    })
    .await;
    assert_eq!(cluster.certificate_pem(), pem);
    assert_eq!(client(&cluster).await.get(STATUS).await.unwrap().status, 200);
    cluster.update(|spec| spec.certificate_pem = Some(pem.clone()));
    assert_eq!(cluster.certificate_pem(), pem);
}

#[tokio::test]
async fn clients_need_a_certificate_where_an_authority_is_set() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![String::from("exporter")]).unwrap();
    let pem = params.signed_by(&key, &authority).unwrap().pem();
    let cluster = cluster(|spec| spec.client_ca_pem = Some(authority.pem())).await;

    let key_pem = key.serialize_pem();
    let own = Some((pem.as_str(), key_pem.as_str()));
    let versions = [&rustls::version::TLS13];
    let mut known = Client::connect_with(&cluster, &versions, own).await.unwrap();
    assert_eq!(known.get("/v1/version").await.unwrap().status, 200);
    // In TLS 1.3 the client learns of the refusal only when it reads.
    let mut stranger = Client::connect(&cluster).await.unwrap();
    assert!(stranger.get("/v1/version").await.is_err());
    assert_eq!((cluster.counts().handshakes, cluster.counts().failed_handshakes), (1, 1));
}
