//! What is recorded of a response's body: an allow-list of the places where a string is more than its length.

use serde_json::{Map, Number, Value};

use super::names::{Kind, Names};

/// What is recorded of a string.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// A date, or what stands in its place.
    Date,
    Name(Kind),
    /// Itself, if it looks like a text.
    Text,
    /// Itself, if its last word is a version.
    Version,
}

/// The places of each path. `*` stands for any place in a list, and in place of a path for every path.
const PLACES: &[(&str, &str, Rule)] = &[
    ("*", "/error_class", Rule::Text),
    ("v1/auth/access-tokens/", "/entries/*/creation_time", Rule::Date),
    ("v1/auth/access-tokens/", "/entries/*/creator/auth_id", Rule::Name(Kind::Number)),
    ("v1/auth/access-tokens/", "/entries/*/creator/name", Rule::Name(Kind::User)),
    ("v1/auth/access-tokens/", "/entries/*/enabled", Rule::Text),
    ("v1/auth/access-tokens/", "/entries/*/expiration_time", Rule::Date),
    ("v1/auth/access-tokens/", "/entries/*/id", Rule::Name(Kind::Number)),
    ("v1/auth/access-tokens/", "/entries/*/user/auth_id", Rule::Name(Kind::Number)),
    ("v1/auth/access-tokens/", "/entries/*/user/name", Rule::Name(Kind::User)),
    ("v1/encryption/status", "/last_key_rotation_time", Rule::Date),
    ("v1/encryption/status", "/status", Rule::Text),
    ("v1/node/state", "/cluster_id", Rule::Name(Kind::ClusterId)),
    ("v1/node/state", "/state", Rule::Text),
    ("v1/session/who-am-i", "/id", Rule::Name(Kind::Number)),
    ("v1/session/who-am-i", "/name", Rule::Name(Kind::User)),
    ("v1/session/who-am-i", "/privileges/*", Rule::Text),
    ("v1/version", "/build_date", Rule::Date),
    ("v1/version", "/flavor", Rule::Text),
    ("v1/version", "/revision_id", Rule::Version),
    ("v2/encryption/key-store", "/kms_store/config_creation_time", Rule::Date),
    ("v2/encryption/key-store", "/kms_store/hostname", Rule::Name(Kind::Host)),
    ("v2/encryption/key-store", "/kms_store/key_id", Rule::Name(Kind::Key)),
    ("v2/encryption/key-store", "/kms_store/port", Rule::Text),
    ("v2/encryption/key-store", "/local_store/status", Rule::Text),
    ("v2/encryption/key-store", "/type", Rule::Text),
    ("v2/encryption/key-store/status", "/ca_cert_expiry", Rule::Date),
    ("v2/encryption/key-store/status", "/client_cert_expiry", Rule::Date),
    ("v2/encryption/key-store/status", "/last_key_rotation_time", Rule::Date),
    ("v2/encryption/key-store/status", "/last_status_update_time", Rule::Date),
    ("v2/encryption/key-store/status", "/status", Rule::Text),
    ("v2/encryption/key-store/status", "/type", Rule::Text),
    ("v2/encryption/key-store/status", "/value/certificate_expiry", Rule::Date),
    ("v2/encryption/key-store/status", "/value/hostname", Rule::Name(Kind::Host)),
    ("v2/encryption/key-store/status", "/value/key_expiry", Rule::Date),
    ("v2/encryption/key-store/status", "/value/key_id", Rule::Name(Kind::Key)),
    ("v2/encryption/key-store/status", "/value/last_key_rotation_time", Rule::Date),
    ("v2/encryption/key-store/status", "/value/status", Rule::Text),
];

/// The largest number that is recorded elsewhere: a port, a count, a code. Larger ones could identify.
const MAX_NUMBER: f64 = 65_535.0;

/// What is recorded of the JSON `value`, which is in the response from `path` (without a query) at `at`, as in [`PLACES`].
pub fn redact(value: &Value, path: &str, at: &str, names: &mut Names) -> Value {
    let documented = PLACES.iter().filter(|(of, _, _)| ["*", path].contains(of));
    let rule = documented.clone().find(|(_, key, _)| *key == at).map(|(_, _, rule)| *rule);
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) => {
            let is_name = matches!(rule, None | Some(Rule::Name(_)));
            let is_small = number.as_f64().is_some_and(|number| number.abs() <= MAX_NUMBER);
            Value::Number(if is_small || !is_name { number.clone() } else { Number::from(0) })
        }
        Value::String(text) => Value::String(match rule {
            None => names.length(text),
            Some(Rule::Date) if is_date(text) => text.clone(),
            Some(Rule::Version) if is_version(text) => text.clone(),
            Some(Rule::Date | Rule::Text | Rule::Version) => names.text(text),
            Some(Rule::Name(kind)) => names.name(kind, text),
        }),
        Value::Array(values) => {
            let at = format!("{at}/*");
            Value::Array(values.iter().map(|value| redact(value, path, &at, names)).collect())
        }
        Value::Object(values) => {
            let mut redacted = Map::new();
            for (key, value) in values {
                let at = format!("{at}/{key}");
                let is_above =
                    |below: &str| below.strip_prefix(&*at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                let is_documented = !key.contains('/') && documented.clone().any(|(_, below, _)| is_above(below));
                let key = if is_documented { key.clone() } else { names.key(key) };
                redacted.insert(key, redact(value, path, &at, names));
            }
            Value::Object(redacted)
        }
    }
}

/// Whether it has the characters of a date and begins with a year.
fn is_date(text: &str) -> bool {
    let year = text.split('-').next().unwrap_or_default();
    let in_date = |byte: u8| byte.is_ascii_digit() || b"-:.+TZtz ".contains(&byte);
    year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 40 && text.bytes().all(in_date)
}

/// `Qumulo Core 7.2.3.1`.
fn is_version(text: &str) -> bool {
    let Some((name, number)) = text.rsplit_once(' ') else { return false };
    name == "Qumulo Core" && number.len() <= 40 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
