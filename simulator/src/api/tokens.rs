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

/// The query of the list: `?user=auth_id:1001&after=…&limit=…`.
#[derive(Default)]
struct Query {
    user: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

struct Token {
    id: &'static str,
    auth_id: &'static str,
    metadata: Value,
}

/// `GET /v1/auth/access-tokens/`.
pub(super) fn list(context: &Context<'_>, query: &str) -> Answer {
    let query = Query::parse(query);
    let limit = query.limit.unwrap_or(usize::MAX).max(1);
    let mut found: Vec<Token> = all(context)
        .into_iter()
        .filter(|token| query.user.as_deref().is_none_or(|user| belongs_to(user, token, context.spec)))
        .filter(|token| query.after.as_deref().is_none_or(|after| token.id > after))
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| query.next(last.id, limit));
    let entries: Vec<Value> = found.into_iter().map(|token| token.metadata).collect();
    Answer::json(&json!({ "entries": entries, "paging": { "next": next } }))
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
        _ => Query::parse(query).user.is_some_and(|user| is_user(&user, AUTH_ID, &spec.auth.username)),
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

fn belongs_to(user: &str, token: &Token, spec: &ClusterSpec) -> bool {
    let name = if token.auth_id == AUTH_ID { &spec.auth.username } else { "admin" };
    is_user(user, token.auth_id, name)
}

/// Whether an identity string (`auth_id:1001`, `local:monitor`, `monitor`) means this user.
fn is_user(text: &str, auth_id: &str, name: &str) -> bool {
    match text.split_once(':') {
        Some(("auth_id", id)) => id == auth_id,
        Some(("local", local)) => local == name,
        Some(_) => false,
        None => text == name,
    }
}

impl Query {
    fn parse(query: &str) -> Query {
        let mut parsed = Query::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "user" => parsed.user = Some(value.into_owned()),
                "after" => parsed.after = Some(value.into_owned()),
                "limit" => parsed.limit = value.parse().ok(),
                _ => {}
            }
        }
        parsed
    }

    /// The path of the next page.
    fn next(&self, after: &str, limit: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(user) = &self.user {
            query.append_pair("user", user);
        }
        query.append_pair("after", after).append_pair("limit", &limit.to_string());
        format!("/v1/auth/access-tokens/?{}", query.finish())
    }
}
