//! Parses the arguments and runs the command. The library's documentation describes the program.

use std::process::ExitCode;

use qumulo_encryption_exporter::{cli, cmd};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli) => cmd::run(cli),
        Err(error) => cmd::usage_error(&error),
    }
}
