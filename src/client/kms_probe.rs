//! Reads the certificate of a key management server (KMS): a TLS connection that ends as soon as the server has sent it.
//! Only with `probe_kms`. No poll waits for a probe: it takes the result of the last one.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rustls::{ALL_VERSIONS, Error, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    error_text::{self, TlsPeer},
    resolve::DnsResolver,
    verify::{HandshakeRecorder, ServerVerifier, Trust},
    verify_error::VerifyError,
};
use crate::{
    lock::lock,
    model::{KmsProbe, KmsServer, Timestamp},
};

/// The shortest time between two probes of a server, and between two probes that one cluster causes.
const INTERVAL: Duration = Duration::from_secs(600);

/// The time limit of a probe, name resolution included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of a server that are tried.
const MAX_ADDRESSES: usize = 16;

/// The time between the starts of two attempts: the last of [`MAX_ADDRESSES`] has more than a second.
const STAGGER: Duration = Duration::from_millis(250);

/// Networks that are contacted only if `probe_kms_networks` lists them: this host, its link, metadata services of clouds,
/// and IPv6 networks that lead to unchecked IPv4 addresses.
const REFUSED: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fe80::/10",
    "ff00::/8",
    // Unspecified, loopback and IPv4-compatible addresses; IPv4-translated ones; local NAT64; Teredo; 6to4.
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    // Metadata services of Alibaba, Azure, Oracle; of AWS, Google, Oracle, Scaleway.
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:42::42/128",
];

/// The networks in which servers may be contacted. If empty: all except loopback, link-local and multicast addresses, those of
/// metadata services, and this host's own.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Networks(pub Vec<IpNet>);

/// The results for all servers.
#[derive(Debug, Default)]
pub struct Probes(Arc<Mutex<HashMap<Target, Probe>>>);

/// Clusters with the same target share its probes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Target {
    host: String,
    networks: Networks,
    port: u16,
}

#[derive(Debug)]
struct Probe {
    /// Of the last probe that ended; an error is the text for the log.
    outcome: Option<Result<KmsProbe, String>>,
    started: Instant,
}

// === impl Networks ===

impl Networks {
    fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if !self.0.is_empty() {
            return self.0.iter().any(|network| network.contains(&address));
        }
        let address = behind_nat64(address);
        let in_network = |network: &&str| network.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
        !REFUSED.iter().any(in_network) && source_of(address).ok() != Some(address)
    }
}

/// The IPv4 address that an address with the well-known prefix is translated to (RFC 6052).
fn behind_nat64(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)).into()
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// The address from which this host would connect to `address`: its own addresses are reached from themselves. Sends nothing.
fn source_of(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

// === impl Probes ===

impl Probes {
    /// The result of the server's last probe, if there is one. Starts another probe in the background if the last one is
    /// old enough. `last` is when the cluster last caused a probe: naming one server after another causes no more of them.
    pub fn probe(
        &self,
        server: &KmsServer,
        networks: &Networks,
        last: &mut Option<Instant>,
        resolver: &Arc<DnsResolver>,
        now: Instant,
    ) -> Option<KmsProbe> {
        let port = server.port.filter(|_| !server.host().is_empty())?;
        let target = Target { host: server.host().to_owned(), networks: networks.clone(), port };
        let is_due = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        let mut probes = lock(&self.0);
        let probe = probes.get(&target);
        let outcome = probe.and_then(|probe| probe.outcome.as_ref());
        let result = outcome.map(|outcome| *outcome.as_ref().unwrap_or(&KmsProbe::Unreachable));
        if probe.is_none_or(|probe| is_due(probe.started)) && last.is_none_or(is_due) {
            *last = Some(now);
            // Forget servers that are no longer in use.
            probes
                .retain(|other, probe| *other == target || now.saturating_duration_since(probe.started) < 2 * INTERVAL);
            let new = || Probe { outcome: None, started: now };
            probes.entry(target.clone()).or_insert_with(new).started = now;
            let (probes, resolver) = (self.0.clone(), resolver.clone());
            tokio::spawn(async move {
                let outcome = timeout(TIMEOUT, target.probe(&resolver)).await;
                let outcome = outcome.unwrap_or_else(|_| Err("no response".to_owned()));
                if let Some(probe) = lock(&probes).get_mut(&target) {
                    probe.finish(&target, outcome);
                }
            });
        }
        result
    }
}

// === impl Probe ===

impl Probe {
    /// Stores the outcome, and logs each problem once.
    fn finish(&mut self, Target { host, port, .. }: &Target, outcome: Result<KmsProbe, String>) {
        match (&self.outcome, &outcome) {
            (before, Err(err)) if before.as_ref() != Some(&outcome) => {
                tracing::warn!(%host, port, %err, "cannot read the certificate of a KMS (probe_kms)");
            }
            (Some(Err(_)), Ok(_)) => {
                tracing::info!(%host, port, "the certificate of the KMS can be read again");
            }
            _ => {}
        }
        self.outcome = Some(outcome);
    }
}

// === impl Target ===

impl Target {
    async fn probe(&self, resolver: &DnsResolver) -> Result<KmsProbe, String> {
        let found = match self.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => resolver.lookup(&self.host).await.map_err(|err| err.to_string())?,
        };
        let allowed = found.into_iter().filter(|address| self.networks.allow(*address)).take(MAX_ADDRESSES);
        let mut attempts = JoinSet::new();
        for (index, address) in (0_u32..).zip(allowed) {
            let name = ServerName::try_from(self.host.clone()).unwrap_or_else(|_| address.into());
            let expiry = certificate_expiry((address, self.port).into(), name);
            attempts.spawn(async move {
                sleep(STAGGER * index).await;
                expiry.await
            });
        }
        let mut result = Ok(KmsProbe::NotAllowed);
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(expiry)) => return Ok(KmsProbe::Shown(expiry)),
                Ok(Err(problem)) => result = Err(problem),
                Err(_) => result = Err("no response".to_owned()),
            }
        }
        result
    }
}

async fn certificate_expiry(address: SocketAddr, name: ServerName<'static>) -> Result<Timestamp, String> {
    let verifier = ServerVerifier::new(Trust::Nothing, None);
    let config = verifier.clone().config(ALL_VERSIONS)?.with_no_client_auth();
    let recorder = Arc::<HandshakeRecorder>::default();
    let config = verifier.for_client(config, recorder.clone(), None);
    let stream = TcpStream::connect(address).await.map_err(|err| error_text::io(&err))?;
    // Always fails: the verifier ends the handshake.
    let failed = TlsConnector::from(Arc::new(config)).connect(name, stream).await.err();
    recorder.expiry().ok_or_else(|| match failed {
        Some(err) => match err.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            // Before it sends its certificate, a server can object to nothing else.
            Some(Error::AlertReceived(_) | Error::PeerIncompatible(_)) => error_text::NOTHING_IN_COMMON.to_owned(),
            Some(err) => VerifyError::from_rustls(err)
                .map_or_else(|| error_text::tls(err, TlsPeer::Other), |VerifyError { problem, .. }| problem.clone()),
            None => error_text::io(&err),
        },
        None => error_text::tls(&Error::NoCertificatesPresented, TlsPeer::Other),
    })
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
        for address in ["10.1.2.3", "192.0.2.1", "2001:db8::1", "fd12::1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"] {
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
            "64:ff9b:1::10.1.2.3",
            "2002:a01:203::1",
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
        let is_own = |address: IpAddr| source_of(address).ok() == Some(address);
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }
}
