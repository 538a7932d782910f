//! The clusters of the running program, and how they follow their configuration.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::Fields;
use crate::{
    blocking::KeyedBlockingPool,
    cli::{ClustersArgs, DEFAULT_CONFIG_FILE},
    client::TransportPool,
    clock,
    config::{self, Config, ConfigErrors, SingleCluster, Sources},
    poll::{Changes, Poller},
    reload::{Outcome, ReloadRequests},
    service::Service,
    store::Store,
    telemetry::Telemetry,
    web_config::WebConfig,
};

/// An edited file is believed when it reads the same this much later: an editor that writes in place may be halfway,
/// and half a list of clusters is a list of clusters.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the configuration's files may take: their file system may hang.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the clusters are described.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// A file, which can change.
    File(PathBuf),
    /// Flags, which cannot.
    Flags(SingleCluster),
}

/// The polled clusters, and where they are described.
pub struct Clusters {
    files: Arc<KeyedBlockingPool>,
    /// The names of those to poll; empty is all.
    only: Vec<String>,
    poller: Poller,
    pool: Arc<TransportPool>,
    source: ConfigSource,
    /// About the configuration in use.
    warnings: Vec<String>,
}

/// Keeps the polled clusters in step with their source.
pub struct Reloader {
    clusters: Clusters,
    /// The texts tried last, or why there were none, and what came of them.
    last: (Texts, Loaded),
    telemetry: Arc<Telemetry>,
    web: Option<Arc<WebConfig>>,
}

/// A source's texts, or why there are none.
type Texts = Result<Sources, ConfigErrors>;

/// What came of a text.
type Loaded = Result<Changes, ConfigErrors>;

// === impl ConfigSource ===

impl ConfigSource {
    /// What the flags say.
    pub fn new(args: &ClustersArgs) -> Self {
        match args.single() {
            Some(cluster) => Self::Flags(cluster),
            None => Self::File(args.config_file.clone().unwrap_or_else(|| DEFAULT_CONFIG_FILE.into())),
        }
    }

    /// The files' text; nothing for flags.
    fn texts(&self) -> Texts {
        match self {
            Self::File(path) => config::read(path),
            Self::Flags(_) => Ok(Sources::default()),
        }
    }

    /// Understands, and loads the files that connections depend on, so that what cannot work is said now.
    fn prepare(&self, texts: &Sources, pool: &TransportPool) -> Result<Config, ConfigErrors> {
        let config = match self {
            Self::File(_) => config::parse(texts)?,
            Self::Flags(cluster) => config::single(cluster)?,
        };
        super::errors(&config, pool).or(config)
    }

    /// A file system does not answer.
    fn hanging(&self) -> ConfigErrors {
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
    /// Nothing is read and nothing polled yet.
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

    /// Polls these and no others of the source.
    pub fn only(&mut self, names: &[String]) {
        self.only = names.to_vec();
    }

    /// Reads the source and polls what it says from now on; says what changed.
    ///
    /// # Errors
    ///
    /// Every error. Then nothing is changed.
    pub async fn load(&mut self) -> Loaded {
        self.load_texts().await.1
    }

    /// The same, with the texts that were read.
    async fn load_texts(&mut self) -> (Texts, Loaded) {
        let (source, pool) = (self.source.clone(), self.pool.clone());
        let read = move || {
            let texts = source.texts();
            let config = texts.clone().and_then(|texts| source.prepare(&texts, &pool));
            (texts, config)
        };
        let (texts, config) = match self.off_thread(read).await {
            Ok(read) => read,
            Err(hanging) => (Err(hanging.clone()), Err(hanging)),
        };
        let loaded = config.and_then(|config| self.chosen(config)).map(|config| {
            for warning in config.warnings.iter() {
                let Fields { cluster, file, key, line } = Fields::of(warning);
                tracing::warn!(file, line, cluster, key, "{}", warning.problem);
            }
            self.warnings = config.warnings.iter().map(ToString::to_string).collect();
            self.poller.apply(config.clusters, &self.pool)
        });
        (texts, loaded)
    }

    /// Those that are wanted.
    fn chosen(&self, mut config: Config) -> Result<Config, ConfigErrors> {
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

    /// Does what needs files, on another thread and for some seconds at most.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ConfigErrors> {
        match timeout(LOAD_TIMEOUT, self.files.run("", work)).await {
            Ok(Some(done)) => Ok(done),
            _ => Err(self.source.hanging()),
        }
    }

    async fn texts(&self) -> Texts {
        let source = self.source.clone();
        self.off_thread(move || source.texts()).await.flatten()
    }
}

// === impl Reloader ===

impl Reloader {
    /// Loads the clusters for the first time.
    ///
    /// # Errors
    ///
    /// Every error.
    pub async fn start(mut clusters: Clusters, telemetry: Arc<Telemetry>) -> Result<(Self, Changes), ConfigErrors> {
        telemetry.watch_files(clusters.pool.files_are_good());
        let last = clusters.load_texts().await;
        let changes = last.1.clone()?;
        telemetry.set_config_warnings(clusters.warnings.clone());
        Ok((Self { clusters, last, telemetry, web: None }, changes))
    }

    /// Reloads the listener's rules as well.
    pub fn set_web_config(&mut self, web: Option<Arc<WebConfig>>) {
        self.web = web;
    }

    async fn load(&mut self) -> Loaded {
        self.last = self.clusters.load_texts().await;
        self.last.1.clone()
    }

    /// Reloads at SIGHUP, when asked, and when the file's text has changed, looking every `check`. Ends never.
    pub async fn follow(
        mut self,
        mut requests: ReloadRequests,
        hangup: &Notify,
        check: Option<Duration>,
        service: &Service,
    ) -> Infallible {
        loop {
            tokio::select! {
                () = hangup.notified() => drop(self.reload("SIGHUP", service).await),
                requests = requests.next() => {
                    let outcome = self.reload("HTTP", service).await;
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

    /// Reloads both files, at the same time, so that together they take no longer than [`LOAD_TIMEOUT`].
    async fn reload(&mut self, by: &str, service: &Service) -> Outcome {
        service.reloading();
        let web = self.web.clone();
        let reload_web = async {
            match &web {
                Some(web) => Some(web.reload().await),
                None => None,
            }
        };
        let (last, web) = tokio::join!(self.clusters.load_texts(), reload_web);
        self.last = last;
        let loaded = &self.last.1;
        self.report(by, loaded);
        service.ready();
        let stays = "Not reloaded, the last good";
        let configuration = match loaded {
            Ok(changes) => format!("Reloaded; {changes}"),
            Err(errors) => format!("{stays} configuration stays.\n{errors}"),
        };
        match web {
            None if loaded.is_ok() => Ok(configuration),
            None => Err(configuration),
            Some(Ok(())) if loaded.is_ok() => Ok(format!("{configuration}\nWeb configuration reloaded.")),
            Some(Ok(())) => Err(format!("{configuration}\nWeb configuration reloaded.")),
            Some(Err(errors)) => Err(format!("{configuration}\n{stays} web configuration stays.\n{errors}")),
        }
    }

    /// Reloads if the text of a file has changed. A text that could not be used is tried again each time, because a file
    /// named in it may have come since, and reported only when that changes something.
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
        let outcome = self.load().await;
        if edited || outcome != before {
            self.report("file", &outcome);
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
