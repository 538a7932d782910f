//! What the user wrote -> what the program runs on. Every error that can be seen here is reported in one run.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use url::Url;

use super::{
    ConfigErrors,
    duration::PromDuration,
    pace::OwnPace,
    raw::{RawAuthorization, RawCluster, RawLogin, RawPolicy, RawShared, RawTls},
    url::cluster_url,
};
use crate::{
    client::{
        self, ClientCertificate, Credential, Networks, Pin, ProxyAccount, ProxySettings, SecretSource, TlsSettings,
        TransportSettings,
    },
    file::Named,
    model::{About, ClusterName, Labels, Policy, Require},
    poll,
};

/// A section under examination: `global`, or one cluster.
pub struct Section<'a> {
    /// Where relative paths start.
    pub folder: &'a Path,
    /// `global`, or `clusters[3]`.
    pub key: String,
    /// Where errors go.
    pub errors: &'a mut ConfigErrors,
    /// What works but should not stay so.
    pub warnings: &'a mut ConfigErrors,
}

/// What a section says; the inner `None` is for what it does not say, and for what is wrong with it.
#[derive(Debug, Default)]
pub struct Shared {
    /// Whether the section says something about credentials, right or wrong.
    has_credential: bool,
    credential: Option<Credential>,
    has_proxy: bool,
    pace: OwnPace,
    policy: Policy,
    probe_kms: Option<bool>,
    probe_kms_networks: Option<Networks>,
    proxy: Option<ProxySettings>,
    tls: Option<TlsSettings>,
}

/// Where a cluster is written: for the error of using its name once more.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, String>);

// === impl Names ===

impl Names {
    /// Takes a name for the cluster at `place`.
    ///
    /// # Errors
    ///
    /// When it is no name, or one that is taken.
    fn take(&mut self, name: &str, place: &str) -> Result<ClusterName, String> {
        let name = ClusterName::new(name).map_err(|err| err.to_string())?;
        match self.0.get(name.as_str()) {
            Some(before) => Err(format!("is the name of {before} already; each cluster needs its own")),
            None => {
                self.0.insert(name.as_str().to_owned(), place.to_owned());
                Ok(name)
            }
        }
    }
}

// === impl Section ===

impl Section<'_> {
    /// Examines `global`.
    pub fn global(&mut self, raw: &RawShared) -> Shared {
        let mut shared = self.shared(raw, Policy::default());
        shared.pace.good = self.pace(shared.pace, &OwnPace::default()).is_some();
        shared
    }

    /// Examines a cluster. `place` is what to call it in an error of another one.
    pub fn cluster(
        &mut self,
        raw: &RawCluster,
        global: &Shared,
        names: &mut Names,
        place: &str,
    ) -> Option<poll::ClusterSettings> {
        let name = match &raw.name {
            None => self.missing("name", "what the label `cluster` says"),
            Some(name) => names.take(name, place).map_err(|problem| self.error("name", problem)).ok(),
        };
        let url = match &raw.url {
            None => self.missing("url", "the cluster's address, such as https://prod.example.com"),
            Some(url) => cluster_url(url).map_err(|problem| self.error("url", problem)).ok(),
        };
        let labels = raw.labels.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(labels).map_err(|errors| {
            for (label, err) in errors {
                self.error(&format!("labels.{label}"), err.to_string());
            }
        });
        let own = self.shared(&raw.shared, global.policy);
        let says_pace = [&raw.shared.poll_interval, &raw.shared.poll_timeout, &raw.shared.stale_after];
        let pace = if says_pace.iter().any(|key| key.is_some()) || global.pace.good {
            self.pace(own.pace, &global.pace)
        } else {
            None
        };
        if !own.has_credential && !global.has_credential {
            self.missing::<()>("authorization", "write `authorization` with `credentials_file`, or `login`");
        }
        let credential = if own.has_credential { own.credential } else { global.credential.clone() };
        let proxy = if own.has_proxy { own.proxy } else { global.proxy.clone() };
        let networks = own.probe_kms_networks.or_else(|| global.probe_kms_networks.clone()).unwrap_or_default();
        let kms_probe = own.probe_kms.or(global.probe_kms).unwrap_or(false).then_some(networks);
        let tls = own.tls.or_else(|| global.tls.clone()).unwrap_or_default();
        let plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
        if plain && raw.shared.tls_config.is_some() {
            self.error("tls_config", "has no effect with an http url; remove it or write https");
        }
        if plain && raw.shared.proxy_url.is_some() {
            self.error("proxy_url", "cannot be used with an http url, which is for this machine only");
        }
        let (pace, url) = (pace?, url?);
        let about = About { labels: labels.ok()?, policy: own.policy, url: url.as_str().trim_end_matches('/').into() };
        let transport = TransportSettings {
            // Half of a poll's time, so that there is some left to ask.
            connect_timeout: pace.timeout / 2,
            proxy: proxy.unwrap_or(ProxySettings::Direct),
            tls: (!plain).then_some(tls),
        };
        Some(poll::ClusterSettings {
            client: client::ClientSettings {
                credential: credential?,
                kms_probe,
                transport,
                timeout: pace.timeout,
                url,
            },
            interval: pace.interval,
            about,
            name: name?,
            stale_after: pace.stale_after,
        })
    }

    /// `inherited` is the policy of what stands above.
    fn shared(&mut self, raw: &RawShared, inherited: Policy) -> Shared {
        let has_credential = raw.authorization.is_some() || raw.login.is_some();
        let has_proxy = raw.proxy_url.is_some()
            || raw.no_proxy.is_some()
            || raw.proxy_from_environment.is_some()
            || raw.proxy_authorization.is_some();
        Shared {
            has_credential,
            credential: self.credential(raw),
            has_proxy,
            pace: self.own_pace(raw),
            probe_kms: raw.probe_kms,
            probe_kms_networks: raw.probe_kms_networks.as_ref().map(|networks| self.networks(networks)),
            policy: raw.policy.as_ref().map_or(inherited, |policy| self.policy(policy, inherited)),
            proxy: has_proxy.then(|| self.proxy(raw)),
            tls: raw.tls_config.as_ref().map(|tls| self.tls(tls)),
        }
    }

    fn networks(&mut self, raw: &[String]) -> Networks {
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

    fn policy(&mut self, raw: &RawPolicy, inherited: Policy) -> Policy {
        let mut limit = |key: &str, text: &Option<String>, inherited: Option<Duration>| match text {
            None => inherited,
            Some(text) => self.duration(&format!("policy.{key}"), Some(text)).filter(|limit| !limit.is_zero()),
        };
        let certificate_warning = limit("certificate_warning", &raw.certificate_warning, inherited.certificate_warning);
        let certificate_critical =
            limit("certificate_critical", &raw.certificate_critical, inherited.certificate_critical);
        let key_max_age = limit("key_max_age", &raw.key_max_age, inherited.key_max_age);
        if let (Some(warning), Some(critical)) = (certificate_warning, certificate_critical)
            && critical > warning
        {
            let key = if raw.certificate_critical.is_some() { "certificate_critical" } else { "certificate_warning" };
            let (critical, warning) = (PromDuration(critical), PromDuration(warning));
            let problem = format!("certificate_critical ({critical}) must be at most certificate_warning ({warning})");
            self.error(&format!("policy.{key}"), problem);
        }
        let require = match raw.require.as_deref() {
            None => inherited.require,
            Some(text) => {
                let require = Require::from_label(text);
                if require.is_none() {
                    self.error("policy.require", "must be any, encrypted or kms");
                }
                require
            }
        };
        Policy { certificate_critical, certificate_warning, key_max_age, require }
    }

    fn credential(&mut self, raw: &RawShared) -> Option<Credential> {
        match (&raw.authorization, &raw.login) {
            (Some(authorization), None) => self.token(authorization),
            (None, Some(login)) => {
                let (username, password) = self.account("login", login, "a local user of the cluster")?;
                Some(Credential::Login { password: SecretSource::File(password), username })
            }
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.error("login", "cannot be combined with `authorization`; remove one of them");
                None
            }
        }
    }

    fn token(&mut self, raw: &RawAuthorization) -> Option<Credential> {
        if raw.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            self.error("authorization.type", "must be Bearer, the only type that clusters know");
        }
        if raw.credentials.0 {
            self.error(
                "authorization.credentials",
                "is not allowed here; put the token into a file and name that in `credentials_file`",
            );
            return None;
        }
        let key = "authorization.credentials_file";
        let Some(file) = &raw.credentials_file else {
            return self.missing(key, "the file that holds the access token");
        };
        Some(Credential::Token(SecretSource::File(self.file(key, Some(file))?)))
    }

    /// A user and the file with the password.
    fn account(&mut self, key: &str, raw: &RawLogin, user: &str) -> Option<(String, Named)> {
        let username = raw.username.clone().filter(|username| !username.is_empty());
        if username.is_none() {
            self.missing::<()>(&format!("{key}.username"), user);
        }
        if raw.password.0 {
            self.error(
                &format!("{key}.password"),
                "is not allowed here; put the password into a file and name that in `password_file`",
            );
            return None;
        }
        let key = format!("{key}.password_file");
        let Some(file) = &raw.password_file else { return self.missing(&key, "the file that holds the password") };
        let file = self.file(&key, Some(file));
        Some((username?, file?))
    }

    fn proxy(&mut self, raw: &RawShared) -> ProxySettings {
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

    fn tls(&mut self, raw: &RawTls) -> TlsSettings {
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

    /// A path, against the configuration file's folder.
    fn file(&mut self, key: &str, path: Option<&PathBuf>) -> Option<Named> {
        let path = path?;
        if path.as_os_str().is_empty() {
            self.error(key, "is empty; name a file or remove the key");
        }
        Some(Named::new(self.folder, path))
    }

    fn missing<T>(&mut self, key: &str, what: &str) -> Option<T> {
        self.error(key, format!("is missing: {what}"));
        None
    }

    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.add(format!("{}.{key}", self.key), problem);
    }
}
