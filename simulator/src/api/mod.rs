//! The REST API: paths, authorization and JSON.
//!
//! It is read-only. Everything except GET and the login is refused and counted, so that a test can prove that a client does not
//! try to change a cluster.

mod encryption;
mod login;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::{
    Method, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
    http::request::Parts,
};
use serde_json::{Value, json};

use crate::{
    spec::{ClusterSpec, Profile},
    state::{Shared, State},
    time,
};

pub const STATUS_V1: &str = "/v1/encryption/status";
pub const STATUS_V2: &str = "/v2/encryption/key-store/status";
pub const KEY_STORE: &str = "/v2/encryption/key-store";
pub const VERSION: &str = "/v1/version";
pub const NODE_STATE: &str = "/v1/node/state";
pub const LOGIN: &str = "/v1/session/login";
pub const WHO_AM_I: &str = "/v1/session/who-am-i";
const ROLES: &str = "/v1/session/roles";
/// With the identifier of a token after it, or without.
pub const TOKENS: &str = "/v1/auth/access-tokens/";
/// Read with POST. `qq who_am_i` requests the first of them, and accepts a 403. The clusters have no identities.
const IDENTITY_EXPAND: &str = "/v1/identity/expand";
const IDENTITY_FIND: &str = "/v1/identity/find";

/// The state of the cluster for one request.
pub struct Context {
    applied: DateTime<Utc>,
    pub now: DateTime<Utc>,
    pub spec: Arc<ClusterSpec>,
}

impl Context {
    pub fn new(state: &State) -> Self {
        Self { applied: state.applied, now: state.now(), spec: state.spec.clone() }
    }

    /// The response without faults.
    pub async fn respond(&self, shared: &Shared, head: &Parts, body: Incoming) -> Response<Bytes> {
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        match (&head.method, path) {
            (&Method::POST, LOGIN) => return login::log_in(shared, &self.spec, body).await,
            (&Method::GET, LOGIN | IDENTITY_EXPAND | IDENTITY_FIND) => return not_allowed("Use POST.", "POST"),
            (&Method::GET, _) | (&Method::POST, IDENTITY_EXPAND | IDENTITY_FIND) => {}
            (method, _) => {
                shared.counts.send_modify(|counts| counts.refused_writes += 1);
                tracing::warn!(cluster = self.spec.name, %method, path, "simulated cluster refused a write");
                return not_allowed("A simulated cluster cannot be changed through its API.", "GET");
            }
        }
        let is_missing = match path {
            STATUS_V2 => self.spec.profile == Profile::Core60,
            // 6.2.1 has one, but no public source describes its form.
            KEY_STORE => matches!(self.spec.profile, Profile::Core60 | Profile::Core621),
            _ => false,
        };
        if is_missing {
            return not_found();
        }
        if let Some(refusal) = self.refusal(shared, head) {
            return refusal;
        }
        match path {
            STATUS_V1 => encryption::status_v1(self),
            STATUS_V2 => encryption::status_v2(self),
            KEY_STORE => encryption::key_store(self),
            // Clients use the text after the last space as the version, as the SDK does (`qumulo/rest/version.py`).
            VERSION => ok(json!({
                "revision_id": format!("Qumulo Core {}", self.spec.version()),
                "build_id": "312837.1.17",
                "flavor": "release",
                "build_date": "2024-09-18T09:12:34Z",
            })),
            NODE_STATE => ok(json!({ "node_id": 1, "state": "ACTIVE", "cluster_id": self.spec.cluster_id() })),
            WHO_AM_I => login::who_am_i(&self.spec),
            ROLES => ok(json!(["encryption-monitor"])),
            TOKENS => tokens::list(self, query),
            _ => path.strip_prefix(TOKENS).map_or_else(not_found, |id| tokens::get(self, id)),
        }
    }

    fn time(&self, time: &Value) -> Value {
        time::resolve(time, self.applied, self.spec.fraction_digits)
    }

    /// 401 or 403, or `None` if the request is authorized. The privileges are from their descriptions in the REST guide; only the
    /// first is documented for its endpoints.
    fn refusal(&self, shared: &Shared, head: &Parts) -> Option<Response<Bytes>> {
        let auth = &self.spec.auth;
        let privilege = match head.uri.path() {
            STATUS_V1 | STATUS_V2 | KEY_STORE => Some("PRIVILEGE_ENCRYPTION_READ"),
            IDENTITY_EXPAND | IDENTITY_FIND => Some("PRIVILEGE_IDENTITY_READ"),
            WHO_AM_I | ROLES => None,
            path if path.starts_with(TOKENS) => {
                let is_own = auth.own_tokens_visible && tokens::is_own(path, head.uri.query().unwrap_or_default());
                (!is_own).then_some("PRIVILEGE_ACCESS_TOKENS_READ")
            }
            // The version is documented to need no login. The vendor's provisioning script requests the state of the node
            // before its first login.
            _ => return None,
        };
        let is_authenticated = bearer_token(head).is_some_and(|token| {
            if token == self.spec.token() {
                auth.token_enabled && self.spec.token_expiry(self.applied).is_none_or(|expiry| self.now < expiry)
            } else {
                shared.lock().has_session(token)
            }
        });
        if !is_authenticated {
            return Some(error(StatusCode::UNAUTHORIZED, "Need to log in first to establish credentials."));
        }
        let missing = privilege.filter(|privilege| !auth.privileges.iter().any(|held| held == privilege))?;
        Some(error(StatusCode::FORBIDDEN, &format!("Requires privilege {missing}.")))
    }
}

pub fn bearer_token(head: &Parts) -> Option<&str> {
    head.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn ok(body: Value) -> Response<Bytes> {
    raw(&body.to_string())
}

/// 200 with a text, which is HTML if it begins with `<`, and otherwise JSON.
pub fn raw(text: &str) -> Response<Bytes> {
    let content_type = if text.trim_start().starts_with('<') { "text/html" } else { "application/json" };
    let mut response = Response::new(text.to_owned().into());
    set_header(&mut response, CONTENT_TYPE, content_type);
    response
}

/// An error with the keys that the SDK reads (`qumulo/lib/request.py`).
pub fn error(status: StatusCode, description: &str) -> Response<Bytes> {
    let body = json!({
        "module": "simulator",
        "error_class": error_class(status),
        "description": description,
        "stack": [],
        "user_visible": true,
    });
    with_status(status, ok(body))
}

/// The error of a fault; 500 if `code` is not a valid status of a response.
pub fn forced_error(code: u16) -> Response<Bytes> {
    let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational());
    error(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "A fault of the simulator.")
}

fn not_found() -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, "No such resource.")
}

fn not_allowed(description: &str, allowed: &str) -> Response<Bytes> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, description);
    set_header(&mut response, ALLOW, allowed);
    response
}

pub fn with_status(status: StatusCode, mut response: Response<Bytes>) -> Response<Bytes> {
    *response.status_mut() = status;
    response
}

/// Ignores values that HTTP does not allow.
pub fn set_header(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The SDK expects `http_not_found_error` for a 404 (`qumulo/rest/tree_delete.py`). The others have the same form; no public
/// source has them.
fn error_class(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("unknown").to_ascii_lowercase();
    let reason = reason.replace([' ', '-'], "_").replace('\'', "");
    format!("http_{}_error", reason.trim_end_matches("_error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_classes_follow_one_pattern() {
        for (code, class) in [
            (401, "http_unauthorized_error"),
            (404, "http_not_found_error"),
            (429, "http_too_many_requests_error"),
            (500, "http_internal_server_error"),
            (599, "http_unknown_error"),
        ] {
            assert_eq!(error_class(StatusCode::from_u16(code).unwrap()), class);
        }
    }
}
