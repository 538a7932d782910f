//! The web configuration file of the Prometheus exporters (`--web.config.file`): TLS, client certificates, basic
//! authentication, headers, rate limit. A file that works for the node exporter works here.
//!
//! The file and those that it names are looked at once a second, on a thread of its own: their file system may hang, and
//! then the rules stay what they are. A change counts once the files have rested for a moment, because a file that is being
//! written reads as one without its last lines: without users, for example. What would take protection away waits for
//! somebody who asks for it ([`Policies::reload`]), however long the file rests: a disk may have been full. After a broken
//! edit the last good rules stay in force; the original answers 500 to everything then.

mod names;
mod raw;
mod resolve;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::{Duration, Instant, SystemTime},
};

use self::raw::Raw;
use crate::{
    config::{ConfigError, ConfigErrors, Document},
    file,
    fingerprint::Fingerprint,
    limits::{self, NoThread},
    web::policy::{Policies, Policy},
};

/// Who wants to know what came of a reading.
pub type Observer = Box<dyn Fn(Result<&Policy, &WebConfigErrors>) + Send + Sync>;

/// A web configuration file that is followed.
pub struct WebConfig {
    observer: Observer,
    path: PathBuf,
    /// In force. Held for a moment only.
    policy: RwLock<Arc<Policy>>,
    /// Held while files are looked at, however long that takes.
    seen: Mutex<State>,
    /// How long files have to rest.
    settle: Duration,
}

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long files have to rest in the running program.
pub const SETTLE: Duration = Duration::from_secs(1);

/// A web configuration that cannot be used: all errors.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct WebConfigErrors(ConfigErrors);

/// What a web configuration file can hold.
const SCHEMA: &str = include_str!("../../deploy/web-config.schema.json");

/// What files looked like before they were read.
type Seen = Vec<(PathBuf, Option<Fingerprint>)>;

struct State {
    /// The file and those that it names, as they were when they were last read.
    files: Seen,
    /// What they look like now, if it is something else, and since when.
    fresh: Option<(Seen, Instant)>,
}

/// Reads a web configuration file and those that it names.
///
/// # Errors
///
/// When it has errors.
pub fn load(path: &Path) -> Result<Policy, WebConfigErrors> {
    read(path).1
}

/// Also the files to look at for changes, which matter most when something is wrong with them. What they look like is
/// noted before they are read: a change in between is seen the next time.
fn read(path: &Path) -> (Seen, Result<Policy, WebConfigErrors>) {
    let mut files = vec![(path.to_owned(), Fingerprint::of(path))];
    let folder = path.parent().unwrap_or(Path::new(""));
    let policy = document(path).and_then(|document| {
        let mut errors = ConfigErrors::default();
        let raw: Raw = document.read(SCHEMA, &mut errors);
        let named = resolve::files(&raw, folder).into_iter();
        files.extend(named.map(|file| (file.clone(), Fingerprint::of(&file))));
        let policy = resolve::resolve(&raw, folder, &mut errors);
        errors.locate(path, &document).or(policy)
    });
    (files, policy.map_err(WebConfigErrors))
}

/// An empty file is no error.
fn document(path: &Path) -> Result<Document, ConfigErrors> {
    let text = file::read_text(path, file::MAX_TEXT)
        .map_err(|err| ConfigErrors::of_file(path, format!("{err}; name another one with --web.config.file")))?;
    Document::parse(&text).map_err(|error| {
        let mut errors = ConfigErrors::default();
        errors.push(ConfigError { file: Some(path.to_owned()), ..error });
        errors
    })
}

// === impl WebConfigErrors ===

impl WebConfigErrors {
    /// The errors.
    pub fn into_errors(self) -> ConfigErrors {
        self.0
    }

    /// The errors.
    pub fn errors(&self) -> &ConfigErrors {
        &self.0
    }
}

// === impl WebConfig ===

impl WebConfig {
    /// Reads a file and follows it from now on; changes count once the files have rested for `settle`. `observer` is told
    /// of every reading, this one included.
    ///
    /// # Errors
    ///
    /// When it has errors.
    pub fn open(path: &Path, settle: Duration, observer: Observer) -> Result<Self, WebConfigErrors> {
        let (files, policy) = read(path);
        let policy = policy?;
        observer(Ok(&policy));
        let (policy, seen) = (RwLock::new(Arc::new(policy)), Mutex::new(State { files, fresh: None }));
        Ok(Self { observer, path: path.to_owned(), policy, seen, settle })
    }

    /// Looks at the files from now on, for as long as somebody else has the configuration.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn follow(self: &Arc<Self>) -> Result<(), NoThread> {
        let config = Arc::downgrade(self);
        let look = move || {
            while let Some(config) = config.upgrade() {
                config.look();
                drop(config);
                thread::sleep(PERIOD);
            }
        };
        limits::start_thread("web-config", file::STACK, look).map(drop)
    }

    /// Looks at the files once, and takes in what has changed and rested.
    pub fn look(&self) {
        let mut state = self.state();
        let seen = look(&state.files);
        if seen == state.files {
            state.fresh = None;
        } else if self.rests(&mut state, &seen) {
            // What came of it was told to the observer.
            let _ = self.take_in(&mut state, false);
        }
    }

    /// Whether nothing has been written to files that look like `seen` for the time they have to rest: by their own
    /// clock, or because they were seen like this before.
    fn rests(&self, state: &mut State, seen: &Seen) -> bool {
        let now = SystemTime::now();
        let rested = |at: Option<SystemTime>| {
            at.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age >= self.settle)
        };
        if seen.iter().all(|(_, file)| file.as_ref().is_some_and(|file| rested(file.changed()))) {
            return true;
        }
        match &state.fresh {
            Some((before, since)) if before == seen => since.elapsed() >= self.settle,
            _ => {
                state.fresh = Some((seen.clone(), Instant::now()));
                false
            }
        }
    }

    /// Reads the files and follows what they say, unless that takes protection away and nobody `asked` for it.
    fn take_in(&self, state: &mut State, asked: bool) -> Result<(), WebConfigErrors> {
        let (files, policy) = read(&self.path);
        // Written to meanwhile: the next look begins anew.
        if look(&files) != files {
            return Err(self.refusal("is being written; it is read again when it rests"));
        }
        state.files = files;
        state.fresh = None;
        let before = self.current();
        let outcome = policy.and_then(|policy| match before.loses(&policy) {
            Some(loss) if !asked => Err(self.refusal(&format!(
                "would {loss}; if that is meant, reload (SIGHUP, or POST /-/reload) or restart the exporter"
            ))),
            _ => Ok(policy),
        });
        match outcome {
            Ok(mut policy) => {
                if let (Some(new), Some(old)) = (&policy.rate, &before.rate)
                    && new.is_like(old)
                {
                    policy.rate = Some(old.clone());
                }
                (self.observer)(Ok(&policy));
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
                Ok(())
            }
            Err(refusal) => {
                (self.observer)(Err(&refusal));
                Err(refusal)
            }
        }
    }

    fn refusal(&self, problem: &str) -> WebConfigErrors {
        WebConfigErrors(ConfigErrors::of_file(&self.path, problem))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves valid rules behind.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same files as they look now.
fn look(files: &Seen) -> Seen {
    files.iter().map(|(path, _)| (path.clone(), Fingerprint::of(path))).collect()
}

impl Policies for WebConfig {
    fn current(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What takes protection away has to rest all the same: whoever asks may not know that a file is being written.
    fn reload(&self) -> Result<(), String> {
        let mut state = self.state();
        let seen = look(&state.files);
        if self.rests(&mut state, &seen) {
            self.take_in(&mut state, true).map_err(|refusal| refusal.to_string())
        } else {
            let refusal = self.refusal("was written a moment ago; reload once more when it has rested for a second");
            Err(refusal.to_string())
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
