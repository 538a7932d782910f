//! Metadata of access tokens: one token of the user, and one of the administrator.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Context, TOKENS, error,
    login::{AUTH_ID, sid},
    ok,
};

/// Identifiers are too large for numbers in JSON, so they are strings.
const OWN_ID: &str = "1234567890123456789012";
const ADMIN_ID: &str = "2234567890123456789012";
const ADMIN_AUTH_ID: &str = "500";

/// `GET /v1/auth/access-tokens/`, with `?user=auth_id:1001` of one user. All tokens fit one page.
pub fn list(context: &Context, query: &str) -> Response<Bytes> {
    let user = user(query);
    let mut entries = all(context).to_vec();
    entries.retain(|token| user.is_none() || token.pointer("/user/auth_id").and_then(Value::as_str) == user.as_deref());
    ok(json!({ "entries": entries, "paging": { "next": null } }))
}

/// `GET /v1/auth/access-tokens/{id}`
pub fn get(context: &Context, id: &str) -> Response<Bytes> {
    let token = all(context).into_iter().find(|token| token["id"] == id);
    token.map_or_else(|| error(StatusCode::NOT_FOUND, "No such access token."), ok)
}

/// Whether only tokens of the user are requested.
pub fn is_own(path: &str, query: &str) -> bool {
    if path == TOKENS { user(query).as_deref() == Some(AUTH_ID) } else { path.strip_prefix(TOKENS) == Some(OWN_ID) }
}

/// The user whose tokens are requested.
fn user(query: &str) -> Option<String> {
    let (_, user) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "user")?;
    Some(user.strip_prefix("auth_id:").unwrap_or(&user).to_owned())
}

fn all(context: &Context) -> [Value; 2] {
    let auth = &context.spec.auth;
    let token = |id, user, enabled, expiry| {
        json!({
            "id": id,
            "user": user,
            "creator": identity(ADMIN_AUTH_ID, "admin"),
            "creation_time": context.time(&"-90d".into()),
            "expiration_time": context.time(&expiry),
            "enabled": enabled,
        })
    };
    [
        token(OWN_ID, identity(AUTH_ID, &auth.username), auth.token_enabled, json!(auth.token_expiry)),
        token(ADMIN_ID, identity(ADMIN_AUTH_ID, "admin"), true, Value::Null),
    ]
}

fn identity(auth_id: &str, name: &str) -> Value {
    json!({ "domain": "LOCAL", "auth_id": auth_id, "uid": null, "gid": null, "sid": sid(auth_id), "name": name })
}
