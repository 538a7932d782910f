//! Reads configuration, credential and certificate files.
//!
//! A configured path can refer to a FIFO without a writer, to `/dev/zero`, or to a sparse file of a gigabyte. Every file is
//! therefore opened without blocking, must be a regular file, and has a size limit. A hanging file system still blocks:
//! asynchronous code calls these functions on a thread of [`crate::blocking`].

use std::{
    fmt,
    fs::{self, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::secret::looks_like_secret;

/// Size limit of configuration and fleet files, in bytes. 4 MiB hold about 20,000 clusters.
pub const MAX_TEXT: u64 = 4 * 1024 * 1024;

/// Stack size of the threads that parse files, in bytes. Parsing YAML needs up to 8 KiB per level, several times that in a debug
/// build. The DNS resolver, which runs on the same threads, needs 64 KiB. Unused stack occupies no memory.
pub const STACK: usize = 1024 * 1024;

/// Size limit of certificate and key files, in bytes: several times the size of an operating system's CA bundle.
pub const MAX_PEM: u64 = 2 * 1024 * 1024;

/// Size limit of token and password files, in bytes.
pub const MAX_SECRET: u64 = 64 * 1024;

/// Placeholder for the name of the cluster in a path.
const PLACEHOLDER: &str = "{name}";

/// A path from the configuration. `Debug` hides it, because it could be a secret in the wrong place.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct ConfiguredPath {
    folder: Box<Path>,
    path: Box<Path>,
    written: Box<Path>,
}

#[derive(Debug)]
pub struct Content {
    pub bytes: Vec<u8>,
    /// Metadata of the open file, so that it belongs to `bytes`.
    pub metadata: Metadata,
}

/// Device, inode, size and times of a file, to detect changes without reading it. A replaced symbolic link changes the inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileStamp([i64; 7]);

/// Why a file cannot be read. The message follows the path and a colon.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileError {
    #[error("permission denied; the exporter's user must be able to read the file and to enter its directory")]
    Denied,
    /// Any other IO error.
    #[error("cannot be read: {0}")]
    Io(String),
    #[error("no such file")]
    Missing,
    /// A directory, FIFO, device or socket.
    #[error("is not a regular file")]
    NotRegular,
    /// The limit in bytes.
    #[error("is larger than {} KiB, the limit for this kind of file", .0 / 1024)]
    TooLarge(u64),
    #[error("is not UTF-8; save it as UTF-8 (some editors write UTF-16 or Latin-1)")]
    Utf8,
}

// === impl ConfiguredPath ===

impl ConfiguredPath {
    /// `written` is the path in the configuration file, relative to its directory `folder`.
    pub fn new(folder: &Path, written: &Path) -> Self {
        Self { folder: folder.into(), path: folder.join(written).into(), written: written.into() }
    }

    /// Whether the path contains `{name}`.
    pub fn has_placeholder(&self) -> bool {
        self.written.to_str().is_some_and(|written| written.contains(PLACEHOLDER))
    }

    /// Replaces `{name}`. The name must have been checked: it must not lead to another directory.
    pub fn for_cluster(&self, name: &str) -> Self {
        match self.written.to_str() {
            Some(written) => Self::new(&self.folder, Path::new(&written.replace(PLACEHOLDER, name))),
            None => self.clone(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path for messages. If it does not exist, it is replaced by a general text, because it could be a secret in place of
    /// the path. Accesses the file system.
    pub fn redacted(&self) -> String {
        let text = self.path.display().to_string();
        let in_folder = || self.written.components().count() > 1 && self.path.parent().is_some_and(Path::is_dir);
        if !looks_like_secret(&text) && (self.written.is_absolute() || self.path.exists() || in_folder()) {
            text
        } else {
            "the configured file (path not shown: it does not exist and could be a secret)".to_owned()
        }
    }
}

impl From<PathBuf> for ConfiguredPath {
    fn from(path: PathBuf) -> Self {
        Self::new(Path::new(""), &path)
    }
}

impl fmt::Debug for ConfiguredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredPath").finish_non_exhaustive()
    }
}

// === impl FileStamp ===

impl FileStamp {
    /// `None` if the file does not exist or cannot be accessed.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from_metadata(&metadata))
    }

    pub fn from_metadata(of: &Metadata) -> Self {
        // The casts may wrap, because only equality matters.
        Self([
            of.dev() as i64,
            of.ino() as i64,
            of.size() as i64,
            of.mtime(),
            of.mtime_nsec(),
            of.ctime(),
            of.ctime_nsec(),
        ])
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// When the file does not exist, cannot be read, is not a regular file, or is larger than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Content, FileError> {
    // NONBLOCK: opening a FIFO without a writer must not block. It has no effect on regular files.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if metadata.len() > limit {
        return Err(FileError::TooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The file may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(Content { bytes, metadata })
}

/// Reads a text file of at most `limit` bytes. A byte order mark is removed.
///
/// # Errors
///
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let text = String::from_utf8(read(path, limit)?.bytes).map_err(|_| FileError::Utf8)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

impl From<io::Error> for FileError {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::NotRegular,
            // ENXIO: a socket, or a device without a driver.
            _ if err.raw_os_error() == Some(6) => Self::NotRegular,
            io::ErrorKind::NotADirectory => Self::Io("a component of its path is not a directory".to_owned()),
            io::ErrorKind::StaleNetworkFileHandle => Self::Io("stale network file handle".to_owned()),
            io::ErrorKind::TimedOut => Self::Io("its file system does not answer".to_owned()),
            io::ErrorKind::InvalidFilename => Self::Io("its name is too long".to_owned()),
            io::ErrorKind::InvalidInput => Self::Io("its name contains a NUL byte".to_owned()),
            // ELOOP, which has no stable name yet.
            _ if err.raw_os_error() == Some(40) => Self::Io("its symbolic links form a loop".to_owned()),
            _ if matches!(err.raw_os_error(), Some(23 | 24)) => Self::Io("too many files are open".to_owned()),
            _ => Self::Io(format!("input/output error {}", err.raw_os_error().unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn a_path_that_could_be_a_secret_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hunter2"), "").unwrap();
        fs::create_dir(folder.path().join("tokens")).unwrap();
        let check = |written: &str, shown: bool| {
            let text = ConfiguredPath::new(folder.path(), Path::new(written)).redacted();
            assert_eq!(text.ends_with(written), shown, "{text}");
        };
        check("hunter2", true);
        check("hunter3", false);
        check("p4ss.word", false);
        check("tokens/prod-east", true);
        check("kJ8s/7dD92==", false);
        check("/run/secrets/token", true);
        check("/run/secrets/access-v1:AAAA", false);
        check("access-v1:AAAA", false);
    }

    #[test]
    fn a_placeholder_is_replaced_in_what_is_written_alone() {
        let file = ConfiguredPath::new(Path::new("/etc/{name}"), Path::new("tokens/{name}.{name}"));
        assert!(file.has_placeholder() && !ConfiguredPath::new(Path::new("/{name}"), Path::new("a")).has_placeholder());
        assert_eq!(file.for_cluster("prod").path(), Path::new("/etc/{name}/tokens/prod.prod"));
    }

    #[test]
    fn only_regular_files_of_a_sensible_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("good"), "\u{feff}text").unwrap();
        fs::write(path("latin"), [b'a', 0xe4]).unwrap();
        fs::write(path("large"), [b'x'; 11]).unwrap();
        fs::create_dir(path("folder")).unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let check = |path: PathBuf, expect: Result<&str, &str>| {
            let got = read_text(&path, 10).map_err(|err| err.to_string());
            match expect {
                Ok(text) => assert_eq!(got.as_deref(), Ok(text), "{}", path.display()),
                Err(words) => assert!(got.clone().unwrap_err().contains(words), "{}: {got:?}", path.display()),
            }
        };
        check(path("good"), Ok("text"));
        check(path("latin"), Err("not UTF-8"));
        check(path("large"), Err("larger than"));
        check(path("folder"), Err("not a regular file"));
        check(path("fifo"), Err("not a regular file"));
        check(path("socket"), Err("not a regular file"));
        check(path("none"), Err("no such file"));
        check(path("good").join("below"), Err("not a directory"));
        check(path("loop"), Err("form a loop"));
        check(path(&"x".repeat(300)), Err("too long"));
        check("/dev/zero".into(), Err("not a regular file"));
        check("a\0b".into(), Err("NUL"));
    }
}
