//! A secret in a file that may change at any time.
//!
//! The file is looked at (one `stat`) before every poll, on another thread: its file system may hang.

use std::{os::unix::fs::MetadataExt, path::Path};

use zeroize::Zeroizing;

use super::{settings::SecretSource, transport::folder};
use crate::{
    blocking::KeyedBlockingPool,
    file::FileStamp,
    file::{self, ConfiguredPath, FileError},
    secret::Secret,
};

/// Turns a file's text into the secret in it, or says what is wrong with it.
type Parse = fn(&str) -> Result<Secret, &'static str>;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The content is of no use.
    #[error("{path}: {problem}")]
    Content {
        /// What to call the file.
        path: String,
        /// What is wrong with it and what belongs there.
        problem: &'static str,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// What to call the file.
        path: String,
        /// Why not. Told in the message.
        source: FileError,
    },
}

/// A secret, and what the file looked like when it was read.
#[derive(Debug)]
pub struct SecretFile {
    loaded: Option<Secret>,
    parse: Parse,
    seen: Option<FileStamp>,
    source: SecretSource,
    /// The file that was warned about.
    warned: Option<FileStamp>,
}

/// What to say of a file that is readable for all.
const EXPOSED: &str = "every user of this machine can read a secret: chmod o-r the file";

/// What a look at a file gave.
struct ReadOutcome {
    /// Whether every user of this machine can read it.
    exposed: bool,
    secret: Result<Secret, SecretError>,
    seen: Option<FileStamp>,
}

// === impl SecretFile ===

impl SecretFile {
    /// An access token: bare, or the JSON file that `qq` writes.
    pub fn token(source: SecretSource) -> Self {
        Self { loaded: None, parse: parse_token, seen: None, source, warned: None }
    }

    /// A password: the file's text without its last line break.
    pub fn password(source: SecretSource) -> Self {
        Self { loaded: None, parse: parse_password, seen: None, source, warned: None }
    }

    /// The secret, read again if the file changed.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds nothing useful; the last good secret is not used then, because somebody
    /// took it away.
    pub async fn get(&mut self, files: &KeyedBlockingPool) -> Result<Secret, SecretError> {
        let known = self.loaded.as_ref().and(self.seen.clone());
        self.look(files, known).await
    }

    /// The secret, read again whatever the file looks like: for the moment after a refusal.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub async fn read(&mut self, files: &KeyedBlockingPool) -> Result<Secret, SecretError> {
        self.look(files, None).await
    }

    /// Reads the file here and now.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn load(&mut self) -> Result<Secret, SecretError> {
        match &self.source {
            SecretSource::File(file) => self.take(look(&file.clone(), self.parse)),
            SecretSource::Fixed(secret) => Ok(secret.clone()),
        }
    }

    /// Reads the file here and now, to see whether it can be used; says what should not stay so.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn check(&self) -> Result<Option<String>, SecretError> {
        let SecretSource::File(file) = &self.source else { return Ok(None) };
        let ReadOutcome { exposed, secret, .. } = look(file, self.parse);
        secret?;
        Ok(exposed.then(|| format!("{}: {EXPOSED}", file.path().display())))
    }

    /// Whether the file is another one than when it was last read (or tried to be).
    pub async fn changed(&self, files: &KeyedBlockingPool) -> bool {
        let Some(path) = self.path() else { return false };
        let owned = path.to_owned();
        let now = files.run(&folder(path), move || FileStamp::of(&owned)).await;
        now.is_some_and(|now| now != self.seen)
    }

    /// The file's path, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            SecretSource::File(file) => Some(file.path()),
            SecretSource::Fixed(_) => None,
        }
    }

    /// Looks at the file, and reads it unless it is still the `known` one.
    async fn look(&mut self, files: &KeyedBlockingPool, known: Option<FileStamp>) -> Result<Secret, SecretError> {
        let file = match &self.source {
            SecretSource::File(file) => file.clone(),
            SecretSource::Fixed(secret) => return Ok(secret.clone()),
        };
        let parse = self.parse;
        let key = folder(file.path());
        let changed = move || {
            let now = known.is_some().then(|| FileStamp::of(file.path())).flatten();
            if known.is_some() && now == known { None } else { Some(look(&file, parse)) }
        };
        match (files.run(&key, changed).await, &self.loaded) {
            (Some(None), Some(secret)) => Ok(secret.clone()),
            (Some(Some(look)), _) => self.take(look),
            // Only while the program ends.
            _ => Err(SecretError::File { path: key, source: FileError::Io("the program is ending".to_owned()) }),
        }
    }

    fn take(&mut self, look: ReadOutcome) -> Result<Secret, SecretError> {
        let ReadOutcome { exposed, secret, seen } = look;
        (self.loaded, self.seen) = (None, seen);
        if exposed
            && self.warned != self.seen
            && let Some(path) = self.path()
        {
            // `qq auth_create_access_token --file` leaves the file readable for all (umask).
            let path = path.display().to_string();
            tracing::warn!(%path, "{EXPOSED}");
            self.warned.clone_from(&self.seen);
        }
        Ok(self.loaded.insert(secret?).clone())
    }
}

/// Reads the file. Can take as long as its file system does.
fn look(file: &ConfiguredPath, parse: Parse) -> ReadOutcome {
    let path = file.path();
    let unusable = |source| SecretError::File { path: file.redacted(), source };
    match file::read(path, file::MAX_SECRET) {
        Err(err) => ReadOutcome { exposed: false, secret: Err(unusable(err)), seen: FileStamp::of(path) },
        Ok(content) => {
            let bytes = Zeroizing::new(content.bytes);
            let text = std::str::from_utf8(&bytes).map_err(|_| unusable(FileError::Utf8));
            let content_error = |problem| SecretError::Content { path: file.redacted(), problem };
            let secret = text.and_then(|text| parse(text).map_err(content_error));
            // Of the open file: replaced since, it has changed.
            let seen = Some(FileStamp::from_metadata(&content.metadata));
            ReadOutcome { exposed: content.metadata.mode() & 0o004 != 0, secret, seen }
        }
    }
}

/// A bare token, or `{"bearer_token": "…", "version": 1}`.
pub(super) fn parse_token(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let token = if text.starts_with('{') { token_in_json(text)? } else { Secret::new(text) };
    if token.expose().is_empty() {
        Err("it is empty; write the access token into it")
    } else if token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err("it holds more than a token (a space, a line break or a character outside ASCII)")
    }
}

fn token_in_json(text: &str) -> Result<Secret, &'static str> {
    let mut json: serde_json::Value = serde_json::from_str(text).map_err(|_| "it starts with { but is not JSON")?;
    if json.get("version").is_some_and(|version| version != 1) {
        return Err("its `version` is not 1, the only one that is known");
    }
    let Some(serde_json::Value::String(token)) = json.get_mut("bearer_token").map(serde_json::Value::take) else {
        return Err("it is JSON without a `bearer_token` that is a string");
    };
    Ok(Secret::take(token))
}

pub(super) fn parse_password(text: &str) -> Result<Secret, &'static str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    if password.is_empty() { Err("it is empty; write the password into it") } else { Ok(Secret::new(password)) }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn tokens_are_bare_or_as_qq_writes_them() {
        let check = |text: &str, expect: Option<&str>| {
            let token = parse_token(text).ok();
            assert_eq!(token.as_ref().map(Secret::expose), expect, "{text:?}");
        };
        check("access-v1:abc==", Some("access-v1:abc=="));
        check("access-v1:abc==\r\n", Some("access-v1:abc=="));
        check("\u{feff}access-v1:abc==", Some("access-v1:abc=="));
        check("{\"bearer_token\": \"session-v1:x\", \"version\": 1}\n", Some("session-v1:x"));
        check("{\"bearer_token\": \"session-v1:x\", \"later\": true}", Some("session-v1:x"));
        check("{\"bearer_token\": \"session-v1:x\", \"version\": 2}", None);
        check("{\"bearer_token\": 7}", None);
        check("{\"bearer_token\": \"a\\nb\"}", None);
        check("{", None);
        check("", None);
        check(" \n", None);
        check("Bearer access-v1:abc", None);
    }

    #[test]
    fn passwords_lose_one_line_break() {
        let check = |text: &str, expect: Option<&str>| {
            let password = parse_password(text).ok();
            assert_eq!(password.as_ref().map(Secret::expose), expect, "{text:?}");
        };
        check("secret\n", Some("secret"));
        check("secret\r\n", Some("secret"));
        check(" secret ", Some(" secret "));
        check("secret\n\n", Some("secret\n"));
        check("\u{feff}secret\n", Some("secret"));
        check("\n", None);
    }

    #[tokio::test]
    async fn errors_name_the_file_and_nothing_of_its_content() -> Result<(), Box<dyn Error>> {
        let (folder, pool) = (tempfile::tempdir()?, KeyedBlockingPool::new(1));
        let path = folder.path().join("token");
        let mut file = SecretFile::token(SecretSource::File(path.clone().into()));
        let message = file.get(&pool).await.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: no such file", path.display())), "{message}");
        fs::write(&path, "hunter2 hunter3")?;
        let message = file.get(&pool).await.unwrap_err().to_string();
        assert!(message.contains("it holds more than a token") && !message.contains("hunter"), "{message}");
        fs::write(&path, "x".repeat(file::MAX_SECRET as usize + 1))?;
        assert!(file.get(&pool).await.unwrap_err().to_string().contains("64 KiB"));
        Ok(())
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() -> Result<(), Box<dyn Error>> {
        let (folder, pool) = (tempfile::tempdir()?, KeyedBlockingPool::new(1));
        let (path, link) = (folder.path().join("one"), folder.path().join("link"));
        fs::write(&path, "first")?;
        symlink(&path, &link)?;
        let mut file = SecretFile::token(SecretSource::File(link.clone().into()));
        assert_eq!(file.get(&pool).await?.expose(), "first");
        assert!(!file.changed(&pool).await);
        // As Kubernetes replaces a mounted secret: the link points elsewhere.
        let next = folder.path().join("two");
        fs::write(&next, "other")?;
        fs::remove_file(&link)?;
        assert!(file.changed(&pool).await, "a file that is gone has changed");
        symlink(&next, &link)?;
        assert!(file.changed(&pool).await);
        assert_eq!(file.get(&pool).await?.expose(), "other");
        fs::remove_file(&link)?;
        assert!(file.get(&pool).await.is_err());
        assert!(!file.changed(&pool).await, "still gone is no change");
        Ok(())
    }
}
