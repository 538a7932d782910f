//! Listen addresses and the sockets bound to them.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

/// Connections that the kernel keeps waiting for us: enough for every scraper of a large site at once.
const BACKLOG: i32 = 1024;

/// Where to listen, as Prometheus exporters write it: `:10979`, `127.0.0.1:0`, `[::1]:9100` or `host:port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

/// Text that is no listen address; the message says what to write instead.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("bad listen address {text:?}: {problem}; write `:PORT`, `HOST:PORT` or `[IPv6]:PORT`, such as `:10979`")]
pub struct BadListenAddress {
    text: String,
    problem: &'static str,
}

/// A listening socket that could not be had.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: address in use; stop the other process (`ss -ltnp` shows it) or choose another \
         address with {flag}"
    )]
    InUse {
        /// Where it was asked for.
        flag: &'static str,
        /// The address as it was asked for.
        address: ListenAddress,
    },
    /// No permission, usually because the port is below 1024.
    #[error(
        "cannot listen on {address}: permission denied; choose a port of 1024 or above with {flag}, or grant \
         CAP_NET_BIND_SERVICE"
    )]
    Permission {
        /// Where it was asked for.
        flag: &'static str,
        /// The address as it was asked for.
        address: ListenAddress,
    },
    /// The host part has no address.
    #[error("cannot listen on {address}: {host:?} cannot be resolved; use an IP address of this machine")]
    Resolve {
        /// The address as it was asked for.
        address: ListenAddress,
        /// Its host part.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Anything else, such as an address that no interface of this machine has.
    #[error("cannot listen on {address}; check {flag}")]
    Other {
        /// Where it was asked for.
        flag: &'static str,
        /// The address as it was asked for.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Host {
    /// Every address of this machine, IPv6 and IPv4.
    Any,
    Ip(IpAddr),
    Name(String),
}

/// Binds every address of a flag, or none: the first failure drops the sockets already bound.
///
/// Call it inside a tokio runtime with IO enabled: the sockets are registered there. Names are resolved here, blocking,
/// because nothing is served yet.
///
/// # Errors
///
/// The first address that cannot be had, with what to do about it.
pub fn bind(addresses: &[ListenAddress], flag: &'static str) -> Result<Vec<TcpListener>, BindError> {
    addresses.iter().map(|address| bind_one(address, flag)).collect()
}

// === impl ListenAddress ===

impl ListenAddress {
    /// The address for one IP address and port; port 0 lets the system choose.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { host: Host::Ip(ip), port }
    }

    /// Every address of this machine, IPv6 and IPv4.
    pub fn any(port: u16) -> Self {
        Self { host: Host::Any, port }
    }
}

impl FromStr for ListenAddress {
    type Err = BadListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |problem| BadListenAddress { text: text.to_owned(), problem };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("the port is not a number"));
        }
        let port = port.parse().map_err(|_| bad("the port is above 65535"))?;
        let host = parse_host(host).map_err(bad)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => write!(f, ":{}", self.port),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

fn parse_host(host: &str) -> Result<Host, &'static str> {
    if host.is_empty() {
        return Ok(Host::Any);
    }
    if let Some(ip) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip.parse().map(|ip: Ipv6Addr| Host::Ip(ip.into())).map_err(|_| "no IPv6 address in the brackets");
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return if ip.is_ipv4() { Ok(Host::Ip(ip)) } else { Err("an IPv6 address needs brackets") };
    }
    if host.contains(':') {
        return Err("more than one colon");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return Err("the host is neither a name nor an IP address");
    }
    Ok(Host::Name(host.to_owned()))
}

// === bind ===

fn bind_one(address: &ListenAddress, flag: &'static str) -> Result<TcpListener, BindError> {
    let listened = match &address.host {
        Host::Any => listen_anywhere(address.port),
        Host::Ip(ip) => listen(SocketAddr::new(*ip, address.port)),
        Host::Name(name) => listen(resolve(address, name)?),
    };
    listened.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { flag, address: address.clone() },
        io::ErrorKind::PermissionDenied => BindError::Permission { flag, address: address.clone() },
        _ => BindError::Other { flag, address: address.clone(), source },
    })
}

fn resolve(address: &ListenAddress, name: &str) -> Result<SocketAddr, BindError> {
    let failed = |source| BindError::Resolve { address: address.clone(), host: name.to_owned(), source };
    let mut found = (name, address.port).to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::Error::other("the name has no address")))
}

/// Both families on one socket, or IPv4 alone where the kernel has no IPv6.
fn listen_anywhere(port: u16) -> io::Result<TcpListener> {
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        // A taken or forbidden port is the answer: IPv4 would hide it, serving only half of the clients.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        listened => listened,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // The system's default (net.ipv6.bindv6only) differs between machines.
        socket.set_only_v6(false)?;
    }
    // Else a restart has to wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        match (text.parse::<ListenAddress>(), expect) {
            (Ok(address), Ok(shown)) => assert_eq!(address.to_string(), shown),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (parsed, _) => panic!("{text:?} gave {parsed:?}"),
        }
    }

    #[test]
    fn addresses() {
        check(":10979", Ok(":10979"));
        check("127.0.0.1:0", Ok("127.0.0.1:0"));
        check("[::1]:9100", Ok("[::1]:9100"));
        check("[::]:9100", Ok("[::]:9100"));
        check("localhost:80", Ok("localhost:80"));
        check("10979", Err("the port is missing; write `:PORT`"));
        check("", Err("port is missing"));
        check(":", Err("port is not a number"));
        check(":http", Err("port is not a number"));
        check(":+80", Err("port is not a number"));
        check(":65536", Err("above 65535"));
        check("::1:9100", Err("needs brackets"));
        check("[127.0.0.1]:1", Err("no IPv6 address in the brackets"));
        check("http://host:1", Err("more than one colon"));
        check("a b:1", Err("neither a name nor an IP address"));
    }

    #[tokio::test]
    async fn taken_port_names_the_address_and_the_flag() {
        let first = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0)], "--web.listen-address").unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), port)], "--web.listen-address")
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}: address in use")), "{error}");
        assert!(error.contains("--web.listen-address"), "{error}");
    }

    #[tokio::test]
    async fn wildcard_serves_ipv4_too() {
        let listeners = bind(&[ListenAddress::any(0)], "--web.listen-address").unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let client = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (client, accepted) = tokio::join!(client, listeners[0].accept());
        assert!(client.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn unknown_host_is_named() {
        // Longer than a name can be, so that no name server is asked.
        let host = "x".repeat(300);
        let error = bind(&[format!("{host}:0").parse().unwrap()], "--web.listen-address").unwrap_err().to_string();
        assert!(error.contains(&format!("{host:?} cannot be resolved")), "{error}");
    }
}
