//! The certificate of a key management server: a TLS connection that ends as soon as the server has shown it. Only on request of
//! the operator, and never waited for: a poll takes what the last probe gave.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{error_text, resolve::DnsResolver, verify};
use crate::{
    lock::lock,
    model::{KmsProbe, KmsServer, Timestamp},
    trust::WallClock,
};

/// How often a server is probed, over all clusters that share it, and how often one cluster causes a probe.
const INTERVAL: Duration = Duration::from_secs(600);

/// The time limit of one probe, name and handshakes included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long after one address the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(250);

const MAX_ADDRESSES: usize = 16;

/// Where clouds answer questions about hosts and their credentials, outside of the link-local networks.
const METADATA: [IpAddr; 7] = [
    // Alibaba, Azure, Oracle.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS, Google, Oracle, Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

/// The networks in which servers are probed. None is all but those of this host, its link, and metadata.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Networks(pub Vec<IpNet>);

/// What is known of all servers.
#[derive(Debug, Default)]
pub struct Probes(Arc<Mutex<HashMap<Key, Probe>>>);

/// When a cluster last caused a probe. However often it names another server, it causes no more of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeRate(Option<Instant>);

/// Clusters with the same settings share a probe.
type Key = (Box<str>, u16, Networks);

#[derive(Clone, Debug)]
struct Probe {
    begun: Instant,
    /// What it gave.
    outcome: Option<KmsProbe>,
    /// Why it gave nothing, as it was logged.
    problem: Option<String>,
}

/// Accepts nothing: it notes when the certificate expires, and ends the handshake.
#[derive(Debug)]
struct RecordingVerifier {
    expiry: Mutex<Option<Timestamp>>,
    provider: Arc<CryptoProvider>,
}

// === impl Networks ===

impl Networks {
    /// Whether a server at this address may be probed.
    fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if !self.0.is_empty() {
            return self.0.iter().any(|network| network.contains(&address));
        }
        let embedded = match address {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(address) => embedded(address),
        };
        [address].into_iter().chain(embedded).all(|address| !is_refused(address)) && !is_own(address)
    }
}

fn is_refused(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_broadcast() || address.octets().first() == Some(&0)
        }
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    local || address.is_loopback() || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

/// The IPv4 addresses that an IPv6 address may lead to by a translator or a tunnel: IPv4-compatible and -translated, NAT64
/// (RFC 6052, RFC 8215), 6to4 and Teredo.
fn embedded(address: Ipv6Addr) -> Vec<IpAddr> {
    let [a, b, c, d, e, .., x, y] = address.segments();
    let v4 = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        IpAddr::from([a, b, c, d])
    };
    let mut found = match [a, b, c] {
        [0, 0, 0] if d == 0 && (e == 0 || e == 0xffff) => vec![v4(x, y)],
        [0x64, 0xff9b, 0] => vec![v4(x, y)],
        // Of any length of prefix: at its end, or around the eight bits in the middle that are zero.
        [0x64, 0xff9b, 1] => {
            let f = address.segments().get(5).copied().unwrap_or_default();
            vec![v4(x, y), v4(d, (e << 8) | (f >> 8))]
        }
        [0x2002, high, low] => vec![v4(high, low)],
        [0x2001, 0, _] => vec![v4(c, d), v4(!x, !y)],
        _ => Vec::new(),
    };
    // The other ways to read a prefix find nothing.
    found.retain(|address| !address.is_unspecified());
    found
}

/// Whether it is an address of this host: the one that the kernel would also connect from. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((address, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    source() == Some(address)
}

// === impl Probes ===

impl Probes {
    /// What the last probe of a server gave, if there was one; begins another if that was long ago.
    pub fn probe(
        &self,
        server: &KmsServer,
        networks: &Networks,
        rate: &mut ProbeRate,
        resolver: &Arc<DnsResolver>,
        provider: &Arc<CryptoProvider>,
        now: Instant,
    ) -> Option<KmsProbe> {
        let port = server.port.filter(|_| !server.host().is_empty())?;
        let key: Key = (server.host().into(), port, networks.clone());
        let is_due = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        let mut probes = lock(&self.0);
        let before = probes.get(&key).cloned();
        if before.as_ref().is_none_or(|probe| is_due(probe.begun)) && rate.0.is_none_or(is_due) {
            rate.0 = Some(now);
            // What nobody asks for any more goes with the next probe of another one.
            probes.retain(|_, probe| now.saturating_duration_since(probe.begun) < 2 * INTERVAL);
            let (outcome, problem) =
                before.as_ref().map(|probe| (probe.outcome, probe.problem.clone())).unwrap_or_default();
            probes.insert(key.clone(), Probe { begun: now, outcome, problem });
            let (probes, resolver, provider) = (self.0.clone(), resolver.clone(), provider.clone());
            tokio::spawn(async move {
                let given = timeout(TIMEOUT, probe(&key, &resolver, provider)).await;
                let given = given.unwrap_or_else(|_| Err("it does not answer".to_owned()));
                if let Some(probe) = lock(&probes).get_mut(&key) {
                    probe.end(&key, given);
                }
            });
        }
        before?.outcome
    }
}

// === impl Probe ===

impl Probe {
    /// Keeps what came of it, and logs a problem once.
    fn end(&mut self, (host, port, _): &Key, given: Result<KmsProbe, String>) {
        let (outcome, problem) = match given {
            Ok(outcome) => (outcome, None),
            Err(problem) => (KmsProbe::Unreachable, Some(problem)),
        };
        match &problem {
            Some(err) if self.problem != problem => {
                tracing::warn!(%host, port, %err, "cannot read the certificate of a KMS (probe_kms)");
            }
            None if self.problem.is_some() => tracing::info!(%host, port, "the KMS shows its certificate again"),
            _ => {}
        }
        (self.outcome, self.problem) = (Some(outcome), problem);
    }
}

async fn probe(
    (host, port, networks): &Key,
    resolver: &DnsResolver,
    provider: Arc<CryptoProvider>,
) -> Result<KmsProbe, String> {
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolver.of(host).await.map_err(|err| err.to_string())?,
    };
    let allowed = found.into_iter().filter(|address| networks.allow(*address)).take(MAX_ADDRESSES);
    let allowed: Vec<_> = allowed.map(|address| SocketAddr::new(address, *port)).collect();
    if allowed.is_empty() {
        return Ok(KmsProbe::NotAllowed);
    }
    let mut attempts = JoinSet::new();
    for (delay, address) in (0_u32..).zip(allowed) {
        let (name, provider) = (ServerName::try_from(host.to_string()), provider.clone());
        let name = name.unwrap_or_else(|_| address.ip().into());
        attempts.spawn(async move {
            sleep(STAGGER * delay).await;
            certificate_expiry(address, name, provider).await
        });
    }
    let mut problem = String::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(expiry)) => return Ok(KmsProbe::Shown(expiry)),
            Ok(Err(err)) => problem = err,
            Err(_) => {}
        }
    }
    Err(problem)
}

/// When the certificate expires that a server shows.
async fn certificate_expiry(
    address: SocketAddr,
    name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
) -> Result<Timestamp, String> {
    let verifier = Arc::new(RecordingVerifier { expiry: Mutex::default(), provider: provider.clone() });
    let config = ClientConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_safe_default_protocol_versions()
        .map_err(|err| error_text::tls(&err, false))?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.map_err(|err| error_text::io(&err))?;
    // It always fails: the verifier sees to that.
    let failed = TlsConnector::from(Arc::new(config)).connect(name, stream).await.err();
    let seen = lock(&verifier.expiry).take();
    seen.ok_or_else(|| match failed {
        Some(err) => match err.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(err) => tls_problem(err),
            None => error_text::io(&err),
        },
        None => "it shows no certificate".to_owned(),
    })
}

/// No client certificate plays a part: the server shows its own before it asks for one.
fn tls_problem(err: &Error) -> String {
    use AlertDescription as Alert;
    match err {
        Error::AlertReceived(Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::ProtocolVersion)
        | Error::PeerIncompatible(_) => {
            format!(
                "it has no TLS version, cipher suite or kind of key in common with the exporter; {}",
                error_text::SPOKEN
            )
        }
        Error::InvalidMessage(_) => "what answers there does not speak TLS".to_owned(),
        Error::General(_) => "it shows a certificate that cannot be parsed".to_owned(),
        err => error_text::tls(err, false),
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *lock(&self.expiry) = verify::expiry(leaf);
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
        for address in [
            "10.1.2.3",
            "192.0.2.1",
            "2001:db8::1",
            "fd12::1",
            "::ffff:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "2002:a01:203::1",
        ] {
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
            "0.1.2.3",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:168.63.129.16",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a83f:8110",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2001:0:7f00:1::1",
            "2001::5601:5601",
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

    #[test]
    fn addresses_of_this_host_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }
}
