//! One look at the certificate of a key management server: a TLS connection that ends as soon as the server has shown it. Only
//! on request of the operator, and never waited for: a poll takes what the last look gave.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{lock::lock, resolve::Addresses, tls12, verify};
use crate::model::{KmsProbe, KmsServer, Timestamp};

/// How often a server is looked at, over all clusters that share it.
const REVISIT: Duration = Duration::from_secs(600);

/// The time limit of one look, name and handshake included.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where clouds answer questions about machines and their credentials, outside of the link-local networks.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// The networks in which servers are looked at. None named is all but those of this machine, its link, and metadata.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Networks(pub Vec<IpNet>);

/// What is known of all servers.
#[derive(Debug, Default)]
pub struct Probes(Arc<Mutex<HashMap<Key, Look>>>);

/// Clusters with the same settings share a look.
type Key = (Box<str>, u16, Networks);

#[derive(Clone, Copy, Debug)]
struct Look {
    begun: Instant,
    seen: Option<KmsProbe>,
}

/// Accepts nothing: it notes when the certificate expires, and ends the handshake.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<Timestamp>>,
}

// === impl Networks ===

impl Networks {
    /// Whether a server at this address may be looked at.
    fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if !self.0.is_empty() {
            return self.0.iter().any(|network| network.contains(&address));
        }
        let local = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let nowhere = address.is_loopback() || address.is_unspecified() || address.is_multicast();
        !local && !nowhere && !METADATA.contains(&address)
    }
}

// === impl Probes ===

impl Probes {
    /// What the last look at a server gave, if there was one; begins another if that was long ago.
    pub fn look(
        &self,
        server: &KmsServer,
        networks: &Networks,
        addresses: &Arc<Addresses>,
        provider: &Arc<CryptoProvider>,
        now: Instant,
    ) -> Option<KmsProbe> {
        let port = server.port.filter(|_| !server.host().is_empty())?;
        let key: Key = (server.host().into(), port, networks.clone());
        let mut looks = lock(&self.0);
        let before = looks.get(&key).copied();
        if before.is_none_or(|look| now.saturating_duration_since(look.begun) >= REVISIT) {
            // What nobody asks for any more goes with the next look at another one.
            looks.retain(|_, look| now.saturating_duration_since(look.begun) < 2 * REVISIT);
            looks.insert(key.clone(), Look { begun: now, seen: before.and_then(|look| look.seen) });
            let (looks, addresses, provider) = (self.0.clone(), addresses.clone(), provider.clone());
            tokio::spawn(async move {
                let seen = timeout(PATIENCE, probe(&key, &addresses, provider)).await.unwrap_or(KmsProbe::Unreachable);
                if let Some(look) = lock(&looks).get_mut(&key) {
                    look.seen = Some(seen);
                }
            });
        }
        before?.seen
    }
}

async fn probe((host, port, networks): &Key, addresses: &Addresses, provider: Arc<CryptoProvider>) -> KmsProbe {
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => addresses.of(host).await,
    };
    if found.is_empty() {
        return KmsProbe::Unreachable;
    }
    let allowed: Vec<SocketAddr> = found
        .into_iter()
        .filter(|address| networks.allow(*address))
        .map(|address| SocketAddr::new(address, *port))
        .collect();
    if allowed.is_empty() {
        return KmsProbe::NotAllowed;
    }
    shown(host, &allowed, provider).await.map_or(KmsProbe::Unreachable, KmsProbe::Shown)
}

/// When the certificate expires that the server shows.
async fn shown(host: &str, addresses: &[SocketAddr], provider: Arc<CryptoProvider>) -> Option<Timestamp> {
    let witness = Arc::new(Witness { provider: provider.clone(), shown: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let stream = TcpStream::connect(addresses).await.ok()?;
    // It always fails: the witness sees to that.
    let _ = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await;
    let shown = lock(&witness.shown).take();
    if shown.is_some() {
        return shown;
    }
    let name = matches!(name, ServerName::DnsName(_)).then_some(host);
    verify::expiry(&tls12::certificate(TcpStream::connect(addresses).await.ok()?, name).await?)
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *lock(&self.shown) = verify::expiry(leaf);
        Err(Error::General("seen".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("never reached".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_s_networks_are_contacted() {
        let check = |networks: &[&str], address: &str, expect: bool| {
            let networks = Networks(networks.iter().map(|network| network.parse().unwrap()).collect());
            assert_eq!(networks.allow(address.parse().unwrap()), expect, "{networks:?} {address}");
        };
        for address in ["10.1.2.3", "192.0.2.1", "2001:db8::1", "fd12::1", "::ffff:10.1.2.3"] {
            check(&[], address, true);
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            check(&[], address, false);
        }
        check(&["10.20.0.0/16"], "10.20.3.4", true);
        check(&["10.20.0.0/16"], "10.21.3.4", false);
        check(&["10.20.0.0/16"], "::ffff:10.20.3.4", true);
        check(&["10.20.0.0/16"], "127.0.0.1", false);
        check(&["127.0.0.0/8", "fe80::/10"], "127.0.0.1", true);
        check(&["127.0.0.0/8", "fe80::/10"], "fe80::1", true);
    }
}
