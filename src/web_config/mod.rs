//! The web configuration file of the Prometheus exporters (`--web.config.file`): TLS, client certificates, basic
//! authentication, headers, rate limit. A file that works for the node exporter works here.
//!
//! The file is read at the start and when a reload is requested. The certificate and key files that it names are followed
//! automatically. A file that cannot be used changes nothing: the last good policy stays in use.

mod names;
mod raw;
mod resolve;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};

use self::raw::Raw;
use crate::{
    blocking::KeyedBlockingPool,
    config::{ConfigError, ConfigErrors, Document},
    file::{self, FileError, FileStamp},
    web::policy::ListenerPolicy,
};

/// Called after each attempt to use the files, with the new policy or the reasons to keep the old one, and whether the web
/// configuration file and all files that it names are in use as they are now.
pub type Observer = Box<dyn Fn(Result<&ListenerPolicy, &ConfigErrors>, bool) + Send + Sync>;

/// How often the certificate and key files are checked.
const PERIOD: Duration = Duration::from_secs(1);

/// Limit for reading the files: their file system may hang.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = include_str!("../../deploy/web-config.schema.json");

/// A web configuration file in use.
pub struct WebConfig {
    files: KeyedBlockingPool,
    observer: Observer,
    path: PathBuf,
    policy: watch::Sender<Arc<ListenerPolicy>>,
    /// Locked while files are read, so that they are applied in the order in which they were read.
    state: Mutex<State>,
}

struct State {
    /// The text of the web configuration file in use.
    in_force: Text,
    /// Of the files that it names, before they were last read.
    stamps: Stamps,
    /// The text at the last reload.
    tried: Text,
}

type Text = Result<String, FileError>;

type Stamps = Vec<(PathBuf, Option<FileStamp>)>;

/// Reads a web configuration file and the files that it names.
///
/// # Errors
///
/// All errors.
pub fn load(path: &Path) -> Result<ListenerPolicy, ConfigErrors> {
    interpret(path, &read_text(path)).1
}

fn read_text(path: &Path) -> Text {
    file::read_text(path, file::MAX_TEXT)
}

/// Makes a policy of the text of a web configuration file and the current content of the files that it names.
fn interpret(path: &Path, text: &Text) -> (Stamps, Result<ListenerPolicy, ConfigErrors>) {
    let mut errors = ConfigErrors::default();
    let document = match text.as_deref().map(Document::parse) {
        Ok(Ok(document)) => document,
        Ok(Err(error)) => {
            errors.push(ConfigError { file: Some(path.to_owned()), ..error });
            return (Stamps::new(), Err(errors));
        }
        Err(err) => {
            let problem = format!("{err}; name another one with --web.config.file");
            return (Stamps::new(), Err(ConfigErrors::of_file(path, problem)));
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let raw: Raw = document.read(SCHEMA, &mut errors);
    let stamps = stamp(resolve::files(&raw, folder));
    let policy = resolve::resolve(&raw, folder, &mut errors);
    (stamps, errors.locate(path, &document).or(policy))
}

fn stamp(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    files.into_iter().map(|file| (file.clone(), FileStamp::of(&file))).collect()
}

// === impl WebConfig ===

impl WebConfig {
    /// Reads the files for the first time. Blocks.
    ///
    /// # Errors
    ///
    /// All errors.
    pub fn open(path: &Path, observer: Observer) -> Result<Self, ConfigErrors> {
        let text = read_text(path);
        let (stamps, policy) = interpret(path, &text);
        let policy = policy?;
        observer(Ok(&policy), true);
        let state = State { in_force: text.clone(), stamps, tried: text };
        Ok(Self {
            files: KeyedBlockingPool::new(1),
            observer,
            path: path.to_owned(),
            policy: watch::Sender::new(Arc::new(policy)),
            state: Mutex::new(state),
        })
    }

    pub fn policy(&self) -> watch::Receiver<Arc<ListenerPolicy>> {
        self.policy.subscribe()
    }

    /// Reads all files again and applies them.
    ///
    /// # Errors
    ///
    /// All errors. The policy stays what it was.
    pub async fn reload(&self) -> Result<(), ConfigErrors> {
        let path = self.path.clone();
        let read = async {
            let state = self.state.lock().await;
            let read = self.files.run("", move || {
                let text = read_text(&path);
                let (stamps, policy) = interpret(&path, &text);
                (text, stamps, policy)
            });
            Some((state, read.await?))
        };
        // Includes waiting for a check of the certificate files whose file system hangs.
        let policy = match timeout(LOAD_TIMEOUT, read).await.ok().flatten() {
            Some((mut state, (text, stamps, policy))) => {
                state.tried.clone_from(&text);
                if policy.is_ok() {
                    (state.in_force, state.stamps) = (text, stamps);
                }
                policy
            }
            None => {
                let problem = format!(
                    "this file, or one named in it, cannot be read within {LOAD_TIMEOUT:?}: its file system does not answer"
                );
                Err(ConfigErrors::of_file(&self.path, problem))
            }
        };
        self.apply(policy, true)
    }

    /// Reloads if the text of the file differs from the last reload, and does not change again within `settle`.
    pub async fn reload_if_edited(&self, settle: Duration) {
        let read = || {
            let path = self.path.clone();
            self.off_thread(move || read_text(&path))
        };
        let text = read().await;
        if text.is_none() || text.as_ref() == Some(&self.state.lock().await.tried) {
            return;
        }
        sleep(settle).await;
        if read().await == text {
            // The observer reports errors.
            let _ = self.reload().await;
        }
    }

    /// Applies changes of the certificate and key files. Never ends.
    pub async fn follow_certificates(&self) -> Infallible {
        loop {
            sleep(PERIOD).await;
            self.refresh_certificates().await;
        }
    }

    /// Applies the certificate and key files if they have changed.
    pub async fn refresh_certificates(&self) {
        let mut state = self.state.lock().await;
        let (path, text, before) = (self.path.clone(), state.in_force.clone(), state.stamps.clone());
        let read = self.off_thread(move || {
            let now = stamp(before.iter().map(|(file, _)| file.clone()));
            (now != before).then(|| interpret(&path, &text))
        });
        if let Some(Some((stamps, policy))) = read.await {
            state.stamps = stamps;
            // The observer reports errors.
            let _ = self.apply(policy, state.tried == state.in_force);
        }
    }

    /// `None` after [`LOAD_TIMEOUT`].
    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        timeout(LOAD_TIMEOUT, self.files.run("", work)).await.ok().flatten()
    }

    /// `is_current` says whether `policy` is made of the current text of the web configuration file.
    fn apply(&self, policy: Result<ListenerPolicy, ConfigErrors>, is_current: bool) -> Result<(), ConfigErrors> {
        (self.observer)(policy.as_ref(), is_current && policy.is_ok());
        let mut policy = policy?;
        let superseded = policy.inherit(&self.policy.borrow());
        self.policy.send_replace(Arc::new(policy));
        // Only now, so that clients that connect again get the new policy.
        if let Some(superseded) = superseded {
            superseded.cancel();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
