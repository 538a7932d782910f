//! Error messages that suggest a correction.

use super::Position;
use crate::{model::is_hidden, secret::looks_like_secret};

pub const SECRET: &str = "looks like a token or a private key; put it in a file and set the path of that file";

/// Typically `"CORP\exporter"`.
pub const CONTROL: &str = "contains a control character or a line break; YAML replaces backslash sequences in double \
                           quotes, so use single quotes or no quotes";

pub const TAB: &str = "a tab is used for indentation; use spaces";

/// Keys of other exporters and clients, and their equivalent.
const COMMON_KEYS: &[(&str, &str)] = &[
    ("address", "`url`"),
    ("api_key", "`authorization: {credentials_file: …}`"),
    ("basic_auth", "`login: {username: …, password_file: …}`"),
    ("bearer_token", "`authorization: {credentials_file: …}`"),
    ("bearer_token_file", "`authorization: {credentials_file: …}`"),
    ("cluster", "`name` and `url`"),
    ("endpoint", "`url`"),
    ("host", "`url`"),
    ("hostname", "`url`"),
    ("insecure", "`tls_config: {insecure_skip_verify: true}`"),
    ("interval", "`poll_interval`"),
    ("password", "`login: {username: …, password_file: …}`"),
    ("port", "`url`, as in https://prod.example.com:8000"),
    ("proxy", "`proxy_url`"),
    ("scrape_interval", "`poll_interval`"),
    ("scrape_timeout", "`poll_timeout`"),
    ("ssl_verify", "`tls_config: {insecure_skip_verify: true}`"),
    ("target", "`url`"),
    ("targets", "`clusters`"),
    ("timeout", "`poll_timeout`"),
    ("tls_verify", "`tls_config: {insecure_skip_verify: true}`"),
    ("token", "`authorization: {credentials_file: …}`"),
    ("token_file", "`authorization: {credentials_file: …}`"),
    ("user", "`login: {username: …, password_file: …}`"),
    ("username", "`login: {username: …, password_file: …}`"),
    ("verify", "`tls_config: {insecure_skip_verify: true}`"),
    ("verify_ssl", "`tls_config: {insecure_skip_verify: true}`"),
];

/// Parts of the YAML library's messages, and the message to show instead.
const SYNTAX: &[(&str, &str)] = &[
    ("unclosed quote", "a quote is not closed"),
    ("mapping values are not allowed", "a value contains `: `; put it in quotes"),
    ("unknown value", "an alias (`*name`) has no anchor (`&name`)"),
    ("tab", TAB),
    ("indent", "the indentation does not match any line above"),
    ("recursion", "is nested too deeply"),
    ("depth", "is nested too deeply"),
    ("budget", "is too large, or its aliases expand without limit"),
    ("alias", "its aliases expand without limit"),
    ("null is not allowed", "a key is missing before the colon"),
    ("multiple documents", "contains more than one document (`---`); keep only one"),
];

/// Finds white space other than a plain space before or after a key or after the dash of a list item. YAML would treat it as
/// text and report an error elsewhere.
pub fn find_special_space(text: &str) -> Option<(Position, String)> {
    text.lines().zip(1..).find_map(|(line, number)| {
        let is_special = |c: char| !c.is_ascii() && (c.is_whitespace() || is_hidden(c));
        let line: Vec<char> = line.chars().collect();
        let run = |from: usize, of: &dyn Fn(char) -> bool| line.iter().skip(from).take_while(|c| of(**c)).count();
        let indent = run(0, &|c| matches!(c, ' ' | '\t' | '-'));
        let key = indent + run(indent, &|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        let colon = key + run(key, &is_special);
        let is_key = key > indent && line.get(colon) == Some(&':');
        let places = [indent, if is_key { key } else { indent }, if is_key { colon + 1 } else { indent }];
        let special = places.into_iter().find_map(|at| Some((at, *line.get(at).filter(|c| is_special(**c))?)));
        let (at, found) = special?;
        let name = match found {
            '\u{a0}' | '\u{202f}' => "a no-break space",
            '\u{feff}' => "a byte order mark",
            '\u{200b}'..='\u{200f}' | '\u{2060}' => "an invisible character",
            _ => "a special space",
        };
        let problem = format!("{name} (U+{:04X}) is used instead of a plain space; replace it", u32::from(found));
        Some((Position { line: number, column: at as u64 + 1 }, problem))
    })
}

/// The last tab used for indentation, up to the line after a syntax error.
pub fn tab_before(text: &str, error: Position) -> Option<Position> {
    let lines = text.lines().zip(1..).take_while(|(_, number)| *number <= error.line + 1);
    let tabs = lines.filter_map(|(line, number)| {
        let content = line.trim_start();
        let indent = line.strip_suffix(content)?;
        let column = indent.find('\t')? as u64 + 1;
        (!content.is_empty() && !content.starts_with('#')).then_some(Position { line: number, column })
    });
    tabs.last()
}

/// The message for a syntax error of the YAML library.
pub fn syntax(words: &str) -> &'static str {
    let known = SYNTAX.iter().find(|(part, _)| words.contains(part));
    known.map_or(
        "is not valid YAML; check quotes, brackets and indentation on this line and the line before",
        |(_, words)| words,
    )
}

/// Whether a key can be shown in a message. It cannot if it could be a secret in the wrong place.
pub fn is_safe_to_show(key: &str) -> bool {
    key.len() <= 40 && !looks_like_secret(key) && key.chars().all(|c| c.is_alphanumeric() || "_-. ".contains(c))
}

/// The message for a key that is not among the valid keys `here`. `elsewhere` is another section that has it.
pub fn unknown_key(key: &str, here: &[&str], elsewhere: Option<&str>) -> String {
    let close = |known: &&str| strsim::damerau_levenshtein(key, known) <= (key.len() / 4).clamp(1, 3);
    let wanted = here.iter().copied().filter(close).min_by_key(|known| strsim::damerau_levenshtein(key, known));
    let same = here.iter().find(|known| known.replace('_', "") == key.replace(['_', '-'], "").to_lowercase());
    if let Some(wanted) = same.copied().or(wanted) {
        format!("unknown key; did you mean `{wanted}`?")
    } else if let Some(section) = elsewhere {
        format!("unknown key here; move it under `{section}`")
    } else if let Some((_, meant)) = COMMON_KEYS.iter().find(|(known, _)| *known == key) {
        format!("unknown key; use {meant}")
    } else if is_safe_to_show(key) {
        format!("unknown key; valid keys are {}", here.join(", "))
    } else {
        format!("unknown key, which could be a secret; valid keys are {}", here.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_people_try_are_understood() {
        let here = ["name", "url", "authorization", "login", "tls_config", "poll_interval", "poll_timeout"];
        let check = |key: &str, words: &str| {
            let got = unknown_key(key, &here, (key == "ca_file").then_some("tls_config"));
            assert!(got.ends_with(words), "{key}: {got}");
        };
        check("autorization", "did you mean `authorization`?");
        check("pollInterval", "did you mean `poll_interval`?");
        check("poll-timeout", "did you mean `poll_timeout`?");
        check("Name", "did you mean `name`?");
        check("ca_file", "move it under `tls_config`");
        check("token_file", "use `authorization: {credentials_file: …}`");
        check("host", "use `url`");
        check("colour", &format!("valid keys are {}", here.join(", ")));
        check("kJ8s7dD92hWW/qPz01mZx3==", &format!("could be a secret; valid keys are {}", here.join(", ")));
    }

    #[test]
    fn space_that_yaml_takes_for_text_is_named_with_its_line() {
        let check = |text: &str, expect: Option<(u64, u64, &str)>| {
            let got = find_special_space(text);
            let got = got.as_ref().map(|(position, problem)| (position.line, position.column, problem.as_str()));
            match (got, expect) {
                (None, None) => {}
                (Some((line, column, problem)), Some((at, position, words))) => {
                    assert!((line, column) == (at, position) && problem.contains(words), "{text:?}: {got:?}");
                }
                _ => panic!("{text:?}: {got:?}"),
            }
        };
        check("clusters:\n\u{a0}\u{a0}- name: a", Some((2, 1, "a no-break space (U+00A0)")));
        check("clusters:\n  - name: a\n  \u{a0}\u{a0}url: b", Some((3, 3, "U+00A0")));
        check("clusters:\n- name:\u{a0}a", Some((2, 8, "U+00A0")));
        check("clusters:\n- name\u{a0}: a", Some((2, 7, "U+00A0")));
        check("clusters:\n-\u{a0}name: a", Some((2, 2, "U+00A0")));
        check("clusters:\n\u{3000}- name: a", Some((2, 1, "a special space (U+3000)")));
        check("clusters:\n  \u{200b}- name: a", Some((2, 3, "an invisible character (U+200B)")));
        check("x-a: 1\n\u{feff}clusters: []", Some((2, 1, "a byte order mark")));
        check("name: a\u{a0}b\n# \u{a0}\nother: 'a:\u{a0}b'\n- Berlin\u{a0}Mitte", None);
        check("name: 'K\u{f6}ln'\r\n\turl: x", None);
    }

    #[test]
    fn common_keys_are_listed_once_and_in_order() {
        assert!(COMMON_KEYS.is_sorted_by(|(one, _), (other, _)| one < other));
    }
}
