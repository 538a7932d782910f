//! `simulate`: simulated clusters, for rehearsals and for other programs' tests.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, absolute},
};

use anyhow::Context;
use qumulo_simulator::{Fleet, FleetFile, FleetSpec};

use crate::{cli::SimulateArgs, signals::Signals};

const CONFIG: &str = "qumulo-encryption-exporter.yml";

/// Runs until a signal.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    if args.print_fleet {
        return super::print(FleetSpec::DEMO.as_bytes());
    }
    super::block_on(async {
        // First of all: a signal during the start is neither lost nor deadly.
        let signals = Signals::listen(false)?;
        super::start_log(args.log)?;
        let folder = absolute(&args.directory).context("the current folder is gone")?;
        let (mut file, spec) = super::fleet(args.fleet.as_deref())?;
        let mut fleet = Fleet::start_in(&folder, spec).await?;
        let config = write_config(&folder, &fleet)?;
        super::print(config.as_bytes())?;
        tracing::info!(file = %folder.join(CONFIG).display(), "configuration of these clusters written");
        tokio::select! {
            () = signals.shutdown.cancelled() => Ok(()),
            result = follow(&folder, file.as_mut(), &mut fleet) => result,
        }
    })
}

/// Follows the file, if there is one.
async fn follow(folder: &Path, file: Option<&mut FleetFile>, fleet: &mut Fleet) -> anyhow::Result<()> {
    let Some(file) = file else { return std::future::pending().await };
    loop {
        file.changed(fleet).await;
        write_config(folder, fleet)?;
    }
}

/// Writes a configuration that watches the clusters, with their tokens.
fn write_config(folder: &Path, fleet: &Fleet) -> anyhow::Result<String> {
    let mut text = "# Simulated clusters. Ports, certificates and tokens stay while this folder does.\n".to_owned();
    text.push_str("clusters:\n");
    for (cluster, token_file) in fleet.write_tokens()? {
        let spec = cluster.spec();
        // JSON strings are YAML. Writing to a String does not fail.
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(
            text,
            "- name: {}\n  url: {}\n  authorization: {{credentials_file: {}}}\n  tls_config: {{pin_sha256: {}}}\n  \
             # token: {}, or login with username: {} and password: {}\n",
            quote(cluster.name()),
            quote(&cluster.url()),
            quote(token_file.to_str().context("--directory: the path must be UTF-8")?),
            quote(&cluster.fingerprint()),
            quote(&spec.token()),
            quote(&spec.auth.username),
            quote(&spec.auth.password),
        );
    }
    if fleet.iter().next().is_none() {
        text = text.replace("clusters:\n", "clusters: []\n");
    }
    let path = folder.join(CONFIG);
    fs::write(&path, &text).with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(text)
}
