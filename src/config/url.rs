//! URLs of clusters.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::{self, AddressError};

/// Port of the REST API, from Qumulo's list of required ports.
const DEFAULT_PORT: u16 = 8000;

/// Parses the URL of a cluster: `https`, or `http` to this host; a host; port 8000 by default; no path.
///
/// # Errors
///
/// A message that does not repeat the URL, which could contain a password.
pub fn cluster_url(text: &str) -> Result<Url, String> {
    let (mut url, port) = address::url(text).map_err(|err| match err {
        AddressError::UserInfo => format!("{err}; use `authorization` or `login`"),
        AddressError::NoHost => format!("{err}; use a URL such as https://prod.example.com"),
        _ => err.to_string(),
    })?;
    check(text, &url)?;
    if port.is_none() {
        url.set_port(Some(DEFAULT_PORT)).map_err(|()| "cannot have a port".to_owned())?;
    }
    Ok(url)
}

/// The host of a URL, as the default name of a cluster.
pub fn host(text: &str) -> Option<String> {
    let (url, _) = address::url(text).ok()?;
    url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
}

fn check(text: &str, url: &Url) -> Result<(), String> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err("cannot have a query or a fragment (? or #)".to_owned());
    }
    // Checked in the text, because the parser removes `/a/..`.
    let path = text.splitn(4, '/').nth(3);
    if path.is_some_and(|path| !path.is_empty()) {
        return Err("cannot have a path: the REST API is at the root of the host".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("must use https: credentials are not sent without TLS, except to this host".to_owned()),
        _ => Err("must start with https://".to_owned()),
    }
}

/// Whether the URL refers to this host. The client also checks the resolved address, because `localhost` can be redefined.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_completed_or_refused() {
        let check = |text: &str, expect: Result<&str, &str>| match (cluster_url(text), expect) {
            (Ok(url), Ok(expect)) => {
                let port = url.port_or_known_default().unwrap();
                let got = format!("{}://{}:{port}{}", url.scheme(), url.host_str().unwrap(), url.path());
                assert_eq!(got, expect, "{text}");
            }
            (Err(problem), Err(expect)) => assert!(problem.contains(expect), "{text}: {problem}"),
            (got, _) => panic!("{text} gave {got:?}"),
        };
        check("https://prod.example.com", Ok("https://prod.example.com:8000/"));
        check("https://prod.example.com/", Ok("https://prod.example.com:8000/"));
        check("https://prod.example.com:443", Ok("https://prod.example.com:443/"));
        check("https://prod.example.com:8443", Ok("https://prod.example.com:8443/"));
        check("https://PROD.example.com", Ok("https://prod.example.com:8000/"));
        check("https://gateway/qumulo/east", Err("cannot have a path"));
        check("https://[2001:db8::1]", Ok("https://[2001:db8::1]:8000/"));
        check("https://[2001:db8::1]:443", Ok("https://[2001:db8::1]:443/"));
        check("http://127.0.0.1:80", Ok("http://127.0.0.1:80/"));
        check("http://127.8.9.1", Ok("http://127.8.9.1:8000/"));
        check("http://localhost", Ok("http://localhost:8000/"));
        check("http://[::1]", Ok("http://[::1]:8000/"));
        check("http://prod.example.com", Err("must use https"));
        check("http://localhost.example.com", Err("must use https"));
        check("http://10.0.0.1", Err("must use https"));
        check("ftp://prod.example.com", Err("must start with https://"));
        check("prod.example.com", Err("needs a scheme"));
        check("https://", Err("has no host"));
        check("https://prod:99999", Err("invalid port"));
        check("https://[::g]", Err("invalid IPv6"));
        check("https://a b", Err("a space"));
        check("https://user:hunter2@prod", Err("user or password"));
        check("https://prod?x=1", Err("query"));
        check("", Err("needs a scheme"));
        check("https://prod/..", Err("cannot have a path"));
        check("https://prod//", Err("cannot have a path"));
        check("https://0177.0.0.1", Err("invalid IPv4"));
        check("http://0177.0.0.1", Err("invalid IPv4"));
        check("http://127.1", Err("invalid IPv4"));
        check("https://${HOST}", Err("placeholder"));
        check("https://ex\u{430}mple.com", Err("if you mean xn--exmple-4nf.com, use that"));
    }

    #[test]
    fn the_host_makes_a_name() {
        assert_eq!(host("https://prod.example.com:1").as_deref(), Some("prod.example.com"));
        assert_eq!(host("https://[::1]").as_deref(), Some("::1"));
        assert_eq!(host("nonsense"), None);
    }
}
