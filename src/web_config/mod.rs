//! The web configuration file of the Prometheus exporters (`--web.config.file`): TLS, client certificates, basic
//! authentication, headers, rate limit. A file that works for the node exporter works here.
//!
//! The file and those that it names are looked at for each connection and request (one `stat` each), so that a renewed
//! certificate is used at the next handshake. After a broken edit the last good rules stay in force; the original
//! answers 500 to everything then.

mod names;
mod raw;
mod resolve;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use self::raw::Raw;
use crate::{
    config::{Mistakes, read_yaml},
    fingerprint::Fingerprint,
    web::policy::{Policies, Policy},
};

/// Who wants to know what came of a reading.
pub type Observer = Box<dyn Fn(Result<&Policy, &Refusal>) + Send + Sync>;

/// A web configuration file that is followed.
pub struct WebConfig {
    observer: Observer,
    path: PathBuf,
    state: Mutex<State>,
}

/// A web configuration that cannot be used: all mistakes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}\n{mistakes}", path.display())]
pub struct Refusal {
    mistakes: Mistakes,
    path: PathBuf,
}

/// What files looked like before they were read.
type Seen = Vec<(PathBuf, Option<Fingerprint>)>;

struct State {
    /// The file and those that it names.
    files: Seen,
    policy: Arc<Policy>,
}

/// Reads a web configuration file and those that it names.
///
/// # Errors
///
/// When it has mistakes.
pub fn load(path: &Path) -> Result<Policy, Refusal> {
    read(path).1
}

/// Also the files to look at for changes, which matter most when something is wrong with them. What they look like is
/// noted before they are read: a change in between is seen the next time.
fn read(path: &Path) -> (Seen, Result<Policy, Refusal>) {
    let mut files = vec![(path.to_owned(), Fingerprint::of(path))];
    let folder = path.parent().unwrap_or(Path::new(""));
    let policy = text(path).and_then(|text| understand(&text)).and_then(|raw| {
        let named = resolve::files(&raw, folder).into_iter();
        files.extend(named.map(|file| (file.clone(), Fingerprint::of(&file))));
        resolve::resolve(&raw, folder)
    });
    (files, policy.map_err(|mistakes| Refusal { mistakes, path: path.to_owned() }))
}

fn text(path: &Path) -> Result<String, Mistakes> {
    fs::read_to_string(path).map_err(|err| {
        let mut mistakes = Mistakes::default();
        mistakes.add("the file", format!("cannot be read: {err}; name another one with --web.config.file"));
        mistakes
    })
}

/// An empty file is no mistake.
fn understand(text: &str) -> Result<Raw, Mistakes> {
    let is_empty = text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---");
    if is_empty { Ok(Raw::default()) } else { read_yaml(text) }
}

// === impl WebConfig ===

impl WebConfig {
    /// Reads a file and follows it from now on. `observer` is told of every reading, this one included.
    ///
    /// # Errors
    ///
    /// When it has mistakes.
    pub fn open(path: &Path, observer: Observer) -> Result<Self, Refusal> {
        let (files, policy) = read(path);
        let policy = policy?;
        observer(Ok(&policy));
        let state = State { files, policy: Arc::new(policy) };
        Ok(Self { observer, path: path.to_owned(), state: Mutex::new(state) })
    }
}

impl Policies for WebConfig {
    fn current(&self) -> Arc<Policy> {
        // A panic while it was held leaves valid rules behind.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.files.iter().all(|(path, seen)| Fingerprint::of(path) == *seen) {
            return state.policy.clone();
        }
        let (files, policy) = read(&self.path);
        state.files = files;
        match policy {
            Ok(mut policy) => {
                if let (Some(new), Some(old)) = (&policy.rate, &state.policy.rate)
                    && new.is_like(old)
                {
                    policy.rate = Some(old.clone());
                }
                (self.observer)(Ok(&policy));
                state.policy = Arc::new(policy);
            }
            Err(refusal) => (self.observer)(Err(&refusal)),
        }
        state.policy.clone()
    }
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebConfig").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
