//! A secret in a file. Every poll compares the file's stamp, on another thread because its file system may hang, and reads
//! the file if it changed: without file descriptors left, a poll must not fail for its credential.

use std::{os::unix::fs::MetadataExt, path::Path};

use zeroize::Zeroizing;

use super::settings::SecretSource;
use crate::{
    blocking::{KeyedBlockingPool, folder_key},
    file::{self, ConfiguredPath, FileError, FileStamp},
    secret::Secret,
};

/// Extracts the secret from a file's text; the error says what is wrong with the text, without repeating it.
pub type Parse = fn(&str) -> Result<Secret, &'static str>;

/// A file that cannot be read or holds no usable secret.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SecretError {
    path: String,
    problem: String,
}

#[derive(Debug)]
pub struct SecretFile {
    loaded: Option<Secret>,
    parse: Parse,
    /// The file's stamp when it was last read; `None` if it did not exist.
    seen: Option<FileStamp>,
    source: SecretSource,
    /// The stamp at the last warning about its permissions, so that each version of the file is warned about once.
    warned: Option<FileStamp>,
}

const WORLD_READABLE: &str = "the file with the secret is world-readable; run `chmod o-r` on it";

struct ReadOutcome {
    secret: Result<Secret, SecretError>,
    stamp: Option<FileStamp>,
    world_readable: bool,
}

// === impl SecretFile ===

impl SecretFile {
    pub fn new(source: SecretSource, parse: Parse) -> Self {
        Self { loaded: None, parse, seen: None, source, warned: None }
    }

    /// The secret, from the file as it is now.
    ///
    /// # Errors
    ///
    /// When it cannot be read or holds no usable secret. The last good secret is not used then: removing the file
    /// withdraws it.
    pub async fn get(&mut self, files: &KeyedBlockingPool) -> Result<Secret, SecretError> {
        let file = match &self.source {
            SecretSource::File(file) => file.clone(),
            SecretSource::Fixed(secret) => return Ok(secret.clone()),
        };
        let (folder, parse) = (folder_key(file.path()), self.parse);
        let known = self.loaded.as_ref().and(self.seen.clone());
        let read_if_changed = move || {
            let is_known = known.is_some() && FileStamp::of(file.path()) == known;
            (!is_known).then(|| read(&file, parse))
        };
        match (files.run(&folder, read_if_changed).await, &self.loaded) {
            (Some(None), Some(secret)) => Ok(secret.clone()),
            (Some(Some(outcome)), _) => self.take(outcome),
            _ => Err(SecretError { path: folder, problem: "the exporter is shutting down".to_owned() }),
        }
    }

    /// As [`Self::get`], and reads the file even if its stamp did not change.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub async fn reread(&mut self, files: &KeyedBlockingPool) -> Result<Secret, SecretError> {
        self.loaded = None;
        self.get(files).await
    }

    /// As [`Self::get`], on the current thread.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn get_blocking(&mut self) -> Result<Secret, SecretError> {
        match &self.source {
            SecretSource::File(file) => self.take(read(&file.clone(), self.parse)),
            SecretSource::Fixed(secret) => Ok(secret.clone()),
        }
    }

    /// Checks, on the current thread, that the file holds a usable secret; returns a warning about its permissions.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn check(&self) -> Result<Option<String>, SecretError> {
        let SecretSource::File(file) = &self.source else { return Ok(None) };
        let ReadOutcome { secret, world_readable, .. } = read(file, self.parse);
        secret?;
        Ok(world_readable.then(|| format!("{}: {WORLD_READABLE}", file.path().display())))
    }

    /// Whether the file differs from the last one read, or now exists or no longer does.
    pub async fn changed(&self, files: &KeyedBlockingPool) -> bool {
        let Some(path) = self.path() else { return false };
        let owned = path.to_owned();
        let now = files.run(&folder_key(path), move || FileStamp::of(&owned)).await;
        now.is_some_and(|now| now != self.seen)
    }

    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            SecretSource::File(file) => Some(file.path()),
            SecretSource::Fixed(_) => None,
        }
    }

    fn take(&mut self, outcome: ReadOutcome) -> Result<Secret, SecretError> {
        (self.loaded, self.seen) = (None, outcome.stamp);
        if outcome.world_readable
            && self.warned != self.seen
            && let Some(path) = self.path()
        {
            // `qq auth_create_access_token --file` leaves the file world-readable (umask).
            let path = path.display().to_string();
            tracing::warn!(%path, "{WORLD_READABLE}");
            self.warned.clone_from(&self.seen);
        }
        Ok(self.loaded.insert(outcome.secret?).clone())
    }
}

fn read(file: &ConfiguredPath, parse: Parse) -> ReadOutcome {
    let error = |problem| SecretError { path: file.redacted(), problem };
    match file::read(file.path(), file::MAX_SECRET) {
        Err(err) => ReadOutcome {
            secret: Err(error(err.to_string())),
            stamp: FileStamp::of(file.path()),
            world_readable: false,
        },
        Ok(content) => {
            let bytes = Zeroizing::new(content.bytes);
            let text = std::str::from_utf8(&bytes).map_err(|_| FileError::Utf8.to_string());
            ReadOutcome {
                secret: text.and_then(|text| parse(text).map_err(str::to_owned)).map_err(error),
                // Of the open file: if it was replaced meanwhile, it counts as changed.
                stamp: Some(FileStamp::from_metadata(&content.metadata)),
                world_readable: content.metadata.mode() & 0o004 != 0,
            }
        }
    }
}

/// An access token: bare, or as `qq` writes it, `{"bearer_token": "…", "version": 1}`.
pub fn parse_token(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let token = if text.starts_with('{') { token_in_json(text)? } else { Secret::new(text) };
    if token.expose().is_empty() {
        Err("the file is empty; write the access token into it")
    } else if token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err("not an access token: it contains a space, a line break or a non-ASCII character")
    }
}

fn token_in_json(text: &str) -> Result<Secret, &'static str> {
    let mut json: serde_json::Value = serde_json::from_str(text).map_err(|_| "starts with { but is not JSON")?;
    if json.get("version").is_some_and(|version| version != 1) {
        return Err("`version` is not 1, the only supported version");
    }
    let Some(serde_json::Value::String(token)) = json.get_mut("bearer_token").map(serde_json::Value::take) else {
        return Err("JSON without a string `bearer_token`");
    };
    Ok(Secret::take(token))
}

/// A password: the text without its last line break.
pub fn parse_password(text: &str) -> Result<Secret, &'static str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    if password.is_empty() { Err("the file is empty; write the password into it") } else { Ok(Secret::new(password)) }
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
        let mut file = SecretFile::new(SecretSource::File(path.clone().into()), parse_token);
        let message = file.get(&pool).await.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: no such file", path.display())), "{message}");
        fs::write(&path, "hunter2 hunter3")?;
        let message = file.get(&pool).await.unwrap_err().to_string();
        assert!(message.contains("not an access token") && !message.contains("hunter"), "{message}");
        fs::write(&path, "x".repeat(file::MAX_SECRET as usize + 1))?;
        assert!(file.get(&pool).await.unwrap_err().to_string().contains("64 KiB"));
        Ok(())
    }

    /// Some network file systems keep the stamp of a file for a while after it changed.
    #[tokio::test]
    async fn after_a_rejection_the_file_is_read_although_its_stamp_is_the_same() -> Result<(), Box<dyn Error>> {
        let (folder, pool) = (tempfile::tempdir()?, KeyedBlockingPool::new(1));
        let path = folder.path().join("token");
        fs::write(&path, "new")?;
        let mut file = SecretFile::new(SecretSource::File(path.clone().into()), parse_token);
        (file.loaded, file.seen) = (Some(Secret::new("old")), FileStamp::of(&path));
        assert_eq!(file.get(&pool).await?.expose(), "old");
        assert_eq!(file.reread(&pool).await?.expose(), "new");
        assert_eq!(file.get(&pool).await?.expose(), "new");
        Ok(())
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() -> Result<(), Box<dyn Error>> {
        let (folder, pool) = (tempfile::tempdir()?, KeyedBlockingPool::new(1));
        let (path, link) = (folder.path().join("one"), folder.path().join("link"));
        fs::write(&path, "first")?;
        symlink(&path, &link)?;
        let mut file = SecretFile::new(SecretSource::File(link.clone().into()), parse_token);
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
