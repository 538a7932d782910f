//! The TLS identity of a simulated cluster: certificate, key, and what it demands of clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};

use tokio_rustls::TlsAcceptor;

use super::derived;
use super::persist;
use super::spec::ClusterSpec;
use super::timespec;

/// What `rcgen` is told to put into the certificate, so that every way to reach us is covered.
const SUBJECT_ALT_NAMES: [&str; 4] = ["127.0.0.1", "127.0.0.2", "::1", "localhost"];

/// Lifetime of a certificate whose expiry is not given, and how long ago it began.
const LIFETIME: Duration = Duration::from_secs(825 * 86_400);

/// One certificate and the settings that go with it.
pub(super) struct Identity {
    /// Ready to accept connections.
    pub(super) acceptor: TlsAcceptor,
    /// SHA-256 of the leaf, `AA:BB:…`.
    pub(super) fingerprint: String,
    /// The chain, leaf first.
    pub(super) pem: String,
}

/// A chain and its key, before TLS knows them.
struct PemPair {
    chain_pem: String,
    key_pem: String,
}

impl Identity {
    /// The identity `spec` asks for: its own certificate, or a new self-signed one.
    pub(super) fn of(spec: &ClusterSpec, now: DateTime<Utc>) -> io::Result<Identity> {
        let pair = match (&spec.certificate_pem, &spec.key_pem) {
            (Some(chain), Some(key)) => PemPair { chain_pem: chain.clone(), key_pem: key.clone() },
            (None, None) => PemPair::load_or_create(spec, now)?,
            _ => return Err(io::Error::other("a certificate needs its key, and a key its own")),
        };
        Identity::new(pair, spec.client_ca_pem.as_deref())
    }

    /// A new self-signed identity, even where `spec` brings a certificate of its own.
    pub(super) fn replacement(spec: &ClusterSpec, now: DateTime<Utc>) -> io::Result<Identity> {
        let pair = self_signed(spec, now).map_err(io::Error::other)?;
        Identity::new(pair, spec.client_ca_pem.as_deref())
    }

    fn new(pair: PemPair, client_ca_pem: Option<&str>) -> io::Result<Identity> {
        let chain = certificates(&pair.chain_pem)?;
        let leaf = chain.first().ok_or_else(|| io::Error::other("no certificate in the PEM"))?;
        let fingerprint = derived::fingerprint(leaf);
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Core serves TLS 1.2 and 1.3: `/v2/cluster/settings/ssl/ciphers` lists just those two.
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
            .map_err(io::Error::other)?;
        let builder = match client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => builder.with_client_cert_verifier(client_verifier(pem, provider)?),
        };
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(io::Error::other)?;
        let config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
        Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint, pem: pair.chain_pem })
    }
}

impl PemPair {
    /// That of the last start, or a new one, which is kept for the next.
    fn load_or_create(spec: &ClusterSpec, now: DateTime<Utc>) -> io::Result<PemPair> {
        let until = expiry(spec, now);
        if let Some(pem) = persist::load_certificate(spec, until, now) {
            let chain_pem = pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap_or_default().to_owned();
            return Ok(PemPair { chain_pem, key_pem: pem });
        }
        let pair = self_signed(spec, now).map_err(io::Error::other)?;
        persist::save_certificate(spec, until, &[&*pair.chain_pem, &*pair.key_pem].concat())?;
        Ok(pair)
    }
}

fn expiry(spec: &ClusterSpec, now: DateTime<Utc>) -> DateTime<Utc> {
    timespec::parse_time(&spec.certificate_expiry, now).unwrap_or(now + LIFETIME)
}

fn client_verifier(
    ca_pem: &str,
    provider: Arc<CryptoProvider>,
) -> io::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(io::Error::other)
}

fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(io::Error::other)
}

fn self_signed(spec: &ClusterSpec, now: DateTime<Utc>) -> Result<PemPair, rcgen::Error> {
    let names = SUBJECT_ALT_NAMES.map(String::from).to_vec();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::OrganizationName, "Simulated Qumulo cluster");
    params.distinguished_name.push(DnType::CommonName, spec.name.as_str());
    if spec.certificate_is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let expiry = expiry(spec, now);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_after = epoch + seconds(expiry);
    params.not_before = epoch + seconds(now.min(expiry)).saturating_sub(LIFETIME);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(PemPair { chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn seconds(time: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}
