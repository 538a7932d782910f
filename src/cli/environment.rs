//! Parsing of arguments and environment variables: an empty variable is unset, a switch is on with `1`, `yes` or `true`, and
//! messages name the variable. A secret in place of the path of its file is refused, and not repeated in the message.

use std::{
    env,
    error::Error as _,
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, Command, CommandFactory, FromArgMatches,
    builder::BoolishValueParser,
    error::{ContextKind, ErrorKind},
};

use super::Cli;
use crate::secret::looks_like_secret;

/// A command line that could not be parsed, or one that asks for help or the version.
#[derive(Debug)]
pub struct UsageError {
    error: clap::Error,
    /// A sentence that names the environment variable with the invalid value.
    origin: Option<String>,
    /// Whether the output is that of a monitoring plugin, which prints its line in any case.
    plugin: bool,
    /// The subcommand, as far as it is known.
    subcommand: Option<String>,
}

/// Parses the arguments and the environment.
///
/// # Errors
///
/// For wrong arguments, and for `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, UsageError> {
    let mut command = adapt(command());
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    subcommand_first(&command, &mut arguments);
    let subcommand = arguments.get(1).and_then(|argument| argument.to_str()).map(str::to_owned);
    let plugin = wants_plugin(&arguments);
    let usage_error = |error: clap::Error, command: &mut Command| {
        let origin = origin(&error, command, &arguments);
        UsageError { error: without_value(error, command), origin, plugin, subcommand: subcommand.clone() }
    };
    if let Some(place) = misplaced_secret(&command, &arguments) {
        let problem = format!(
            "{place} holds what looks like a token or a private key; put it into a file of its own and name that file"
        );
        let error = command.error(ErrorKind::ValueValidation, problem);
        return Err(usage_error(error, &mut command));
    }
    let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| usage_error(error, &mut command))?;
    Cli::from_arg_matches(&matches).map_err(|error| usage_error(error, &mut command))
}

/// Whether `--output plugin` is among the arguments, whatever the others are.
fn wants_plugin(arguments: &[OsString]) -> bool {
    let mut values = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).map(str::to_ascii_lowercase);
    let mut before = String::new();
    values.any(|argument| {
        let found = argument == "--output=plugin" || (argument == "plugin" && before == "--output");
        before = argument;
        found
    })
}

/// Allows flags before their subcommand: `--config.file F status` becomes `status --config.file F`.
fn subcommand_first(command: &Command, arguments: &mut [OsString]) {
    let takes_value =
        |flag: &str| all(command).any(|arg| arg.get_long() == Some(flag) && arg.get_action().takes_values());
    let mut index = 1;
    while let Some(argument) = arguments.get(index).and_then(|argument| argument.to_str()) {
        match argument.strip_prefix("--") {
            Some(flag) => index += 1 + usize::from(takes_value(flag)),
            None if command.find_subcommand(argument).is_some() => {
                if let Some(part) = arguments.get_mut(1..=index) {
                    part.rotate_right(1);
                }
                return;
            }
            None => return,
        }
    }
}

/// The first argument or variable that contains a secret.
fn misplaced_secret(command: &Command, arguments: &[OsString]) -> Option<String> {
    let is_secret = |text: &OsStr| looks_like_secret(&text.to_string_lossy());
    if let Some(argument) = arguments.iter().skip(1).find(|argument| is_secret(argument)) {
        let text = argument.to_string_lossy();
        let flag = text
            .split_once('=')
            .map(|(flag, _)| flag)
            .filter(|flag| flag.starts_with("--") && !looks_like_secret(flag));
        return Some(flag.unwrap_or("an argument").to_owned());
    }
    let mut names = all(command).filter_map(|arg| arg.get_env());
    names.find(|name| env::var_os(name).is_some_and(|value| is_secret(&value))).map(|name| name.display().to_string())
}

/// The arguments of the command and of its subcommands.
fn all(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(Command::get_arguments))
}

/// The command line. Flags that begin with `config.`, `log.` or `web.` have the environment variable of their name:
/// `QUMULO_ENCRYPTION_EXPORTER_LOG_LEVEL` for `--log.level`.
pub fn command() -> Command {
    fn add_variables(command: Command) -> Command {
        let add_variable = |arg: Arg| match arg.get_long().and_then(|flag| flag.split_once('.')) {
            Some((group @ ("config" | "log" | "web"), rest)) => {
                let name = format!("QUMULO_ENCRYPTION_EXPORTER_{group}_{rest}").replace(['.', '-'], "_").to_uppercase();
                arg.env(name)
            }
            _ => arg,
        };
        command.mut_args(add_variable).mut_subcommands(add_variables)
    }
    add_variables(Cli::command())
}

fn adapt(command: Command) -> Command {
    command.mut_args(adapt_environment).mut_subcommands(adapt)
}

fn adapt_environment(arg: Arg) -> Arg {
    let Some(name) = arg.get_env() else { return arg };
    let is_empty = env::var_os(name).is_some_and(|value| value.is_empty());
    // Help does not show the values of the caller's environment.
    let arg = if is_empty { arg.env(None::<&'static str>) } else { arg.hide_env_values(true) };
    if matches!(arg.get_action(), ArgAction::SetTrue) { arg.value_parser(BoolishValueParser::new()) } else { arg }
}

/// Removes the value from an error about a value: a URL can contain a password.
fn without_value(error: clap::Error, command: &mut Command) -> clap::Error {
    let (Some(flag), Some(problem)) = (error.get(ContextKind::InvalidArg), error.source()) else { return error };
    let problem = format!("{flag}: {problem}");
    command.error(error.kind(), problem)
}

/// Names the environment variable that an error is about, if its flag is not among the arguments.
fn origin(error: &clap::Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    let shown = error.get(ContextKind::InvalidArg)?.to_string();
    let long = shown.strip_prefix("--")?.split([' ', '=']).next()?.to_owned();
    let flag = format!("--{long}");
    let given = |argument: &OsString| argument.to_str().and_then(|text| text.split('=').next()) == Some(&flag);
    let name = all(command).find(|arg| arg.get_long() == Some(&long))?.get_env()?;
    (!arguments.iter().any(given) && env::var_os(name).is_some())
        .then(|| format!("The value is that of the environment variable {}.", name.display()))
}

// === impl UsageError ===

impl UsageError {
    /// The error; `None` for `--help` and `--version`.
    pub fn problem(&self) -> Option<String> {
        let origin = self.origin.as_ref().map(|origin| format!("\n{origin}")).unwrap_or_default();
        self.error.use_stderr().then(|| self.error.to_string().trim_end().to_owned() + &origin)
    }

    /// For `status`: whether it is a monitoring plugin.
    pub fn status(&self) -> Option<bool> {
        (self.subcommand.as_deref() == Some("status")).then_some(self.plugin)
    }

    /// Prints the error, the help or the version. The exit status of an error is 2.
    pub fn report(&self) -> ExitCode {
        // A closed pipe is not an error.
        let _ = self.error.print();
        if let Some(origin) = &self.origin {
            eprintln!("{origin}");
        }
        ExitCode::from(u8::from(self.error.use_stderr()) * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_stand_before_their_command() {
        let check = |line: &str, expect: &str| {
            let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            subcommand_first(&Cli::command(), &mut arguments);
            assert_eq!(arguments.join(OsStr::new(" ")), expect, "{line}");
        };
        check("exporter --config.file a status", "exporter status --config.file a");
        check("exporter --config.file=a --output json status", "exporter status --config.file=a --output json");
        check(
            "exporter --config.file status status --output json",
            "exporter status --config.file status --output json",
        );
        check("exporter --config.file a", "exporter --config.file a");
        check("exporter --web.enable-lifecycle demo", "exporter demo --web.enable-lifecycle");
        check("exporter check-config status", "exporter check-config status");
        check("exporter", "exporter");
    }

    #[test]
    fn secrets_in_arguments_are_not_repeated() {
        for line in [
            "exporter --cluster.token-file access-v1:hunter2",
            "exporter --cluster.token-file=access-v1:hunter2 --cluster.url https://a",
            "exporter check-config session-v1:hunter2",
            "exporter --access-v1:hunter2",
            "exporter --web.external-url https://me:hunter2@a",
            "exporter status --exporter.url https://me:hunter2@a",
        ] {
            let usage_error = parse(line.split(' ').map(OsString::from)).unwrap_err();
            let text = usage_error.error.to_string();
            assert!(
                text.contains("looks like a token") || text.contains("cannot contain a user or password"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
