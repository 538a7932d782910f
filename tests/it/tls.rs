//! Trust decisions of the client.

use std::{path::PathBuf, sync::Arc};

use qumulo_encryption_exporter::{
    client::{ClientCertificate, Pin, TlsSettings},
    model::FailureReason,
};
use qumulo_simulator::ClusterSpec;
use rcgen::SanType;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    authority::{Authority, Issued, critical, dns},
    lab::Lab,
    raw_server::RawServer,
};

/// A validity that includes the current time.
const VALID: [i32; 2] = [2000, 4000];
const EXPIRED: [i32; 2] = [2000, 2001];
const FUTURE: [i32; 2] = [3999, 4000];

/// An X.509 version 1 certificate and its key, from `openssl x509 -req -signkey` without extensions.
const X509_V1: &str = include_str!("../fixtures/x509-v1.pem");

/// Polls with the TLS settings from `trust`. Succeeds, or fails with reason `tls` and all of these words.
async fn check(change: impl FnOnce(&mut ClusterSpec), trust: impl FnOnce(&Lab) -> TlsSettings, rejection: &[&str]) {
    let mut lab = Lab::new(change).await;
    lab.trust(trust(&lab));
    check_poll(&lab, rejection).await;
}

async fn check_poll(lab: &Lab, rejection: &[&str]) {
    match lab.poll().await {
        Ok(_) => assert!(rejection.is_empty(), "accepted, but {rejection:?}"),
        Err(failure) => {
            assert_eq!(failure.reason, FailureReason::Tls, "{failure:?}");
            assert!(!rejection.is_empty(), "{failure:?}");
            let missing: Vec<_> = rejection.iter().filter(|words| !failure.message.contains(**words)).collect();
            assert!(missing.is_empty(), "{missing:?} in {failure:?}");
        }
    }
}

/// Trusts the CA certificates in `pem`.
fn ca(lab: &Lab, pem: &str) -> TlsSettings {
    TlsSettings { ca_file: Some(lab.write("ca.pem", pem).into()), ..TlsSettings::default() }
}

/// Trusts the current certificate of the cluster.
fn own(lab: &Lab) -> TlsSettings {
    ca(lab, &lab.cluster.certificate_pem())
}

fn named(name: &str, tls: TlsSettings) -> TlsSettings {
    TlsSettings { server_name: Some(name.to_owned()), ..tls }
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected_with_advice() {
    let other = Authority::new("Authority").pem();
    for is_ca in [false, true] {
        let mut lab = Lab::new(|spec| spec.certificate_is_ca = is_ca).await;
        let fingerprint = lab.cluster.fingerprint();
        let words = ["TLS with 127.0.0.1:", &fingerprint, "tls_config.ca_file", "tls_config.pin_sha256"];
        lab.trust(ca(&lab, &other));
        check_poll(&lab, &words).await;
        // Default: the system's CA certificates, which a minimal system lacks.
        lab.trust(TlsSettings::default());
        match lab.pool.load(&lab.settings.transport) {
            Err(err) => assert!(err.to_string().starts_with("no CA certificates found on this system"), "{err}"),
            Ok(_) => check_poll(&lab, &words).await,
        }
        assert_eq!(lab.cluster.counts().requests, 0, "no token was sent");
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
async fn a_ca_file_may_contain_ca_certificates() {
    let authority = Authority::new("Authority");
    let (pem, leaf) = (authority.pem(), authority.issue("127.0.0.1", VALID));
    check(|spec| leaf.install(spec), |lab| ca(lab, &pem), &[]).await;
    // The second one has the same name, as a recreated CA has.
    for other in [Authority::new("Other authority"), Authority::new("Authority")] {
        let words = ["not signed by a trusted CA", "tls_config.ca_file", "tls_config.pin_sha256"];
        check(|spec| leaf.install(spec), |lab| ca(lab, &other.pem()), &words).await;
    }
}

#[tokio::test]
async fn the_host_name_must_match() {
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
async fn the_dates_must_be_valid_unless_the_certificate_is_pinned() {
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
    // A pin replaces every other check, but a trusted CA does not replace the pin.
    let pem = lab.cluster.certificate_pem();
    lab.trust(TlsSettings { pins: vec![other], ..ca(&lab, &pem) });
    check_poll(&lab, &["but pin_sha256 is"]).await;
}

#[tokio::test]
async fn verification_can_be_skipped() {
    let leaf = Issued::self_signed("cluster.example.com", EXPIRED);
    let skip = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    check(|spec| leaf.install(spec), |_| skip, &[]).await;
}

/// Whether a poll succeeds with a server that supports only this version.
async fn check_version(version: &'static SupportedProtocolVersion, only_tls13: bool, rejection: Option<&str>) {
    let issued = Issued::self_signed("127.0.0.1", VALID);
    let server = RawServer::tls(server(&issued.certificate, &issued.key, version)).await;
    let mut lab = Lab::with_server(server.port).await;
    lab.trust(TlsSettings { only_tls13, ..ca(&lab, &issued.certificate) });
    let failure = lab.poll().await.unwrap_err();
    match rejection {
        // The handshake succeeded: the server closes the connection without a response.
        None => assert_eq!(failure.reason, FailureReason::Connect, "{failure:?}"),
        Some(words) => check_poll(&lab, &[words]).await,
    }
}

pub fn server(certificate: &str, key: &str, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
    // Without the check that key and certificate match, which cannot parse every certificate.
    let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified))
}

/// Certificates are public: a server has to prove possession of the key, even if nothing else is verified.
#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let (copied, own) = (Issued::self_signed("127.0.0.1", VALID), Issued::self_signed("127.0.0.1", VALID));
    let der = CertificateDer::from_pem_slice(copied.certificate.as_bytes()).unwrap();
    for version in [&TLS12, &TLS13] {
        for (key, refused) in [(&own.key, true), (&copied.key, false)] {
            let server = RawServer::tls(server(&copied.certificate, key, version)).await;
            let mut lab = Lab::with_server(server.port).await;
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
    check_version(
        &TLS12,
        true,
        Some("no TLS version in common; the exporter supports TLS 1.3, and TLS 1.2 unless min_version"),
    )
    .await;
    check_version(&TLS13, false, None).await;
    check_version(&TLS13, true, None).await;
}

/// Polls a server with this chain: fails with these words, or accepts the certificate if there are none.
async fn check_chain(issued: &Issued, trust: impl Fn(&Lab) -> TlsSettings, rejection: &[&str]) {
    for version in [&TLS12, &TLS13] {
        let server = RawServer::tls(server(&issued.certificate, &issued.key, version)).await;
        let mut lab = Lab::with_server(server.port).await;
        lab.trust(trust(&lab));
        if rejection.is_empty() {
            // The server closes after the handshake.
            assert_eq!(lab.poll().await.unwrap_err().reason, FailureReason::Connect);
        } else {
            check_poll(&lab, rejection).await;
        }
    }
}

fn pin(issued: &Issued) -> TlsSettings {
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    TlsSettings { pins: vec![Pin::of(&leaf)], ..TlsSettings::default() }
}

/// The certificate is rejected with these words and the advice to pin it, and accepted with that pin.
async fn check_advice(issued: &Issued, trusted: &str, words: &[&str]) {
    let pinned = format!("or compare its SHA-256 {} on the cluster and set tls_config.pin_sha256", pin(issued).pins[0]);
    check_chain(issued, |lab| ca(lab, trusted), &[words, &[pinned.as_str()]].concat()).await;
    check_chain(issued, |_| pin(issued), &[]).await;
}

#[tokio::test]
async fn the_advice_to_pin_an_unverifiable_certificate_works() {
    let authority = Authority::new("Root");
    let pem = authority.pem();
    let old = Issued { certificate: X509_V1.to_owned(), key: X509_V1.to_owned() };
    check_advice(&old, &pem, &["its certificate is of X.509 version 1; only version 3 is supported; reissue it"]).await;
    let policy = "critical extension certificatePolicies (2.5.29.32)";
    let leaf = authority.issue_with("127.0.0.1", VALID, |params| params.custom_extensions = critical(&[2, 5, 29, 32]));
    let reissue = "reissue it without this extension";
    check_advice(&leaf, &pem, &["its certificate has the", policy, reissue]).await;
    let middle = authority.below("Middle", |params| params.custom_extensions = critical(&[2, 5, 29, 32]));
    let leaf = middle.issue("127.0.0.1", VALID).through(&middle);
    check_advice(&leaf, &pem, &["its intermediate CA certificate \"Middle\" has the", policy, reissue]).await;
    let mut chain = vec![authority];
    for number in 0..10 {
        let next = chain[number].below(&format!("Middle {number}"), |_| {});
        chain.push(next);
    }
    let mut leaf = chain[10].issue("127.0.0.1", VALID);
    for middle in chain[1..].iter().rev() {
        leaf = leaf.through(middle);
    }
    check_advice(&leaf, &pem, &["has a chain that is too long to verify; shorten the chain"]).await;
}

#[tokio::test]
async fn the_certificate_that_has_expired_is_named() {
    let authority = Authority::new("Root");
    let middle = authority.below("Middle", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let leaf = middle.issue("127.0.0.1", VALID).through(&middle);
    let words = "its intermediate CA certificate \"Middle\" has expired; renew it on the cluster";
    check_advice(&leaf, &authority.pem(), &[words]).await;
    let old = Authority::with("Root", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let leaf = old.issue("127.0.0.1", VALID);
    check_advice(&leaf, &old.pem(), &["the trusted certificate \"Root\" has expired; set tls_config.ca_file"]).await;
}

/// The key of a cluster's own certificate in a shared CA file cannot issue certificates for the other clusters.
#[tokio::test]
async fn a_listed_certificate_is_trusted_for_itself_only() {
    let listed = [
        Authority::not_a_ca("127.0.0.1"),
        Authority::with("127.0.0.1", |params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature]),
    ];
    for (cluster, lack) in listed.iter().zip([" but is not a CA", ", which its keyUsage does not allow"]) {
        let (pem, own, forged) = (cluster.pem(), cluster.issued(), cluster.issue("127.0.0.1", VALID));
        let words = [&format!(
            "the trusted certificate \"127.0.0.1\" signed another certificate{lack}, so it is trusted for itself only"
        )];
        check_advice(&forged, &pem, &words.map(String::as_str)).await;
        let middle = cluster.below("Middle", |_| {});
        let forged = middle.issue("127.0.0.1", VALID).through(&middle);
        check_advice(&forged, &pem, &words.map(String::as_str)).await;
        if lack == " but is not a CA" {
            check_chain(&own, |lab| ca(lab, &pem), &[]).await;
        }
    }
}

/// The error of the name check is correct, and its advice works.
#[tokio::test]
async fn names_that_cannot_match_are_explained() {
    let authority = Authority::new("Root");
    let check = async |names: Vec<SanType>, words: &[&str], server_name: Option<&str>| {
        let leaf = authority.issue_with("unused", VALID, |params| params.subject_alt_names = names);
        check_advice(&leaf, &authority.pem(), words).await;
        if let Some(name) = server_name {
            check_chain(&leaf, |lab| named(name, ca(lab, &authority.pem())), &[]).await;
        }
    };
    let nothing = |what: &str| format!("is not for 127.0.0.1, and {what} matches no host; reissue it with a DNS name");
    let wildcard = "a wildcard must be the whole first label, with at least two labels after it";
    for (names, shown) in [
        (vec![dns("127.0.0.1")], "DNS:127.0.0.1 (an address needs the type IP)"),
        (
            vec![dns("a.*.example.com"), dns("a*.example.com")],
            &format!("DNS:a.*.example.com ({wildcard}), DNS:a*.example.com ({wildcard})"),
        ),
        (vec![dns("*.local")], &format!("DNS:*.local ({wildcard})")),
        (vec![dns("*")], &format!("DNS:* ({wildcard})")),
        (vec![dns("localhost.")], "DNS:localhost. (it ends with a dot)"),
        (vec![dns("not a name")], "DNS:not a name (not a host name)"),
        (vec![SanType::URI("https://127.0.0.1".try_into().unwrap())], "URI:https://127.0.0.1"),
        (vec![SanType::Rfc822Name("a@example.com".try_into().unwrap())], "a name of another type"),
    ] {
        check(names, &[&nothing(shown)], None).await;
    }
    for name in ["cluster.example.com", "*.example.com"] {
        let words = format!("is not for 127.0.0.1 but for {name}; set tls_config.server_name to a name that it covers");
        let names = vec![SanType::URI("https://127.0.0.1".try_into().unwrap()), dns(name)];
        check(names, &[&words], Some("cluster.example.com")).await;
    }
}

/// A server in the cluster's place can present any certificate, including an expired one.
#[tokio::test]
async fn only_a_trusted_certificate_sets_the_expiry() {
    let authority = Authority::new("Root");
    let (expired, strange) = (authority.issue("127.0.0.1", EXPIRED), Issued::self_signed("127.0.0.1", EXPIRED));
    let elsewhere = authority.issue("other.example.com", EXPIRED);
    let middle = authority.below("Middle", |_| {});
    for (issued, words, is_known) in [
        (&expired, "its certificate has expired; renew it", true),
        (&middle.issue("127.0.0.1", EXPIRED).through(&middle), "its certificate has expired", true),
        (&strange, "is not signed by a trusted CA", false),
        (&Authority::new("Root").issue("127.0.0.1", EXPIRED), "is not signed by a trusted CA", false),
        (&elsewhere, "is not for 127.0.0.1 but for other.example.com", false),
    ] {
        let mut lab = Lab::new(|spec| issued.install(spec)).await;
        lab.trust(ca(&lab, &authority.pem()));
        let mut probe = lab.probe();
        let failure = probe.poll().await.unwrap_err();
        assert!(failure.reason == FailureReason::Tls && failure.message.contains(words), "{failure:?}");
        assert_eq!(probe.client.certificate().is_some(), is_known, "{words}");
    }
    let mut lab = Lab::new(|spec| strange.install(spec)).await;
    lab.trust(pin(&expired));
    let mut probe = lab.probe();
    assert!(probe.poll().await.is_err() && probe.client.certificate().is_none());
    lab.trust(lab.pinned());
    let mut probe = lab.probe();
    assert!(probe.poll().await.is_ok() && probe.client.certificate().is_some());
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
    check(asking, Lab::pinned, &["requires a client certificate", "TLS alert certificate_required, 116"]).await;
    check(
        asking,
        showing(Authority::new("Other authority").issue("exporter", VALID)),
        &["does not trust the CA of the client certificate", "TLS alert unknown_ca, 48"],
    )
    .await;
    check(
        asking,
        showing(authority.issue("exporter", EXPIRED)),
        &["the client certificate in cert_file has expired", "TLS alert certificate_expired, 45"],
    )
    .await;
}

/// Errors of `tls_config` that the client reports before it sends anything.
async fn check_files(tls: impl FnOnce(&Lab) -> TlsSettings, words: &[&str]) {
    let mut lab = Lab::new(|_| {}).await;
    lab.trust(tls(&lab));
    let err = crate::lab::Probe::new(&lab.settings, &lab.pool).err().unwrap().to_string();
    assert!(words.iter().all(|words| err.contains(words)), "{words:?} in {err:?}");
}

#[tokio::test]
async fn invalid_files_are_named() {
    let issued = || Issued::self_signed("exporter", VALID);
    let client = |cert_file: PathBuf, key_file: PathBuf| TlsSettings {
        client: Some(ClientCertificate { cert_file: cert_file.into(), key_file: key_file.into() }),
        ..TlsSettings::default()
    };
    let missing =
        |_: &Lab| TlsSettings { ca_file: Some(PathBuf::from("/nonexistent/ca.pem").into()), ..TlsSettings::default() };
    check_files(missing, &["tls_config.ca_file: /nonexistent/ca.pem does not exist"]).await;
    check_files(|lab| ca(lab, ""), &["tls_config.ca_file", "ca.pem contains no certificate in PEM form"]).await;
    let device = |_: &Lab| TlsSettings { ca_file: Some(PathBuf::from("/dev/zero").into()), ..TlsSettings::default() };
    check_files(device, &["tls_config.ca_file: /dev/zero is not a regular file"]).await;
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    check_files(|lab| ca(lab, cut), &["ca.pem cannot be used: line 1: the block that begins here has no -----END"])
        .await;
    let wrong = "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
    check_files(|lab| ca(lab, wrong), &["ca.pem cannot be used: line 1: the block that begins here is not base64"])
        .await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check_files(|lab| ca(lab, broken), &["ca.pem cannot be used: line 1: the certificate cannot be parsed"]).await;
    check_files(|lab| ca(lab, &issued().key), &["contains no certificate in PEM form"]).await;
    let strange = |lab: &Lab| client(lab.write("own.pem", &issued().certificate), lab.write("own.key", &issued().key));
    check_files(strange, &["tls_config.key_file", "own.key does not belong to the certificate in cert_file"]).await;
    let keyless = |lab: &Lab| {
        let path = lab.write("own.pem", &issued().certificate);
        client(path.clone(), path)
    };
    check_files(keyless, &["tls_config.key_file", "contains no private key in PEM form"]).await;
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = |lab: &Lab| client(lab.write("own.pem", &issued().certificate), lab.write("own.key", locked));
    check_files(locked, &["tls_config.key_file", "is encrypted with a passphrase"]).await;
    let old = |lab: &Lab| client(lab.write("own.pem", X509_V1), lab.write("own.key", X509_V1));
    check_files(old, &["tls_config.cert_file", "line 1: the certificate is of X.509 version 1"]).await;
    check_files(|lab| named("no name", own(lab)), &["tls_config.server_name is neither"]).await;
}

/// A server without TLS.
#[tokio::test]
async fn a_server_without_tls_is_reported() {
    for banner in
        ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail ESMTP\r\n", "\u{15}\u{3}\u{1}"]
    {
        let server = RawServer::serve(move |mut stream, _| async move {
            let _ = stream.write_all(banner.as_bytes()).await;
            // Waits until the client closes the connection.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mut lab = Lab::with_server(server.port).await;
        if banner.len() > 3 {
            check_poll(&lab, &["does not speak TLS on this port; compare the port in url"]).await;
        } else {
            lab.settings.timeout = std::time::Duration::from_millis(200);
            assert_eq!(lab.poll().await.unwrap_err().reason, FailureReason::Timeout);
        }
    }
}

/// The configuration never allows it; otherwise the token would be sent in clear text.
#[tokio::test]
async fn https_is_never_spoken_without_tls() {
    let mut lab = Lab::new(|_| {}).await;
    lab.settings.transport.tls = None;
    let failure = lab.poll().await.unwrap_err();
    assert!(failure.message.contains("needs TLS"), "{failure:?}");
    assert_eq!(lab.cluster.counts().connections, 0);
}

#[tokio::test]
async fn a_certificate_without_names_is_reported() {
    let nameless = Issued::nameless();
    let server = RawServer::tls(server(&nameless.certificate, &nameless.key, &TLS13)).await;
    let mut lab = Lab::with_server(server.port).await;
    lab.trust(ca(&lab, &nameless.certificate));
    check_poll(&lab, &["has no subjectAltName", "reissue it with one, or compare its SHA-256"]).await;
}

#[tokio::test]
async fn a_complete_response_without_close_notify_is_accepted() {
    let issued = Issued::self_signed("127.0.0.1", VALID);
    for (answer, good) in [
        ("HTTP/1.1 200 OK\r\n\r\n{\"type\": \"Local\", \"status\": \"Encrypted\"}", true),
        ("HTTP/1.1 200 OK\r\n\r\n{\"type\": \"Local\", \"status\": \"Encrypted\"", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"status\": \"Encr", false),
    ] {
        let server = RawServer::https(server(&issued.certificate, &issued.key, &TLS13), answer).await;
        let mut lab = Lab::with_server(server.port).await;
        lab.trust(ca(&lab, &issued.certificate));
        match lab.poll().await {
            Ok(_) => assert!(good, "{answer:?}"),
            Err(failure) => {
                assert!(!good && failure.reason == FailureReason::Connect, "{answer:?}: {failure:?}");
                assert!(failure.message.ends_with(": closed before the response was complete"), "{failure:?}");
            }
        }
    }
}
