//! Loads the configuration, and reloads it when it changes.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    blocking::KeyedBlockingPool,
    cli::{ClustersArgs, DEFAULT_CONFIG_FILE},
    client::TransportPool,
    clock,
    config::{self, Config, ConfigErrors, SingleCluster, Sources},
    poll::{Changes, Poller},
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

/// Loads the configuration of the clusters. It reads files on a blocking thread, for [`LOAD_TIMEOUT`] at most.
pub struct Loader {
    pub pool: Arc<TransportPool>,
    reader: KeyedBlockingPool,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    /// `--cluster.url` and its flags, which cannot change.
    Flags(SingleCluster),
}

/// Keeps the polled clusters in step with their configuration.
pub struct Reloader {
    /// The texts of the last attempt to load, and its outcome.
    last: (Texts, Result<Changes, ConfigErrors>),
    loader: Loader,
    poller: Poller,
    telemetry: Arc<Telemetry>,
    web: Option<Arc<WebConfig>>,
}

/// The texts of all files.
type Texts = Result<Sources, ConfigErrors>;

// === impl Loader ===

impl Loader {
    pub fn new(args: &ClustersArgs) -> Self {
        let file = || args.config_file.clone().unwrap_or_else(|| DEFAULT_CONFIG_FILE.into());
        let source = args.single().map_or_else(|| Source::File(file()), Source::Flags);
        Self { pool: Arc::default(), reader: KeyedBlockingPool::new(1), source }
    }

    /// Reads and parses the texts, and loads the files that connections depend on, so that their errors are reported now.
    pub async fn load(&self) -> (Texts, Result<Config, ConfigErrors>) {
        let (source, pool) = (self.source.clone(), self.pool.clone());
        let load = move || {
            let texts = source.texts();
            let config = texts.clone().and_then(|texts| {
                let config = match &source {
                    Source::File(_) => config::parse(&texts)?,
                    Source::Flags(cluster) => config::single(cluster)?,
                };
                super::errors(&config, &pool).or(config)
            });
            (texts, config)
        };
        self.run(load).await.unwrap_or_else(|err| (Err(err.clone()), Err(err)))
    }

    async fn texts(&self) -> Texts {
        let source = self.source.clone();
        self.run(move || source.texts()).await.flatten()
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ConfigErrors> {
        match timeout(LOAD_TIMEOUT, self.reader.run("", work)).await {
            Ok(Some(done)) => Ok(done),
            _ => Err(self.source.timeout_error()),
        }
    }
}

// === impl Source ===

impl Source {
    fn texts(&self) -> Texts {
        match self {
            Self::File(path) => config::read(path),
            Self::Flags(_) => Ok(Sources::default()),
        }
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

// === impl Reloader ===

impl Reloader {
    /// Loads the configuration for the first time, and starts to poll its clusters.
    ///
    /// # Errors
    ///
    /// Every error of the configuration.
    pub async fn start(
        loader: Loader,
        store: Store,
        telemetry: Arc<Telemetry>,
    ) -> Result<(Self, Changes), ConfigErrors> {
        telemetry.watch_files(loader.pool.files_are_good());
        let last = (Ok(Sources::default()), Ok(Changes::default()));
        let poller = Poller::new(store);
        let mut reloader = Self { last, loader, poller, telemetry, web: None };
        reloader.load().await;
        let changes = reloader.last.1.clone()?;
        Ok((reloader, changes))
    }

    /// Loads the configuration and polls its clusters from now on. Changes nothing if there are errors.
    async fn load(&mut self) {
        let (texts, config) = self.loader.load().await;
        let loaded = config.map(|config| {
            for warning in config.warnings.iter() {
                let (cluster, file, key, line) = super::log_fields(warning);
                tracing::warn!(file, line, cluster, key, "{}", warning.problem);
            }
            self.telemetry.set_config_warnings(config.warnings.iter().map(ToString::to_string).collect());
            self.poller.apply(config.clusters, &self.loader.pool)
        });
        self.last = (texts, loaded);
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
                () = sleep(check.unwrap_or_default()), if check.is_some() => {
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
        let web = self.web.clone();
        let web = async { Some(web?.reload().await) };
        let ((), web) = tokio::join!(self.load(), web);
        self.report(by);
        let loaded = &self.last.1;
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
        let texts = self.loader.texts().await;
        let edited = texts != tried;
        if !edited && before.is_ok() {
            return;
        }
        if edited {
            sleep(SETTLE).await;
            if self.loader.texts().await != texts {
                return;
            }
        }
        self.load().await;
        if edited || self.last.1 != before {
            self.report("file");
        }
    }

    fn report(&self, by: &str) {
        let loaded = &self.last.1;
        self.telemetry.config_loaded(&clock::now(), loaded.is_ok());
        match loaded {
            Ok(Changes { added, changed, removed, unchanged }) => {
                tracing::info!(by, added, changed, removed, unchanged, "configuration reloaded");
            }
            Err(errors) => super::log_errors(errors, "cannot reload, the last good configuration stays"),
        }
    }
}
