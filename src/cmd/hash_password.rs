//! `hash-password`: an entry for the web configuration's `basic_auth_users`.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, ensure};
use zeroize::Zeroizing;

use crate::{cli::HashPasswordArgs, secret::Secret};

/// bcrypt ignores the bytes after these.
const MAX_BYTES: usize = 72;

pub fn run(args: &HashPasswordArgs) -> anyhow::Result<()> {
    ensure!(!args.user.is_empty() && !args.user.contains(':'), "a user's name cannot be empty or hold a colon");
    let password = if io::stdin().is_terminal() { ask()? } else { read(io::stdin().lock())? };
    check(password.expose())?;
    let hash = bcrypt::hash(password.expose(), args.cost)?;
    // A JSON string is a YAML string, whatever is in the name.
    super::print(format!("{}: {hash}\n", serde_json::Value::from(args.user.as_str())).as_bytes())
}

fn ask() -> anyhow::Result<Secret> {
    let prompt = |prompt| rpassword::prompt_password(prompt).context("cannot read from the terminal");
    let (first, second) = (Secret::take(prompt("Password: ")?), Secret::take(prompt("Repeat password: ")?));
    ensure!(first == second, "the two passwords differ");
    Ok(first)
}

/// One line, without its line break.
fn read(mut input: impl BufRead) -> anyhow::Result<Secret> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

fn check(password: &str) -> anyhow::Result<()> {
    ensure!(!password.is_empty(), "the password is empty");
    ensure!(password.len() <= MAX_BYTES, "the password has more than {MAX_BYTES} bytes, which bcrypt would ignore");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password() {
        for (input, expect) in [("secret\n", "secret"), ("a b \r\n", "a b "), ("last", "last"), ("a\nb\n", "a")] {
            assert_eq!(read(input.as_bytes()).unwrap().expose(), expect);
        }
    }

    #[test]
    fn useless_passwords_are_refused() {
        for (password, good) in [("", false), ("x", true), (&"x".repeat(72), true), (&"x".repeat(73), false)] {
            assert_eq!(check(password).is_ok(), good, "{} bytes", password.len());
        }
    }
}
