//! Turns the deserialized configuration into settings. All errors are collected and reported together.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
    time::Duration,
};

use url::Host;

use super::{
    ConfigErrors,
    duration::{self, PromDuration},
    raw::{RawAuthorization, RawCluster, RawLogin, RawPolicy, RawShared},
    schedule::{OwnSchedule, Schedule},
    url::cluster_url,
};
use crate::{
    client::{self, Credential, Networks, ProxySettings, SecretSource, TlsSettings, TransportSettings},
    file::ConfiguredPath,
    model::{ClusterMetadata, ClusterName, Labels, Policy, Require, is_hidden},
    poll,
};

/// Checks a section: `global` or one cluster.
pub struct Section<'a> {
    /// Base of relative paths.
    pub folder: &'a Path,
    /// `global`, or `clusters[3]`.
    pub key: String,
    pub errors: &'a mut ConfigErrors,
    pub warnings: &'a mut ConfigErrors,
}

/// Settings of one section; `None` means unset or invalid (already reported).
#[derive(Debug, Default)]
pub struct Shared {
    /// Whether the section sets a credential, valid or not.
    has_credential: bool,
    credential: Option<Credential>,
    schedule: OwnSchedule,
    /// Whether the durations of `global` are consistent. If not, clusters do not report the error again.
    schedule_is_good: bool,
    policy: Policy,
    probe_kms: Option<bool>,
    probe_kms_networks: Option<Networks>,
    proxy: Option<ProxySettings>,
    tls: Option<TlsSettings>,
}

/// The names in use, each with a description of its cluster for error messages.
pub type Names = HashMap<ClusterName, String>;

// === impl Section ===

impl Section<'_> {
    pub fn global(&mut self, raw: &RawShared) -> Shared {
        let mut shared = self.shared(raw, Policy::default());
        shared.schedule_is_good = self.schedule(shared.schedule, OwnSchedule::default()).is_some();
        shared
    }

    /// `description` refers to the cluster in errors of other clusters.
    pub fn cluster(
        &mut self,
        raw: &RawCluster,
        global: &Shared,
        names: &mut Names,
        description: String,
    ) -> Option<poll::ClusterSettings> {
        let name = match &raw.name {
            None => self.missing("name", "set the value of the label `cluster`"),
            Some(name) => {
                let name = ClusterName::new(name).map_err(|err| err.to_string());
                let unique = name.and_then(|name| match names.entry(name) {
                    Entry::Occupied(before) => {
                        Err(format!("is already used by {}; names must be unique", before.get()))
                    }
                    Entry::Vacant(entry) => Ok(entry.insert_entry(description).key().clone()),
                });
                unique.map_err(|problem| self.error("name", problem)).ok()
            }
        };
        let url = match &raw.url {
            None => self.missing("url", "set the URL of the cluster, such as https://prod.example.com"),
            Some(url) => cluster_url(url).map_err(|problem| self.error("url", problem)).ok(),
        };
        let labels = raw.labels.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(labels).map_err(|errors| {
            for (label, err) in errors {
                self.error(&format!("labels.{label}"), err.to_string());
            }
        });
        let own = self.shared(&raw.shared, global.policy);
        let schedule = if own.schedule.is_set() || global.schedule_is_good {
            self.schedule(own.schedule, global.schedule)
        } else {
            None
        };
        if !own.has_credential && !global.has_credential {
            self.missing::<()>("authorization", "set `authorization` with `credentials_file`, or `login`");
        }
        let mut credential = if own.has_credential { own.credential } else { global.credential.clone() };
        let mut proxy = own.proxy.or_else(|| global.proxy.clone());
        let networks = own.probe_kms_networks.or_else(|| global.probe_kms_networks.clone()).unwrap_or_default();
        let kms_probe = own.probe_kms.or(global.probe_kms).unwrap_or(false).then_some(networks);
        let mut tls = own.tls.or_else(|| global.tls.clone()).unwrap_or_default();
        if let Some(name) = &name {
            self.expand_placeholders(name.as_str(), client::files_mut(credential.as_mut(), proxy.as_mut(), &mut tls));
        }
        let plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
        if plain && raw.shared.tls_config.is_some() {
            self.error("tls_config", "has no effect with an http URL; remove it or use https");
        }
        if plain && raw.shared.proxy_url.is_some() {
            self.error("proxy_url", "cannot be used with an http URL, which is allowed only for this host");
        }
        let (schedule, url) = (schedule?, url?);
        let metadata = ClusterMetadata {
            dates_unverified: !plain && (tls.insecure_skip_verify || !tls.pins.is_empty()),
            labels: labels.ok()?,
            policy: own.policy,
            url: url.as_str().trim_end_matches('/').into(),
        };
        let transport = TransportSettings {
            // Leaves half of the poll's time for the requests.
            connect_timeout: schedule.timeout / 2,
            proxy: proxy.unwrap_or(ProxySettings::Direct),
            tls: (!plain).then_some(tls),
        };
        if let Some(Host::Ipv6(_)) = url.host()
            && transport.proxy_for(&url).is_some()
        {
            self.error(
                "url",
                "cannot be an IPv6 address if a proxy is used; use a host name, or add the address to `no_proxy`",
            );
        }
        Some(poll::ClusterSettings {
            client: client::ClientSettings {
                credential: credential?,
                kms_probe,
                transport,
                timeout: schedule.timeout,
                url,
            },
            interval: schedule.interval,
            metadata,
            name: name?,
            stale_after: schedule.stale_after,
        })
    }

    /// Replaces `{name}` in paths by the name of the cluster.
    fn expand_placeholders<'a>(&mut self, name: &str, files: impl Iterator<Item = &'a mut ConfiguredPath>) {
        let mut escapes_folder = false;
        for file in files.filter(|file| file.has_placeholder()) {
            // `..`, or a file in another directory.
            escapes_folder |= name.contains('/') || name.starts_with('.');
            *file = file.for_cluster(name);
        }
        if escapes_folder {
            self.error(
                "name",
                "cannot replace `{name}` in a path, because it contains / or starts with a dot; set this cluster's paths",
            );
        }
    }

    /// `inherited` is the policy of the parent section.
    fn shared(&mut self, raw: &RawShared, inherited: Policy) -> Shared {
        let has_credential = raw.authorization.is_some() || raw.login.is_some();
        let has_proxy = raw.proxy_url.is_some()
            || raw.no_proxy.is_some()
            || raw.proxy_from_environment.is_some()
            || raw.proxy_authorization.is_some();
        Shared {
            has_credential,
            credential: self.credential(raw),
            schedule: OwnSchedule {
                interval: self.duration("poll_interval", raw.poll_interval.as_deref()),
                stale_after: self.duration("stale_after", raw.stale_after.as_deref()),
                timeout: self.duration("poll_timeout", raw.poll_timeout.as_deref()),
            },
            schedule_is_good: false,
            probe_kms: raw.probe_kms,
            probe_kms_networks: raw.probe_kms_networks.as_ref().map(|networks| self.networks(networks)),
            policy: raw.policy.as_ref().map_or(inherited, |policy| self.policy(policy, inherited)),
            proxy: has_proxy.then(|| self.proxy(raw)),
            tls: raw.tls_config.as_ref().map(|tls| self.tls(tls)),
        }
    }

    fn duration(&mut self, key: &str, text: Option<&str>) -> Option<Duration> {
        duration::parse(text?).map_err(|problem| self.error(key, problem)).ok()
    }

    fn schedule(&mut self, own: OwnSchedule, global: OwnSchedule) -> Option<Schedule> {
        let resolved = own.resolve(global);
        resolved.map_err(|broken| broken.into_iter().for_each(|(key, problem)| self.error(key, problem))).ok()
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
                let (username, password) = self.account("login", login, "set a local user of the cluster")?;
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
            self.error("authorization.type", "must be Bearer, the only supported type");
        }
        if raw.credentials.0 {
            self.error(
                "authorization.credentials",
                "is not allowed; put the token in a file and set `credentials_file`",
            );
            return None;
        }
        let key = "authorization.credentials_file";
        let Some(file) = &raw.credentials_file else {
            return self.missing(key, "set the file that contains the access token");
        };
        Some(Credential::Token(SecretSource::File(self.file(key, Some(file))?)))
    }

    /// User name and password file.
    pub(super) fn account(&mut self, key: &str, raw: &RawLogin, user: &str) -> Option<(String, ConfiguredPath)> {
        let username = raw.username.clone().filter(|username| !username.is_empty());
        match &username {
            None => drop(self.missing::<()>(&format!("{key}.username"), user)),
            Some(name) if name.trim() != name || name.contains(is_hidden) => {
                self.error(
                    &format!("{key}.username"),
                    "starts or ends with a space, or contains an invisible character; retype it",
                );
            }
            Some(_) => {}
        }
        if raw.password.0 {
            self.error(
                &format!("{key}.password"),
                "is not allowed; put the password in a file and set `password_file`",
            );
            return None;
        }
        let key = format!("{key}.password_file");
        let Some(file) = &raw.password_file else {
            return self.missing(&key, "set the file that contains the password");
        };
        let file = self.file(&key, Some(file));
        Some((username?, file?))
    }

    /// A path, relative to the directory of the configuration file.
    pub(super) fn file(&mut self, key: &str, path: Option<&PathBuf>) -> Option<ConfiguredPath> {
        let path = path?;
        if path.as_os_str().is_empty() {
            self.error(key, "is empty; set a path or remove the key");
        } else if path.to_string_lossy().contains(char::is_control) {
            self.error(key, "contains a control character or a line break; remove it");
        }
        Some(ConfiguredPath::new(self.folder, path))
    }

    fn missing<T>(&mut self, key: &str, advice: &str) -> Option<T> {
        self.error(key, format!("is missing; {advice}"));
        None
    }

    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.add(format!("{}.{key}", self.key), problem);
    }
}
