//! Whether a file is still the one that was read.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What tells two versions of a file apart without reading it. A replaced symbolic link shows as another inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fingerprint([i64; 7]);

// === impl Fingerprint ===

impl Fingerprint {
    /// What the file looks like now; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from_metadata(&metadata))
    }

    /// The same, of a file that is open.
    pub fn from_metadata(of: &Metadata) -> Self {
        // Casts that wrap are fine: only equality counts.
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
