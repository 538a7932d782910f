//! Passwords, the rate limit and headers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hyper::header::{HeaderName, HeaderValue};

use crate::web::{
    basic_auth::Users,
    policy::ListenerPolicy,
    rate_limit::RateLimit,
    server::Limits,
    tests::{Server, client::Response},
};

/// `alice:secret` in base 64.
const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";

/// `alice:wrong`.
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

fn users() -> Option<Users> {
    let hash = bcrypt::hash("secret", 4).unwrap().parse().unwrap();
    Users::new(BTreeMap::from([("alice".to_owned(), hash)]))
}

async fn get(server: &Server, path: &str, headers: &str) -> Response {
    let mut client = server.connect().await;
    client.request("GET", path, headers).await;
    client.response().await
}

#[tokio::test]
async fn users_come_in_and_others_do_not() {
    let server = Server::with_policy(Limits::default(), ListenerPolicy { users: users(), ..ListenerPolicy::default() });
    let mut client = server.connect().await;
    for (path, headers, status) in [
        ("/metrics", ALICE, 200),
        ("/metrics", WRONG, 401),
        ("/metrics", "", 401),
        ("/nowhere", "", 401),
        ("/nowhere", ALICE, 404),
        ("/-/healthy", "", 200),
        ("/-/healthy", WRONG, 200),
    ] {
        // On one connection: a refusal does not end it.
        client.request("GET", path, headers).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{path} {headers}");
        assert_eq!(response.header("www-authenticate"), (status == 401).then_some("Basic"));
    }
}

#[tokio::test]
async fn requests_over_the_rate_are_refused_before_passwords_are_looked_at() {
    let rate = Some(Arc::new(RateLimit::new(Duration::from_secs(3600), 2)));
    let server =
        Server::with_policy(Limits::default(), ListenerPolicy { rate, users: users(), ..ListenerPolicy::default() });
    for status in [200, 200, 429] {
        assert_eq!(get(&server, "/metrics", ALICE).await.status, status);
    }
    assert_eq!(get(&server, "/metrics", WRONG).await.status, 429);
    assert_eq!(get(&server, "/-/healthy", "").await.status, 200);
}

#[tokio::test]
async fn headers_are_set_on_every_answer() {
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = vec![header("x-frame-options", "deny"), header("x-content-type-options", "nosniff")];
    let server =
        Server::with_policy(Limits::default(), ListenerPolicy { headers, users: users(), ..ListenerPolicy::default() });
    for (path, headers) in [("/metrics", ALICE), ("/metrics", ""), ("/-/healthy", "")] {
        let response = get(&server, path, headers).await;
        assert_eq!(response.header("x-frame-options"), Some("deny"), "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}
