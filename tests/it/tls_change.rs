//! Certificates that change while the client runs.

use std::fs::File;

use qumulo_encryption_exporter::{
    client::{ClientCertificate, TlsSettings},
    model::{FailureReason, PollFailure, Reading},
};

use crate::{
    authority::{Authority, Issued},
    lab::Lab,
};

#[track_caller]
fn assert_tls(outcome: Result<Reading, PollFailure>) {
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
    assert_eq!(lab.cluster.counts().requests, requests, "no token went to a stranger");
    // Other settings than before, so that the same certificate is installed again.
    lab.cluster.update(|spec| (spec.certificate_pem, spec.key_pem) = (None, None));
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
    // A file of no use changes nothing.
    lab.write("ca.pem", "no certificate");
    probe.poll().await.unwrap();
    assert_eq!(lab.cluster.counts().handshakes, 1);
    lab.cluster.swap_certificate();
    // The new certificate has the old one's name: it is not signed by it all the same.
    let failure = probe.poll().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Tls, "{failure:?}");
    assert!(failure.message.contains(&lab.cluster.fingerprint()), "{failure:?}");
    // Times of files say little: some systems set all of them to 1970.
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
