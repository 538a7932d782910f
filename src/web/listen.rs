//! Listen addresses and the sockets bound to them.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

use crate::address;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// An address as Prometheus exporters write it: `:10979`, `127.0.0.1:0`, `[::1]:9100` or `host:port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ListenAddress {
    /// A name or an IP address without brackets. Empty: all addresses, IPv6 and IPv4.
    host: String,
    port: u16,
}

/// Binds every address of a flag, or none: the first failure drops the sockets already bound.
///
/// Must be called inside a tokio runtime. Resolves names, and blocks for that.
///
/// # Errors
///
/// The first address that cannot be bound.
pub fn bind(addresses: &[ListenAddress], flag: &str) -> io::Result<Vec<TcpListener>> {
    let bind_one = |address: &ListenAddress| {
        let bound = match &*address.host {
            "" => listen_on_all(address.port),
            host => resolve(host, address.port).and_then(listen),
        };
        bound.map_err(|err| {
            let problem = match err.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "address in use; stop the other process (`ss -ltnp` shows it) or choose another address with {flag}"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "permission denied; choose a port of 1024 or above with {flag}, or grant CAP_NET_BIND_SERVICE"
                ),
                _ => format!("{err}; check {flag}"),
            };
            io::Error::other(format!("cannot listen on {address}: {problem}"))
        })
    };
    addresses.iter().map(bind_one).collect()
}

// === impl ListenAddress ===

impl ListenAddress {
    /// With port 0 the system chooses one.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { host: ip.to_string(), port }
    }

    /// All addresses, IPv6 and IPv4.
    pub fn any(port: u16) -> Self {
        Self { host: String::new(), port }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: String| format!("bad listen address {text:?}: {problem}");
        let malformed =
            |problem: &str| error(format!("{problem}; write `:PORT`, `HOST:PORT` or `[IPv6]:PORT`, such as `:10979`"));
        let (host, port) = text.rsplit_once(':').ok_or_else(|| malformed("the port is missing"))?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed("the port is not a number"));
        }
        let port = port.parse().map_err(|_| malformed("the port is above 65535"))?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            Some(ip) if ip.parse::<Ipv6Addr>().is_err() => return Err(malformed("no IPv6 address in the brackets")),
            None if host.parse::<Ipv6Addr>().is_ok() => return Err(malformed("an IPv6 address needs brackets")),
            None if host.contains(':') => return Err(malformed("more than one colon")),
            // Forms such as 0177.0.0.1 are errors: resolvers take them for another address than people do.
            None if !host.is_empty() => address::host(host).map_err(|err| error(format!("the host {err}")))?,
            _ => {}
        }
        Ok(Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

// === bind ===

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let address = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next());
    address.ok_or_else(|| io::Error::other(format!("{host:?} cannot be resolved; use an IP address of this machine")))
}

/// Both address families on one socket, or IPv4 alone if the kernel has no IPv6.
fn listen_on_all(port: u16) -> io::Result<TcpListener> {
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        // Not for a port that is taken or forbidden: IPv4 would hide the error and serve only half of the clients.
        Err(err) if !matches!(err.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        listened => listened,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // The default is a setting of the system (net.ipv6.bindv6only).
        SockRef::from(&socket).set_only_v6(false)?;
    }
    // Otherwise a restart would have to wait for old connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        match (text.parse::<ListenAddress>(), expect) {
            (Ok(address), Ok(shown)) => assert_eq!(address.to_string(), shown),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
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
        for text in ["0177.0.0.1:80", "127.1:80", "2130706433:80", "0x7f.1:80", "127.0.0.01:80", "1.2.3.256:80"] {
            check(text, Err("the host has an invalid IPv4 address; use four decimal numbers without leading zeros"));
        }
        check("a b:1", Err("the host contains a space"));
        check("a/b:1", Err("the host has an invalid host name"));
        check("${HOST}:1", Err("the host contains a placeholder"));
        check("\u{ff11}27.0.0.1:1", Err("non-ASCII"));
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
        let address = ListenAddress { host: host.clone(), port: 0 };
        let error = bind(&[address], "--web.listen-address").unwrap_err().to_string();
        assert!(error.contains(&format!("{host:?} cannot be resolved")), "{error}");
    }
}
