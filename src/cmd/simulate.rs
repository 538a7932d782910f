//! `simulate`: simulated clusters, for rehearsals and for other programs' tests.

use std::{
    convert::Infallible,
    fmt::Write as _,
    io::{self, Write},
};

use tokio_util::sync::CancellationToken;

use crate::{
    cli::SimulateArgs,
    shutdown,
    sim::{Fleet, FleetFile, FleetSpec, SimCluster},
};

/// Runs until a signal.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    super::start_log(args.log)?;
    if args.print_fleet {
        // A closed pipe (`| head`) is no failure.
        let _ = io::stdout().write_all(FleetSpec::DEMO.as_bytes());
        return Ok(());
    }
    super::runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        shutdown::listen(shutdown.clone())?;
        let (mut file, spec) = match &args.fleet {
            Some(path) => {
                let (file, spec) = FleetFile::open(path).map_err(|err| anyhow::anyhow!("{}: {err}", path.display()))?;
                (Some(file), spec)
            }
            None => (None, FleetSpec::demo()),
        };
        let mut fleet = Fleet::start(spec).await?;
        let _ = io::stdout().write_all(describe(fleet.iter()).as_bytes());
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            never = follow(file.as_mut(), &mut fleet) => match never {},
        }
    })
}

/// Follows the file, if there is one.
async fn follow(file: Option<&mut FleetFile>, fleet: &mut Fleet) -> Infallible {
    match file {
        Some(file) => file.follow(fleet).await,
        None => std::future::pending().await,
    }
}

/// How to reach the clusters, as YAML.
fn describe<'a>(clusters: impl Iterator<Item = &'a SimCluster>) -> String {
    let mut text = "clusters:\n".to_owned();
    for cluster in clusters {
        let spec = cluster.spec();
        // JSON strings are YAML. Writing to a String does not fail.
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(
            text,
            "- name: {}\n  url: {}\n  token: {}\n  username: {}\n  password: {}\n  pin_sha256: {}\n",
            quote(cluster.name()),
            quote(&cluster.url()),
            quote(&spec.token()),
            quote(&spec.auth.username),
            quote(&spec.auth.password),
            quote(&cluster.fingerprint()),
        );
    }
    text
}
