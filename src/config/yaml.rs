use serde::de::DeserializeOwned;

use super::Mistakes;

/// Syntax and types. The library's default message quotes the lines around a mistake, which can hold a secret, so
/// nothing but its own words, line and column is used.
///
/// # Errors
///
/// The first mistake, with line and column.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistakes> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|err| {
        let words = err.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let words = words.split(" at line ").next().unwrap_or_default();
        let words = words
            .replace("expected mapping start", "expected keys with values (`key: value`)")
            .replace("expected sequence start", "expected a list (`- item`)")
            .replace("unexpected end of file", "the file is empty; write at least `clusters:` with one cluster");
        let place = err.location().map_or_else(
            || "the file".to_owned(),
            |location| format!("line {}, column {}", location.line(), location.column()),
        );
        let mut mistakes = Mistakes::default();
        mistakes.add(place, words);
        mistakes
    })
}
