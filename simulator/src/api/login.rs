//! The login, and the user.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Response, StatusCode, body::Incoming};
use serde::Deserialize;
use serde_json::json;

use super::{error, forced_error, ok};
use crate::{spec::ClusterSpec, state::Shared};

/// The number of the user, which `qq … --self` uses to request the tokens of `auth_id:1001`.
pub const AUTH_ID: &str = "1001";

/// Limits the body of a login, in bytes. Name and password are much shorter.
const MAX_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// `POST /v1/session/login`. A bearer token in the request is ignored, because `qq` sends an expired one.
pub async fn log_in(shared: &Shared, spec: &ClusterSpec, body: Incoming) -> Response<Bytes> {
    let response = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => check(shared, spec, &body.to_bytes()),
        Err(err) => error(StatusCode::BAD_REQUEST, &err.to_string()),
    };
    shared.counts.send_modify(|counts| match response.status() {
        StatusCode::OK => counts.logins += 1,
        _ => counts.failed_logins += 1,
    });
    response
}

fn check(shared: &Shared, spec: &ClusterSpec, body: &[u8]) -> Response<Bytes> {
    if let Some(code) = spec.faults.login_status {
        return forced_error(code);
    }
    match serde_json::from_slice(body) {
        Ok(Credentials { username, password })
            if (&username, &password) == (&spec.auth.username, &spec.auth.password) =>
        {
            ok(json!({ "bearer_token": shared.lock().open_session() }))
        }
        Ok(_) => error(StatusCode::UNAUTHORIZED, "Incorrect username or password."),
        Err(_) => error(StatusCode::BAD_REQUEST, "Expected an object with username and password."),
    }
}

/// `GET /v1/session/who-am-i`. Strings are as in the documentation, also for numbers.
pub fn who_am_i(spec: &ClusterSpec) -> Response<Bytes> {
    ok(json!({
        "id": AUTH_ID,
        "name": spec.auth.username,
        "primary_group": "513",
        "sid": sid(AUTH_ID),
        "uid": "",
        "home_directory": null,
        "can_change_password": true,
        "privileges": spec.auth.privileges,
    }))
}

/// The security identifier of a local user.
pub fn sid(auth_id: &str) -> String {
    format!("S-1-5-21-1000000001-1000000002-1000000003-{auth_id}")
}
