//! `simulate`: simulated clusters, to rehearse alerts and for tests of other programs.

use std::{
    fmt::Write as _,
    fs,
    future::pending,
    path::{Path, absolute},
};

use anyhow::Context;
use qumulo_simulator::{Fleet, FleetSpec};

use crate::{cli::SimulateArgs, file, signals::Signals};

/// Size limit of a recording, in bytes: some thousand clusters.
const MAX_RECORDING: u64 = 64 * 1024 * 1024;

const CONFIG: &str = "qumulo-encryption-exporter.yml";

/// Runs until a signal.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    if args.print_fleet {
        return super::print(FleetSpec::DEMO.as_bytes());
    }
    super::block_on(async {
        // First, so that a signal during the start is handled.
        let signals = Signals::listen(false)?;
        super::start_log(args.log)?;
        let folder = absolute(&args.directory).context("the current folder does not exist any more")?;
        let (mut file, spec) = match &args.replay {
            Some(path) => (None, replay(path).with_context(|| path.display().to_string())?),
            None => super::fleet(args.fleet.as_deref())?,
        };
        let mut fleet = Fleet::start_in(&folder, spec).await?;
        let config = write_config(&folder, &fleet)?;
        super::print(config.as_bytes())?;
        tracing::info!(file = %folder.join(CONFIG).display(), "configuration of these clusters written");
        let follow = async {
            while let Some(file) = &mut file {
                file.changed(&mut fleet).await;
                write_config(&folder, &fleet)?;
            }
            pending().await
        };
        tokio::select! {
            () = signals.shutdown.cancelled() => Ok(()),
            result = follow => result,
        }
    })
}

fn replay(path: &Path) -> anyhow::Result<FleetSpec> {
    Ok(FleetSpec::replay(&file::read_text(path, MAX_RECORDING)?)?)
}

/// Writes and returns an exporter configuration for these clusters. Their tokens and passwords are written to further files.
fn write_config(folder: &Path, fleet: &Fleet) -> anyhow::Result<String> {
    let mut text =
        "# Simulated clusters. Ports, certificates and tokens stay the same until this folder is deleted.\n".to_owned();
    text.push_str("clusters:\n");
    for (cluster, secret_file) in fleet.write_credentials()? {
        let spec = cluster.spec();
        // JSON strings are YAML. Writing to a String does not fail.
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let (username, file) = (quote(&spec.auth.username), secret_file.to_str());
        let file = quote(file.context("--directory: the path must be UTF-8")?);
        let credential = match spec.auth.login {
            true => format!("login: {{username: {username}, password_file: {file}}}"),
            false => format!("authorization: {{credentials_file: {file}}}"),
        };
        let _ = write!(
            text,
            "- name: {}\n  url: {}\n  {credential}\n  tls_config: {{pin_sha256: {}}}\n  \
             # token: {}, or login with username: {username} and password: {}\n",
            quote(cluster.name()),
            quote(&cluster.url()),
            quote(&cluster.fingerprint()),
            quote(&spec.token()),
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
