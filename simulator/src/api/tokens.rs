//! Metadata of access tokens: the user's own and one of the administrator, who has others.

use hyper::StatusCode;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::spec::ClusterSpec;
use crate::timespec;

use super::login::{AUTH_ID, sid};
use super::{Answer, Context, Endpoint};

/// What it takes to read the metadata of everybody's tokens.
pub(super) const PRIVILEGE: &str = "PRIVILEGE_ACCESS_TOKENS_READ";

/// The user's own token. Identifiers are numbers too large for JSON, hence strings.
const OWN_ID: &str = "1234567890123456789012";
const ADMIN_ID: &str = "2234567890123456789012";
const ADMIN_AUTH_ID: &str = "500";

struct Token {
    id: &'static str,
    auth_id: &'static str,
    metadata: Value,
}

/// `GET /v1/auth/access-tokens/`, of one user with `?user=auth_id:1001`. A user has two at most, so there is one page.
pub(super) fn list(context: &Context<'_>, query: &str) -> Answer {
    let user = user(query);
    let found = all(context).into_iter().filter(|token| user.as_deref().is_none_or(|user| user == token.auth_id));
    let entries: Vec<Value> = found.map(|token| token.metadata).collect();
    Answer::json(&json!({ "entries": entries, "paging": { "next": Value::Null } }))
}

/// `GET /v1/auth/access-tokens/{id}`.
pub(super) fn get(context: &Context<'_>, id: &str) -> Answer {
    match all(context).into_iter().find(|token| token.id == id) {
        Some(token) => Answer::json(&token.metadata),
        None => Answer::error(StatusCode::NOT_FOUND, "No such access token."),
    }
}

/// Whether a request asks for nothing but the user's own tokens, on a cluster that grants these.
pub(super) fn only_own(spec: &ClusterSpec, endpoint: Endpoint<'_>, query: &str) -> bool {
    let own = match endpoint {
        Endpoint::Token(id) => id == OWN_ID,
        _ => user(query).is_some_and(|user| user == AUTH_ID),
    };
    own && spec.auth.own_tokens_visible
}

fn all(context: &Context<'_>) -> [Token; 2] {
    let spec = context.spec;
    let digits = spec.fraction_digits;
    let created = timespec::resolve(&Value::from("-90d"), context.applied, digits);
    let expires = spec.token_expires_at(context.applied).map(|at| timespec::rfc3339(at, digits));
    let own = json!({
        "id": OWN_ID,
        "user": identity(AUTH_ID, &spec.auth.username),
        "creator": identity(ADMIN_AUTH_ID, "admin"),
        "creation_time": created,
        "expiration_time": expires,
        "enabled": spec.auth.token_enabled,
    });
    let admin = json!({
        "id": ADMIN_ID,
        "user": identity(ADMIN_AUTH_ID, "admin"),
        "creator": identity(ADMIN_AUTH_ID, "admin"),
        "creation_time": created,
        "expiration_time": Value::Null,
        "enabled": true,
    });
    [
        Token { id: OWN_ID, auth_id: AUTH_ID, metadata: own },
        Token { id: ADMIN_ID, auth_id: ADMIN_AUTH_ID, metadata: admin },
    ]
}

fn identity(auth_id: &str, name: &str) -> Value {
    json!({
        "domain": "LOCAL",
        "auth_id": auth_id,
        "uid": Value::Null,
        "gid": Value::Null,
        "sid": sid(auth_id),
        "name": name,
    })
}

/// The user whose tokens are asked for.
fn user(query: &str) -> Option<String> {
    let user = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "user")?.1;
    Some(user.strip_prefix("auth_id:").unwrap_or(&user).to_owned())
}
