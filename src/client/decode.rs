//! JSON from a cluster to model. Any bytes give a value or an error.
//!
//! The quirks of the API are documented here and nowhere else:
//!
//! * One status ends in a full stop (`Cannot connect to KMS server.`). Statuses are compared without regard to full stops,
//!   case and white space.
//! * A missing date is `null`. `""` and absent are accepted, too: the vendor's own Python client expects all four keys and
//!   shows nothing for `null`.
//! * Core 6.2.1 has another response at the same path, which later versions dropped.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{
    model::{
        AccessToken, ClusterId, CoreVersion, Date, DateField, Dates, ForeignText, KeyStore, KmsServer, Privileges,
        Status, Timestamp,
    },
    secret::Secret,
};

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    #[error("the response is JSON but not an object")]
    NoObject,
    #[error("the response has no string `status`")]
    NoStatus,
    #[error("the response to the login has no usable `bearer_token`")]
    NoToken,
    /// The position of the first error, from 1. The response is not repeated: it can contain anything.
    #[error("the response is not JSON (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
}

/// The part of a [`crate::model::PollResult`] that comes from the status endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedStatus {
    pub dates: Dates,
    pub key_store: KeyStore,
    pub status: Status,
}

/// The response at `/v2/encryption/key-store/status`.
#[derive(Clone, Debug, PartialEq)]
pub enum V2Response {
    /// Core 6.2.1 and 6.2.1.2: `{"type": "ENCRYPTION_TYPE_…", "value": {…}}`. It has no reliable status, so the status comes
    /// from v1, and only the key store from here.
    PreRelease(KeyStore),
    /// Core 6.2.2 and later.
    Status(DecodedStatus),
}

/// Decodes `GET /v2/encryption/key-store/status`.
///
/// # Errors
///
/// Only without a string `status`; everything else that cannot be decoded is [`KeyStore::Unknown`], [`Status::Unknown`] or
/// [`Date::Unreadable`].
pub fn status_v2(body: &[u8]) -> Result<V2Response, DecodeError> {
    let response = object(body)?;
    if let Some(key_store) = pre_release(&response) {
        return Ok(V2Response::PreRelease(key_store));
    }
    let status = status(&response)?;
    let key_store = match response.get("type").and_then(Value::as_str) {
        Some("Local") => KeyStore::Local,
        Some("KMS") => KeyStore::Kms,
        _ => KeyStore::Unknown,
    };
    let dates = Dates::from_fn(|field| date(response.get(field.label())));
    Ok(V2Response::Status(DecodedStatus { dates, key_store, status }))
}

/// Decodes `GET /v1/encryption/status`, which has two statuses and one date. `key_store` is [`KeyStore::Local`], because
/// external key management arrived with v2, unless [`V2Response::PreRelease`] said otherwise.
///
/// # Errors
///
/// Only without a string `status`.
pub fn status_v1(body: &[u8], key_store: KeyStore) -> Result<DecodedStatus, DecodeError> {
    let response = object(body)?;
    let status = status(&response)?;
    let dates = Dates::from_fn(|field| match field {
        DateField::LastKeyRotationTime => date(response.get(field.label())),
        _ => Date::NotReported,
    });
    Ok(DecodedStatus { dates, key_store, status })
}

/// The server of `GET /v2/encryption/key-store`; `None` with a local key store.
pub fn kms_server(body: &[u8]) -> Option<KmsServer> {
    let response = object(body).ok()?;
    let server = response.get("kms_store")?.as_object()?;
    let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
    // The vendor's own client sends it as a string.
    let port = server.get("port").and_then(|port| port.as_u64().or_else(|| port.as_str()?.parse().ok()));
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    Some(KmsServer::new(text("hostname"), port, text("key_id"), timestamp(text("config_creation_time"))))
}

/// The account's id and privileges from `GET /v1/session/who-am-i`. The id becomes a part of another request's path, so only
/// digits are accepted.
pub fn who_am_i(body: &[u8]) -> Option<(String, Privileges)> {
    let response = object(body).ok()?;
    let id = response.get("id")?.as_str()?;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let names = response.get("privileges")?.as_array()?.iter().filter_map(Value::as_str);
    Some((id.to_owned(), Privileges::new(names)))
}

/// The enabled access tokens from `GET /v1/auth/access-tokens/`. An account has two at most; 16 are read.
pub fn access_tokens(body: &[u8]) -> Vec<AccessToken> {
    const MOST: usize = 16;
    let response = object(body).unwrap_or_default();
    let entries = response.get("entries").and_then(Value::as_array).into_iter().flatten();
    let tokens = entries.filter_map(|entry| {
        let enabled = entry.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        let expires = entry.get("expiration_time").and_then(Value::as_str).and_then(timestamp);
        AccessToken::new(entry.get("id")?.as_str()?, expires).filter(|_| enabled)
    });
    tokens.take(MOST).collect()
}

/// The cluster's UUID from `GET /v1/node/state`, which is empty while a node is not configured.
pub fn cluster_id(body: &[u8]) -> Option<ClusterId> {
    ClusterId::parse(object(body).ok()?.get("cluster_id")?.as_str()?)
}

/// The version from `GET /v1/version`: the part after the last space of `revision_id` (`Qumulo Core 7.2.3.1`), as the
/// vendor's own client reads it.
pub fn version(body: &[u8]) -> Option<CoreVersion> {
    CoreVersion::parse(object(body).ok()?.get("revision_id")?.as_str()?.rsplit(' ').next()?)
}

/// The token from the response to `POST /v1/session/login`.
///
/// # Errors
///
/// When there is no token, or one that cannot be sent in a header.
pub fn bearer_token(body: &[u8]) -> Result<Secret, DecodeError> {
    let Some(Value::String(token)) = object(body)?.remove("bearer_token") else { return Err(DecodeError::NoToken) };
    let token = Secret::take(token);
    let usable = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(token).ok_or(DecodeError::NoToken)
}

/// `error_class` of an error's body, if it is an identifier such as `http_not_found_error`. Only for messages: which classes
/// exist is not documented.
pub fn error_class(body: &[u8]) -> Option<String> {
    let class = object(body).ok()?.get("error_class")?.as_str()?.to_owned();
    let identifier = class.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (identifier && (1..=64).contains(&class.len())).then_some(class)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(response)) => Ok(response),
        Ok(_) => Err(DecodeError::NoObject),
        Err(err) => Err(DecodeError::Syntax { line: err.line(), column: err.column() }),
    }
}

/// The key store, if this is the response of Core 6.2.1 (which `qumulo-api` 6.2.1 and 6.2.1.2 read, and no other release).
fn pre_release(response: &Map<String, Value>) -> Option<KeyStore> {
    if response.contains_key("status") || !response.contains_key("value") {
        return None;
    }
    match response.get("type")?.as_str()? {
        "ENCRYPTION_TYPE_LOCAL" => Some(KeyStore::Local),
        "ENCRYPTION_TYPE_KMIP" => Some(KeyStore::Kms),
        _ => Some(KeyStore::Unknown),
    }
}

fn status(response: &Map<String, Value>) -> Result<Status, DecodeError> {
    let text = response.get("status").and_then(Value::as_str).ok_or(DecodeError::NoStatus)?;
    let words = normalized(text);
    let known = Status::KNOWN.into_iter().find(|known| normalized(known.text()) == words);
    Ok(known.unwrap_or_else(|| Status::Unknown(ForeignText::new(text))))
}

/// The text without full stops, in lower case and with single spaces.
fn normalized(text: &str) -> String {
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

/// RFC 3339 with any number of fractional digits (clusters send 0 to 9, without trailing zeros).
pub fn timestamp(text: &str) -> Option<Timestamp> {
    Timestamp::new(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
