//! Which hosts are reached without the proxy, by the rules of Go's `httpproxy`, which Prometheus uses. Its exception for
//! loopback addresses is left out: a proxy that is configured for a cluster there is intended.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use url::{Host, Url};

/// The hosts of `no_proxy`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Hosts {
    All,
    /// A host name with all names below it, or only those.
    Domain {
        name: String,
        only_below: bool,
    },
    Network(IpNet),
}

const FORM: &str = "must be a host name, an address or a network, with a port at most";

// === impl NoProxy ===

impl NoProxy {
    pub fn matches(&self, url: &Url) -> bool {
        let (address, host) = match url.host() {
            Some(Host::Ipv4(address)) => (Some(IpAddr::V4(address)), ""),
            Some(Host::Ipv6(address)) => (Some(IpAddr::V6(address).to_canonical()), ""),
            Some(Host::Domain(host)) => (None, host.trim_end_matches('.')),
            None => (None, ""),
        };
        self.0.iter().any(|Entry { hosts, port }| {
            let matches = match hosts {
                Hosts::All => true,
                Hosts::Domain { name, only_below } => host
                    .strip_suffix(name.as_str())
                    .is_some_and(|below| below.ends_with('.') || (below.is_empty() && !only_below)),
                Hosts::Network(network) => address.is_some_and(|address| network.contains(&address)),
            };
            matches && (port.is_none() || *port == url.port_or_known_default())
        })
    }
}

impl FromStr for NoProxy {
    type Err = String;

    /// Errors do not repeat the invalid entry, because it could be a password, meant for another variable.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
        let parsed =
            entries.map(|(index, text)| entry(text).map_err(|problem| format!("entry {} {problem}", index + 1)));
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

fn entry(text: &str) -> Result<Entry, &'static str> {
    if text.contains(char::is_whitespace) {
        return Err("contains a space; separate entries with commas");
    }
    if text.contains("://") {
        return Err("must be a host without a scheme");
    }
    if text.contains('/') {
        let network: IpNet =
            text.parse().map_err(|_| "must be a network such as 10.20.0.0/16, or a host without a path")?;
        return Ok(Entry { hosts: Hosts::Network(network.trunc()), port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if text.parse::<IpAddr>().is_err() && !text.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (host, Some(port.ok_or("has an invalid port (use 1 to 65535)")?))
        }
        _ => (text, None),
    };
    let address = match host.strip_prefix('[') {
        Some(v6) => Some(IpAddr::V6(v6.strip_suffix(']').and_then(|v6| v6.parse().ok()).ok_or(FORM)?)),
        None => host.parse().ok(),
    };
    let hosts = match address {
        Some(address) => Hosts::Network(address.to_canonical().into()),
        None if text == "*" => Hosts::All,
        None => domain(host)?,
    };
    Ok(Entry { hosts, port })
}

fn domain(host: &str) -> Result<Hosts, &'static str> {
    let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
    let (name, only_below) = below.map_or((host, false), |below| (below, true));
    if name.contains('*') {
        return Err("has a * that is neither alone nor at the beginning, as in *.example.com");
    }
    // In the form that host names have in URLs.
    let Ok(Host::Domain(name)) = Host::parse(name.trim_end_matches('.')) else { return Err(FORM) };
    let is_plain = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.split('.').all(is_plain) { Ok(Hosts::Domain { name, only_below }) } else { Err(FORM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_as_go_does() {
        let check = |no_proxy: &str, url: &str, expect: bool| {
            let parsed: NoProxy = no_proxy.parse().unwrap();
            assert_eq!(parsed.matches(&url.parse().unwrap()), expect, "{no_proxy:?} {url}");
        };
        let name = "https://prod.example.com:8000";
        check("", name, false);
        check(",, ", name, false);
        check("*", name, true);
        check("other.test, *", "https://10.1.2.3:8000", true);
        for entry in [
            "prod.example.com",
            "example.com",
            "EXAMPLE.com",
            ".example.com",
            "*.example.com",
            "example.com.",
            "prod.example.com:8000",
            "com",
            " a.test ,example.com",
        ] {
            check(entry, name, true);
            check(entry, "https://PROD.example.com.:8000", true);
        }
        for entry in [
            "prod.example.com:443",
            ".prod.example.com",
            "*.prod.example.com",
            "ample.com",
            "xprod.example.com",
            "prod.example",
            "10.0.0.0/8",
        ] {
            check(entry, name, false);
        }
        check("*.example.com", "https://example.com:8000", false);
        check("bücher.example", "https://xn--bcher-kva.example:8000", true);
        for entry in ["10.1.2.3", "10.1.2.3:8000", "10.0.0.0/8", "10.1.99.99/16", "::ffff:10.1.2.3"] {
            check(entry, "https://10.1.2.3:8000", true);
        }
        check("10.1.2.3:443", "https://10.1.2.3:8000", false);
        check("10.1.2.3", "https://10.1.2.4:8000", false);
        check("0.1.2.3", "https://10.1.2.3:8000", false);
        for entry in ["::1", "[::1]", "[::1]:8000", "::/64"] {
            check(entry, "https://[::1]:8000", true);
        }
        check("[::1]:443", "https://[::1]:8000", false);
        check("localhost", "https://127.0.0.1:8000", false);
        check("10.1.2.3", "https://10.1.2.3.example.com:8000", false);
        check("example.com:443", "https://example.com", true);
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error_without_the_entry() {
        for text in [
            "a.example.com b.example.com",
            "https://example.com",
            "example.com/path",
            "10.0.0.0/33",
            "10.0.0.0/8:8000",
            "prod*.example.com",
            "*example.com",
            "**",
            "*.",
            ".",
            "a..example.com",
            ":8000",
            "example.com:0",
            "example.com:http",
            "example.com:",
            "10.0.0",
            "010.1.1.1",
            "[::1",
            "[::1]x",
            "[10.1.2.3]",
            "\"example.com\"",
            "user@example.com",
            "Summer#x",
        ] {
            let err = format!("good.test,{text}").parse::<NoProxy>().unwrap_err();
            assert!(err.starts_with("entry 2 "), "{text:?}: {err}");
            let word = text.trim_matches(|c: char| !c.is_alphanumeric());
            assert!(word.len() < 6 || word.contains("example.com") || !err.contains(word), "{text:?}: {err}");
        }
    }
}
