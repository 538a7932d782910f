//! `completions` and `man`: what packages ship, made from the flags.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{Man, roff::Roff};

use crate::cli::Cli;

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    super::print(&text)
}

/// Prints one page for the program and all its subcommands: that is what `man` is asked for.
pub fn man() -> anyhow::Result<()> {
    super::print(&page()?)
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone()).section("8");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for each in command.get_subcommands() {
        subcommand(each, &mut page)?;
    }
    Ok(page)
}

fn subcommand(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut heading = Roff::new();
    heading.control("SH", [format!("COMMAND {}", command.get_name().to_uppercase()).as_str()]);
    heading.to_writer(page)?;
    let man = Man::new(command.clone());
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut parts)?;
    }
    // Sections of a section.
    let parts = String::from_utf8_lossy(&parts).replace("\n.SH ", "\n.SS ");
    page.extend_from_slice(parts.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_in_the_manual() {
        let page = String::from_utf8(page().unwrap()).unwrap().replace("\\-", "-");
        let command = Cli::command();
        let all = command.get_subcommands().chain([&command]).flat_map(Command::get_arguments);
        for long in all.filter_map(|arg| arg.get_long()) {
            assert!(page.contains(&format!("--{long}")), "{long}");
        }
        for each in command.get_subcommands() {
            let heading = format!("COMMAND {}", each.get_name().to_uppercase());
            assert!(page.contains(&heading), "{heading}");
        }
    }
}
