//! The web configuration file of the Prometheus exporters (`--web.config.file`): TLS, client certificates, basic
//! authentication, headers, rate limit. A file that works for the node exporter works here.
//!
//! The file is read at the start and when a reload is asked for. The certificate and key files that it names are followed by
//! themselves. What cannot be used changes nothing: the last good rules stay in force, where the original answers 500 to
//! everything.

mod names;
mod raw;
mod resolve;

use std::{
    convert::Infallible,
    fmt,
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
    file::FileStamp,
    file::{self, FileError},
    web::policy::ListenerPolicy,
};

/// Told of every attempt to use the files: the rules, or why they stay; and whether all files are in use as they are.
pub type Observer = Box<dyn Fn(Result<&ListenerPolicy, &WebConfigErrors>, bool) + Send + Sync>;

/// A web configuration file in use.
pub struct WebConfig {
    /// Files are read off the async threads: their file system may hang.
    files: KeyedBlockingPool,
    observer: Observer,
    path: PathBuf,
    policy: watch::Sender<Arc<ListenerPolicy>>,
    /// Held while files are read, so that what was read first is also applied first.
    state: Mutex<State>,
}

/// How often the certificate and key files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long reading the files may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A web configuration that cannot be used: all errors.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct WebConfigErrors(ConfigErrors);

/// What a web configuration file can hold.
const SCHEMA: &str = include_str!("../../deploy/web-config.schema.json");

/// The text of the file, or why there is none.
type Text = Result<String, FileError>;

/// Files and what they looked like just before they were read.
type Stamps = Vec<(PathBuf, Option<FileStamp>)>;

struct State {
    /// Of the file that is in force.
    text: String,
    /// The certificate and key files that it names, when they were last read.
    stamps: Stamps,
    /// What was read at the last reload, and whether it could be used.
    last: (Text, bool),
}

/// Reads a web configuration file and those that it names.
///
/// # Errors
///
/// When it has errors.
pub fn load(path: &Path) -> Result<ListenerPolicy, WebConfigErrors> {
    interpret(path, &read_text(path)).1
}

fn read_text(path: &Path) -> Text {
    file::read_text(path, file::MAX_TEXT)
}

/// The rules that a text means with the files that it names as they are now.
fn interpret(path: &Path, text: &Text) -> (Stamps, Result<ListenerPolicy, WebConfigErrors>) {
    let mut stamps = Stamps::new();
    let folder = path.parent().unwrap_or(Path::new(""));
    let policy = document(path, text).and_then(|document| {
        let mut errors = ConfigErrors::default();
        let raw: Raw = document.read(SCHEMA, &mut errors);
        stamps = stamps_of(resolve::files(&raw, folder));
        let policy = resolve::resolve(&raw, folder, &mut errors);
        errors.locate(path, &document).or(policy)
    });
    (stamps, policy.map_err(WebConfigErrors))
}

/// An empty file is no error.
fn document(path: &Path, text: &Text) -> Result<Document, ConfigErrors> {
    let text = text
        .as_ref()
        .map_err(|err| ConfigErrors::of_file(path, format!("{err}; name another one with --web.config.file")))?;
    Document::parse(text).map_err(|error| {
        let mut errors = ConfigErrors::default();
        errors.push(ConfigError { file: Some(path.to_owned()), ..error });
        errors
    })
}

fn stamps_of(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    files.into_iter().map(|file| (file.clone(), FileStamp::of(&file))).collect()
}

// === impl WebConfigErrors ===

impl WebConfigErrors {
    pub fn into_errors(self) -> ConfigErrors {
        self.0
    }

    pub fn errors(&self) -> &ConfigErrors {
        &self.0
    }
}

// === impl WebConfig ===

impl WebConfig {
    /// Reads a file for the first time.
    ///
    /// # Errors
    ///
    /// When it has errors.
    pub fn open(path: &Path, observer: Observer) -> Result<Self, WebConfigErrors> {
        let text = read_text(path);
        let (stamps, policy) = interpret(path, &text);
        let policy = policy?;
        observer(Ok(&policy), true);
        let state = State { text: text.clone().unwrap_or_default(), stamps, last: (text, true) };
        Ok(Self {
            files: KeyedBlockingPool::new(1),
            observer,
            path: path.to_owned(),
            policy: watch::Sender::new(Arc::new(policy)),
            state: Mutex::new(state),
        })
    }

    /// The rules in force, now and from now on.
    pub fn policy(&self) -> watch::Receiver<Arc<ListenerPolicy>> {
        self.policy.subscribe()
    }

    /// Reads the file and those that it names again.
    ///
    /// # Errors
    ///
    /// Why the rules stay what they were. The observer was told.
    pub async fn reload(&self) -> Result<(), WebConfigErrors> {
        let read = async {
            let mut state = self.state.lock().await;
            let path = self.path.clone();
            let read = move || {
                let text = read_text(&path);
                let (stamps, policy) = interpret(&path, &text);
                (text, stamps, policy)
            };
            let (text, stamps, policy) = self.files.run("", read).await?;
            state.last = (text.clone(), policy.is_ok());
            if policy.is_ok() {
                (state.text, state.stamps) = (text.unwrap_or_default(), stamps);
            }
            Some(self.apply(policy, true))
        };
        match timeout(LOAD_TIMEOUT, read).await {
            Ok(Some(outcome)) => outcome,
            _ => {
                let problem = format!(
                    "this file, or one named in it, cannot be read within {LOAD_TIMEOUT:?}: its file system does not answer"
                );
                self.apply(Err(WebConfigErrors(ConfigErrors::of_file(&self.path, problem))), true)
            }
        }
    }

    /// Reloads if the text of the file is another one than at the last reload, and the same once more after `settle`.
    pub async fn reload_if_edited(&self, settle: Duration) {
        let path = self.path.clone();
        let text = || {
            let path = path.clone();
            async { timeout(LOAD_TIMEOUT, self.files.run("", move || read_text(&path))).await.ok().flatten() }
        };
        let found = text().await;
        if found.is_none() || found.as_ref() == Some(&self.state.lock().await.last.0) {
            return;
        }
        sleep(settle).await;
        if text().await == found {
            // The observer is told.
            let _ = self.reload().await;
        }
    }

    /// Follows the certificate and key files. Never ends.
    pub async fn follow_certificates(&self) -> Infallible {
        loop {
            sleep(PERIOD).await;
            self.refresh_certificates().await;
        }
    }

    /// Uses certificate and key files that have changed.
    pub async fn refresh_certificates(&self) {
        let mut state = self.state.lock().await;
        let (path, text, before) = (self.path.clone(), state.text.clone(), state.stamps.clone());
        let read = move || {
            let now = stamps_of(before.iter().map(|(file, _)| file.clone()));
            (now != before).then(|| interpret(&path, &Ok(text)))
        };
        // Files that hang are waited for, but not while others want to read.
        let Ok(Some(Some((stamps, policy)))) = timeout(LOAD_TIMEOUT, self.files.run("", read)).await else { return };
        state.stamps = stamps;
        let _ = self.apply(policy, state.last.1);
    }

    /// Puts rules in force, if there are any. `good` says whether there is no other file that could not be used.
    fn apply(&self, policy: Result<ListenerPolicy, WebConfigErrors>, good: bool) -> Result<(), WebConfigErrors> {
        match policy {
            Ok(mut policy) => {
                let superseded = policy.succeed(&self.policy.borrow());
                (self.observer)(Ok(&policy), good);
                self.policy.send_replace(Arc::new(policy));
                // Only now, so that whoever connects again meets the new rules.
                if let Some(superseded) = superseded {
                    superseded.cancel();
                }
                Ok(())
            }
            Err(refusal) => {
                (self.observer)(Err(&refusal), false);
                Err(refusal)
            }
        }
    }
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebConfig").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
