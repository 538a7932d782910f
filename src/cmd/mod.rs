//! The commands, which put the parts together.

mod check_config;
mod daemon;
mod demo;
mod generate;
mod hash_password;
mod record;
mod reloader;
mod serve;
mod simulate;
mod status;
mod summary;

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use qumulo_simulator::{FleetFile, FleetSpec};

use crate::{
    cli::{Cli, Command, LogArgs, UsageError},
    client::TransportPool,
    config::{Config, ConfigError, ConfigErrors},
    file, limits, logging,
};

const WORKERS: usize = 2;

/// The runtime polls sockets after this many steps of tasks: a step can be a TLS handshake of some milliseconds.
const EVENT_INTERVAL: u32 = 8;

/// How long an idle blocking thread is kept: longer than the usual interval between two polls, because the system may refuse
/// a new one; limited, because a hanging resolver can occupy hundreds.
const IDLE_THREAD_LIFETIME: Duration = Duration::from_secs(900);

pub fn run(cli: Cli) -> ExitCode {
    limits::forbid_dumps();
    let result = match cli.command {
        None => daemon::run(&cli.daemon),
        Some(Command::CheckConfig(args)) => return check_config::run(&args),
        Some(Command::Completions { shell }) => return exit_code(generate::completions(shell)),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::HashPassword(args)) => return exit_code(hash_password::run(&args)),
        Some(Command::Man) => return exit_code(generate::man()),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Status(args)) => return status::run(&args),
    };
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        // The log is not started yet.
        Err(err) if !tracing::dispatcher::has_been_set() => return exit_code(Err(err)),
        Err(err) => {
            match err.downcast_ref::<ConfigErrors>() {
                Some(errors) => log_errors(errors, "cannot start"),
                None if err.is::<serve::ConnectionsAborted>() => tracing::error!("{err}"),
                // A record for each line, because the log escapes line breaks.
                None => format!("{err:#}").lines().for_each(|line| tracing::error!(err = line, "cannot start")),
            }
            ExitCode::FAILURE
        }
    };
    logging::writer::flush();
    code
}

/// Reports a command line that could not be parsed. The exit status of `status` is 3 then, because 2 means critical to
/// monitoring systems.
pub fn usage_error(error: &UsageError) -> ExitCode {
    match error.status().zip(error.problem()) {
        Some((plugin, problem)) => status::unknown(&problem, plugin),
        None => error.report(),
    }
}

/// Prints on standard output. A closed pipe (`| head`) is not an error; a full disk is.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(output_error(&err)),
        _ => Ok(()),
    }
}

fn output_error(err: &io::Error) -> anyhow::Error {
    let words = match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::FileTooLarge => "the file would be too large",
        _ => "the system reports an input/output error",
    };
    anyhow::anyhow!("cannot write to standard output: {words}")
}

/// The fleet to simulate, and its file if it has one.
fn fleet(path: Option<&Path>) -> anyhow::Result<(Option<FleetFile>, FleetSpec)> {
    match path {
        Some(path) => {
            let read = |path: &Path| file::read_text(path, file::MAX_TEXT).map_err(|err| err.to_string());
            let (file, spec) = FleetFile::open(path, read).with_context(|| path.display().to_string())?;
            Ok((Some(file), spec))
        }
        None => Ok((None, FleetSpec::demo())),
    }
}

/// Runs `work` on a runtime of two workers: one goes on while the other computes. What can hang (name resolution, files,
/// password hashes) runs on further threads, bounded for each kind by [`crate::blocking`]. The end never waits for them.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // tokio panics when it needs a thread and gets none.
    limits::try_threads(WORKERS + 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .thread_stack_size(file::STACK)
        .thread_keep_alive(IDLE_THREAD_LIFETIME)
        .build()
        .context("the system has no room for another event queue; raise LimitNOFILE or ulimit -n")?;
    // One thread for work that can hang exists from the start.
    runtime.spawn_blocking(|| {});
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Starts the log. Panics are logged as well: standard error has log lines only.
fn start_log(args: LogArgs) -> anyhow::Result<()> {
    logging::init(args.level, args.format)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let err = panic.payload_as_str().unwrap_or_default();
        tracing::error!(%place, err, "this is a bug, please report it");
        logging::writer::flush();
    }));
    let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("QUMULO_ENCRYPTION_EXPORTER_REVISION"));
    tracing::info!(version, revision, "starting qumulo-encryption-exporter");
    Ok(())
}

/// Loads the files that the clusters' connections depend on, and returns their errors.
fn errors(config: &Config, pool: &TransportPool) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    for (index, cluster) in config.clusters.iter().enumerate() {
        if let Err(err) = pool.load(&cluster.client.transport) {
            errors.push(config.error(index, err.to_string()));
        }
    }
    errors
}

/// Cluster, file, key and line of a configuration error, as fields of a log record.
fn log_fields(error: &ConfigError) -> (Option<&str>, Option<String>, Option<&str>, Option<u64>) {
    let file = error.file.as_ref().map(|file| file.display().to_string());
    let key = Some(&*error.key).filter(|key| !key.is_empty());
    (error.cluster.as_deref(), file, key, error.position.map(|position| position.line))
}

/// One record for each error.
fn log_errors(errors: &ConfigErrors, what: &str) {
    for error in errors.iter() {
        let (cluster, file, key, line) = log_fields(error);
        tracing::error!(file, line, cluster, key, err = error.problem, "{what}");
    }
}

/// The exit status of a command without a log; errors go to standard error.
fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_file_that_cannot_be_read_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.yml");
        let check = |words: &str| {
            let err = format!("{:#}", fleet(Some(&path)).unwrap_err());
            assert_eq!(err, format!("{}: {words}", path.display()));
        };
        check("no such file");
        std::fs::write(&path, [0xff]).unwrap();
        check("is not UTF-8; save it as UTF-8 (some editors write UTF-16 or Latin-1)");
    }
}
