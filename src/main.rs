//! Arguments -> command -> exit status; nothing else. The map is in the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use qumulo_encryption_exporter::{cli::Cli, cmd};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cmd::run(cli),
        Err(err) => {
            // A closed pipe leaves nobody to tell.
            let _ = err.print();
            let command = std::env::args_os().nth(1);
            cmd::usage(&err, command.as_deref().and_then(|command| command.to_str()))
        }
    }
}
