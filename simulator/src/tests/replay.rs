//! Clusters that send recorded responses.

use serde_json::{Value, json};

use super::{STATUS, client::Client};
use crate::{Fleet, FleetSpec, SimCluster};

/// A recording of a cluster with these exchanges: path, and status and body of the response, if any.
fn recording(credential: &str, exchanges: &[(&str, Option<(u16, Value)>)]) -> String {
    let exchange = |(path, response): &(&str, Option<(u16, Value)>)| {
        let headers = json!({ "date": "Mon, 30 Nov 2026 00:10:00 GMT", "retry-after": "7" });
        let response = response
            .as_ref()
            .map(|(status, body)| json!({ "status": status, "seconds": 0.1, "headers": headers, "body": body }));
        json!({ "sent_at": "2026-11-30T00:00:00.000000Z", "method": "GET", "path": path, "response": response })
    };
    let exchanges: Vec<Value> = exchanges.iter().map(exchange).collect();
    let settings = json!({ "credential": credential, "username": "user-1" });
    let chain = json!([{ "not_after": "2030-01-31T12:00:00.000000Z" }]);
    let cluster = json!({ "name": "a", "settings": settings, "tls": { "chain": chain }, "exchanges": exchanges });
    json!({ "format": 1, "clusters": [cluster] }).to_string()
}

async fn start(recording: &str) -> Fleet {
    Fleet::start(FleetSpec::replay(recording).unwrap()).await.unwrap()
}

async fn client(fleet: &Fleet) -> (&SimCluster, Client) {
    let cluster = fleet.cluster("a").unwrap();
    (cluster, Client::connect(cluster).await.unwrap())
}

#[tokio::test]
async fn responses_come_in_their_order_and_the_last_one_stays() {
    let (refused, good) = ((401, json!({ "json": {} })), (200, json!({ "json": { "status": "new" } })));
    let fleet = start(&recording("token", &[(STATUS, Some(refused)), (STATUS, Some(good))])).await;
    let (cluster, mut client) = client(&fleet).await;
    let first = client.get(STATUS).await.unwrap();
    assert_eq!((first.status, first.header("Retry-After")), (401, Some("7")));
    for _ in 0..2 {
        assert_eq!(client.get(STATUS).await.unwrap().json(), json!({ "status": "new" }));
    }
    assert_eq!(client.get("/v1/version").await.unwrap().status, 404, "not recorded");
    assert_eq!(client.send("PUT", STATUS, "").await.unwrap().status, 405);
    let spec = cluster.spec();
    assert_eq!(spec.faults.clock_skew.as_deref(), Some("+600s"));
    assert_eq!(spec.certificate_expiry, "2030-01-31T12:00:00.000000Z");
}

#[tokio::test]
async fn bodies_that_are_not_in_the_recording_lead_to_the_same() {
    for (line, column) in [(1, 0), (1, 1), (3, 8), (2, 0)] {
        let body = json!({ "not_json": { "bytes": 9, "line": line, "column": column } });
        let fleet = start(&recording("token", &[(STATUS, Some((200, body)))])).await;
        let (_, mut client) = client(&fleet).await;
        let error = serde_json::from_str::<Value>(&client.get(STATUS).await.unwrap().body).unwrap_err();
        assert_eq!((error.line(), error.column()), (line, column));
    }
    let body = json!({ "left_out": "it repeats a credential" });
    let fleet = start(&recording("token", &[(STATUS, Some((200, body)))])).await;
    let (_, mut client) = client(&fleet).await;
    client.bearer = Some("token".to_owned());
    assert!(client.get(STATUS).await.unwrap().body.contains("token"));
}

#[tokio::test]
async fn requests_without_a_response_end_their_connection() {
    let good = Some((200, json!({ "json": {} })));
    let fleet = start(&recording("token", &[(STATUS, None), ("/v1/version", good)])).await;
    let (_, mut client) = client(&fleet).await;
    assert!(client.get(STATUS).await.is_err());
    let down = start(&recording("token", &[(STATUS, None)])).await;
    assert!(Client::connect(down.cluster("a").unwrap()).await.is_err(), "it never answered");
}

#[tokio::test]
async fn logins_succeed_or_are_refused_as_recorded() {
    let login = "/v1/session/login";
    for (status, body) in [(200, json!({ "left_out": "it opens a session" })), (401, json!({ "json": {} }))] {
        let fleet = start(&recording("login", &[(login, Some((status, body)))])).await;
        let (cluster, mut client) = client(&fleet).await;
        let auth = cluster.spec().auth;
        assert!(auth.login);
        assert_eq!(client.log_in("user-1", &auth.password).await.status, status);
    }
}

#[test]
fn what_is_not_a_recording_is_refused() {
    for (text, words) in [
        ("clusters: []", "not a recording of status --record: "),
        ("{\"clusters\": []}", "missing field `format`"),
        ("{\"format\": 2, \"clusters\": []}", "format 2; this version can read format 1 only"),
    ] {
        let error = FleetSpec::replay(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
