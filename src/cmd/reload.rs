//! The clusters of the running program, and how they follow their configuration.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    cli::{ClustersArgs, DEFAULT_CONFIG_FILE},
    client::TransportPool,
    clock,
    config::{self, Config, SingleCluster},
    lanes::Lanes,
    poll::Poller,
    reload::{Outcome, Wishes},
    service::Service,
    store::Store,
    telemetry::Telemetry,
    web::policy::{Fixed, Policies},
};

/// An edited file is believed when it reads the same this much later: an editor that writes in place may be halfway,
/// and half a list of clusters is a list of clusters.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the configuration's files may take: their file system may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the clusters are described.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, which can change.
    File(PathBuf),
    /// Flags, which cannot.
    Flags(SingleCluster),
}

/// Keeps the polled clusters in step with their source.
pub struct Reloader {
    files: Arc<Lanes>,
    /// The text tried last, or why there was none, and what came of it.
    last: Option<(Text, Outcome)>,
    poller: Poller,
    pool: Arc<TransportPool>,
    source: Source,
    telemetry: Arc<Telemetry>,
    /// The listener's rules, once there is a listener.
    web: Arc<dyn Policies>,
}

/// A source's text, or why there is none.
type Text = Result<String, String>;

// === impl Source ===

impl Source {
    /// What the flags say.
    pub fn new(args: &ClustersArgs) -> Self {
        match args.single() {
            Some(cluster) => Self::Flags(cluster),
            None => Self::File(args.config_file.clone().unwrap_or_else(|| DEFAULT_CONFIG_FILE.into())),
        }
    }

    /// The file's text; nothing for flags.
    fn text(&self) -> Result<String, config::ConfigError> {
        match self {
            Self::File(path) => config::read_text(path),
            Self::Flags(_) => Ok(String::new()),
        }
    }

    fn understand(&self, text: &str) -> Result<Config, config::ConfigError> {
        match self {
            Self::File(path) => config::understand(path, text),
            Self::Flags(cluster) => config::single(cluster),
        }
    }

    /// Understands, and loads the files that connections depend on, so that what cannot work is said now.
    fn prepare(&self, text: &str, pool: &TransportPool) -> Result<Config, String> {
        let config = self.understand(text).map_err(|err| err.to_string())?;
        let mistakes = super::mistakes(&config, pool);
        match mistakes.or(config) {
            Ok(config) => Ok(config),
            Err(mistakes) => Err(match self {
                Self::File(path) => format!("{}\n{mistakes}", path.display()),
                Self::Flags(_) => mistakes.to_string(),
            }),
        }
    }
}

// === impl Reloader ===

impl Reloader {
    /// Nothing is read and nothing polled yet.
    pub fn new(source: Source, store: Store, telemetry: Arc<Telemetry>) -> Self {
        let (poller, pool, files) = (Poller::new(store), Arc::<TransportPool>::default(), Arc::new(Lanes::new(1)));
        telemetry.watch_files(pool.files_are_good());
        Self { files, last: None, poller, pool, source, telemetry, web: Arc::new(Fixed::default()) }
    }

    /// Reloads the listener's rules as well.
    pub fn concern(&mut self, web: Arc<dyn Policies>) {
        self.web = web;
    }

    /// Reads the source and polls what it says from now on; says what changed.
    ///
    /// # Errors
    ///
    /// Every mistake. Then nothing is changed.
    pub async fn load(&mut self) -> Outcome {
        let (source, pool) = (self.source.clone(), self.pool.clone());
        let read = move || {
            let text = source.text().map_err(|err| err.to_string());
            let config = text.as_deref().map_err(Clone::clone).and_then(|text| source.prepare(text, &pool));
            (text, config)
        };
        let (text, config) = match self.off_thread(read).await {
            Ok(read) => read,
            Err(hanging) => (Err(hanging.clone()), Err(hanging)),
        };
        let outcome = config.map(|config| {
            for warning in &config.warnings {
                tracing::warn!("{warning}");
            }
            self.poller.apply(config.clusters, &self.pool).to_string()
        });
        self.last = Some((text, outcome.clone()));
        outcome
    }

    /// Does what needs files, on another thread and for some seconds at most.
    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        match timeout(PATIENCE, self.files.run("", work)).await {
            Ok(Some(done)) => Ok(done),
            _ => Err(match &self.source {
                Source::File(path) => format!(
                    "{}: it, or a file named in it, cannot be read within {PATIENCE:?}: its file system does not answer",
                    path.display()
                ),
                Source::Flags(_) => {
                    format!("a file cannot be read within {PATIENCE:?}: its file system does not answer")
                }
            }),
        }
    }

    async fn text(&self) -> Text {
        let source = self.source.clone();
        self.off_thread(move || source.text().map_err(|err| err.to_string())).await.flatten()
    }

    /// Reloads at SIGHUP, when asked, and when the file's text has changed, looking every `check`. Ends never.
    pub async fn follow(
        mut self,
        mut wishes: Wishes,
        hangup: &Notify,
        check: Option<Duration>,
        service: &Service,
    ) -> Infallible {
        loop {
            tokio::select! {
                () = hangup.notified() => drop(self.reload("SIGHUP", service).await),
                wish = wishes.next() => {
                    // Whoever asked may have gone.
                    let _ = wish.send(self.reload("HTTP", service).await);
                }
                () = pause(check) => self.look().await,
            }
        }
    }

    /// Reloads because somebody said so.
    async fn reload(&mut self, by: &str, service: &Service) -> Outcome {
        service.reloading();
        let outcome = self.load().await;
        self.report(by, &outcome);
        // Logged where it happens.
        let web = self.web.reload();
        service.ready();
        match (outcome, web) {
            (Ok(changes), Ok(())) => Ok(changes),
            (Err(mistakes), Ok(())) | (Ok(_), Err(mistakes)) => Err(mistakes),
            (Err(mistakes), Err(more)) => Err(format!("{mistakes}\n{more}")),
        }
    }

    /// Reloads if the file's text has changed. A text that could not be used is tried again each time, because a file
    /// named in it may have come since, and reported only when that changes something.
    async fn look(&mut self) {
        let Some((tried, before)) = self.last.clone() else { return };
        let text = self.text().await;
        let edited = text != tried;
        if !edited && before.is_ok() {
            return;
        }
        if edited {
            sleep(SETTLE).await;
            if self.text().await != text {
                return;
            }
        }
        let outcome = self.load().await;
        if edited || outcome != before {
            self.report("file", &outcome);
        }
    }

    fn report(&self, by: &str, outcome: &Outcome) {
        self.telemetry.config_loaded(&clock::now(), outcome.is_ok());
        match outcome {
            Ok(changes) => tracing::info!(by, "configuration reloaded; {changes}"),
            Err(mistakes) => {
                // One line for each mistake; the log's escaping would fold them into one.
                for line in mistakes.lines() {
                    tracing::error!(by, err = line, "cannot reload, the last good configuration stays");
                }
            }
        }
    }
}

async fn pause(period: Option<Duration>) {
    match period {
        Some(period) => sleep(period).await,
        None => std::future::pending().await,
    }
}
