//! `simulate`: simulated clusters, for rehearsals and for other programs' tests.

use std::{convert::Infallible, fmt::Write as _};

use crate::{
    cli::SimulateArgs,
    signals::Signals,
    sim::{Fleet, FleetFile, FleetSpec, SimCluster},
};

/// Runs until a signal.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    if args.print_fleet {
        return super::print(FleetSpec::DEMO.as_bytes());
    }
    super::runtime()?.block_on(async {
        // First of all: a signal during the start is neither lost nor deadly.
        let signals = Signals::listen(false)?;
        super::start_log(args.log)?;
        let (mut file, spec) = super::fleet(args.fleet.as_deref())?;
        let mut fleet = Fleet::start(spec).await?;
        super::print(describe(fleet.iter()).as_bytes())?;
        tokio::select! {
            () = signals.shutdown.cancelled() => Ok(()),
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
