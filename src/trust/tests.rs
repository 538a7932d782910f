use std::time::Duration;

use rcgen::{
    BasicConstraints::{Constrained, Unconstrained},
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::{pem::PemError, *};

/// In 2030; certificates are valid from 2020 to 2040 unless they say something else.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([format!("{name}.example.com")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn ca(name: &str) -> CertificateParams {
    with(params(name), |params| {
        params.is_ca = IsCa::Ca(Unconstrained);
        params.subject_alt_names.clear();
    })
}

fn expired(params: CertificateParams) -> CertificateParams {
    with(params, |params| params.not_after = date_time_ymd(2025, 1, 1))
}

fn future(params: CertificateParams) -> CertificateParams {
    with(params, |params| params.not_before = date_time_ymd(2035, 1, 1))
}

fn usage(
    key: &[KeyUsagePurpose],
    extended: &[ExtendedKeyUsagePurpose],
    params: CertificateParams,
) -> CertificateParams {
    with(params, |params| (params.key_usages, params.extended_key_usages) = (key.to_vec(), extended.to_vec()))
}

/// With an extension without content, marked as critical.
fn critical(id: &[u64], params: CertificateParams) -> CertificateParams {
    let mut extension = CustomExtension::from_oid_content(id, vec![0x30, 0]);
    extension.set_criticality(true);
    with(params, |params| params.custom_extensions = vec![extension])
}

/// Certificates, each signed by the one before it, the first by itself.
fn issue(chain: &[CertificateParams]) -> Vec<CertificateDer<'static>> {
    let mut issuer: Option<(&CertificateParams, KeyPair)> = None;
    let mut certificates = Vec::new();
    for params in chain {
        let key = KeyPair::generate().unwrap();
        let certificate = match &issuer {
            None => params.self_signed(&key).unwrap(),
            Some((issuer, issuer_key)) => params.signed_by(&key, &Issuer::from_params(issuer, issuer_key)).unwrap(),
        };
        certificates.push(certificate.der().clone());
        issuer = Some((params, key));
    }
    certificates
}

/// What is between the first and the last certificate.
fn between<'a>(chain: &'a [CertificateDer<'static>]) -> &'a [CertificateDer<'static>] {
    chain.get(1..chain.len() - 1).unwrap_or_default()
}

/// What a store with the first certificate of a chain says of the last one.
fn verify(chain: &[CertificateDer<'static>], purpose: Purpose) -> Result<(), TrustError> {
    let store = TrustStore::new(vec![chain[0].clone()]).unwrap();
    store.verify(&chain[chain.len() - 1], between(chain), now(), purpose)
}

#[track_caller]
fn check_as(purpose: Purpose, chain: &[CertificateParams], expect: Result<(), (&str, Problem)>) {
    let expect = expect.map_err(|(name, problem)| match name {
        "leaf" => TrustError { culprit: Culprit::Leaf, problem },
        "root" => TrustError { culprit: Culprit::Anchor("\"root\"".to_owned()), problem },
        name => TrustError { culprit: Culprit::Intermediate(format!("\"{name}\"")), problem },
    });
    assert_eq!(verify(&issue(chain), purpose), expect);
}

#[track_caller]
fn check(chain: &[CertificateParams], expect: Result<(), (&str, Problem)>) {
    for purpose in [Purpose::Client, Purpose::Server] {
        check_as(purpose, chain, expect.clone());
    }
}

/// The key of a certificate that is not a CA signs nothing that is trusted, whatever the file that lists it is for.
#[test]
fn only_cas_vouch_for_others() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    check(&[ca("root"), params("leaf")], Ok(()));
    check(&[usage(&[KeyCertSign], &[], ca("root")), params("leaf")], Ok(()));
    for root in [params("root"), with(params("root"), |params| params.is_ca = IsCa::ExplicitNoCa)] {
        check(&[root.clone(), params("leaf")], Err(("root", Problem::NotCa)));
        check(&[root.clone(), ca("middle"), params("leaf")], Err(("root", Problem::NotCa)));
        check(&[usage(&[KeyCertSign], &[], root.clone()), params("leaf")], Err(("root", Problem::NotCa)));
        check(&[root], Ok(()));
    }
    let root = usage(&[DigitalSignature, CrlSign], &[], ca("root"));
    check(&[root.clone(), params("leaf")], Err(("root", Problem::NoCertSign)));
    check(&[root], Ok(()));
}

#[test]
fn anchors_have_dates_a_path_length_and_a_purpose() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    check(&[expired(ca("root")), params("leaf")], Err(("root", Problem::Expired)));
    check(&[future(ca("root")), params("leaf")], Err(("root", Problem::NotYetValid)));
    let limited = |length| with(ca("root"), |params| params.is_ca = IsCa::Ca(Constrained(length)));
    check(&[limited(0), params("leaf")], Ok(()));
    check(&[limited(0), ca("middle"), params("leaf")], Err(("root", Problem::PathLength)));
    check(&[limited(1), ca("middle"), params("leaf")], Ok(()));
    check(&[limited(1), ca("a"), ca("b"), params("leaf")], Err(("root", Problem::PathLength)));
    for (extended, purpose, other) in
        [(ServerAuth, Purpose::Server, Purpose::Client), (ClientAuth, Purpose::Client, Purpose::Server)]
    {
        let root = || usage(&[], std::slice::from_ref(&extended), ca("root"));
        check_as(purpose, &[root(), params("leaf")], Ok(()));
        check_as(other, &[root(), params("leaf")], Err(("root", Problem::Purpose)));
        let leaf = || usage(&[], std::slice::from_ref(&extended), params("leaf"));
        check_as(purpose, &[ca("root"), leaf()], Ok(()));
        check_as(other, &[ca("root"), leaf()], Err(("leaf", Problem::Purpose)));
        check_as(purpose, &[leaf()], Ok(()));
        check_as(other, &[leaf()], Err(("leaf", Problem::Purpose)));
    }
    let mut root = ca("root");
    let permitted_subtrees = vec![GeneralSubtree::DnsName("example.org".to_owned())];
    root.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    check(&[root, params("leaf")], Err(("leaf", Problem::NameConstraint)));
}

#[test]
fn intermediates_are_cas_with_a_key_for_it() {
    let chain = |middle| [ca("root"), middle, params("leaf")];
    check(&chain(ca("middle")), Ok(()));
    check(&chain(params("middle")), Err(("middle", Problem::NotCa)));
    let no_sign = usage(&[KeyUsagePurpose::DigitalSignature], &[], ca("middle"));
    check(&chain(no_sign), Err(("middle", Problem::NoCertSign)));
    check(&chain(expired(ca("middle"))), Err(("middle", Problem::Expired)));
    check(&chain(future(ca("middle"))), Err(("middle", Problem::NotYetValid)));
    let policy = "certificatePolicies (2.5.29.32)".to_owned();
    check(&chain(critical(&[2, 5, 29, 32], ca("middle"))), Err(("middle", Problem::CriticalExtension(policy))));
}

#[test]
fn leaves_are_judged_for_themselves() {
    for root in [ca("root"), params("root")] {
        check(&[expired(root.clone())], Err(("leaf", Problem::Expired)));
        check(&[future(root)], Err(("leaf", Problem::NotYetValid)));
    }
    check(&[ca("root"), expired(params("leaf"))], Err(("leaf", Problem::Expired)));
    check(&[ca("root"), ca("leaf")], Err(("leaf", Problem::CaAsLeaf)));
    for (id, name) in [(&[2, 5, 29, 36][..], "policyConstraints (2.5.29.36)"), (&[1, 2, 3, 4], "1.2.3.4")] {
        let problem = Problem::CriticalExtension(name.to_owned());
        check(&[ca("root"), critical(id, params("leaf"))], Err(("leaf", problem)));
    }
    let [stranger, own] = [issue(&[ca("root"), params("leaf")]), issue(&[ca("root")])];
    let unknown = Err(TrustError::leaf(Problem::BadSignature));
    assert_eq!(verify(&[own[0].clone(), stranger[1].clone()], Purpose::Server), unknown);
}

/// After a renewal with the same key, the file holds both until everybody has the new one.
#[test]
fn of_two_certificates_of_a_ca_one_has_to_be_valid() {
    let key = KeyPair::generate().unwrap();
    let [old, new] = [expired(ca("root")), ca("root")].map(|params| params.self_signed(&key).unwrap().der().clone());
    let leaf =
        params("leaf").signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(&ca("root"), &key)).unwrap();
    for (certificates, good) in
        [(vec![old.clone()], false), (vec![old.clone(), new.clone()], true), (vec![new, old], true)]
    {
        let store = TrustStore::new(certificates).unwrap();
        assert_eq!(store.verify(leaf.der(), &[], now(), Purpose::Server).is_ok(), good);
    }
}

#[test]
fn a_chain_that_holds_but_for_its_dates_is_known() {
    let check = |chain: &[CertificateParams], good: bool| {
        let chain = issue(chain);
        let store = TrustStore::new(vec![chain[0].clone()]).unwrap();
        let (leaf, intermediates) = (&chain[chain.len() - 1], between(&chain));
        assert_eq!(store.verify_without_dates(leaf, intermediates, Purpose::Server).is_ok(), good);
        let strangers = TrustStore::new(issue(&[ca("root")])).unwrap();
        assert!(strangers.verify_without_dates(leaf, intermediates, Purpose::Server).is_err());
    };
    check(&[expired(params("root"))], true);
    for root in [ca("root"), expired(ca("root")), future(ca("root"))] {
        for leaf in [params("leaf"), expired(params("leaf")), future(params("leaf"))] {
            check(&[root.clone(), leaf.clone()], true);
            check(&[root.clone(), ca("middle"), leaf], true);
        }
    }
    check(&[params("root"), expired(params("leaf"))], false);
}

/// Critical extensions about policies have no effect in an anchor; others would.
#[test]
fn certificates_that_can_be_of_no_use_are_refused() {
    let check = |params: CertificateParams, expect: Option<Problem>| {
        assert_eq!(TrustStore::new(issue(&[params])).err(), expect.map(|problem| (0, problem)));
    };
    check(critical(&[2, 5, 29, 32], ca("root")), None);
    let policies = "certificatePolicies (2.5.29.32)".to_owned();
    check(critical(&[2, 5, 29, 32], params("leaf")), Some(Problem::CriticalExtension(policies)));
    for params in [ca("root"), params("leaf")] {
        check(critical(&[1, 2, 3], params), Some(Problem::CriticalExtension("1.2.3".to_owned())));
    }
    assert_eq!(TrustStore::new(vec![vec![0x30, 0].into()]).err(), Some((0, Problem::Unparsable)));
}

/// Whatever is changed in a chain, it is not trusted, and nothing panics.
#[test]
fn changed_certificates_are_never_trusted() {
    let chain = issue(&[ca("root"), ca("middle"), params("leaf")]);
    assert_eq!(verify(&chain, Purpose::Server), Ok(()));
    let store = TrustStore::new(vec![chain[0].clone()]).unwrap();
    for (which, certificate) in chain.iter().enumerate() {
        for at in 0..certificate.len() {
            for change in [|byte: u8| byte ^ 1, |byte: u8| byte ^ 0x80, |_| 0, |_| 0xff] {
                let mut bytes = certificate.to_vec();
                bytes[at] = change(bytes[at]);
                if bytes == **certificate {
                    continue;
                }
                let changed = CertificateDer::from(bytes);
                match which {
                    // As an anchor its own signature does not count, but nothing else may follow from a change.
                    0 => drop(TrustStore::new(vec![changed])),
                    1 => assert!(store.verify(&chain[2], &[changed], now(), Purpose::Server).is_err(), "{at}"),
                    _ => assert!(store.verify(&changed, &chain[1..2], now(), Purpose::Server).is_err(), "{at}"),
                }
            }
        }
        for end in 0..certificate.len() {
            let cut = CertificateDer::from(certificate[..end].to_vec());
            assert!(store.verify(&cut, &chain[1..2], now(), Purpose::Server).is_err());
        }
    }
}

/// Certificates and a key as they stand in files.
struct Texts {
    certificate: String,
    key: String,
    other: String,
}

fn texts() -> Texts {
    let key = KeyPair::generate().unwrap();
    let certificate = ca("root").self_signed(&key).unwrap().pem();
    let other = params("leaf").self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    Texts { certificate, key: key.serialize_pem(), other }
}

#[test]
fn every_block_of_a_file_is_read() {
    let Texts { certificate, key, other } = texts();
    let joined = certificate.trim_end().to_owned() + &other;
    assert!(joined.contains("----------BEGIN"));
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let commented = |text: &str| text.lines().map(|line| format!("# {line}\n")).collect::<String>();
    let check = |text: String, expect: usize| {
        let found = pem::chain(text.as_bytes()).map(|chain| chain.len());
        assert_eq!(found, Ok(expect), "{text}");
        assert!(pem::trust_store(text.as_bytes()).is_ok(), "{text}");
    };
    check(certificate.clone(), 1);
    check(format!("{certificate}{other}"), 2);
    check(joined, 2);
    check(format!("\u{feff}{certificate}\u{feff}{other}"), 2);
    check(indented(&certificate) + &other, 2);
    check(format!("{certificate}{other}").replace('\n', "\r\n"), 2);
    check(format!("{certificate}{other}").replace('\n', "\r"), 2);
    check(format!("Bag Attributes\n    friendlyName: one\n{certificate}\nsubject=two\n{other}"), 2);
    check(commented(&certificate) + &other, 1);
    check(format!("{certificate}{key}{other}"), 2);
    check(certificate.replace(" CERTIFICATE", " X509 CERTIFICATE"), 1);
    check(certificate.replace('\n', " "), 1);
    for text in [
        key.clone(),
        format!("\u{feff}{key}"),
        format!("{}{key}", certificate.trim_end()),
        format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}"),
    ] {
        assert!(pem::private_key(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn a_block_that_gives_nothing_is_an_error_with_its_line() {
    let Texts { certificate, key, other } = texts();
    let lines = certificate.lines().count();
    let check = |text: &str, expect: &str| {
        for outcome in [pem::trust_store(text.as_bytes()).map(drop), pem::chain(text.as_bytes()).map(drop)] {
            let err = outcome.unwrap_err().to_string();
            assert!(err.contains(expect), "{expect:?} in {err:?} of {text}");
        }
    };
    let second = |text: &str| certificate.clone() + text;
    let line = |at: usize, words: &str| format!("cannot be used: line {at}: {words}");
    let next = |words: &str| line(lines + 1, words);
    let kind = |kind: &str| second(&other.replace(" CERTIFICATE", &format!(" {kind}")));
    check("", "contains no certificate in PEM form");
    check("\u{feff}\n", "contains no certificate in PEM form");
    check(&key, "contains no certificate in PEM form");
    check(&kind("TRUSTED CERTIFICATE"), &next("TRUSTED CERTIFICATE blocks are not supported; convert it"));
    check(&kind("PKCS7"), &next("PKCS7 blocks are not supported; convert it"));
    check(&kind("CERTIFICATE REQUEST"), &next("CERTIFICATE REQUEST blocks are not supported; remove it"));
    check(&kind("X509 CRL"), &next("X509 CRL blocks are not supported; revocation is not checked"));
    check(&second("-----BEGIN CERTIFICATE-----\nAAAA\n"), &next("the block that begins here has no -----END"));
    check(&second("-----BEGIN CERTIFICATE-----"), &next("the block that begins here has no -----END"));
    check(&second("-----BEGIN CERTIFICATE"), &next("this -----BEGIN or -----END has no closing"));
    check(&second("-----BEGIN CERTIFICATE----\nAAAA\n"), &next("this -----BEGIN or -----END has no closing"));
    check(&second("-----BEGIN\n"), &next("this -----BEGIN or -----END has no closing"));
    check(&second("-----END CERTIFICATE-----\n"), &next("there is no -----BEGIN before this -----END"));
    let nested = format!("-----BEGIN CERTIFICATE-----\nAAAA\n{other}");
    check(&second(&nested), &next("the block that begins here has no -----END"));
    check(
        &second("-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        &next("the block that begins here has no -----END"),
    );
    check(
        &second("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"),
        &next("the block that begins here is not"),
    );
    check(
        &second("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        &next("the certificate cannot be parsed"),
    );
    check(
        &second("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        &next("the certificate cannot be parsed"),
    );
    check(&format!("\n\n{}", other.replacen("MI", "?!", 1)), &line(3, "the block that begins here is not base64"));
    check(&certificate.replace('\n', "\\n"), &line(1, "the block that begins here is not base64"));
    check(&certificate.replacen("\nMI", "\nMI-----", 1), &line(1, "the block that begins here is not base64"));
    let v1 = include_str!("../../tests/fixtures/x509-v1.pem");
    let v1 = v1.split_inclusive('\n').skip_while(|line| !line.contains("BEGIN CERTIFICATE")).collect::<String>();
    check(&second(&v1), &next("the certificate is of X.509 version 1"));
    // Cut anywhere, a file of one certificate is an error.
    for end in 0..certificate.trim_end().len() {
        assert!(pem::chain(&certificate.as_bytes()[..end]).is_err(), "{end}");
    }
    for (bytes, words) in [(&[0x30, 0x82, 1, 2][..], "-inform der"), (&[0xff, 0xfe, 0x2d, 0][..], "UTF-16")] {
        assert!(pem::chain(bytes).unwrap_err().to_string().contains(words));
    }
}

#[test]
fn keys_are_read_or_named() {
    let Texts { certificate, key, .. } = texts();
    let check = |text: &str, expect: &str| {
        let err = pem::private_key(text.as_bytes()).unwrap_err().to_string();
        assert!(err.contains(expect), "{expect:?} in {err:?} of {text}");
        assert!(!err.contains("MIG"), "nothing of a key is repeated: {err}");
    };
    check("", "contains no private key in PEM form");
    check(&certificate, "contains no private key in PEM form");
    check(&key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted with a passphrase");
    let header = "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nM";
    check(&key.replacen("-----\nM", header, 1), "is encrypted with a passphrase");
    check(
        &key.replace("PRIVATE", "OPENSSH PRIVATE"),
        "line 1: OPENSSH PRIVATE KEY blocks are not supported; convert it",
    );
    check(&format!("{key}{key}"), "a second private key; remove one");
    check(&key.replacen('M', "?", 1), "line 1: the block that begins here is not base64");
    assert_eq!(pem::private_key(key.trim_end().strip_suffix('-').unwrap().as_bytes()).err(), {
        let line = key.lines().count();
        Some(PemError::Line { line, problem: "this -----BEGIN or -----END has no closing -----".to_owned() })
    });
}
