//! Configuration files. Each error has a place or a file, and no text of a library.
#![no_main]

use std::path::PathBuf;

use qumulo_encryption_exporter::config::{self, SourceFile};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let text = SourceFile { path: PathBuf::from("exporter.yml"), text: text.to_owned() };
    match config::parse(&text.into()) {
        Ok(config) => config.clusters.iter().for_each(|cluster| {
            assert!(["http", "https"].contains(&cluster.client.url.scheme()));
            assert!(cluster.client.transport.tls.is_some() || cluster.client.url.scheme() == "http");
        }),
        Err(errors) => {
            let shown = errors.to_string();
            assert!(shown.starts_with("exporter.yml") && !shown.contains("saphyr"), "{shown}");
        }
    }
});
