//! Web configuration files.
#![no_main]

use std::{fs, sync::LazyLock};

use qumulo_encryption_exporter::web_config;

/// In memory, where there is such a place.
static FILE: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let folder = ["/dev/shm", "/tmp"].into_iter().find(|folder| fs::metadata(folder).is_ok()).unwrap();
    let file = format!("{folder}/fuzz-web-config-{}.yml", std::process::id());
    file.into()
});

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    fs::write(&*FILE, text).unwrap();
    let outcome = web_config::load(&FILE);
    fs::remove_file(&*FILE).unwrap();
    if let Err(errors) = outcome {
        assert!(errors.iter().count() > 0);
    }
});
