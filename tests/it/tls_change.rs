//! Certificates that change while the client is running.

use std::{
    fs::File,
    sync::{Arc, Mutex},
};

use qumulo_encryption_exporter::{
    client::{ClientCertificate, TlsSettings},
    model::{FailureReason, PollFailure, PollResult},
};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::{Authority, Issued},
    lab::{Lab, Probe},
    raw_server::{RawServer, Request, converse, healthy},
    tls::server,
};

/// Valid until the beginning of this year, as `Authority::issue` takes it.
fn until_year(year: i32) -> [i32; 2] {
    [2000, year]
}

/// Polls a server with a valid certificate, then with the certificate `next`. Returns the result of the second poll, and the year in
/// which the last trusted certificate expires. The server would resume any session and keeps connections open.
async fn replace_certificate(
    version: &'static SupportedProtocolVersion,
    authority: &Authority,
    next: &Issued,
) -> (Result<(), PollFailure>, f64) {
    let good = authority.issue("127.0.0.1", until_year(3000));
    let first = server(&good.certificate, &good.key, version);
    let mut second = server(&next.certificate, &next.key, version);
    (second.session_storage, second.ticketer) = (first.session_storage.clone(), first.ticketer.clone());
    let config = Arc::new(Mutex::new(Arc::new(first)));
    let current = config.clone();
    let server = RawServer::serve(move |stream, connection| {
        let accept = TlsAcceptor::from(current.lock().unwrap().clone()).accept(stream);
        async move {
            if let Ok(stream) = accept.await {
                converse(stream, connection, Arc::new(|_: &Request| Some(healthy()))).await;
            }
        }
    })
    .await;
    let mut lab = Lab::with_server(server.port).await;
    let ca_file = Some(lab.write("ca.pem", &authority.pem()).into());
    lab.trust(TlsSettings { ca_file, ..TlsSettings::default() });
    let mut probe = lab.probe();
    let expiry = |probe: &Probe| (probe.client.certificate().unwrap().unix_seconds() / 31_556_952.0).round() + 1970.0;
    probe.poll().await.unwrap();
    assert_eq!(expiry(&probe), 3000.0);
    *config.lock().unwrap() = Arc::new(second);
    let outcome = probe.poll().await.map(|_| ());
    (outcome, expiry(&probe))
}

#[tokio::test]
async fn a_certificate_that_is_exchanged_between_two_polls_is_seen_by_the_next() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new("Authority");
        let renewed = authority.issue("127.0.0.1", until_year(4000));
        let (outcome, expiry) = replace_certificate(version, &authority, &renewed).await;
        outcome.unwrap();
        assert_eq!(expiry, 4000.0, "{version:?}");
        let expired = authority.issue("127.0.0.1", until_year(2001));
        let (outcome, expiry) = replace_certificate(version, &authority, &expired).await;
        let failure = outcome.unwrap_err();
        assert!(failure.reason == FailureReason::Tls && failure.message.contains("has expired"), "{failure:?}");
        assert_eq!(expiry, 2001.0, "{version:?}");
        let stranger = Authority::new("Another").issue("127.0.0.1", until_year(4000));
        let (outcome, expiry) = replace_certificate(version, &authority, &stranger).await;
        assert_eq!(outcome.unwrap_err().reason, FailureReason::Tls, "{version:?}");
        assert_eq!(expiry, 3000.0, "the expiry of the trusted certificate stays: {version:?}");
    }
}

#[track_caller]
fn assert_tls(outcome: Result<PollResult, PollFailure>) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Tls, "{failure:?}");
}

#[tokio::test]
async fn polls_go_on_when_the_next_certificate_is_pinned_too() {
    let next = Issued::self_signed("127.0.0.1", [2000, 4000]);
    let staged = Lab::new(|spec| next.install(spec)).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.trust(TlsSettings { pins: [lab.pinned().pins, staged.pinned().pins].concat(), ..TlsSettings::default() });
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    lab.cluster.update(|spec| next.install(spec));
    probe.poll().await.unwrap();
    assert_eq!(lab.cluster.counts().handshakes, 2);
}

#[tokio::test]
async fn a_certificate_that_is_not_pinned_is_refused_until_the_old_one_is_back() {
    let first = Issued::self_signed("127.0.0.1", [2000, 4000]);
    let lab = Lab::new(|spec| first.install(spec)).await;
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    let requests = lab.cluster.counts().requests;
    lab.cluster.swap_certificate();
    for _ in 0..2 {
        assert_tls(probe.poll().await);
    }
    assert_eq!(lab.cluster.counts().requests, requests, "no token was sent");
    // Different settings, so that the same certificate is installed again.
    lab.cluster.update(|spec| spec.certificate_pem = None);
    lab.cluster.update(|spec| first.install(spec));
    probe.poll().await.unwrap();
}

#[tokio::test]
async fn a_ca_file_that_is_replaced_is_used_by_the_next_poll() {
    let mut lab = Lab::new(|_| {}).await;
    let ca_file = lab.write("ca.pem", &lab.cluster.certificate_pem());
    let written = ca_file.metadata().unwrap().modified().unwrap();
    lab.trust(TlsSettings { ca_file: Some(ca_file.into()), ..TlsSettings::default() });
    let mut probe = lab.probe();
    probe.poll().await.unwrap();
    // An invalid file has no effect.
    lab.write("ca.pem", "no certificate");
    probe.poll().await.unwrap();
    lab.cluster.swap_certificate();
    // The new certificate has the name of the old one but is not signed by it.
    let failure = probe.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Tls, "{failure:?}");
    assert!(failure.message.contains(&lab.cluster.fingerprint()), "{failure:?}");
    // The modification time is not reliable: some systems set it to 1970 for all files.
    let path = lab.write("ca.pem", &lab.cluster.certificate_pem());
    File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
    probe.poll().await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_that_is_renewed_is_used_by_the_next_poll() {
    let authority = Authority::new("Authority");
    let mut lab = Lab::new(|spec| spec.client_ca_pem = Some(authority.pem())).await;
    let write = |lab: &Lab, issued: &Issued| ClientCertificate {
        cert_file: lab.write("own.pem", &issued.certificate).into(),
        key_file: lab.write("own.key", &issued.key).into(),
    };
    let client = write(&lab, &authority.issue("exporter", [2000, 2001]));
    lab.trust(TlsSettings { client: Some(client), ..lab.pinned() });
    let mut probe = lab.probe();
    assert_tls(probe.poll().await);
    let renewed = authority.issue("exporter", [2000, 4000]);
    lab.write("own.pem", &renewed.certificate);
    assert_tls(probe.poll().await);
    write(&lab, &renewed);
    probe.poll().await.unwrap();
}
