//! What the user wrote -> what the program runs on. Every mistake that can be seen here is reported in one run.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    Config, Mistakes,
    duration::PromDuration,
    raw::{Raw, RawAuthorization, RawCluster, RawLogin, RawPace, RawTls},
    url::cluster_url,
};
use crate::{
    client::{self, ClientCertificate, Credential, Pin, ProxySettings, SecretSource, TlsSettings, TransportSettings},
    model::ClusterName,
    poll,
};

const INTERVAL: Duration = Duration::from_secs(60);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);

/// One cluster under examination.
struct Cluster<'a> {
    folder: &'a Path,
    key: String,
    mistakes: &'a mut Mistakes,
    raw: &'a RawCluster,
    warnings: &'a mut Vec<String>,
}

/// How often, for how long, until when.
struct Pace {
    interval: Duration,
    stale_after: Duration,
    timeout: Duration,
}

/// Turns the file into settings.
///
/// # Errors
///
/// All mistakes.
pub fn resolve(raw: &Raw, folder: &Path) -> Result<Config, Mistakes> {
    let (mut mistakes, mut warnings) = (Mistakes::default(), Vec::new());
    let mut clusters = Vec::new();
    if raw.clusters.is_empty() {
        mistakes.add("clusters", "needs at least one cluster with `name` and `url`");
    }
    names(&raw.clusters, &mut mistakes);
    // On its own first, so that a mistake there is reported once and under its own key.
    let global = pace("global", &raw.global, &RawPace::default(), &mut mistakes);
    for (index, cluster) in raw.clusters.iter().enumerate() {
        let key = format!("clusters[{index}]");
        let mut cluster = Cluster { folder, key, mistakes: &mut mistakes, raw: cluster, warnings: &mut warnings };
        clusters.extend(cluster.resolve(&raw.global, global.is_some()));
    }
    mistakes.or(Config { clusters, warnings })
}

fn names(clusters: &[RawCluster], mistakes: &mut Mistakes) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, cluster) in clusters.iter().enumerate() {
        let key = format!("clusters[{index}].name");
        if let Err(err) = ClusterName::new(&cluster.name) {
            mistakes.add(key, err.to_string());
        } else if let Some(before) = first.get(cluster.name.as_str()) {
            mistakes.add(key, format!("is the name of clusters[{before}] already; each cluster needs its own"));
        } else {
            first.insert(&cluster.name, index);
        }
    }
}

/// `None` if there was a mistake.
fn pace(key: &str, own: &RawPace, global: &RawPace, mistakes: &mut Mistakes) -> Option<Pace> {
    let pick = |own: Option<PromDuration>, global: Option<PromDuration>| own.or(global).map(|duration| duration.0);
    let interval = pick(own.poll_interval, global.poll_interval).unwrap_or(INTERVAL);
    let timeout = pick(own.poll_timeout, global.poll_timeout).unwrap_or(TIMEOUT.min(interval));
    let shortest = interval.saturating_add(timeout);
    let stale_after = pick(own.stale_after, global.stale_after).unwrap_or(interval.saturating_mul(5).max(shortest));
    let (shown, limit) = (PromDuration(interval), PromDuration(shortest));
    let mut good = true;
    let mut check = |right: bool, name: &str, problem: String| {
        if !right {
            mistakes.add(format!("{key}.{name}"), problem);
            good = false;
        }
    };
    // What was inherited has been reported where it was written.
    let too_short = own.poll_interval.is_some() && interval < SHORTEST_INTERVAL;
    check(!too_short, "poll_interval", "must be 1s at least".to_owned());
    let none = own.poll_timeout.is_some() && timeout.is_zero();
    check(!none, "poll_timeout", "must be more than 0s".to_owned());
    check(timeout <= interval, "poll_timeout", format!("must be at most the poll_interval, {shown}"));
    check(
        stale_after >= shortest,
        "stale_after",
        format!("must be at least poll_interval + poll_timeout, {limit}, or every slow poll would drop the status"),
    );
    good.then_some(Pace { interval, stale_after, timeout })
}

// === impl Cluster ===

impl Cluster<'_> {
    fn resolve(&mut self, global: &RawPace, global_is_good: bool) -> Option<poll::Settings> {
        let raw = self.raw;
        let own =
            RawPace { poll_interval: raw.poll_interval, poll_timeout: raw.poll_timeout, stale_after: raw.stale_after };
        let changed = raw.poll_interval.is_some() || raw.poll_timeout.is_some() || raw.stale_after.is_some();
        let pace = (changed || global_is_good).then(|| pace(&self.key, &own, global, self.mistakes)).flatten();
        let url = cluster_url(&raw.url).map_err(|problem| self.mistake("url", problem)).ok();
        let credential = self.credential();
        let proxy = self.proxy();
        let tls = self.tls();
        let plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
        if plain && raw.tls_config.is_some() {
            self.mistake("tls_config", "has no effect with an http url; remove it or write https");
        }
        if plain && raw.proxy_url.is_some() {
            self.mistake("proxy_url", "cannot be used with an http url, which is for this machine only");
        }
        let (pace, url, name) = (pace?, url?, ClusterName::new(&raw.name).ok()?);
        // Half of a poll's time, so that there is some left to ask.
        let transport = TransportSettings { connect_timeout: pace.timeout / 2, proxy, tls: (!plain).then_some(tls) };
        Some(poll::Settings {
            client: client::Settings { credential: credential?, transport, timeout: pace.timeout, url },
            interval: pace.interval,
            name,
            stale_after: pace.stale_after,
        })
    }

    fn credential(&mut self) -> Option<Credential> {
        let raw = self.raw;
        match (&raw.authorization, &raw.login) {
            (Some(authorization), None) => self.token(authorization),
            (None, Some(login)) => self.login(login),
            (None, None) => {
                self.mistake("authorization", "is missing: write `authorization` with `credentials_file`, or `login`");
                None
            }
            (Some(_), Some(_)) => {
                self.mistake("login", "cannot stand beside `authorization`; keep one of the two");
                None
            }
        }
    }

    fn token(&mut self, raw: &RawAuthorization) -> Option<Credential> {
        if raw.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            self.mistake("authorization.type", "must be Bearer, the only type that clusters know");
        }
        if raw.credentials.0 {
            self.mistake(
                "authorization.credentials",
                "is not allowed here; put the token into a file and name that in `credentials_file`",
            );
            return None;
        }
        let Some(file) = self.file("authorization.credentials_file", raw.credentials_file.as_ref()) else {
            self.mistake("authorization.credentials_file", "is missing: the file that holds the access token");
            return None;
        };
        Some(Credential::Token(SecretSource::File(file)))
    }

    fn login(&mut self, raw: &RawLogin) -> Option<Credential> {
        let username = raw.username.clone().filter(|username| !username.is_empty());
        if username.is_none() {
            self.mistake("login.username", "is missing: a local user of the cluster");
        }
        if raw.password.0 {
            self.mistake(
                "login.password",
                "is not allowed here; put the password into a file and name that in `password_file`",
            );
            return None;
        }
        let Some(file) = self.file("login.password_file", raw.password_file.as_ref()) else {
            self.mistake("login.password_file", "is missing: the file that holds the password");
            return None;
        };
        Some(Credential::Login { password: SecretSource::File(file), username: username? })
    }

    fn proxy(&mut self) -> ProxySettings {
        let raw = self.raw;
        if raw.proxy_from_environment && (raw.proxy_url.is_some() || raw.no_proxy.is_some()) {
            self.mistake(
                "proxy_from_environment",
                "cannot stand beside `proxy_url` or `no_proxy`; keep one of the two",
            );
        } else if raw.no_proxy.is_some() && raw.proxy_url.is_none() {
            self.mistake("no_proxy", "needs `proxy_url`");
        }
        let Some(text) = &raw.proxy_url else {
            return if raw.proxy_from_environment { ProxySettings::FromEnvironment } else { ProxySettings::Direct };
        };
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                return ProxySettings::Url { account: None, no_proxy: raw.no_proxy.clone().unwrap_or_default(), url };
            }
            // The text is not repeated: it may hold a password.
            _ => self.mistake("proxy_url", "must be an http or https URL, as in http://proxy.example.com:3128"),
        }
        ProxySettings::Direct
    }

    fn tls(&mut self) -> TlsSettings {
        let Some(raw) = &self.raw.tls_config else { return TlsSettings::default() };
        self.tls_conflicts(raw);
        let mut pins = Vec::new();
        for (index, text) in raw.pin_sha256.iter().enumerate() {
            match text.parse::<Pin>() {
                Ok(pin) => pins.push(pin),
                Err(err) => self.mistake(&format!("tls_config.pin_sha256[{index}]"), err.to_string()),
            }
        }
        let only_tls13 = match raw.min_version.as_deref() {
            None | Some("TLS12") => false,
            Some("TLS13") => true,
            Some("TLS10" | "TLS11") => {
                self.mistake("tls_config.min_version", "must be TLS12 or TLS13; older versions are not supported");
                false
            }
            Some(_) => {
                self.mistake("tls_config.min_version", "must be TLS12 or TLS13");
                false
            }
        };
        if raw.insecure_skip_verify {
            self.warnings.push(format!(
                "{}.tls_config.insecure_skip_verify: anybody between exporter and cluster {:?} can read the \
                 credential; use ca_file or pin_sha256",
                self.key, self.raw.name
            ));
        }
        TlsSettings {
            ca_file: self.file("tls_config.ca_file", raw.ca_file.as_ref()),
            client: self.client_certificate(raw),
            insecure_skip_verify: raw.insecure_skip_verify,
            only_tls13,
            pins,
            server_name: self.server_name(raw),
        }
    }

    /// What would silently have no effect is a mistake: somebody relies on it.
    fn tls_conflicts(&mut self, raw: &RawTls) {
        let all = if raw.insecure_skip_verify {
            "insecure_skip_verify"
        } else if !raw.pin_sha256.is_empty() {
            "pin_sha256"
        } else {
            return;
        };
        let mut idle = Vec::new();
        idle.extend(raw.ca_file.as_ref().map(|_| "ca_file"));
        idle.extend(raw.server_name.as_ref().map(|_| "server_name"));
        idle.extend((raw.insecure_skip_verify && !raw.pin_sha256.is_empty()).then_some("pin_sha256"));
        for key in idle {
            self.mistake(&format!("tls_config.{key}"), format!("has no effect beside `{all}`; keep one of the two"));
        }
    }

    fn client_certificate(&mut self, raw: &RawTls) -> Option<ClientCertificate> {
        let cert_file = self.file("tls_config.cert_file", raw.cert_file.as_ref());
        let key_file = self.file("tls_config.key_file", raw.key_file.as_ref());
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
            (Some(_), None) => {
                self.mistake("tls_config.key_file", "is missing: `cert_file` needs its key");
                None
            }
            (None, Some(_)) => {
                self.mistake("tls_config.cert_file", "is missing: `key_file` needs its certificate");
                None
            }
            (None, None) => None,
        }
    }

    fn server_name(&mut self, raw: &RawTls) -> Option<String> {
        let name = raw.server_name.clone()?;
        if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            self.mistake("tls_config.server_name", "must be a host name or an IP address, without scheme and port");
            return None;
        }
        Some(name)
    }

    /// A path, against the configuration file's folder.
    fn file(&mut self, key: &str, path: Option<&PathBuf>) -> Option<PathBuf> {
        let path = path?;
        if path.as_os_str().is_empty() {
            self.mistake(key, "is empty; name a file or remove the key");
        }
        Some(self.folder.join(path))
    }

    fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        self.mistakes.add(format!("{}.{key}", self.key), problem);
    }
}
