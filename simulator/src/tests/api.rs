//! Responses of the API.

use std::time::Duration;

use serde_json::{Value, json};

use super::{STATUS, client, cluster};
use crate::{ClusterSpec, Profile, StatusField};

/// Requests `path` with the access token, and compares status and body.
async fn check(change: impl FnOnce(&mut ClusterSpec), path: &str, status: u16, body: &str) {
    let cluster = cluster(change).await;
    let reply = client(&cluster).await.get(path).await.unwrap();
    // JSON is compared without the order of its keys.
    let [got, wanted]: [Value; 2] =
        [&*reply.body, body].map(|body| serde_json::from_str(body).unwrap_or_else(|_| json!(body)));
    assert_eq!((reply.status, got), (status, wanted), "{path}");
}

#[tokio::test]
async fn status_has_the_documented_bodies() {
    check(
        |spec| spec.last_key_rotation_time = json!("2022-11-20T12:15:25.683207795Z"),
        STATUS,
        200,
        r#"{"type":"Local","status":"Encrypted","ca_cert_expiry":null,"client_cert_expiry":null,"last_key_rotation_time":"2022-11-20T12:15:25.683207795Z","last_status_update_time":null}"#,
    )
    .await;
    check(
        |spec| {
            spec.key_store_type = json!("KMS");
            spec.status = json!("KMS Available");
            spec.ca_cert_expiry = json!("2027-04-18T19:55:17Z");
            spec.client_cert_expiry = json!("2027-04-18T19:55:17Z");
            spec.last_key_rotation_time = json!("2023-09-05T20:15:40.06864014Z");
            spec.last_status_update_time = json!("2023-09-05T20:28:58.108120131Z");
        },
        STATUS,
        200,
        r#"{"type":"KMS","status":"KMS Available","ca_cert_expiry":"2027-04-18T19:55:17Z","client_cert_expiry":"2027-04-18T19:55:17Z","last_key_rotation_time":"2023-09-05T20:15:40.06864014Z","last_status_update_time":"2023-09-05T20:28:58.108120131Z"}"#,
    )
    .await;
}

#[tokio::test]
async fn status_sends_garbage_and_leaves_keys_out() {
    check(
        |spec| {
            spec.key_store_type = json!(7);
            spec.status = Value::Null;
            spec.ca_cert_expiry = json!("");
            spec.client_cert_expiry = json!("next spring");
            spec.absent = vec![StatusField::LastKeyRotationTime, StatusField::LastStatusUpdateTime];
        },
        STATUS,
        200,
        r#"{"type":7,"status":null,"ca_cert_expiry":"","client_cert_expiry":"next spring"}"#,
    )
    .await;
    check(|spec| spec.body = Some(String::from("[1, 2")), STATUS, 200, "[1, 2").await;
}

#[tokio::test]
async fn each_profile_has_its_status() {
    let fixed = |profile| {
        move |spec: &mut ClusterSpec| {
            spec.profile = profile;
            spec.last_key_rotation_time = json!("2022-11-20T12:15:25Z");
        }
    };
    let v1 = r#"{"status":"Encrypted","last_key_rotation_time":"2022-11-20T12:15:25Z"}"#;
    for profile in [Profile::Core60, Profile::Core621, Profile::Core622, Profile::Core7] {
        check(fixed(profile), "/v1/encryption/status", 200, v1).await;
    }
    let not_found = r#"{"module":"simulator","error_class":"http_not_found_error","description":"No such resource.","stack":[],"user_visible":true}"#;
    check(fixed(Profile::Core60), STATUS, 404, not_found).await;
    check(fixed(Profile::Core60), "/v2/encryption/key-store", 404, not_found).await;
    let unreleased = r#"{"type":"ENCRYPTION_TYPE_LOCAL","value":{"last_key_rotation_time":"2022-11-20T12:15:25Z","status":"Encrypted"}}"#;
    check(fixed(Profile::Core621), STATUS, 200, unreleased).await;
    let key_store = r#"{"kms_store":null,"local_store":{"status":"Encrypted"},"type":"Local"}"#;
    check(fixed(Profile::Core622), "/v2/encryption/key-store", 200, key_store).await;
    check(fixed(Profile::Core7), "/v3/anything", 404, not_found).await;
}

#[tokio::test]
async fn version_1_shows_every_key_manager_as_encrypted() {
    for (status, shown) in [
        (json!("KMS Key Not Found"), json!("Encrypted")),
        (json!("Not Encrypted"), json!("Not Encrypted")),
        (json!("anything else"), json!("anything else")),
        (json!(3), json!(3)),
    ] {
        let cluster = cluster(|spec| spec.status = status).await;
        let reply = client(&cluster).await.get("/v1/encryption/status").await.unwrap();
        assert_eq!(reply.json()["status"], shown);
    }
}

#[tokio::test]
async fn answers_have_the_vendors_headers_and_keep_the_connection() {
    let cluster = cluster(|_| {}).await;
    let mut client = client(&cluster).await;
    for _ in 0..3 {
        let reply = client.get(STATUS).await.unwrap();
        assert_eq!(reply.header("Strict-Transport-Security"), Some("max-age=31536000; includeSubdomain"));
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
        assert!(reply.header("Content-Length").is_some());
        assert!(reply.header("Date").is_some_and(|date| date.ends_with(" GMT")));
    }
    assert_eq!((cluster.counts().connections, cluster.counts().status_v2), (1, 3));
}

#[tokio::test]
async fn access_depends_on_token_and_privileges() {
    let all = ["ENCRYPTION_READ", "ACCESS_TOKENS_READ"];
    let rich = cluster(|spec| {
        spec.auth.privileges = all.map(|name| format!("PRIVILEGE_{name}")).to_vec();
    })
    .await;
    let usual = cluster(|_| {}).await;
    let disabled = cluster(|spec| spec.auth.token_enabled = false).await;
    let expired = cluster(|spec| spec.auth.token_expiry = Some(String::from("-1s"))).await;
    let rows = [
        // path, all privileges, the usual one, a disabled token, an expired one
        ("/v1/version", [200, 200, 200, 200]),
        ("/v1/node/state", [200, 200, 200, 200]),
        ("/v1/encryption/status", [200, 200, 401, 401]),
        (STATUS, [200, 200, 401, 401]),
        ("/v2/encryption/key-store", [200, 200, 401, 401]),
        ("/v1/session/who-am-i", [200, 200, 401, 401]),
        ("/v1/session/roles", [200, 200, 401, 401]),
        ("/v1/auth/access-tokens/", [200, 403, 401, 401]),
        ("/v1/auth/access-tokens/1", [404, 403, 401, 401]),
        ("/v1/session/login", [405, 405, 405, 405]),
        ("/v1/identity/expand", [405, 405, 405, 405]),
    ];
    for (path, expected) in rows {
        for (cluster, expected) in [&rich, &usual, &disabled, &expired].into_iter().zip(expected) {
            let reply = client(cluster).await.get(path).await.unwrap();
            assert_eq!(reply.status, expected, "{path}: {}", reply.body);
        }
    }
    assert_eq!(disabled.counts().unauthorized, 7);
}

#[tokio::test]
async fn identity_is_stable_and_can_be_chosen() {
    let default = cluster(|_| {}).await;
    let mut client_of_default = client(&default).await;
    let version = client_of_default.get("/v1/version").await.unwrap().json();
    assert_eq!(version["revision_id"], "Qumulo Core 7.2.3.1");
    let state = client_of_default.get("/v1/node/state").await.unwrap().json();
    assert_eq!(state["cluster_id"], ClusterSpec::named("test").cluster_id());
    let chosen = cluster(|spec| {
        spec.version = Some(String::from("6.3.2"));
        spec.cluster_id = Some(String::from("abc"));
    })
    .await;
    let mut client_of_chosen = client(&chosen).await;
    let version = client_of_chosen.get("/v1/version").await.unwrap().json();
    assert_eq!(version["revision_id"], "Qumulo Core 6.3.2");
    assert_eq!(client_of_chosen.get("/v1/node/state").await.unwrap().json()["cluster_id"], "abc");
    assert_eq!(chosen.counts().identity, 2);
}

#[tokio::test]
async fn a_session_lasts_ten_hours() {
    let cluster = cluster(|_| {}).await;
    let mut client = client(&cluster).await;
    client.bearer = Some(String::from("session-v1:stale"));
    assert_eq!(client.log_in("monitor", "wrong").await.status, 401);
    assert_eq!(client.get(STATUS).await.unwrap().status, 401);
    assert_eq!(client.log_in("monitor", "secret").await.status, 200);
    assert!(client.bearer.as_ref().unwrap().starts_with("session-v1:"));
    assert_eq!(client.get(STATUS).await.unwrap().status, 200);
    cluster.advance_clock(Duration::from_secs(10 * 3_600 - 60));
    assert_eq!(client.get(STATUS).await.unwrap().status, 200);
    cluster.advance_clock(Duration::from_secs(60));
    assert_eq!(client.get(STATUS).await.unwrap().status, 401);
    let expired = client.bearer.clone();
    assert_eq!(client.log_in("monitor", "secret").await.status, 200);
    assert_ne!(client.bearer, expired);
    cluster.end_sessions();
    assert_eq!(client.get(STATUS).await.unwrap().status, 401);
    let bad = client.send("POST", "/v1/session/login", "[]").await.unwrap();
    let counts = cluster.counts();
    assert_eq!((bad.status, counts.logins, counts.failed_logins, counts.unauthorized), (400, 2, 2, 3));
}

#[tokio::test]
async fn refuses_and_counts_every_write() {
    let cluster = cluster(|_| {}).await;
    let mut client = client(&cluster).await;
    for (method, path, body) in [
        ("PUT", "/v2/encryption/key-store", r#"{"type":"Local"}"#),
        ("POST", "/v2/encryption/rotate-keys", "{}"),
        ("POST", "/v1/encryption/rotate-keys", ""),
        ("POST", STATUS, ""),
        ("DELETE", "/v1/auth/access-tokens/1", ""),
        ("PATCH", "/v1/unheard-of", "{}"),
    ] {
        assert_eq!(client.send(method, path, body).await.unwrap().status, 405, "{method} {path}");
    }
    assert_eq!((cluster.counts().refused_writes, cluster.counts().status_v2), (6, 0));
    // A POST, but not a write: `qq who_am_i` sends it, and accepts a 403.
    assert_eq!(client.send("POST", "/v1/identity/expand", "{}").await.unwrap().status, 403);
    assert_eq!(cluster.counts().refused_writes, 6);
}

#[tokio::test]
async fn access_tokens_are_those_of_all_or_of_one_user() {
    let cluster = cluster(|spec| {
        spec.auth.privileges = vec![String::from("PRIVILEGE_ACCESS_TOKENS_READ")];
        spec.auth.token_expiry = Some(String::from("2100-01-01T00:00:00Z"));
    })
    .await;
    let mut client = client(&cluster).await;
    let all = client.get("/v1/auth/access-tokens/").await.unwrap().json();
    assert_eq!((all["entries"].as_array().unwrap().len(), &all["paging"]["next"]), (2, &Value::Null));
    let own = client.get("/v1/auth/access-tokens/?user=auth_id%3A1001").await.unwrap().json();
    assert_eq!(own["entries"], json!([all["entries"][0]]));
    let id = own["entries"][0]["id"].as_str().unwrap();
    let one = client.get(&format!("/v1/auth/access-tokens/{id}")).await.unwrap().json();
    assert_eq!(one["expiration_time"], "2100-01-01T00:00:00Z");
}

#[tokio::test]
async fn own_access_tokens_may_be_visible_without_a_privilege() {
    let own = "/v1/auth/access-tokens/?user=auth_id:1001";
    for (visible, path, status) in [
        (true, own, 200),
        (true, "/v1/auth/access-tokens/", 403),
        (true, "/v1/auth/access-tokens/?user=auth_id:500", 403),
        (true, "/v1/auth/access-tokens/1234567890123456789012", 200),
        (true, "/v1/auth/access-tokens/91234567890123456789012", 403),
        (false, own, 403),
    ] {
        let cluster = cluster(|spec| spec.auth.own_tokens_visible = visible).await;
        assert_eq!(client(&cluster).await.get(path).await.unwrap().status, status, "{path}");
    }
}
