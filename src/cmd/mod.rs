//! The commands: the only place where the parts are put together.

mod check_config;
mod daemon;
mod demo;
mod generate;
mod hash_password;
mod reload;
mod serve;
mod simulate;
mod status;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, LogArgs},
    client::TransportError,
    config::Mistakes,
    logging,
};

/// Does what the command line says.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        None => daemon::run(&cli.daemon),
        Some(Command::CheckConfig(args)) => return check_config::run(&args),
        Some(Command::Completions { shell }) => return report(generate::completions(shell)),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::HashPassword(args)) => return report(hash_password::run(&args)),
        Some(Command::Man) => return report(generate::man()),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Status(args)) => return status::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // One line for each mistake; the log's escaping would fold them into one.
            for line in format!("{err:#}").lines() {
                tracing::error!(err = line, "cannot start");
            }
            ExitCode::FAILURE
        }
    }
}

/// The exit status for mistakes on the command line, and for `--help`. To a monitoring plugin 2 means critical.
pub fn usage(err: &clap::Error, command: Option<&str>) -> ExitCode {
    match (err.exit_code(), command) {
        (0, _) => ExitCode::SUCCESS,
        (_, Some("status")) => ExitCode::from(3),
        _ => ExitCode::from(2),
    }
}

/// A runtime of one thread: a poll or a scrape takes some ten microseconds, and memory matters more here than a second
/// core. Names are resolved on threads of their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Starts the log, and sends panics there: standard error holds log lines only.
fn start_log(args: LogArgs) -> anyhow::Result<()> {
    logging::init(args.level, args.format)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let err = panic.payload_as_str().unwrap_or_default();
        tracing::error!(%place, err, "this is a bug, please report it");
    }));
    Ok(())
}

/// Clusters whose files cannot be used, under their keys.
fn mistakes(failed: Vec<(usize, TransportError)>) -> Mistakes {
    let mut mistakes = Mistakes::default();
    for (index, err) in failed {
        mistakes.add(format!("clusters[{index}]"), err.to_string());
    }
    mistakes
}

/// For commands without a log.
fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}
