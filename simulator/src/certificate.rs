//! The TLS settings of a cluster: its certificate, and the CA of its clients.

use std::{error::Error, fs, io, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ServerConfig, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::{folder, spec::ClusterSpec, time};

const SUBJECT_ALT_NAMES: [&str; 4] = ["127.0.0.1", "127.0.0.2", "::1", "localhost"];

/// Lifetime of certificates without a valid `certificate_expiry`, and how long ago every certificate became valid.
const LIFETIME: Duration = Duration::from_secs(825 * 86_400);

pub struct Identity {
    pub acceptor: TlsAcceptor,
    /// Leaf first.
    pub chain_pem: String,
    /// SHA-256 of the leaf, `AA:BB:…`.
    pub fingerprint: String,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

impl Identity {
    /// Uses the certificate in `spec`, the one of the previous start, or a new one.
    pub fn load(spec: &ClusterSpec, now: DateTime<Utc>) -> io::Result<Self> {
        let pem = spec.certificate_pem.clone().map_or_else(|| load_or_create(spec, now), Ok);
        pem.and_then(|pem| Self::new(spec, &pem)).map_err(io::Error::other)
    }

    /// Creates a certificate, even if `spec` has one.
    pub fn create(spec: &ClusterSpec, now: DateTime<Utc>) -> io::Result<Self> {
        self_signed(spec, now).and_then(|pem| Self::new(spec, &pem)).map_err(io::Error::other)
    }

    /// `pem`: the chain, and the private key after it.
    fn new(spec: &ClusterSpec, pem: &str) -> Result<Self> {
        let chain = certificates(pem)?;
        let leaf = chain.first().ok_or("no certificate in the PEM")?;
        let digest = digest(&SHA256, leaf);
        let fingerprint: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let provider = Arc::new(default_provider());
        // Qumulo Core supports both: `/v2/cluster/settings/ssl/ciphers` has exactly these two.
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS12, &TLS13])?;
        let builder = match &spec.client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                certificates(pem)?.into_iter().try_for_each(|certificate| roots.add(certificate))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(pem.as_bytes())?)?;
        Ok(Self {
            acceptor: Arc::new(config).into(),
            chain_pem: pem.split("-----BEGIN PRIVATE KEY").next().unwrap_or_default().to_owned(),
            fingerprint: fingerprint.join(":"),
        })
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<std::result::Result<_, _>>()?)
}

/// Returns the certificate of the previous start, or creates and saves one if there is none, if its file is incomplete, if it was
/// made for other settings, or if it has expired but should not have.
fn load_or_create(spec: &ClusterSpec, now: DateTime<Utc>) -> Result<String> {
    let (file, expiry) = (folder::file(spec, "pem"), expiry(spec, now));
    // The first line of the file, which is not part of the PEM.
    let settings = (&spec.certificate_expiry, spec.certificate_is_ca);
    let header = format!("# certificate_expiry: {:?}, certificate_is_ca: {}, until: ", settings.0, settings.1);
    let is_usable = |pem: &String| {
        let until = pem.lines().next().and_then(|line| line.strip_prefix(&header)?.parse::<i64>().ok());
        // The process can end while it writes the file.
        let is_complete = pem.trim_end().ends_with("-----END PRIVATE KEY-----");
        is_complete && until.is_some_and(|until| until > now.timestamp() || expiry <= now)
    };
    if let Some(pem) = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).filter(is_usable) {
        return Ok(pem);
    }
    let pem = self_signed(spec, now)?;
    if let Some(file) = file {
        folder::write(&file, &format!("{header}{}\n{pem}", expiry.timestamp()))?;
    }
    Ok(pem)
}

fn self_signed(spec: &ClusterSpec, now: DateTime<Utc>) -> Result<String> {
    let mut params = CertificateParams::new(SUBJECT_ALT_NAMES.map(String::from))?;
    params.distinguished_name.push(DnType::OrganizationName, "Simulated Qumulo cluster");
    params.distinguished_name.push(DnType::CommonName, &*spec.name);
    if spec.certificate_is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let expiry = expiry(spec, now);
    let since_1970 = |time: DateTime<Utc>| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default());
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(expiry);
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now.min(expiry)).saturating_sub(LIFETIME);
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

fn expiry(spec: &ClusterSpec, now: DateTime<Utc>) -> DateTime<Utc> {
    time::parse_time(&spec.certificate_expiry, now).unwrap_or(now + LIFETIME)
}
