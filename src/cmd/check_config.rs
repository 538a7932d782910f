//! `check-config`: every mistake of a configuration, and of the files named in it.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use crate::{
    cli::CheckConfigArgs,
    client::{Client, TransportPool},
    config::{self, Config},
    web_config,
};

/// Prints the verdict on standard output. A closed pipe is no failure of the check.
pub fn run(args: &CheckConfigArgs) -> ExitCode {
    let web = args.web_config_file.as_deref().map(web_config::load).transpose().map_err(|refusal| refusal.to_string());
    let checked = match (check(&args.file), web) {
        (Ok(config), Ok(_)) => Ok(config),
        (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => Err(mistakes),
        (Err(mistakes), Err(more)) => Err(format!("{mistakes}\n{more}")),
    };
    match checked {
        Ok(config) => {
            let count = config.clusters.len();
            let plural = if count == 1 { "" } else { "s" };
            let mut text = format!("{} is good: {count} cluster{plural}\n", args.file.display());
            if let Some(file) = &args.web_config_file {
                text.push_str(&format!("{} is good\n", file.display()));
            }
            for warning in &config.warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            let _ = io::stderr().write_all(format!("{mistakes}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> Result<Config, String> {
    let config = config::load(path).map_err(|err| err.to_string())?;
    let pool = Arc::<TransportPool>::default();
    let mut mistakes = super::mistakes(&config, &pool);
    for (index, cluster) in config.clusters.iter().enumerate() {
        if let Err(err) = Client::new(cluster.client.clone(), pool.clone()).check_credential() {
            mistakes.add(format!("clusters[{index}]"), err.to_string());
        }
    }
    mistakes.or(config).map_err(|mistakes| format!("{}\n{mistakes}", path.display()))
}
