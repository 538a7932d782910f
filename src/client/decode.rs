//! JSON from a cluster -> model. Pure and total: any bytes give an answer or an error.
//!
//! The vendor's quirks are named here and nowhere else:
//!
//! * One status ends in a full stop (`Cannot connect to KMS server.`). Statuses are compared without full stops, and
//!   whatever their case and white space.
//! * An optional date is `null` on the wire, and tolerated as `""` or absent: the vendor's own Python client indexes
//!   all four keys and shows `null` as nothing.
//! * Core 6.2.1 answers the same path in a shape of its own, which later versions dropped.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{
    model::{
        AccessToken, ClusterId, CoreVersion, Date, DateField, Dates, ForeignText, KeyStore, KmsServer, Privileges,
        Status, Timestamp,
    },
    secret::Secret,
};

/// What could not be decoded of an answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// JSON, but not an object.
    #[error("the response is JSON but not an object")]
    NoObject,
    /// No `status`, or one that is no string.
    #[error("the response has no string `status`")]
    NoStatus,
    /// A login without a token.
    #[error("the response to the login has no usable `bearer_token`")]
    NoToken,
    /// No JSON at all. The answer itself is not repeated: it can be anything.
    #[error("the response is not JSON (line {line}, column {column})")]
    Syntax {
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
    },
}

/// The part of a [`crate::model::PollResult`] that the status endpoints give.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedStatus {
    /// The four dates.
    pub dates: Dates,
    /// `type`.
    pub key_store: KeyStore,
    /// `status`.
    pub status: Status,
}

/// What answered at `/v2/encryption/key-store/status`.
#[derive(Clone, Debug, PartialEq)]
pub enum V2Response {
    /// Core 6.2.1 and 6.2.1.2: `{"type": "ENCRYPTION_TYPE_…", "value": {…}}`. It has no status that can be relied on,
    /// so the older endpoint is asked; the key store is known from here.
    PreRelease(KeyStore),
    /// Core 6.2.2 and later.
    Status(DecodedStatus),
}

/// Decodes `GET /v2/encryption/key-store/status`.
///
/// # Errors
///
/// Only without a `status` that is a string; everything else that is not decoded is [`KeyStore::Unknown`],
/// [`Status::Unknown`] or [`Date::Unreadable`].
pub fn status_v2(body: &[u8]) -> Result<V2Response, DecodeError> {
    let answer = object(body)?;
    if let Some(key_store) = pre_release(&answer) {
        return Ok(V2Response::PreRelease(key_store));
    }
    let status = status(&answer)?;
    let key_store = match answer.get("type").and_then(Value::as_str) {
        Some("Local") => KeyStore::Local,
        Some("KMS") => KeyStore::Kms,
        _ => KeyStore::Unknown,
    };
    let dates = Dates::from_fn(|field| date(answer.get(field.label())));
    Ok(V2Response::Status(DecodedStatus { dates, key_store, status }))
}

/// Decodes `GET /v1/encryption/status`, which knows two statuses and one date. `key_store` is what else is known:
/// [`KeyStore::Local`], because external key management arrived with v2, unless the pre-release shape said otherwise.
///
/// # Errors
///
/// Only without a `status` that is a string.
pub fn status_v1(body: &[u8], key_store: KeyStore) -> Result<DecodedStatus, DecodeError> {
    let answer = object(body)?;
    let status = status(&answer)?;
    let dates = Dates::from_fn(|field| match field {
        DateField::LastKeyRotationTime => date(answer.get(field.label())),
        _ => Date::NotReported,
    });
    Ok(DecodedStatus { dates, key_store, status })
}

/// The server of `GET /v2/encryption/key-store`; `None` with a local key store.
pub fn kms_server(body: &[u8]) -> Option<KmsServer> {
    let answer = object(body).ok()?;
    let server = answer.get("kms_store")?.as_object()?;
    let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
    // The vendor's own client sends it as text.
    let port = server.get("port").and_then(|port| port.as_u64().or_else(|| port.as_str()?.parse().ok()));
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    Some(KmsServer::new(text("hostname"), port, text("key_id"), timestamp(text("config_creation_time"))))
}

/// The account's number and privileges from `GET /v1/session/who-am-i`. The number goes into the path of another request, so it
/// is digits and nothing else.
pub fn who_am_i(body: &[u8]) -> Option<(String, Privileges)> {
    let answer = object(body).ok()?;
    let id = answer.get("id")?.as_str()?;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let names = answer.get("privileges")?.as_array()?.iter().filter_map(Value::as_str);
    Some((id.to_owned(), Privileges::new(names)))
}

/// The access tokens that are enabled, from `GET /v1/auth/access-tokens/`. An account has two at most.
pub fn access_tokens(body: &[u8]) -> Vec<AccessToken> {
    const MOST: usize = 16;
    let answer = object(body).unwrap_or_default();
    let entries = answer.get("entries").and_then(Value::as_array).into_iter().flatten();
    let tokens = entries.filter_map(|entry| {
        let enabled = entry.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        let expires = entry.get("expiration_time").and_then(Value::as_str).and_then(timestamp);
        AccessToken::new(entry.get("id")?.as_str()?, expires).filter(|_| enabled)
    });
    tokens.take(MOST).collect()
}

/// The cluster's UUID from `GET /v1/node/state`; empty there while a node is not configured.
pub fn cluster_id(body: &[u8]) -> Option<ClusterId> {
    ClusterId::parse(object(body).ok()?.get("cluster_id")?.as_str()?)
}

/// The version from `GET /v1/version`: what follows the last space of `revision_id` (`Qumulo Core 7.2.3.1`), as the
/// vendor's own client reads it.
pub fn version(body: &[u8]) -> Option<CoreVersion> {
    CoreVersion::parse(object(body).ok()?.get("revision_id")?.as_str()?.rsplit(' ').next()?)
}

/// The token from the answer to `POST /v1/session/login`.
///
/// # Errors
///
/// When there is no token, or one that no header can carry.
pub fn bearer_token(body: &[u8]) -> Result<Secret, DecodeError> {
    let Some(Value::String(token)) = object(body)?.remove("bearer_token") else { return Err(DecodeError::NoToken) };
    let token = Secret::take(token);
    let usable = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(token).ok_or(DecodeError::NoToken)
}

/// `error_class` of an error's body, if it is an identifier such as `http_not_found_error`: for logs only, because no
/// source says which classes exist.
pub fn error_class(body: &[u8]) -> Option<String> {
    let class = object(body).ok()?.get("error_class")?.as_str()?.to_owned();
    let identifier = class.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (identifier && (1..=64).contains(&class.len())).then_some(class)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(answer)) => Ok(answer),
        Ok(_) => Err(DecodeError::NoObject),
        Err(err) => Err(DecodeError::Syntax { line: err.line(), column: err.column() }),
    }
}

/// The key store, if this is the shape of Core 6.2.1 (`qumulo-api` 6.2.1 and 6.2.1.2 read it, no other release does).
fn pre_release(answer: &Map<String, Value>) -> Option<KeyStore> {
    if answer.contains_key("status") || !answer.contains_key("value") {
        return None;
    }
    match answer.get("type")?.as_str()? {
        "ENCRYPTION_TYPE_LOCAL" => Some(KeyStore::Local),
        "ENCRYPTION_TYPE_KMIP" => Some(KeyStore::Kms),
        _ => Some(KeyStore::Unknown),
    }
}

fn status(answer: &Map<String, Value>) -> Result<Status, DecodeError> {
    let text = answer.get("status").and_then(Value::as_str).ok_or(DecodeError::NoStatus)?;
    Ok(match words(text).as_str() {
        "cannot connect to kms server" => Status::KmsCannotConnect,
        "configuration corrupted" => Status::ConfigurationCorrupted,
        "encrypted" => Status::Encrypted,
        "kms authentication error" => Status::KmsAuthenticationError,
        "kms available" => Status::KmsAvailable,
        "kms key inactive" => Status::KmsKeyInactive,
        "kms key not found" => Status::KmsKeyNotFound,
        "not encrypted" => Status::NotEncrypted,
        _ => Status::Unknown(ForeignText::new(text)),
    })
}

/// A text without what does not change its meaning.
fn words(text: &str) -> String {
    let words = text.split(|c: char| c == '.' || c.is_whitespace()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

fn date(value: Option<&Value>) -> Date {
    match value {
        None | Some(Value::Null) => Date::NotReported,
        Some(Value::String(text)) if text.is_empty() => Date::NotReported,
        Some(Value::String(text)) => timestamp(text).map_or_else(|| Date::Unreadable(ForeignText::new(text)), Date::At),
        Some(other) => Date::Unreadable(ForeignText::new(&other.to_string())),
    }
}

/// RFC 3339 with any number of fractional digits (clusters send 0 to 9, trailing zeros stripped).
pub fn timestamp(text: &str) -> Option<Timestamp> {
    Timestamp::new(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
