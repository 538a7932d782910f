//! Which module may import which. Rust does not enforce this within a crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every module and the modules of this crate that it may import. Tests inside the modules may import more.
const WALLS: &[(&str, &[&str])] = &[
    ("address", &["model"]),
    ("blocking", &["lock"]),
    ("cli", &["address", "config", "logging", "routes", "secret", "web"]),
    ("client", &["blocking", "file", "lock", "model", "secret", "trust"]),
    ("clock", &["model"]),
    (
        "cmd",
        &[
            "blocking",
            "cli",
            "client",
            "clock",
            "config",
            "file",
            "limits",
            "logging",
            "metrics",
            "model",
            "poll",
            "recording",
            "reload",
            "report",
            "routes",
            "secret",
            "service",
            "signals",
            "store",
            "telemetry",
            "web",
            "web_config",
        ],
    ),
    ("config", &["address", "client", "file", "model", "poll", "secret"]),
    ("file", &["secret"]),
    ("limits", &[]),
    ("lock", &[]),
    ("logging", &["limits", "model"]),
    ("main", &["cli", "cmd"]),
    ("metrics", &["model", "report", "store"]),
    ("model", &[]),
    ("page", &["model", "report"]),
    ("poll", &["client", "clock", "lock", "model", "store"]),
    ("recording", &["client", "model", "poll", "report", "secret"]),
    ("reload", &[]),
    ("report", &["model", "store"]),
    ("routes", &["clock", "metrics", "page", "reload", "report", "store", "telemetry", "web"]),
    ("secret", &[]),
    ("service", &[]),
    ("signals", &["limits", "logging"]),
    ("store", &["lock", "model"]),
    ("telemetry", &["lock", "logging", "metrics", "model"]),
    ("trust", &[]),
    ("web", &["address", "blocking", "lock", "trust"]),
    ("web_config", &["config", "blocking", "file", "trust", "web"]),
];

/// Identifiers of IO and clocks, and the modules of the core, which must not use them.
const PURE: &[&str] = &["metrics", "model", "page", "report", "store"];
const IMPURE: &[&str] = &["SystemTime::now", "Instant::now", "Utc::now", "std::fs", "std::net", "tokio::", "hyper::"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The code of each top-level module, without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for path in files(&source()) {
        let relative = path.strip_prefix(source()).unwrap();
        let is_test = relative.components().any(|part| part.as_os_str().to_string_lossy().contains("tests"));
        let name = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if is_test || name == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        modules.entry(name).or_default().extend(lines.flat_map(|line| [line, "\n"]));
    }
    modules
}

/// The modules of this crate that code imports: `crate::a`, `crate::{a, b::c}`, and the same from the binary.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "qumulo_encryption_exporter::"] {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at + start.len()..];
            match rest.strip_prefix('{') {
                Some(list) => found.extend(first_names(list)),
                None => found.extend(word(rest)),
            }
        }
    }
    found
}

/// The first path segments in a braced list, up to its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut names) = (0, String::new(), Vec::new());
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(word(std::mem::take(&mut item).trim())),
            other if depth == 0 => item.push(other),
            _ => {}
        }
    }
    names.extend(word(item.trim()));
    names
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let modules = modules();
    let table: BTreeMap<&str, BTreeSet<String>> =
        WALLS.iter().map(|(name, allowed)| (*name, allowed.iter().map(|each| (*each).to_owned()).collect())).collect();
    let names: BTreeSet<&str> = modules.keys().map(String::as_str).collect();
    assert_eq!(names, table.keys().copied().collect(), "each module of src/ has a row in the table");
    for (name, code) in &modules {
        let mut found = imports(code);
        found.remove(name);
        found.retain(|each| modules.contains_key(each));
        assert_eq!(&found, &table[name.as_str()], "imports of `{name}` (left) and the table (right)");
    }
}

#[test]
fn table_has_no_cycle() {
    let mut left: BTreeMap<&str, &[&str]> = WALLS.iter().copied().collect();
    while !left.is_empty() {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|each| !left.contains_key(each)))
            .map(|(name, _)| *name)
            .collect();
        assert!(!free.is_empty(), "a cycle among {:?}", left.keys());
        left.retain(|name, _| !free.contains(name));
    }
}

/// Metrics use a fresh status or none. Only other output may use a stale status.
#[test]
fn metrics_never_use_a_stale_status() {
    let metrics = &modules()["metrics"];
    assert!(!metrics.contains("last_known") && !metrics.contains("history"));
    assert!(modules()["report"].contains("last_known"), "the name of the field has not changed");
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let modules = modules();
    let decode = fs::read_to_string(source().join("client/decode.rs")).unwrap();
    let schedule = fs::read_to_string(source().join("poll/schedule.rs")).unwrap();
    let schedule = schedule.split("#[cfg(test)]").next().unwrap().to_owned();
    let core = PURE
        .iter()
        .map(|name| (*name, &modules[*name]))
        .chain([("client::decode", &decode), ("poll::schedule", &schedule)]);
    for (name, code) in core {
        for word in IMPURE {
            assert!(!code.contains(word), "`{name}` uses {word}");
        }
    }
}

#[test]
fn imports_are_found() {
    let check = |code: &str, expect: &[&str]| {
        assert_eq!(imports(code), expect.iter().map(|each| (*each).to_owned()).collect(), "{code}");
    };
    check("use crate::model::Status;", &["model"]);
    check("use crate::{\n    a::{b, c},\n    d,\n    e::f as g,\n};", &["a", "d", "e"]);
    check("let x = crate::clock::now();", &["clock"]);
    check("use qumulo_encryption_exporter::{cli::Cli, cmd};", &["cli", "cmd"]);
    check("use std::fs;", &[]);
}
