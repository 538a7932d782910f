//! The runbooks of this version as HTML, so that the `runbook_url` of alerts can point to the exporter.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser, html::push_html};

use super::document;

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        /// Name and Markdown text, sorted by name.
        const PAGES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../deploy/runbooks/", $name, ".md")))),*];
    };
}

pages![
    "QumuloEncryptionAccessTokenExpiring",
    "QumuloEncryptionApiCertificateExpiring",
    "QumuloEncryptionCertificateExpired",
    "QumuloEncryptionCertificateExpiring",
    "QumuloEncryptionClockSkew",
    "QumuloEncryptionClusterForgotten",
    "QumuloEncryptionClusterNameTwice",
    "QumuloEncryptionClusterNotPolled",
    "QumuloEncryptionConfigurationCorrupted",
    "QumuloEncryptionCredentialsRejected",
    "QumuloEncryptionExcessPrivileges",
    "QumuloEncryptionExpiryUnknown",
    "QumuloEncryptionExporterAbsent",
    "QumuloEncryptionExporterCannotReach",
    "QumuloEncryptionExporterDown",
    "QumuloEncryptionKeyAgeUnknown",
    "QumuloEncryptionKeyInactive",
    "QumuloEncryptionKeyNotFound",
    "QumuloEncryptionKeyStoreChanged",
    "QumuloEncryptionKeyTooOld",
    "QumuloEncryptionKmsAuthenticationError",
    "QumuloEncryptionKmsUnusable",
    "QumuloEncryptionLabelsNotHonored",
    "QumuloEncryptionListenerCertificateExpiring",
    "QumuloEncryptionPolicyViolated",
    "QumuloEncryptionReloadFailed",
    "QumuloEncryptionStatusNotRefreshed",
    "QumuloEncryptionUnknownStatus",
    "QumuloEncryptionUnreadableDate",
];

/// The list of runbooks, at `runbooks/`.
pub fn index() -> String {
    let list = html! {
        h1 { "Runbooks" }
        div.scroll role="region" aria-label="Runbooks" tabindex="0" {
            table {
                thead { tr { th scope="col" { "Alert" } th scope="col" { "Severity" } th scope="col" { "Meaning" } } }
                tbody {
                    @for (name, text) in PAGES {
                        @let (severity, summary) = severity_and_summary(text);
                        tr { td { a href=(name) { (name) } } td { (severity) } td { (summary) } }
                    }
                }
            }
        }
    };
    runbook_document("Runbooks", &list)
}

/// Taken from the paragraph that begins with `Severity: `.
fn severity_and_summary(text: &str) -> (String, String) {
    let paragraph = text.split("\n\n").find_map(|paragraph| paragraph.strip_prefix("Severity: ")).unwrap_or_default();
    let words = paragraph.replace('\n', " ").replace('`', "");
    let (severity, summary) = words.split_once(". ").unwrap_or_default();
    (severity.to_owned(), summary.to_owned())
}

/// The runbook of an alert. `name` may end with `.md`.
pub fn page(name: &str) -> Option<String> {
    let name = name.strip_suffix(".md").unwrap_or(name);
    let (name, text) = PAGES.iter().find(|(each, _)| *each == name)?;
    let mut rendered = String::new();
    push_html(&mut rendered, Parser::new_ext(text, Options::ENABLE_TABLES));
    // Not escaped: these files are part of the program.
    Some(runbook_document(name, &PreEscaped(rendered)))
}

fn runbook_document(title: &str, content: &Markup) -> String {
    let body = html! {
        header { nav aria-label="Exporter" { ul { li { a href="../" { "All clusters" } } li { a href="./" { "All runbooks" } } } } }
        main.runbook { (content) }
    };
    document(&format!("{title} - Qumulo encryption"), None, &body)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_runbook_is_a_page() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/runbooks");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.collect();
        assert_eq!(files, PAGES.iter().map(|(name, _)| format!("{name}.md")).collect());
        let text = page("QumuloEncryptionKeyNotFound.md").unwrap();
        assert!(text.contains("<strong>Do not reboot, upgrade or power-cycle nodes"), "{text}");
        assert!(index().contains("href=\"QumuloEncryptionKeyNotFound\""));
        assert_eq!(page("../style.css"), None);
    }

    #[test]
    fn the_index_says_how_severe_and_what_it_is() {
        for (name, text) in PAGES {
            let (severity, summary) = severity_and_summary(text);
            let known = ["critical", "warning", "info"].iter().any(|each| severity.starts_with(each));
            assert!(known && summary.ends_with('.'), "{name}: {severity:?} {summary:?}");
        }
    }

    #[test]
    fn every_finding_has_its_runbook() {
        for kind in crate::report::Kind::ALL {
            assert!(page(kind.alert()).is_some(), "{}", kind.alert());
        }
    }
}
