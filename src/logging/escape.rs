//! Text that cannot do harm in a log line.
//!
//! Both formats use the same escapes, which JSON, Go and the usual logfmt parsers read alike: `\n`, `\r`, `\t`, `\"`,
//! `\\` and `\uXXXX`. Beyond what JSON asks for, they cover everything that a terminal may obey or that hides what the
//! line says ([`is_hidden`]).

use std::fmt::Write;

use crate::model::is_hidden;

/// Appends `text` in double quotes, escaped: a JSON string, and a quoted logfmt value.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        push_escaped(out, c);
    }
    out.push('"');
}

/// Whether `text` can be a logfmt value without quotes, by the rules of Go's `slog`: not empty, and no space, `=`, `"`
/// or unprintable character. A backslash may stand there, it escapes nothing outside quotes.
pub fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || matches!(c, '=' | '"') || is_hidden(c))
}

/// Appends a key of which only `A-Z a-z 0-9 _ . -` are left; anything else becomes `_`.
pub fn push_key(out: &mut String, key: &str) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    out.extend(key.chars().map(|c| if is_plain(c) { c } else { '_' }));
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_hidden(c) => {
            // Beyond U+FFFF a surrogate pair, as JSON and the logfmt parsers made from its decoder have it.
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A String takes every write.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        push_quoted(&mut out, text);
        out
    }

    #[test]
    fn escapes() {
        for (text, expect) in [
            ("plain", r#""plain""#),
            ("a \"b\" \\ c", r#""a \"b\" \\ c""#),
            ("1\n2\r3\t4", r#""1\n2\r3\t4""#),
            ("\u{1b}[2J\u{7f}\0", r#""\u001b[2J\u007f\u0000""#),
            ("\u{9b}31m\u{85}", r#""\u009b31m\u0085""#),
            ("\u{e0041}\u{34f}", r#""\udb40\udc41\u034f""#),
            ("\u{2028}\u{202e}\u{2066}\u{feff}", r#""\u2028\u202e\u2066\ufeff""#),
            ("Zürich 東京 🔑", r#""Zürich 東京 🔑""#),
        ] {
            assert_eq!(quoted(text), expect);
        }
    }

    #[test]
    fn bare() {
        for text in ["a", "10.0.0.1:8000", "C:\\logs", "Zürich", "{}'", "https://host/?a"] {
            assert!(is_bare(text), "{text}");
        }
        for text in ["", "a b", "a=b", "\"", "\n", "\u{1b}", "\u{a0}", "\u{3000}", "\u{202e}"] {
            assert!(!is_bare(text), "{text:?}");
        }
    }

    #[test]
    fn keys() {
        let mut out = String::new();
        push_key(&mut out, "a.b-c_d e=\"\n\u{1b}ü");
        assert_eq!(out, "a.b-c_d_e_____");
    }

    proptest! {
        #[test]
        fn json_reads_it_back(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
