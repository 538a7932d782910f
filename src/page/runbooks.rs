//! The runbooks of this version as pages, so that every alert's `runbook_url` has an address.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser, html::push_html};

use super::document;

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        /// Name and text (Markdown) of each, by name.
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

/// The list of all, at `runbooks/`.
pub fn index() -> String {
    let list = html! {
        h1 { "Runbooks" }
        ul { @for (name, _) in PAGES { li { a href=(name) { (name) } } } }
    };
    shell("Runbooks", &list)
}

/// The page of an alert, with or without the ending of its file.
pub fn page(name: &str) -> Option<String> {
    let name = name.strip_suffix(".md").unwrap_or(name);
    let (name, text) = PAGES.iter().find(|(each, _)| *each == name)?;
    let mut rendered = String::new();
    push_html(&mut rendered, Parser::new_ext(text, Options::ENABLE_TABLES));
    // Our own files, and nothing else.
    Some(shell(name, &PreEscaped(rendered)))
}

fn shell(title: &str, content: &Markup) -> String {
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
}
