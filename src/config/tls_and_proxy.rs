//! Settings for TLS, proxies and the networks of KMS probes.

use std::{ffi::OsString, net::IpAddr};

use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    raw::{OneOrMore, RawShared, RawTls},
    resolve::Section,
};
use crate::{
    address::{self, AddressError},
    client::{ClientCertificate, Networks, NoProxy, Pin, ProxyAccount, ProxySettings, SecretSource, TlsSettings},
    secret::Secret,
};

const INVALID_USERNAME: &str =
    "cannot contain a colon or a control character, which HTTP basic authentication does not allow";

impl Section<'_> {
    /// Networks in which a KMS may be contacted.
    pub(super) fn networks(&mut self, raw: &[String]) -> Networks {
        let mut networks = Networks::default();
        for (index, text) in raw.iter().enumerate() {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            match text.parse::<IpNet>().or_else(|_| address()) {
                Ok(network) => networks.0.push(network.trunc()),
                Err(_) => self.error(
                    &format!("probe_kms_networks[{index}]"),
                    "must be a network or an IP address, such as 10.20.0.0/16, 10.20.3.4 or fd12::/64",
                ),
            }
        }
        if raw.is_empty() {
            self.error("probe_kms_networks", "is empty; list networks or remove it");
        }
        networks
    }

    pub(super) fn proxy(&mut self, raw: &RawShared) -> ProxySettings {
        let from_environment = raw.proxy_from_environment == Some(true);
        if from_environment && (raw.proxy_url.is_some() || raw.no_proxy.is_some() || raw.proxy_authorization.is_some())
        {
            self.error(
                "proxy_from_environment",
                "cannot be combined with `proxy_url`, `no_proxy` or `proxy_authorization`",
            );
        } else if raw.proxy_url.is_none() {
            for (key, given) in
                [("no_proxy", raw.no_proxy.is_some()), ("proxy_authorization", raw.proxy_authorization.is_some())]
            {
                if given {
                    self.error(key, "requires `proxy_url`");
                }
            }
        }
        let account = raw.proxy_authorization.as_ref().and_then(|login| {
            let (username, file) = self.account("proxy_authorization", login, "set a user of the proxy")?;
            if username.contains(':') || username.contains(char::is_control) {
                self.error("proxy_authorization.username", INVALID_USERNAME);
            }
            Some(ProxyAccount { password: SecretSource::File(file), username })
        });
        let no_proxy = raw.no_proxy.as_deref().unwrap_or_default().parse::<NoProxy>().unwrap_or_else(|err| {
            self.error("no_proxy", err.to_string());
            NoProxy::default()
        });
        let proxy = match &raw.proxy_url {
            None if from_environment => environment_proxy(|name| std::env::var_os(name))
                .map_err(|problem| self.error("proxy_from_environment", problem)),
            None => Ok(ProxySettings::Direct),
            // The value is not repeated, because it may contain a password.
            Some(text) => match Url::parse(text) {
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    Err("cannot contain a user or password; use `proxy_authorization: {username: …, password_file: …}`")
                }
                _ => proxy_address(text).map(|url| ProxySettings::Url { account, no_proxy, url }),
            }
            .map_err(|problem| self.error("proxy_url", problem)),
        };
        proxy.unwrap_or(ProxySettings::Direct)
    }

    pub(super) fn tls(&mut self, raw: &RawTls) -> TlsSettings {
        self.tls_conflicts(raw);
        let mut pins = Vec::new();
        if raw.pin_sha256.as_ref().is_some_and(|pins| pins.iter().next().is_none()) {
            self.error("tls_config.pin_sha256", "is an empty list; remove it or add a fingerprint");
        }
        for (item, text) in raw.pin_sha256.iter().flat_map(OneOrMore::iter) {
            match text.parse::<Pin>() {
                Ok(pin) => pins.push(pin),
                Err(err) => self.error(&format!("tls_config.pin_sha256{item}"), err.to_string()),
            }
        }
        let only_tls13 = match raw.min_version.as_deref() {
            None | Some("TLS12") => false,
            Some("TLS13") => true,
            Some("TLS10" | "TLS11") => {
                self.error("tls_config.min_version", "must be TLS12 or TLS13; older versions are not supported");
                false
            }
            Some(_) => {
                self.error("tls_config.min_version", "must be TLS12 or TLS13");
                false
            }
        };
        let insecure_skip_verify = raw.insecure_skip_verify == Some(true);
        if insecure_skip_verify {
            self.warnings.add(
                format!("{}.tls_config.insecure_skip_verify", self.key),
                "anyone between exporter and cluster can read the credential; use ca_file or pin_sha256",
            );
        }
        TlsSettings {
            ca_file: self.file("tls_config.ca_file", raw.ca_file.as_ref()),
            client: self.client_certificate(raw),
            insecure_skip_verify,
            only_tls13,
            pins,
            server_name: self.server_name(raw),
        }
    }

    /// A setting without effect is an error, because the user relies on it.
    fn tls_conflicts(&mut self, raw: &RawTls) {
        let (skips, pins) = (raw.insecure_skip_verify == Some(true), raw.pin_sha256.is_some());
        let all = if skips {
            "insecure_skip_verify"
        } else if pins {
            "pin_sha256"
        } else {
            return;
        };
        let mut ineffective = Vec::new();
        ineffective.extend(raw.ca_file.as_ref().map(|_| "ca_file"));
        ineffective.extend(raw.server_name.as_ref().map(|_| "server_name"));
        ineffective.extend((skips && pins).then_some("pin_sha256"));
        for key in ineffective {
            self.error(&format!("tls_config.{key}"), format!("has no effect with `{all}`; remove one of them"));
        }
    }

    fn client_certificate(&mut self, raw: &RawTls) -> Option<ClientCertificate> {
        let cert_file = self.file("tls_config.cert_file", raw.cert_file.as_ref());
        let key_file = self.file("tls_config.key_file", raw.key_file.as_ref());
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (Some(_), None) => {
                self.error("tls_config.key_file", "is missing; `cert_file` requires it");
                None
            }
            (None, Some(_)) => {
                self.error("tls_config.cert_file", "is missing; `key_file` requires it");
                None
            }
            (None, None) => None,
        }
    }

    fn server_name(&mut self, raw: &RawTls) -> Option<String> {
        let name = raw.server_name.clone()?;
        let form = "must be a host name or an IP address, without scheme or port";
        let problem = match address::host(&name) {
            Ok(()) if rustls::pki_types::ServerName::try_from(name.as_str()).is_ok() => return Some(name),
            Err(err @ (AddressError::Ipv4 | AddressError::NotAscii(_))) => err.to_string(),
            Ok(()) | Err(_) => form.to_owned(),
        };
        self.error("tls_config.server_name", problem);
        None
    }
}

/// Parses the URL of a proxy. Strict, because the HTTP client silently connects directly if it cannot parse the URL.
fn proxy_address(text: &str) -> Result<Url, &'static str> {
    const FORM: &str = "must be an http or https URL, such as http://proxy.example.com:3128";
    let text = text.trim();
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("contains a space or a control character");
    }
    let url = Url::parse(text).map_err(|_| FORM)?;
    let host = url.host_str().unwrap_or_default();
    let named = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[:]".contains(c));
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() || !named || url.port() == Some(0) {
        return Err(FORM);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("cannot have a path, a query or a fragment");
    }
    // Checked in the text, without the account, because the parser turns `0177.0.0.1` into another host.
    let (_, rest) = text.split_once("://").ok_or(FORM)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host_and_port)| host_and_port);
    match address::url(&format!("http://{host_and_port}")) {
        Ok(_) => Ok(url),
        Err(AddressError::Ipv4) => Err("has an invalid IPv4 address; use four decimal numbers without leading zeros"),
        Err(_) => Err(FORM),
    }
}

/// The proxy in `HTTPS_PROXY` and `NO_PROXY`, or in lower case. As in Go, the first one that is not empty is used. Errors do
/// not repeat the values.
fn environment_proxy(variable: impl Fn(&str) -> Option<OsString>) -> Result<ProxySettings, String> {
    let first = |names: [&'static str; 2]| {
        let mut values = names.into_iter().filter_map(|name| Some((name, variable(name)?)));
        let Some((name, value)) = values.find(|(_, value)| !value.is_empty()) else { return Ok(None) };
        match value.into_string() {
            Ok(value) => Ok(Some((name, value))),
            Err(_) => Err(format!("uses {name} from the environment, which is not UTF-8")),
        }
    };
    let no_proxy = match first(["NO_PROXY", "no_proxy"])? {
        None => NoProxy::default(),
        Some((name, value)) => {
            value.parse::<NoProxy>().map_err(|err| format!("uses {name} from the environment, in which {err}"))?
        }
    };
    let Some((name, value)) = first(["HTTPS_PROXY", "https_proxy"])? else { return Ok(ProxySettings::Direct) };
    let wrong = |problem: &str| {
        format!(
            "uses {name} from the environment, which {problem}; in a user or password, write / as %2F, ? as %3F, # as %23 and @ \
             as %40"
        )
    };
    let value = Secret::take(value);
    let text = value.expose().trim();
    let url = if text.contains("://") { proxy_address(text) } else { proxy_address(&format!("http://{text}")) };
    let mut url = url.map_err(wrong)?;
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Secret::new(&text)),
        Err(_) => Err(wrong("has a user or password that is not UTF-8")),
    };
    let account = match (url.username(), url.password()) {
        ("", None) => None,
        (username, password) => {
            let username = decode(username)?.expose().to_owned();
            if username.contains(':') || username.contains(char::is_control) {
                return Err(wrong("has a user with a colon or a control character"));
            }
            Some(ProxyAccount { password: SecretSource::Fixed(decode(password.unwrap_or_default())?), username })
        }
    };
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err(wrong("is not the URL of a proxy"));
    }
    Ok(ProxySettings::Url { account, no_proxy, url })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Result<Option<(&'a str, Option<(&'a str, &'a str)>)>, &'a str>;

    #[test]
    fn the_environment_is_read_as_go_reads_it_and_never_repeated() {
        let check = |variables: &[(&str, &str)], expect: Expected<'_>| {
            let found = environment_proxy(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
            });
            match (found, expect) {
                (Ok(ProxySettings::Direct), Ok(None)) => {}
                (Ok(ProxySettings::Url { account, url, .. }), Ok(Some(expect))) => {
                    let account = account.as_ref().map(|account| match &account.password {
                        SecretSource::Fixed(password) => (account.username.as_str(), password.expose()),
                        SecretSource::File(_) => panic!("{variables:?}"),
                    });
                    assert_eq!((url.as_str(), account), expect, "{variables:?}");
                }
                (Err(err), Err(words)) => {
                    assert!(err.contains(words), "{words:?}: {err}");
                    assert!(!err.contains("Summer") && !err.contains("Secret"), "{err}");
                }
                (found, _) => panic!("{variables:?}: {found:?}"),
            }
        };
        let proxy = "http://proxy.test:3128/";
        check(&[], Ok(None));
        check(&[("NO_PROXY", "*"), ("HTTP_PROXY", "http://proxy.test:3128")], Ok(None));
        check(&[("HTTPS_PROXY", "http://proxy.test:3128")], Ok(Some((proxy, None))));
        check(&[("HTTPS_PROXY", ""), ("https_proxy", "http://proxy.test:3128 ")], Ok(Some((proxy, None))));
        check(&[("HTTPS_PROXY", "proxy.test:3128")], Ok(Some((proxy, None))));
        check(&[("https_proxy", "https://[::1]:3128")], Ok(Some(("https://[::1]:3128/", None))));
        let account = Some(("svc", "Summer@Secret99"));
        check(&[("HTTPS_PROXY", "http://svc:Summer@Secret99@proxy.test:3128")], Ok(Some((proxy, account))));
        check(&[("HTTPS_PROXY", "svc:Summer%40Secret99@proxy.test:3128")], Ok(Some((proxy, account))));
        check(&[("HTTPS_PROXY", "http://svc@proxy.test:3128")], Ok(Some((proxy, Some(("svc", ""))))));
        for value in [
            "http://svc:Summer@Secret99#x@127.0.0.1:3128",
            "http://svc:Summer/Secret@127.0.0.1:3128",
            "http://svc:Summer?Secret@127.0.0.1:3128",
            "http://svc:Summer\\Secret@127.0.0.1:3128",
            "http://127.0.0.1:3128/Secret",
        ] {
            check(&[("HTTPS_PROXY", value)], Err("HTTPS_PROXY from the environment, which "));
        }
        for value in [
            "ftp://svc:Summer@proxy.test",
            "socks5://svc:Summer@proxy.test",
            "socks://proxy.test",
            "\"http://proxy.test:3128\"",
            "'http://proxy.test:3128'",
            "http://",
            "http://proxy.test:99999",
            "http://proxy.test:0",
            "http://0177.0.0.1:3128",
            "http://svc:Summer@010.20.30.40:3128",
            "http://proxy..test:3128",
            "http://proxy\"Secret:3128",
            "http://Sum mer@proxy.test",
            "http://svc:Summer\u{7f}@proxy.test\n",
            "http://svc:Sum%ffmer@proxy.test",
            "http://sv%3ac:Summer@proxy.test",
            "http://sv%0ac:Summer@proxy.test",
        ] {
            check(&[("https_proxy", value)], Err("https_proxy from the environment, which "));
        }
        let no_proxy = [("HTTPS_PROXY", "http://proxy.test:3128"), ("no_proxy", "good.test, a.test Secret")];
        check(&no_proxy, Err("no_proxy from the environment, in which entry 2 contains a space"));
    }
}
