//! Logging in, and who one is then.

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::spec::ClusterSpec;
use crate::state::State;

use super::Answer;

/// The user's number. `qq … --self` asks for the tokens of `auth_id:1001` with it.
pub(super) const AUTH_ID: &str = "1001";

/// Far more than a name and a password need.
const MAX_LOGIN_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// `POST /v1/session/login`. A stale bearer token that comes along, as `qq` sends one when it has
/// credentials from before, does not matter.
pub(super) async fn log_in(state: &State, spec: &ClusterSpec, body: Incoming) -> Answer {
    let answer = try_log_in(state, spec, body).await;
    state.counter.add(|counts| match answer.status {
        StatusCode::OK => counts.logins += 1,
        _ => counts.failed_logins += 1,
    });
    answer
}

/// `GET /v1/session/who-am-i`. All values are strings where the documentation has strings, numbers
/// included.
pub(super) fn who_am_i(spec: &ClusterSpec) -> Answer {
    Answer::json(&json!({
        "id": AUTH_ID,
        "name": spec.auth.username,
        "primary_group": "513",
        "sid": sid(AUTH_ID),
        "uid": "",
        "home_directory": Value::Null,
        "can_change_password": true,
        "privileges": spec.auth.privileges,
    }))
}

/// `GET /v1/session/roles`.
pub(super) fn roles() -> Answer {
    Answer::json(&["encryption-monitor"])
}

/// The security identifier of a local user.
pub(super) fn sid(auth_id: &str) -> String {
    format!("S-1-5-21-1000000001-1000000002-1000000003-{auth_id}")
}

async fn try_log_in(state: &State, spec: &ClusterSpec, body: Incoming) -> Answer {
    let body = match Limited::new(body, MAX_LOGIN_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Some(code) = spec.faults.login_status {
        return Answer::forced(code);
    }
    let Ok(credentials) = serde_json::from_slice::<Credentials>(&body) else {
        let description = "Expected an object with username and password.";
        return Answer::error(StatusCode::BAD_REQUEST, description);
    };
    let auth = &spec.auth;
    if (&credentials.username, &credentials.password) != (&auth.username, &auth.password) {
        return Answer::error(StatusCode::UNAUTHORIZED, "Incorrect username or password.");
    }
    Answer::json(&json!({ "bearer_token": state.sessions.open(state.now()) }))
}
