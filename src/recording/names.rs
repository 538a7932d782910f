//! Names and their placeholders: the same name gives the same placeholder, of a form that the exporter reads alike.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use crate::{
    model::{ForeignText, Status, is_hidden},
    secret::{Secret, looks_like_secret},
};

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Cluster,
    ClusterId,
    File,
    Fingerprint,
    /// A host's name or address.
    Host,
    /// A key of a JSON object that does not look like one of the API.
    JsonKey,
    Key,
    /// The number of an account or a token.
    Number,
    /// In a certificate.
    Subject,
    /// A text with a name in it, or of which only the length is kept.
    Text,
    User,
}

/// All names that were met.
pub struct Names {
    /// Whether names are recorded as they are.
    keep: bool,
    /// Texts of which only the length was kept.
    pub left_out: usize,
    secrets: Vec<Secret>,
    seen: BTreeMap<(Kind, String), String>,
}

/// Types of key stores in responses.
const KEY_STORES: [&str; 4] = ["ENCRYPTION_TYPE_KMIP", "ENCRYPTION_TYPE_LOCAL", "KMS", "Local"];

/// What a cluster is known to answer: never replaced, whatever a host or a user is called. Some texts end in a full stop.
fn is_api_text(text: &str) -> bool {
    let status = text.strip_suffix('.').unwrap_or(text);
    KEY_STORES.contains(&text) || Status::KNOWN.iter().any(|known| known.text() == status)
}

/// The longest text that is recorded as it is, in characters.
const MAX_TEXT: usize = 200;

/// The longest word of it: tokens and keys are longer.
const MAX_WORD: usize = 48;

/// The longest key of a JSON object that is recorded as it is.
const MAX_KEY: usize = 40;

// === impl Kind ===

impl Kind {
    /// For people, in the plural.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "cluster names",
            Self::ClusterId => "cluster identifiers",
            Self::File => "file names",
            Self::Fingerprint => "fingerprints of certificates",
            Self::Host => "hosts and addresses",
            Self::JsonKey => "JSON keys",
            Self::Key => "key identifiers",
            Self::Number => "identifiers of accounts and tokens",
            Self::Subject => "subjects of certificates",
            Self::Text => "texts",
            Self::User => "user names",
        }
    }

    /// Whether the exporter understands `name`; what it does not understand must not turn into something that it does.
    fn fits(self, name: &str) -> bool {
        let all = |allowed: fn(u8) -> bool, most: usize| name.len() <= most && name.bytes().all(allowed);
        match self {
            Self::ClusterId => name.len() == 36 && all(|byte| byte.is_ascii_hexdigit() || byte == b'-', 36),
            Self::Host => all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte), 253),
            Self::Key => all(|byte| (b' '..=b'~').contains(&byte), 128),
            Self::Number => all(|byte| byte.is_ascii_alphanumeric(), 64),
            Self::Text => false,
            Self::Cluster | Self::File | Self::Fingerprint | Self::JsonKey | Self::Subject | Self::User => true,
        }
    }

    /// Whether the exporter's messages can hold it outside of quotes. Others can be any word of a message.
    fn is_in_messages(self) -> bool {
        matches!(self, Self::File | Self::Fingerprint | Self::Host | Self::Number | Self::Text)
    }

    /// Whether it is looked for in texts. A short number and a word of the API identify nobody.
    fn is_searched_for(self, name: &str) -> bool {
        let statuses = Status::KNOWN;
        let words = statuses.iter().flat_map(|status| status.text().split(' ')).chain(KEY_STORES);
        !name.is_empty()
            && !words.chain(["cluster", "qumulo"]).any(|word| word.eq_ignore_ascii_case(name))
            && (self != Self::Number || name.len() >= 10)
    }

    /// The `count`th placeholder of this kind.
    fn placeholder(self, name: &str, count: usize) -> String {
        match self {
            Self::Cluster => format!("cluster-{count}"),
            Self::ClusterId => format!("00000000-0000-4000-8000-{count:012x}"),
            Self::File => format!("file-{count}"),
            Self::Fingerprint => {
                let count = format!("{count:064X}");
                let bytes = count.as_bytes().chunks(2).map(|byte| String::from_utf8_lossy(byte));
                bytes.collect::<Vec<_>>().join(":")
            }
            Self::Host => match name.trim_matches(['[', ']']).parse() {
                // Networks for benchmarks and for documentation, which nobody has.
                Ok(IpAddr::V4(_)) => format!("198.18.{}.{}", count / 256 % 256, count % 256),
                Ok(IpAddr::V6(_)) => format!("2001:db8::{count:x}"),
                Err(_) => format!("host-{count}.example"),
            },
            Self::JsonKey => format!("unknown-{count}"),
            Self::Key => format!("key-{count}"),
            Self::Number if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{count:0length$}", length = name.len())
            }
            Self::Number => format!("id{count}"),
            Self::Subject => format!("name-{count}"),
            Self::Text => left_out(name),
            Self::User => format!("user-{count}"),
        }
    }
}

// === impl Names ===

impl Names {
    /// The shortest secrets are words of the API by chance, and protect nothing.
    pub fn new(keep: bool, mut secrets: Vec<Secret>) -> Self {
        secrets.retain(|secret| secret.expose().len() >= 4);
        Self { keep, left_out: 0, secrets, seen: BTreeMap::new() }
    }

    /// How many names of each kind were replaced.
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for (kind, _) in self.seen.keys().filter(|(kind, _)| *kind != Kind::Text) {
            *counts.entry(*kind).or_default() += 1;
        }
        counts
    }

    /// What stands for a name. An empty name stays empty, and addresses of this host stay what they are.
    pub fn name(&mut self, kind: Kind, name: &str) -> String {
        let is_loopback = name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if name.is_empty() || (kind == Kind::Host && is_loopback) {
            return name.to_owned();
        }
        if self.keep && name.chars().count() <= MAX_TEXT && !self.is_secret(name) {
            return name.to_owned();
        }
        // The exporter shows hosts in lower case.
        let name = if kind == Kind::Host { name.to_ascii_lowercase() } else { name.to_owned() };
        if !kind.fits(&name) {
            return self.text_left_out(&name);
        }
        self.placeholder(kind, name)
    }

    fn placeholder(&mut self, kind: Kind, name: String) -> String {
        let count = 1 + self.seen.keys().filter(|(seen, _)| *seen == kind).count();
        self.seen.entry((kind, name)).or_insert_with_key(|(_, name)| kind.placeholder(name, count)).clone()
    }

    /// A key of a JSON object without a rule: as it is, if it looks like one of the API and is not a name.
    pub fn key(&mut self, key: &str) -> String {
        let is_plain = key.len() <= MAX_KEY && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_name = || self.seen.keys().any(|(kind, name)| *kind != Kind::JsonKey && name.eq_ignore_ascii_case(key));
        if is_plain && !is_name() && !self.is_secret(key) { key.to_owned() } else { self.name(Kind::JsonKey, key) }
    }

    /// What stands for a text of which only the length is kept.
    pub fn length(&mut self, text: &str) -> String {
        self.left_out += 1;
        left_out(text)
    }

    /// The same of one that may be in the exporter's words, too; there it can be cut.
    fn text_left_out(&mut self, text: &str) -> String {
        for form in [text, ForeignText::new(text).as_str()] {
            self.seen.insert((Kind::Text, form.to_owned()), left_out(text));
        }
        self.length(text)
    }

    /// A text from a place where no names are expected: as it is, without the names that are in it all the same. Only its
    /// length, if it is long, has long words or characters that nobody sees, or holds a secret.
    pub fn text(&mut self, text: &str) -> String {
        let is_long = text.chars().count() > MAX_TEXT || text.split_whitespace().any(|word| word.len() > MAX_WORD);
        if is_long || text.chars().any(is_hidden) || self.is_secret(text) {
            return self.text_left_out(text);
        }
        if self.keep || is_api_text(text) {
            return text.to_owned();
        }
        // Addresses, paths, accounts: `kms.corp`, `10.0.0.1`, `/etc/kms`, `kms:5696`, `root@kms`.
        for word in text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())) {
            if word.contains(['.', ':', '/', '\\', '@']) {
                self.placeholder(Kind::Host, word.to_ascii_lowercase());
            }
        }
        let replaced = self.replace(text, |kind| kind != Kind::Text);
        let replaced = self.replace_quoted(&replaced);
        if replaced != text {
            self.seen.insert((Kind::Text, text.to_owned()), replaced.clone());
        }
        replaced
    }

    /// A message of the exporter without the names in it. Users and subjects of certificates are in quotes there.
    pub fn message(&mut self, text: &str) -> String {
        if self.is_secret(text) {
            return self.length(text);
        }
        if self.keep {
            return text.to_owned();
        }
        let replaced = self.replace(text, Kind::is_in_messages);
        self.replace_quoted(&replaced)
    }

    fn replace_quoted(&mut self, text: &str) -> String {
        let replace = |(index, part): (usize, &str)| {
            if index % 2 == 0 || self.seen.values().any(|placeholder| placeholder == part) {
                return part.to_owned();
            }
            let user = self.seen.get(&(Kind::User, part.to_owned())).cloned();
            user.unwrap_or_else(|| self.name(Kind::Subject, part))
        };
        text.split('"').enumerate().map(replace).collect::<Vec<_>>().join("\"")
    }

    /// Replaces the names of some kinds.
    fn replace(&self, text: &str, wanted: impl Fn(Kind) -> bool) -> String {
        let small = text.to_ascii_lowercase();
        let names = self.seen.iter().filter(|((kind, name), _)| {
            wanted(*kind) && small.contains(&name.to_ascii_lowercase()) && kind.is_searched_for(name)
        });
        let mut names: Vec<(&str, &str)> = names.map(|((_, name), with)| (&**name, &**with)).collect();
        names.sort_by_key(|(name, _)| Reverse(name.len()));
        let (mut replaced, mut rest, mut in_word) = (String::with_capacity(text.len()), text, false);
        while let Some(first) = rest.chars().next() {
            let found = names.iter().find(|(name, _)| !in_word && begins_with(rest, name));
            let taken = found.map_or(first.len_utf8(), |(name, _)| name.len());
            let (head, tail) = rest.split_at_checked(taken).unwrap_or((rest, ""));
            replaced.push_str(found.map_or(head, |(_, with)| with));
            in_word = head.chars().next_back().is_some_and(char::is_alphanumeric);
            rest = tail;
        }
        replaced
    }

    /// Whether a text holds a credential that was in use, or something that looks like one.
    pub fn is_secret(&self, text: &str) -> bool {
        looks_like_secret(text) || self.secrets.iter().any(|secret| secret.is_in(text.as_bytes()))
    }
}

/// Whether `text` begins with the whole word `name`, in letters of any case.
fn begins_with(text: &str, name: &str) -> bool {
    text.split_at_checked(name.len()).is_some_and(|(head, tail)| {
        head.eq_ignore_ascii_case(name) && !tail.chars().next().is_some_and(char::is_alphanumeric)
    })
}

/// What stands for a text that is not recorded. No name, number or date looks like this.
fn left_out(text: &str) -> String {
    match text.chars().count() {
        0 => String::new(),
        count => format!("‹string, {count} characters›"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keep: bool) -> Names {
        Names::new(keep, vec![Secret::new("hunter2")])
    }

    #[test]
    fn placeholders_are_stable_and_of_the_same_form() {
        let mut names = names(false);
        for (kind, name, expect) in [
            (Kind::Cluster, "prod", "cluster-1"),
            (Kind::Host, "KMS.corp", "host-1.example"),
            (Kind::Host, "kms.corp", "host-1.example"),
            (Kind::Host, "10.0.0.1", "198.18.0.2"),
            (Kind::Host, "fd00::1", "2001:db8::3"),
            (Kind::Host, "127.0.0.1", "127.0.0.1"),
            (Kind::Host, "localhost", "localhost"),
            (Kind::Host, "not a host", "‹string, 10 characters›"),
            (Kind::ClusterId, "f8a2c1d4-0b3e-4c5d-9e8f-001122334455", "00000000-0000-4000-8000-000000000001"),
            (Kind::ClusterId, "none", "‹string, 4 characters›"),
            (Kind::Key, "8f2c", "key-1"),
            (Kind::Key, "é", "‹string, 1 characters›"),
            (Kind::Number, "1001", "0001"),
            (Kind::Number, "ab12", "id2"),
            (Kind::User, "monitor", "user-1"),
            (Kind::User, "", ""),
            (Kind::Cluster, "test", "cluster-2"),
            (Kind::Cluster, "prod", "cluster-1"),
        ] {
            assert_eq!(names.name(kind, name), expect, "{kind:?} {name}");
        }
        let fingerprint = names.name(Kind::Fingerprint, "AA:BB");
        assert!(fingerprint.parse::<crate::client::Pin>().is_ok(), "{fingerprint}");
    }

    #[test]
    fn texts_keep_their_words_and_lose_names_and_secrets() {
        let mut names = names(false);
        names.name(Kind::Cluster, "prod");
        names.name(Kind::Host, "KMS");
        for (text, expect) in [
            ("KMS Available", "KMS Available"),
            ("KMS Quorum Lost", "KMS Quorum Lost"),
            ("next spring", "next spring"),
            ("Prod is unproductive", "cluster-1 is unproductive"),
            ("Cannot reach KMS01.corp.", "Cannot reach host-2.example."),
            ("Cannot reach 10.0.0.1:5696", "Cannot reach host-3.example"),
            ("root@kms /etc/kms", "host-4.example /host-5.example"),
            ("user \"alice\"", "user \"name-1\""),
            ("a hunter2 b", "‹string, 11 characters›"),
            ("access-v1:x", "‹string, 11 characters›"),
            ("a\u{202e}b", "‹string, 3 characters›"),
            (&"x".repeat(49), "‹string, 49 characters›"),
            (&"x ".repeat(101), "‹string, 202 characters›"),
        ] {
            assert_eq!(names.text(text), expect);
        }
        // The exporter's words about such a text.
        let long = "x ".repeat(101);
        let cut = format!("Unrecognised status: {}", ForeignText::new(&long));
        assert_eq!(names.message(&cut), "Unrecognised status: ‹string, 202 characters›");
        assert_eq!(
            names.message("the login of \"bob\" at Kms01.corp:8000 (401)"),
            "the login of \"name-2\" at host-2.example:8000 (401)"
        );
    }

    #[test]
    fn keys_are_recorded_if_they_look_like_the_api_s() {
        let mut names = names(false);
        names.name(Kind::User, "alice");
        for (key, expect) in [
            ("kms_state", "kms_state"),
            ("alice", "unknown-1"),
            ("kms01", "unknown-2"),
            ("hunter2", "unknown-3"),
            ("Key", "unknown-4"),
            (&"x".repeat(41), "unknown-5"),
        ] {
            assert_eq!(names.key(key), expect);
        }
    }

    #[test]
    fn names_are_kept_where_that_is_wanted_and_secrets_never() {
        let mut names = names(true);
        assert_eq!(names.name(Kind::Host, "kms.corp"), "kms.corp");
        assert_eq!(names.text("Cannot reach kms.corp"), "Cannot reach kms.corp");
        assert_eq!(names.message("the login of \"bob\""), "the login of \"bob\"");
        assert_eq!(names.name(Kind::User, "hunter2"), "user-1");
        assert_eq!(names.text("hunter2"), "‹string, 7 characters›");
        assert_eq!(names.message("a hunter2"), "‹string, 9 characters›");
    }
}
