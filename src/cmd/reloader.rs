//! The polled clusters, and how they follow their configuration.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::Fields;
use crate::{
    blocking::KeyedBlockingPool,
    cli::{ClustersArgs, DEFAULT_CONFIG_FILE},
    client::{Recorded, TransportPool},
    clock,
    config::{self, Config, ConfigErrors, SingleCluster, Sources},
    poll::{Changes, ClusterSettings, Poller},
    reload::{Outcome, ReloadRequests},
    service,
    store::Store,
    telemetry::Telemetry,
    web_config::WebConfig,
};

/// An edited file is loaded when it has the same text this much later. An editor that writes in place may not have finished,
/// and half a list of clusters is a valid list.
const SETTLE: Duration = Duration::from_secs(1);

/// The time limit for reading the configuration and its files, because a file system can hang.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the clusters are configured.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    File(PathBuf),
    /// `--cluster.url` and its flags, which cannot change.
    Flags(SingleCluster),
}

/// The polled clusters and their source.
pub struct Clusters {
    files: Arc<KeyedBlockingPool>,
    /// The names of the clusters to poll; empty for all.
    only: Vec<String>,
    poller: Poller,
    pool: Arc<TransportPool>,
    source: ConfigSource,
    /// About the configuration in use.
    warnings: Vec<String>,
}

/// Applies changes of the source to the polled clusters.
pub struct Reloader {
    clusters: Clusters,
    /// The texts of the last attempt to load, and its outcome.
    last: (Texts, Loaded),
    telemetry: Arc<Telemetry>,
    web: Option<Arc<WebConfig>>,
}

/// The texts of all files.
type Texts = Result<Sources, ConfigErrors>;

/// The outcome of loading them.
type Loaded = Result<Changes, ConfigErrors>;

// === impl ConfigSource ===

impl ConfigSource {
    pub fn new(args: &ClustersArgs) -> Self {
        match args.single() {
            Some(cluster) => Self::Flags(cluster),
            None => Self::File(args.config_file.clone().unwrap_or_else(|| DEFAULT_CONFIG_FILE.into())),
        }
    }

    fn texts(&self) -> Texts {
        match self {
            Self::File(path) => config::read(path),
            Self::Flags(_) => Ok(Sources::default()),
        }
    }

    /// Parses the texts, and loads the files that connections depend on, so that their errors are reported now.
    fn prepare(&self, texts: &Sources, pool: &TransportPool) -> Result<Config, ConfigErrors> {
        let config = match self {
            Self::File(_) => config::parse(texts)?,
            Self::Flags(cluster) => config::single(cluster)?,
        };
        super::errors(&config, pool).or(config)
    }

    /// The error for a file system that does not answer.
    fn timeout_error(&self) -> ConfigErrors {
        let text = format!(
            "this file, or one named in it, cannot be read within {LOAD_TIMEOUT:?}: its file system does not answer"
        );
        match self {
            Self::File(path) => ConfigErrors::of_file(path, text),
            Self::Flags(_) => {
                let mut errors = ConfigErrors::default();
                errors.add("--cluster.ca-file, --cluster.token-file", text);
                errors
            }
        }
    }
}

// === impl Clusters ===

impl Clusters {
    /// Reads and polls nothing yet.
    pub fn new(source: ConfigSource, store: Store) -> Self {
        Self {
            files: Arc::new(KeyedBlockingPool::new(1)),
            only: Vec::new(),
            poller: Poller::new(store),
            pool: Arc::default(),
            source,
            warnings: Vec::new(),
        }
    }

    /// Polls only these clusters of the source.
    pub fn only(&mut self, names: &[String]) {
        self.only = names.to_vec();
    }

    /// From now on, polls each cluster once, and records requests and responses.
    pub fn record(&mut self) {
        self.poller.record();
    }

    /// What was recorded, by cluster.
    pub fn recorded(&self) -> Vec<(ClusterSettings, Recorded)> {
        self.poller.recorded()
    }

    /// Loads the source, polls its clusters from now on, and returns what changed.
    ///
    /// # Errors
    ///
    /// Every error of the source. Then nothing is changed.
    pub async fn load(&mut self) -> Loaded {
        self.load_texts().await.1
    }

    /// Like [`Self::load`], with the texts that were read.
    async fn load_texts(&mut self) -> (Texts, Loaded) {
        let (source, pool) = (self.source.clone(), self.pool.clone());
        let read = move || {
            let texts = source.texts();
            let config = texts.clone().and_then(|texts| source.prepare(&texts, &pool));
            (texts, config)
        };
        let (texts, config) = match self.run_blocking(read).await {
            Ok(read) => read,
            Err(err) => (Err(err.clone()), Err(err)),
        };
        let loaded = config.and_then(|config| self.select(config)).map(|config| {
            for warning in config.warnings.iter() {
                let Fields { cluster, file, key, line } = Fields::of(warning);
                tracing::warn!(file, line, cluster, key, "{}", warning.problem);
            }
            self.warnings = config.warnings.iter().map(ToString::to_string).collect();
            self.poller.apply(config.clusters, &self.pool)
        });
        (texts, loaded)
    }

    /// Without the clusters that are not in `only`.
    fn select(&self, mut config: Config) -> Result<Config, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        for name in &self.only {
            if !config.clusters.iter().any(|cluster| cluster.name.as_str() == name) {
                errors.add(name, "no cluster of this name is configured");
            }
        }
        if !self.only.is_empty() {
            config.clusters.retain(|cluster| self.only.iter().any(|name| cluster.name.as_str() == name));
        }
        errors.or(config)
    }

    /// Runs `work`, which reads files, on a blocking thread, for [`LOAD_TIMEOUT`] at most.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ConfigErrors> {
        match timeout(LOAD_TIMEOUT, self.files.run("", work)).await {
            Ok(Some(done)) => Ok(done),
            _ => Err(self.source.timeout_error()),
        }
    }

    async fn texts(&self) -> Texts {
        let source = self.source.clone();
        self.run_blocking(move || source.texts()).await.flatten()
    }
}

// === impl Reloader ===

impl Reloader {
    /// Loads the clusters for the first time.
    ///
    /// # Errors
    ///
    /// Every error of the source.
    pub async fn start(mut clusters: Clusters, telemetry: Arc<Telemetry>) -> Result<(Self, Changes), ConfigErrors> {
        telemetry.watch_files(clusters.pool.files_are_good());
        let last = clusters.load_texts().await;
        let changes = last.1.clone()?;
        telemetry.set_config_warnings(clusters.warnings.clone());
        Ok((Self { clusters, last, telemetry, web: None }, changes))
    }

    /// Reloads this web configuration as well.
    pub fn set_web_config(&mut self, web: Option<Arc<WebConfig>>) {
        self.web = web;
    }

    /// Reloads at SIGHUP, at a request, and every `check` if the text of a file has changed.
    pub async fn follow(
        mut self,
        mut requests: ReloadRequests,
        hangup: &Notify,
        check: Option<Duration>,
    ) -> Infallible {
        loop {
            tokio::select! {
                () = hangup.notified() => drop(self.reload("SIGHUP").await),
                requests = requests.next() => {
                    let outcome = self.reload("HTTP").await;
                    for request in requests {
                        // The client may have gone.
                        let _ = request.send(outcome.clone());
                    }
                }
                () = pause(check) => {
                    self.reload_if_changed().await;
                    if let Some(web) = &self.web {
                        web.reload_if_edited(SETTLE).await;
                    }
                }
            }
        }
    }

    /// Reloads both files at the same time, so that together they take no longer than [`LOAD_TIMEOUT`].
    async fn reload(&mut self, by: &str) -> Outcome {
        const KEPT: &str = "Not reloaded, the last good";
        service::notify_reloading();
        let web = async { Some(self.web.as_ref()?.reload().await) };
        let (last, web) = tokio::join!(self.clusters.load_texts(), web);
        self.last = last;
        let loaded = &self.last.1;
        self.report(by, loaded);
        service::notify_ready();
        let mut text = match loaded {
            Ok(changes) => format!("Reloaded; {changes}"),
            Err(errors) => format!("{KEPT} configuration stays.\n{errors}"),
        };
        match &web {
            None => {}
            Some(Ok(())) => text.push_str("\nWeb configuration reloaded."),
            Some(Err(errors)) => text.push_str(&format!("\n{KEPT} web configuration stays.\n{errors}")),
        }
        if loaded.is_ok() && web.is_none_or(|web| web.is_ok()) { Ok(text) } else { Err(text) }
    }

    /// Reloads if the text of a file has changed. A text that could not be used is tried again each time, because a file
    /// named in it may exist by now; the outcome is logged only if it differs.
    async fn reload_if_changed(&mut self) {
        let (tried, before) = self.last.clone();
        let texts = self.clusters.texts().await;
        let edited = texts != tried;
        if !edited && before.is_ok() {
            return;
        }
        if edited {
            sleep(SETTLE).await;
            if self.clusters.texts().await != texts {
                return;
            }
        }
        self.last = self.clusters.load_texts().await;
        if edited || self.last.1 != before {
            self.report("file", &self.last.1);
        }
    }

    fn report(&self, by: &str, outcome: &Loaded) {
        self.telemetry.config_loaded(&clock::now(), outcome.is_ok());
        self.telemetry.set_config_warnings(self.clusters.warnings.clone());
        match outcome {
            Ok(Changes { added, changed, removed, unchanged }) => {
                tracing::info!(by, added, changed, removed, unchanged, "configuration reloaded");
            }
            Err(errors) => super::log_errors(errors, "cannot reload, the last good configuration stays"),
        }
    }
}

async fn pause(period: Option<Duration>) {
    match period {
        Some(period) => sleep(period).await,
        None => std::future::pending().await,
    }
}
