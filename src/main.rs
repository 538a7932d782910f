//! Arguments -> command -> exit status; nothing else. The map is in the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use qumulo_encryption_exporter::{cli::Cli, cmd};

fn main() -> ExitCode {
    cmd::run(Cli::parse())
}
