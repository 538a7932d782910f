//! How a cluster is reached, and its key management server: TLS, proxies, networks.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

use super::{
    raw::{RawShared, RawTls},
    resolve::Section,
};
use crate::client::{ClientCertificate, Networks, Pin, ProxyAccount, ProxySettings, TlsSettings};

impl Section<'_> {
    /// Where a key management server may be looked at.
    pub(super) fn networks(&mut self, raw: &[String]) -> Networks {
        let mut networks = Networks::default();
        for (index, text) in raw.iter().enumerate() {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            match text.parse::<IpNet>().or_else(|_| address()) {
                Ok(network) => networks.0.push(network.trunc()),
                Err(_) => self.error(
                    &format!("probe_kms_networks[{index}]"),
                    "must be a network or an address, such as 10.20.0.0/16, 10.20.3.4 or fd12::/64",
                ),
            }
        }
        if raw.is_empty() {
            self.error("probe_kms_networks", "is empty; list networks, or remove it");
        }
        networks
    }

    /// The proxy.
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
                    self.error(key, "needs `proxy_url` beside it");
                }
            }
        }
        let account = raw.proxy_authorization.as_ref().and_then(|login| {
            let (username, password_file) = self.account("proxy_authorization", login, "a user of the proxy")?;
            Some(ProxyAccount { password_file, username })
        });
        let Some(text) = &raw.proxy_url else {
            return if from_environment { ProxySettings::FromEnvironment } else { ProxySettings::Direct };
        };
        // The text is not repeated: it may hold a password.
        match Url::parse(text) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => self.error(
                "proxy_url",
                "cannot hold a user or password; write `proxy_authorization: {username: …, password_file: …}`",
            ),
            Ok(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
                self.error("proxy_url", "cannot have a path, a query or a fragment");
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                return ProxySettings::Url { account, no_proxy: raw.no_proxy.clone().unwrap_or_default(), url };
            }
            _ => self.error("proxy_url", "must be an http or https URL, as in http://proxy.example.com:3128"),
        }
        ProxySettings::Direct
    }

    /// Whom to trust, and what to show.
    pub(super) fn tls(&mut self, raw: &RawTls) -> TlsSettings {
        self.tls_conflicts(raw);
        let mut pins = Vec::new();
        if raw.pin_sha256.as_ref().is_some_and(Vec::is_empty) {
            self.error("tls_config.pin_sha256", "is an empty list, which pins nothing; remove it or add a fingerprint");
        }
        for (index, text) in raw.pin_sha256.iter().flatten().enumerate() {
            match text.parse::<Pin>() {
                Ok(pin) => pins.push(pin),
                Err(err) => self.error(&format!("tls_config.pin_sha256[{index}]"), err.to_string()),
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
                "anybody between exporter and cluster can read the credential; use ca_file or pin_sha256",
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

    /// What would silently have no effect is an error: somebody relies on it.
    fn tls_conflicts(&mut self, raw: &RawTls) {
        let (skips, pins) = (raw.insecure_skip_verify == Some(true), raw.pin_sha256.is_some());
        let all = if skips {
            "insecure_skip_verify"
        } else if pins {
            "pin_sha256"
        } else {
            return;
        };
        let mut idle = Vec::new();
        idle.extend(raw.ca_file.as_ref().map(|_| "ca_file"));
        idle.extend(raw.server_name.as_ref().map(|_| "server_name"));
        idle.extend((skips && pins).then_some("pin_sha256"));
        for key in idle {
            self.error(&format!("tls_config.{key}"), format!("has no effect beside `{all}`; remove one of them"));
        }
    }

    fn client_certificate(&mut self, raw: &RawTls) -> Option<ClientCertificate> {
        let cert_file = self.file("tls_config.cert_file", raw.cert_file.as_ref());
        let key_file = self.file("tls_config.key_file", raw.key_file.as_ref());
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (Some(_), None) => {
                self.error("tls_config.key_file", "is missing: `cert_file` needs its key");
                None
            }
            (None, Some(_)) => {
                self.error("tls_config.cert_file", "is missing: `key_file` needs its certificate");
                None
            }
            (None, None) => None,
        }
    }

    fn server_name(&mut self, raw: &RawTls) -> Option<String> {
        let name = raw.server_name.clone()?;
        if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            self.error("tls_config.server_name", "must be a host name or an IP address, without scheme and port");
            return None;
        }
        Some(name)
    }
}
