//! Whom the client trusts.

use std::{path::PathBuf, sync::Arc};

use qumulo_encryption_exporter::{
    client::{ClientCertificate, Pin, TlsSettings, TransportError},
    model::FailureReason,
    sim::ClusterSpec,
};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    authority::{Authority, Issued},
    bare::Bare,
    lab::Lab,
};

/// Valid today, and for as long as anybody runs this.
const VALID: [i32; 2] = [2000, 4000];
const EXPIRED: [i32; 2] = [2000, 2001];
const FUTURE: [i32; 2] = [3999, 4000];

/// A certificate of version 1 and its key, made by `openssl x509 -req -signkey` without extensions.
const X509_V1: &str = include_str!("../fixtures/x509-v1.pem");

/// Polls with the TLS settings that `trust` makes from the lab: it works, or fails as `tls` with all of these words.
async fn check(change: impl FnOnce(&mut ClusterSpec), trust: impl FnOnce(&Lab) -> TlsSettings, refusal: &[&str]) {
    let mut lab = Lab::new(change).await;
    lab.trust(trust(&lab));
    check_poll(&lab, refusal).await;
}

async fn check_poll(lab: &Lab, refusal: &[&str]) {
    match lab.poll().await {
        Ok(_) => assert!(refusal.is_empty(), "accepted, but {refusal:?}"),
        Err(failure) => {
            assert_eq!(failure.reason, FailureReason::Tls, "{failure:?}");
            assert!(!refusal.is_empty(), "{failure:?}");
            let missing: Vec<_> = refusal.iter().filter(|words| !failure.message.contains(**words)).collect();
            assert!(missing.is_empty(), "{missing:?} in {failure:?}");
        }
    }
}

/// Trusts the authorities in `pem`.
fn ca(lab: &Lab, pem: &str) -> TlsSettings {
    TlsSettings { ca_file: Some(lab.write("ca.pem", pem).into()), ..TlsSettings::default() }
}

/// Trusts the certificate that the cluster has.
fn own(lab: &Lab) -> TlsSettings {
    ca(lab, &lab.cluster.certificate_pem())
}

fn named(name: &str, tls: TlsSettings) -> TlsSettings {
    TlsSettings { server_name: Some(name.to_owned()), ..tls }
}

#[tokio::test]
async fn a_stranger_is_refused_with_the_two_ways_to_trust_it() {
    let stranger = Authority::new("Authority").pem();
    for is_ca in [false, true] {
        let mut lab = Lab::new(|spec| spec.certificate_is_ca = is_ca).await;
        let fingerprint = lab.cluster.fingerprint();
        let words = ["TLS with 127.0.0.1:", &fingerprint, "tls_config.ca_file", "tls_config.pin_sha256"];
        lab.trust(ca(&lab, &stranger));
        check_poll(&lab, &words).await;
        // By default: the system's authorities, which a minimal system lacks.
        lab.trust(TlsSettings::default());
        match lab.pool.load(&lab.settings.transport) {
            Err(err) => assert!(matches!(err, TransportError::NoSystemRoots), "{err}"),
            Ok(_) => check_poll(&lab, &words).await,
        }
        assert_eq!(lab.cluster.counts().requests, 0, "no token went out");
    }
}

#[tokio::test]
async fn a_ca_file_may_hold_the_clusters_own_certificate() {
    check(|spec| spec.certificate_is_ca = false, own, &[]).await;
    check(|spec| spec.certificate_is_ca = true, own, &[]).await;
    let both = |lab: &Lab| ca(lab, &(Authority::new("Authority").pem() + &lab.cluster.certificate_pem()));
    check(|spec| spec.certificate_is_ca = true, both, &[]).await;
}

#[tokio::test]
async fn a_ca_file_holds_authorities() {
    let authority = Authority::new("Authority");
    let (pem, leaf) = (authority.pem(), authority.issue("127.0.0.1", VALID));
    check(|spec| leaf.install(spec), |lab| ca(lab, &pem), &[]).await;
    // The second one is the same by its name, as an authority is that was made anew.
    for other in [Authority::new("Other authority"), Authority::new("Authority")] {
        let words = ["not signed by a trusted authority", "tls_config.ca_file", "tls_config.pin_sha256"];
        check(|spec| leaf.install(spec), |lab| ca(lab, &other.pem()), &words).await;
    }
}

#[tokio::test]
async fn the_name_must_fit() {
    let authority = Authority::new("Authority");
    let (pem, name) = (authority.pem(), "cluster.example.com");
    for (leaf, pem) in [
        (authority.issue(name, VALID), Some(pem)),
        (authority.issue(name, VALID), None),
        (Issued::self_signed(name, VALID), None),
    ] {
        let trust = |lab: &Lab| ca(lab, pem.as_ref().unwrap_or(&leaf.certificate));
        let install = |spec: &mut ClusterSpec| leaf.install(spec);
        check(install, trust, &["is not for 127.0.0.1 but for cluster.example.com", "tls_config.server_name"]).await;
        check(install, |lab| named(name, trust(lab)), &[]).await;
        check(install, |lab| named("other.example.com", trust(lab)), &["is not for other.example.com"]).await;
        check(install, Lab::pinned, &[]).await;
    }
    for address in ["10.1.2.3", "2001:db8::1"] {
        let leaf = authority.issue(address, VALID);
        let words = format!("is not for 127.0.0.1 but for {address};");
        check(|spec| leaf.install(spec), |lab| ca(lab, &authority.pem()), &[&words]).await;
    }
}

#[tokio::test]
async fn the_dates_must_fit_unless_the_certificate_is_pinned() {
    let authority = Authority::new("Authority");
    let pem = authority.pem();
    for (years, words) in [(EXPIRED, "has expired"), (FUTURE, "is not valid yet")] {
        let issued = authority.issue("127.0.0.1", years);
        check(|spec| issued.install(spec), |lab| ca(lab, &pem), &[words]).await;
        check(|spec| issued.install(spec), own, &[words]).await;
        let alone = Issued::self_signed("127.0.0.1", years);
        check(|spec| alone.install(spec), own, &[words]).await;
        check(|spec| alone.install(spec), Lab::pinned, &[]).await;
    }
}

#[tokio::test]
async fn a_pin_accepts_one_certificate() {
    let other = Pin::of(b"another certificate");
    let pins = |pins: Vec<Pin>| TlsSettings { pins, ..TlsSettings::default() };
    check(|_| {}, Lab::pinned, &[]).await;
    check(|_| {}, |lab| pins([lab.pinned().pins, vec![other]].concat()), &[]).await;
    check(|_| {}, |lab| pins([vec![other], lab.pinned().pins].concat()), &[]).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.trust(pins(vec![other]));
    check_poll(&lab, &[&lab.cluster.fingerprint(), &other.to_string(), "pin_sha256"]).await;
    // A pin replaces every other check, but trust in an authority does not replace the pin.
    let pem = lab.cluster.certificate_pem();
    lab.trust(TlsSettings { pins: vec![other], ..ca(&lab, &pem) });
    check_poll(&lab, &["pin_sha256 expects"]).await;
}

#[tokio::test]
async fn verification_can_be_skipped() {
    let leaf = Issued::self_signed("cluster.example.com", EXPIRED);
    let skip = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    check(|spec| leaf.install(spec), |_| skip, &[]).await;
}

/// Whether a server of this one version can be talked to.
async fn check_version(version: &'static SupportedProtocolVersion, only_tls13: bool, refusal: Option<&str>) {
    let issued = Issued::self_signed("127.0.0.1", VALID);
    let server = Bare::tls(server(&issued.certificate, &issued.key, version)).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
    lab.trust(TlsSettings { only_tls13, ..ca(&lab, &issued.certificate) });
    let failure = lab.poll().await.unwrap_err();
    match refusal {
        // The handshake was good: the server closes without an answer.
        None => assert_eq!(failure.reason, FailureReason::Connect, "{failure:?}"),
        Some(words) => check_poll(&lab, &[words]).await,
    }
}

pub fn server(certificate: &str, key: &str, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    // Without the check that key and certificate fit, which cannot read version 1.
    let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified))
}

/// Certificates are public: who shows one has to prove that the key is theirs, whatever else is not looked at.
#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let (copied, own) = (Issued::self_signed("127.0.0.1", VALID), Issued::self_signed("127.0.0.1", VALID));
    let der = CertificateDer::from_pem_slice(copied.certificate.as_bytes()).unwrap();
    for version in [&TLS12, &TLS13] {
        for (key, refused) in [(&own.key, true), (&copied.key, false)] {
            let server = Bare::tls(server(&copied.certificate, key, version)).await;
            let mut lab = Lab::new(|_| {}).await;
            lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
            for tls in [
                ca(&lab, &copied.certificate),
                TlsSettings { pins: vec![Pin::of(&der)], ..TlsSettings::default() },
                TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() },
            ] {
                lab.trust(tls);
                // The server closes after the handshake.
                let expect = if refused { FailureReason::Tls } else { FailureReason::Connect };
                let failure = lab.poll().await.unwrap_err();
                assert_eq!(failure.reason, expect, "{version:?} {failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_version_of_tls_can_be_limited() {
    check_version(&TLS12, false, None).await;
    check_version(&TLS12, true, Some("no version of TLS in common (see min_version)")).await;
    check_version(&TLS13, false, None).await;
    check_version(&TLS13, true, None).await;
}

#[tokio::test]
async fn certificates_of_version_1_are_named_as_such() {
    let server = Bare::tls(server(X509_V1, X509_V1, &TLS13)).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
    let pin = Pin::of(&CertificateDer::from_pem_slice(X509_V1.as_bytes()).unwrap());
    for tls in [
        ca(&lab, &Authority::new("Authority").pem()),
        TlsSettings { pins: vec![pin], ..TlsSettings::default() },
        TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() },
    ] {
        lab.trust(tls);
        check_poll(&lab, &["X.509 version 1, which cannot be used", "put a version 3 certificate"]).await;
    }
}

#[tokio::test]
async fn clusters_may_ask_for_a_client_certificate() {
    let authority = Authority::new("Authority");
    let asking = |spec: &mut ClusterSpec| spec.client_ca_pem = Some(authority.pem());
    let showing = |issued: Issued| {
        move |lab: &Lab| {
            let (cert_file, key_file) = (lab.write("own.pem", &issued.certificate), lab.write("own.key", &issued.key));
            TlsSettings {
                client: Some(ClientCertificate { cert_file: cert_file.into(), key_file: key_file.into() }),
                ..lab.pinned()
            }
        }
    };
    check(asking, showing(authority.issue("exporter", VALID)), &[]).await;
    check(asking, Lab::pinned, &["wants a client certificate", "certificate_required"]).await;
    check(
        asking,
        showing(Authority::new("Other authority").issue("exporter", VALID)),
        &["does not know the authority of the client certificate", "unknown_ca"],
    )
    .await;
    check(
        asking,
        showing(authority.issue("exporter", EXPIRED)),
        &["the client certificate in cert_file has expired", "certificate_expired"],
    )
    .await;
}

/// What a client says of `tls_config` before it sends anything.
async fn check_files(tls: impl FnOnce(&Lab) -> TlsSettings, words: &[&str]) {
    let mut lab = Lab::new(|_| {}).await;
    lab.trust(tls(&lab));
    let err = crate::lab::Probe::new(&lab.settings, &lab.pool).err().unwrap().to_string();
    assert!(words.iter().all(|words| err.contains(words)), "{words:?} in {err:?}");
}

#[tokio::test]
async fn files_of_no_use_are_named() {
    let issued = || Issued::self_signed("exporter", VALID);
    let client = |cert_file: PathBuf, key_file: PathBuf| TlsSettings {
        client: Some(ClientCertificate { cert_file: cert_file.into(), key_file: key_file.into() }),
        ..TlsSettings::default()
    };
    let missing =
        |_: &Lab| TlsSettings { ca_file: Some(PathBuf::from("/nonexistent/ca.pem").into()), ..TlsSettings::default() };
    check_files(missing, &["tls_config.ca_file: /nonexistent/ca.pem does not exist"]).await;
    check_files(|lab| ca(lab, ""), &["tls_config.ca_file", "ca.pem holds no certificate in PEM form"]).await;
    let device = |_: &Lab| TlsSettings { ca_file: Some(PathBuf::from("/dev/zero").into()), ..TlsSettings::default() };
    check_files(device, &["tls_config.ca_file: /dev/zero is not a regular file"]).await;
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    check_files(|lab| ca(lab, cut), &["ca.pem is cut: a -----BEGIN line has no -----END line"]).await;
    let wrong = "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
    check_files(|lab| ca(lab, wrong), &["ca.pem holds a block that is not base64"]).await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check_files(|lab| ca(lab, broken), &["ca.pem holds a certificate that cannot be parsed"]).await;
    check_files(|lab| ca(lab, &issued().key), &["holds no certificate in PEM form"]).await;
    let strange = |lab: &Lab| client(lab.write("own.pem", &issued().certificate), lab.write("own.key", &issued().key));
    check_files(strange, &["tls_config.key_file", "own.key does not belong to the certificate in cert_file"]).await;
    let keyless = |lab: &Lab| {
        let path = lab.write("own.pem", &issued().certificate);
        client(path.clone(), path)
    };
    check_files(keyless, &["tls_config.key_file", "is not a private key in PEM form"]).await;
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = |lab: &Lab| client(lab.write("own.pem", &issued().certificate), lab.write("own.key", locked));
    check_files(locked, &["tls_config.key_file", "is encrypted with a passphrase"]).await;
    let old = |lab: &Lab| client(lab.write("own.pem", X509_V1), lab.write("own.key", X509_V1));
    check_files(old, &["tls_config.cert_file", "X.509 version before 3"]).await;
    check_files(|lab| named("no name", own(lab)), &["tls_config.server_name is neither"]).await;
}

/// A server that is no TLS server.
#[tokio::test]
async fn what_speaks_no_tls_is_told_so() {
    for banner in
        ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail ESMTP\r\n", "\u{15}\u{3}\u{1}"]
    {
        let server = Bare::serve(move |mut stream, _| async move {
            let _ = stream.write_all(banner.as_bytes()).await;
            // Until the client gives up.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mut lab = Lab::new(|_| {}).await;
        lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
        if banner.len() > 3 {
            check_poll(&lab, &["does not speak TLS on this port"]).await;
        } else {
            lab.settings.timeout = std::time::Duration::from_millis(200);
            assert_eq!(lab.poll().await.unwrap_err().reason, FailureReason::Timeout);
        }
    }
}

/// The configuration never asks for it; if it did, the token would cross the network for all to read.
#[tokio::test]
async fn https_is_never_spoken_without_tls() {
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.tls = None;
    let failure = lab.poll().await.unwrap_err();
    assert!(failure.message.contains("needs TLS"), "{failure:?}");
    assert_eq!(lab.cluster.counts().connections, 0);
}

#[tokio::test]
async fn a_certificate_for_no_name_is_told_so() {
    let nameless = Issued::nameless();
    let server = Bare::tls(server(&nameless.certificate, &nameless.key, &TLS13)).await;
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
    lab.trust(ca(&lab, &nameless.certificate));
    check_poll(&lab, &["has no subjectAltName", "reissue it, or set tls_config.pin_sha256"]).await;
}

#[tokio::test]
async fn an_answer_without_an_end_mark_is_one_if_it_is_whole() {
    let issued = Issued::self_signed("127.0.0.1", VALID);
    for (answer, good) in [
        ("HTTP/1.1 200 OK\r\n\r\n{\"type\": \"Local\", \"status\": \"Encrypted\"}", true),
        ("HTTP/1.1 200 OK\r\n\r\n{\"type\": \"Local\", \"status\": \"Encrypted\"", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"status\": \"Encr", false),
    ] {
        let server = Bare::https(server(&issued.certificate, &issued.key, &TLS13), answer).await;
        let mut lab = Lab::new(|_| {}).await;
        lab.settings.url = format!("https://127.0.0.1:{}", server.port).parse().unwrap();
        lab.trust(ca(&lab, &issued.certificate));
        match lab.poll().await {
            Ok(_) => assert!(good, "{answer:?}"),
            Err(failure) => {
                assert!(!good && failure.reason == FailureReason::Connect, "{answer:?}: {failure:?}");
                assert!(failure.message.ends_with("broke: it ended before the answer did"), "{failure:?}");
            }
        }
    }
}
