//! Strict parsing of URLs and host names.
//!
//! The URL Standard accepts almost any host: `010.20.30.40` is 8.20.30.40, `1.2` is 1.0.0.2, tabs and additional slashes are
//! skipped, a backslash is a slash, and `ｅ` is `e`. Credentials could be sent to a host that the user did not mean. Text is
//! therefore checked before it is parsed, and ambiguous forms are rejected.

use std::net::Ipv6Addr;

use url::{Host, ParseError, Url};

use crate::model::is_hidden;

/// Characters of variables in templates and shells.
const PLACEHOLDER: [char; 5] = ['$', '{', '}', '<', '>'];

/// Why an address is invalid. The message follows a key or a flag and a colon. It does not repeat text that could be a
/// password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    #[error("contains a backslash; use /")]
    Backslash,
    #[error("contains a space, a line break or an invisible character; remove it")]
    Hidden,
    #[error(
        "has an invalid host name; use letters, digits and hyphens in parts of at most 63 characters, separated by single dots"
    )]
    HostName,
    #[error("has an invalid IPv4 address; use four decimal numbers without leading zeros, such as 10.20.30.40")]
    Ipv4,
    #[error("has an invalid IPv6 address; use brackets and no zone, such as [2001:db8::1]")]
    Ipv6,
    #[error("has no host")]
    NoHost,
    /// The host in ASCII.
    #[error("has a host with non-ASCII characters; if you mean {0}, use that")]
    NotAscii(String),
    #[error("contains a placeholder such as ${{HOST}}, but variables are not expanded; use the host itself")]
    Placeholder,
    #[error("has an invalid port; use a number from 1 to 65535")]
    Port,
    #[error("needs a scheme and a host, such as https://prod.example.com")]
    Scheme,
    #[error("cannot contain a user or password")]
    UserInfo,
}

/// Parses a URL. Returns the port separately, because [`Url`] drops the default port of a scheme.
///
/// # Errors
///
/// When the host is missing, invalid or ambiguous.
pub fn url(text: &str) -> Result<(Url, Option<u16>), AddressError> {
    let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
    if rest.split('/').next().is_some_and(|start| start.contains(PLACEHOLDER)) {
        return Err(AddressError::Placeholder);
    }
    if text.contains(|c: char| c.is_whitespace() || is_hidden(c)) {
        return Err(AddressError::Hidden);
    }
    if text.contains('\\') {
        return Err(AddressError::Backslash);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(AddressError::UserInfo);
    }
    let (name, port) = match authority.rsplit_once(':') {
        // A colon inside an IPv6 address.
        Some((_, after)) if after.contains(']') => (authority, None),
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (authority, None),
    };
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => drop(ip.parse::<Ipv6Addr>().map_err(|_| AddressError::Ipv6)?),
        None if name.matches(':').count() > 1 => return Err(AddressError::Ipv6),
        None if name.contains(':') => return Err(AddressError::Port),
        None => host(name)?,
    }
    if !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
        return Err(AddressError::Scheme);
    }
    let url = Url::parse(text).map_err(|_| AddressError::HostName)?;
    Ok((url, port))
}

/// Checks a host name or an IP address, without brackets.
///
/// # Errors
///
/// As [`url()`].
pub fn host(text: &str) -> Result<(), AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoHost);
    }
    if text.contains(|c: char| c.is_whitespace() || is_hidden(c)) {
        return Err(AddressError::Hidden);
    }
    if text.contains(PLACEHOLDER) {
        return Err(AddressError::Placeholder);
    }
    if text.matches(':').count() > 1 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.%".contains(&byte)) {
        return text.parse::<Ipv6Addr>().map(drop).map_err(|_| AddressError::Ipv6);
    }
    if !text.is_ascii() {
        let host = Host::parse(text).ok().map(|host| host.to_string());
        return Err(host
            .filter(|host| self::host(host).is_ok())
            .map_or(AddressError::HostName, AddressError::NotAscii));
    }
    // A trailing dot makes a name absolute.
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match Host::parse(text) {
        Ok(Host::Ipv4(address)) if address.to_string() == text => Ok(()),
        Ok(Host::Ipv4(_)) | Err(ParseError::InvalidIpv4Address) => Err(AddressError::Ipv4),
        Ok(Host::Domain(_)) if name.len() <= 253 && name.split('.').all(is_label) => Ok(()),
        _ => Err(AddressError::HostName),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0).ok_or(AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_a_person_reads_or_refused() {
        let good = |text: &str, expect: &str| {
            let got = url(&format!("https://{text}")).map(|(url, port)| (url.host_str().unwrap().to_owned(), port));
            let (host, port) = got.unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!(port.map_or(host.clone(), |port| format!("{host}:{port}")), expect, "{text}");
        };
        good("prod.example.com", "prod.example.com");
        good("PROD.example.com:443", "prod.example.com:443");
        good("prod.example.com.", "prod.example.com.");
        good("my_cluster:8000/path", "my_cluster:8000");
        good("10.20.30.40", "10.20.30.40");
        good("255.255.255.255:65535", "255.255.255.255:65535");
        good("10.20.30.40.example.com", "10.20.30.40.example.com");
        good("0xcafe.example.com", "0xcafe.example.com");
        good("1a", "1a");
        good("a.b1", "a.b1");
        good("xn--bcher-kva.example", "xn--bcher-kva.example");
        good("[2001:db8::1]", "[2001:db8::1]");
        good("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443");
        good("[::ffff:10.20.30.40]", "[::ffff:a14:1e28]");
        good(&["x".repeat(63), "y".repeat(63)].join("."), &["x".repeat(63), "y".repeat(63)].join("."));

        let bad = |text: &str, expect: AddressError| {
            assert_eq!(url(&format!("https://{text}")).map(|(url, _)| url), Err(expect), "{text}");
        };
        for text in [
            "010.020.030.040",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0X7F.0.0.1",
            "0x7f.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.4.",
            "0x",
            "prod.1",
            "00000000010.20.30.40",
            "4294967296",
        ] {
            bad(text, AddressError::Ipv4);
        }
        for text in [
            "a..b",
            ".a",
            "a..",
            ".",
            "-a",
            "a-",
            "a.-b.c",
            "a%62",
            "%61.example.com",
            "a*b",
            "*",
            "a,b",
            "a;b",
            "a&b",
            "a'b",
            "\"a\"",
            "a(b",
            "a!b",
            "a+b",
            "a=b",
            "a~b",
            "a|b",
            "a^b",
            "a`b",
            "a]b",
            "[",
            "]",
            "xn--",
            "xn--a",
            "xn--zzzzzz--",
            "\u{2603}\u{fe0f}\u{d7ff}",
        ] {
            let got = url(&format!("https://{text}")).unwrap_err();
            assert!(matches!(got, AddressError::HostName | AddressError::Hidden), "{text}: {got}");
        }
        for text in ["x".repeat(64), ["x"; 127].join(".") + ".y"] {
            bad(&text, AddressError::HostName);
        }
        for text in ["${HOST}", "$HOST", "{{ host }}", "<host>", "{host}.example.com"] {
            bad(text, AddressError::Placeholder);
        }
        for text in ["a:", "a:0", "a:65536", "a:+1", "a:-1", "a:http", "a:80x80", "a:8000:8000", "[::1]:0", "a:८०"]
        {
            bad(text, AddressError::Port);
        }
        for text in
            ["2001:db8::1:80", "[::g]", "[::1", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[10.20.30.40]", "[]", "::1:1"]
        {
            let got = url(&format!("https://{text}")).unwrap_err();
            assert!(matches!(got, AddressError::Ipv6 | AddressError::Port), "{text}: {got}");
        }
        for text in [
            " a",
            "a ",
            "a b",
            "a\tb",
            "a\nb",
            "a\r",
            "a\u{a0}",
            "a\u{200b}b",
            "\u{feff}a",
            "a/ ",
            "a\u{ad}b",
            "a\u{3000}b",
        ] {
            bad(text, AddressError::Hidden);
        }
        for text in ["", "/", "/a", "//a", "?a", "#a", ":80"] {
            let got = url(&format!("https://{text}")).unwrap_err();
            assert!(matches!(got, AddressError::NoHost), "{text}: {got}");
        }
        for text in ["a\\b", "\\a", "a\\@b", "a/\\"] {
            bad(text, AddressError::Backslash);
        }
        for text in ["a@b", "a:b@c", "@a", "a:@b", "a@b@c"] {
            bad(text, AddressError::UserInfo);
        }
        // Homoglyphs and other non-ASCII letters: the error shows the host that would be resolved.
        let shown = |text: &str, expect: &str| bad(text, AddressError::NotAscii(expect.to_owned()));
        shown("prod.ex\u{430}mple.com", "prod.xn--exmple-4nf.com");
        shown("b\u{fc}cher.example", "xn--bcher-kva.example");
        shown("\u{ff50}rod.example.com", "prod.example.com");
        shown("\u{ff11}\u{ff10}.1.2.3", "10.1.2.3");
        shown("prod\u{3002}example.com", "prod.example.com");
        shown("10\u{3002}1.2.3", "10.1.2.3");
        for text in ["prod", "prod.example.com:8000", "https:/a", "https:a", "//a", ""] {
            assert_eq!(url(text), Err(AddressError::Scheme), "{text}");
        }
        assert!(url("\u{ff48}ttps://a").is_err() && url("ht tps://a").is_err());
    }

    #[test]
    fn a_host_alone_has_no_brackets_and_no_port() {
        for text in ["prod.example.com", "10.20.30.40", "::1", "2001:db8::1", "localhost."] {
            assert_eq!(host(text), Ok(()), "{text}");
        }
        for text in ["", "[::1]", "prod:8000", "https://prod", "prod/", "0177.0.0.1", "a b", "::1%eth0", "user@prod"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
