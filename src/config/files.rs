//! Reads the configuration file and its `cluster_files`.

use std::path::{Path, PathBuf};

use super::{ConfigErrors, Document, SCHEMA, raw::Raw};
use crate::file;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// The files of a configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// The configuration file, then those of its `cluster_files`, each once.
    pub files: Vec<SourceFile>,
    /// Indexes in `cluster_files` of the patterns that match no file.
    pub unmatched: Vec<usize>,
}

// === impl Sources ===

impl From<SourceFile> for Sources {
    fn from(file: SourceFile) -> Self {
        Self { files: vec![file], unmatched: Vec::new() }
    }
}

/// Reads a configuration file and its `cluster_files`, in the order of the list; the files of a pattern are sorted by name.
///
/// # Errors
///
/// When a file cannot be read; then also all errors in the files that can.
pub fn read(path: &Path) -> Result<Sources, ConfigErrors> {
    let text = file::read_text(path, file::MAX_TEXT).map_err(|err| {
        let instead = "set another file with --config.file, or monitor a single cluster with --cluster.url and \
                       --cluster.token-file";
        ConfigErrors::of_file(path, format!("{err}; {instead}"))
    })?;
    let main = SourceFile { path: path.to_owned(), text };
    // Errors in the file are reported by `parse`.
    let document = Document::parse(&main.text).ok();
    let raw = document.as_ref().map(|document| document.read::<Raw>(SCHEMA, &mut ConfigErrors::default()));
    let patterns = raw.and_then(|raw| raw.cluster_files).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut errors, mut more, mut unmatched) = (ConfigErrors::default(), Vec::<SourceFile>::new(), Vec::new());
    for (index, pattern) in patterns.iter().enumerate() {
        let paths = match matching(folder, pattern) {
            Ok(paths) => paths,
            Err(problem) => {
                let mut own = ConfigErrors::default();
                own.add(format!("cluster_files[{index}]"), problem);
                errors.extend(document.iter().fold(own, |own, document| own.locate(path, document)));
                continue;
            }
        };
        if paths.is_empty() {
            unmatched.push(index);
        }
        for file in paths {
            match file::read_text(&file, file::MAX_TEXT) {
                _ if file == path || more.iter().any(|before| before.path == file) => {}
                Ok(text) => more.push(SourceFile { path: file, text }),
                Err(err) => errors.extend(ConfigErrors::of_file(&file, err.to_string())),
            }
        }
    }
    let sources = Sources { files: std::iter::once(main).chain(more).collect(), unmatched };
    // Report the errors in the other files in the same run.
    errors.or(()).map_err(|mut errors| {
        errors.extend(super::parse(&sources).err().unwrap_or_default());
        errors
    })?;
    Ok(sources)
}

/// The files that match a pattern, sorted by name. A pattern may match no file; a path without wildcards must exist.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, &'static str> {
    if pattern.is_empty() {
        return Err("is empty; use a path or a pattern such as clusters.d/*.yml");
    }
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![folder.join(pattern)]);
    }
    let folder = folder.to_str().ok_or("cannot be used: the path of the configuration file is not UTF-8")?;
    let full = if pattern.starts_with('/') || folder.is_empty() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", glob::Pattern::escape(folder))
    };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths =
        glob::glob_with(&full, options).map_err(|_| "is not a valid pattern; use one such as clusters.d/*.yml")?;
    paths.collect::<Result<_, _>>().map_err(|_| "matches a directory that cannot be read")
}
