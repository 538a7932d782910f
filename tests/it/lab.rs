//! A simulated cluster and the settings of its client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use qumulo_encryption_exporter::{
    client::{
        Client, ClientSettings, Credential, ProxySettings, SecretSource, TlsSettings, TransportError, TransportPool,
        TransportSettings,
    },
    model::{PollFailure, PollResult},
    secret::Secret,
};
use qumulo_simulator::{ClusterSpec, SimCluster};
use tempfile::TempDir;

use crate::leak;

/// Timeout of polls that are not expected to time out. Long, for busy hosts.
pub const PATIENT: Duration = Duration::from_secs(20);

/// A cluster, a directory, and settings with an access token in a file and a pinned certificate.
pub struct Lab {
    pub cluster: SimCluster,
    pub folder: TempDir,
    pub pool: Arc<TransportPool>,
    pub settings: ClientSettings,
}

/// A client whose results are searched for secrets.
pub struct Probe {
    pub client: Client,
    pub settings: ClientSettings,
}

impl Lab {
    /// A healthy cluster, modified by `change`.
    pub async fn new(change: impl FnOnce(&mut ClusterSpec)) -> Self {
        leak::collect_logs();
        let mut spec = ClusterSpec::named("lab");
        spec.auth.token = Some(leak::TOKEN.to_owned());
        spec.auth.password = leak::PASSWORD.to_owned();
        change(&mut spec);
        let cluster = SimCluster::start(spec).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = &cluster.url();
        let settings = settings(url, Credential::Token(SecretSource::File(folder.path().join("token").into())));
        let mut lab = Self { cluster, folder, pool: Arc::<TransportPool>::default(), settings };
        lab.write("token", leak::TOKEN);
        lab.trust(lab.pinned());
        lab
    }

    /// A lab whose client connects to another server of this host.
    pub async fn with_server(port: u16) -> Self {
        let mut lab = Self::new(|_| {}).await;
        lab.settings.url = format!("https://127.0.0.1:{port}").parse().unwrap();
        lab
    }

    /// Replaces a file atomically.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.folder.path().join(name), self.folder.path().join("new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// Switches to a session login.
    pub fn log_in(&mut self) {
        let password = SecretSource::File(self.write("password", &format!("{}\n", leak::PASSWORD)).into());
        self.settings.credential = Credential::Login { password, username: self.cluster.spec().auth.username };
    }

    /// Sets the TLS settings.
    pub fn trust(&mut self, tls: TlsSettings) {
        self.settings.transport.tls = Some(tls);
    }

    /// The pin of the current certificate.
    pub fn pinned(&self) -> TlsSettings {
        TlsSettings { pins: vec![self.cluster.fingerprint().parse().unwrap()], ..TlsSettings::default() }
    }

    pub fn probe(&self) -> Probe {
        Probe::new(&self.settings, &self.pool).unwrap()
    }

    /// One poll of a new client.
    pub async fn poll(&self) -> Result<PollResult, PollFailure> {
        self.probe().poll().await
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.cluster.counts().refused_writes, 0, "only GET and login are ever sent");
        }
    }
}

impl Probe {
    pub fn new(settings: &ClientSettings, pool: &Arc<TransportPool>) -> Result<Self, TransportError> {
        leak::collect_logs();
        let (client, loaded) = (Client::new(settings.clone(), pool.clone()), pool.load(&settings.transport));
        leak::check(&(&client, settings, pool, &loaded));
        loaded.map(|_| Self { client, settings: settings.clone() })
    }

    /// Polls at the current time.
    pub async fn poll(&mut self) -> Result<PollResult, PollFailure> {
        self.poll_at(Instant::now()).await
    }

    /// Polls as if the time were `now`, and checks that the result shows no secret.
    pub async fn poll_at(&mut self, now: Instant) -> Result<PollResult, PollFailure> {
        let outcome = self.client.poll(now).await;
        leak::check(&(&self.client, &self.settings, &outcome));
        outcome
    }
}

/// Runs a command of the program with these options and environment variables, and checks that it prints no secret.
pub async fn run_exporter(command: &str, config: &Path, options: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_qumulo-encryption-exporter"));
    process.arg(command).arg("--config.file").arg(config).args(options);
    for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        process.env_remove(name);
    }
    process.envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || process.output().unwrap()).await.unwrap();
    for printed in [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)) {
        assert!(!leak::shows_secret(&printed), "a secret shows in {printed}");
    }
    output
}

/// A login with this password.
pub fn login(password: &str) -> Credential {
    Credential::Login { password: SecretSource::Fixed(Secret::new(password)), username: "monitor".to_owned() }
}

/// Settings for any address. `https` is verified against the system's CA certificates.
pub fn settings(url: &str, credential: Credential) -> ClientSettings {
    let transport = TransportSettings {
        connect_timeout: PATIENT,
        proxy: ProxySettings::Direct,
        tls: url.starts_with("https:").then(TlsSettings::default),
    };
    ClientSettings { credential, kms_probe: None, transport, timeout: PATIENT, url: url.parse().unwrap() }
}

/// Waits until `condition` holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENT, wait).await.expect("the condition holds in time");
}
