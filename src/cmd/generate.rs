//! `completions` and `man`, made from the flags; packages ship both.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{
    cli::{self, EXAMPLES},
    config,
};

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "The program ended after SIGTERM or SIGINT, or did what it was asked. For status: all clusters are good."),
    ("1", "It could not start, or a configuration has errors. For status: a warning."),
    ("2", "The command line has errors. For status: critical."),
    ("3", "For status: a cluster could not be asked, or the configuration or the command line has errors."),
    ("128 + N", "A second signal, number N, ended the program at once."),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/qumulo-encryption-exporter/qumulo-encryption-exporter.yml",
        "The configuration that the systemd unit uses. It and what \
      it names are for root and for the group qumulo-encryption-exporter alone.",
    ),
    ("/etc/default/qumulo-encryption-exporter", "Environment variables for the systemd unit."),
    ("/usr/share/qumulo-encryption-exporter", "JSON Schemas for editors, alert rules, dashboards."),
    ("/usr/share/doc/qumulo-encryption-exporter", "README, runbooks, examples for Prometheus and Alertmanager."),
];

pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    let mut command = cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    super::print(&text)
}

/// Prints one manual page for the program and all its subcommands.
pub fn man() -> anyhow::Result<()> {
    super::print(&page()?)
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    // The program's name fills half of the title line, so that of the manual is short. An empty date would be taken for no
    // argument.
    let source = format!("version {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section("8").date(" ").source(source).manual("Exporters");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend(sections(&command)?);
    for each in command.get_subcommands() {
        let mut heading = Roff::new();
        heading.control("SH", [format!("COMMAND {}", each.get_name().to_uppercase()).as_str()]);
        heading.to_writer(&mut page)?;
        let subsections = String::from_utf8_lossy(&sections(each)?).replace("\n.SH ", "\n.SS ");
        page.extend_from_slice(subsections.as_bytes());
    }
    let mut more = Roff::new();
    more.control("SH", ["CONFIGURATION"]);
    more.text([roman(
        "The configuration file is YAML. `global` can have every key of a cluster but name, url and labels. Durations are written \
         as 30s, 5m or 1h. Files are relative to the folder of the configuration file. A key that begins with x- is free.",
    )]);
    list(&mut more, config::keys().iter().map(|(key, text)| (key.as_str(), text.as_str())));
    for (heading, items) in [("EXIT STATUS", &EXIT_STATUS[..]), ("FILES", &FILES)] {
        more.control("SH", [heading]);
        list(&mut more, items.iter().copied());
    }
    more.control("SH", ["EXAMPLES"]);
    more.control("nf", []);
    for line in EXAMPLES.lines().skip(1) {
        more.text([roman(line)]);
    }
    more.control("fi", []);
    more.control("SH", ["SEE ALSO"]);
    more.text([roman("prometheus(1), promtool(1), systemctl(1)")]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// Synopsis (without a list of all flags), description and options.
fn sections(command: &Command) -> io::Result<Vec<u8>> {
    let usage = command.clone().render_usage().to_string();
    let man = Man::new(command.clone().override_usage(usage.trim_start_matches("Usage:").to_owned()));
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    Ok(text)
}

/// Terms and their explanations.
fn list<'a>(roff: &mut Roff, items: impl Iterator<Item = (&'a str, &'a str)>) {
    for (term, text) in items {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(text)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_in_the_manual() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        let page = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
        let command = cli::command();
        let all = command.get_subcommands().chain([&command]).flat_map(Command::get_arguments);
        for long in all.filter_map(|arg| arg.get_long()) {
            assert!(page.contains(&format!("--{long}")), "{long}");
        }
        assert!(page.contains(".TH qumulo-encryption-exporter 8 \" \" \"version "), "{page}");
        let synopsis = page.split(".SH SYNOPSIS").nth(1).unwrap().split(".SH").next().unwrap();
        assert!(synopsis.len() < 200 && synopsis.contains("qumulo-encryption-exporter <COMMAND>"), "{synopsis}");
        assert!(page.contains("qumulo-encryption-exporter status [OPTIONS] [CLUSTER]..."), "{page}");
        assert!(page.contains("  qumulo-encryption-exporter demo"), "{page}");
        for (key, _) in config::keys() {
            assert!(page.contains(&key), "{key}");
        }
        for each in command.get_subcommands() {
            let heading = format!("COMMAND {}", each.get_name().to_uppercase());
            assert!(page.contains(&heading), "{heading}");
        }
    }

    #[test]
    fn the_manual_has_the_usual_sections() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        let headings =
            page.lines().filter_map(|line| line.strip_prefix(".SH ")).map(|heading| heading.trim_matches('"'));
        let headings: Vec<_> = headings.filter(|heading| !heading.starts_with("COMMAND ")).collect();
        let expect = "NAME, SYNOPSIS, DESCRIPTION, OPTIONS, CLUSTERS, LOG, RELOAD, LISTENER, CONFIGURATION, EXIT STATUS, FILES, \
                      EXAMPLES, SEE ALSO";
        assert_eq!(headings.join(", "), expect);
    }
}
