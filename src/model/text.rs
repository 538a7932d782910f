use std::fmt;

const MAX_CHARS: usize = 200;

/// Text from a cluster, a proxy or a library, truncated to 200 characters. Never a label value.
///
/// It is not escaped: log and page do that for their format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForeignText(Box<str>);

/// Whether a character is invisible or changes how others are displayed: control characters, line separators, bidirectional
/// formatting, annotations, and Unicode's `Default_Ignorable_Code_Point`.
///
/// Cluster names cannot contain these characters; log, page and terminal show them as an escape.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Writes the hidden characters of JSON text as `\uXXXX`, which means the same. Line breaks stay.
pub fn escape_hidden(json: String) -> String {
    let is_odd = |c: char| is_hidden(c) && c != '\n';
    if !json.contains(is_odd) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        if is_odd(character) {
            // Beyond U+FFFF a surrogate pair, as in JSON.
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    text
}

// === impl ForeignText ===

impl ForeignText {
    pub fn new(text: &str) -> Self {
        match text.char_indices().nth(MAX_CHARS) {
            None => Self(text.into()),
            Some((end, _)) => Self(format!("{}…", text.get(..end).unwrap_or_default()).into()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = ForeignText::new(&"ä".repeat(500));
        assert_eq!(text.as_str().chars().count(), MAX_CHARS + 1);
        assert_eq!(ForeignText::new("short").as_str(), "short");
    }
}
