//! `check-config`: every error of a configuration, and of the files named in it.

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use crate::{
    cli::{CheckConfigArgs, DEFAULT_CONFIG_FILE},
    client::{Client, TransportPool},
    config::{self, ConfigErrors},
    web_config,
};

/// Prints the result on standard output, errors on standard error. A closed pipe is not an error.
pub fn run(args: &CheckConfigArgs) -> ExitCode {
    let file = args.file.clone().or_else(|| args.config_file.clone()).unwrap_or_else(|| DEFAULT_CONFIG_FILE.into());
    let mut errors = ConfigErrors::default();
    let checked = check(&file).map_err(|more| errors.extend(more)).ok();
    if let Some(Err(more)) = args.web_config_file.as_deref().map(web_config::load) {
        errors.extend(more);
    }
    let Some((count, warnings)) = checked.filter(|_| errors.is_empty()) else {
        let _ = io::stderr().write_all(format!("{errors}\n").as_bytes());
        return ExitCode::FAILURE;
    };
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{} is good: {count} cluster{plural}\n", file.display());
    if let Some(file) = &args.web_config_file {
        text.push_str(&format!("{} is good\n", file.display()));
    }
    for warning in warnings.iter() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    super::exit_code(super::print(text.as_bytes()))
}

/// The number of clusters, and warnings.
fn check(path: &Path) -> Result<(usize, ConfigErrors), ConfigErrors> {
    let config = config::load(path)?;
    let pool = Arc::<TransportPool>::default();
    let (mut errors, mut warnings) = (super::errors(&config, &pool), config.warnings.clone());
    for (index, cluster) in config.clusters.iter().enumerate() {
        let named = |text: &dyn Display| config.error(index, format!("{}: {text}", cluster.client.credential.key()));
        match Client::new(cluster.client.clone(), pool.clone()).check_credential() {
            Ok(Some(warning)) => warnings.push(named(&warning)),
            Ok(None) => {}
            Err(err) => errors.push(named(&err)),
        }
    }
    errors.or((config.clusters.len(), warnings))
}
