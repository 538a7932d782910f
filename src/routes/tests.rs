use std::{io::Read, time::Duration};

use hyper::{
    Method,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, LOCATION},
};

use super::*;
use crate::model::{ClusterMetadata, ClusterName, FailureReason, Labels, PollFailure};

fn routes(store: &Store) -> Routes {
    with_trigger(store, None)
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(path).header(HOST, "exporter.example.com:10979").body(()).unwrap()
}

fn with_trigger(store: &Store, trigger: Option<Trigger>) -> Routes {
    at(UrlPrefix::default(), store, trigger)
}

fn at(prefix: UrlPrefix, store: &Store, trigger: Option<Trigger>) -> Routes {
    let telemetry = Arc::new(Telemetry::new(&clock::now(), true).unwrap());
    Routes::new(store.clone(), telemetry, "/metrics".to_owned(), prefix, trigger)
}

async fn get(routes: &Routes, path: &str) -> (u16, String) {
    let response = routes.respond(&request(Method::GET, path)).await;
    routes.on_response(path.split('?').next().unwrap(), response.status());
    let status = response.status().as_u16();
    let body = response.into_body();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_once_every_cluster_was_polled_and_for_ever_after() {
    let store = Store::default();
    let routes = routes(&store);
    let mut first = store.publisher(ClusterName::new("first").unwrap(), Duration::from_secs(300));
    assert_eq!(get(&routes, "/-/ready").await.0, 503);
    first.record(clock::now(), Duration::ZERO, Err(PollFailure::new(FailureReason::Dns, "")));
    assert_eq!(get(&routes, "/-/ready").await.0, 200);
    let _second = store.publisher(ClusterName::new("second").unwrap(), Duration::from_secs(300));
    assert_eq!(get(&routes, "/-/ready").await.0, 200);
}

#[tokio::test]
async fn the_metrics_of_many_clusters_are_whole_compressed_or_not() {
    let store = Store::default();
    let names = (0..200).map(|number| ClusterName::new(&format!("cluster-{number:03}")).unwrap());
    let mut publishers: Vec<_> = names.map(|name| store.publisher(name, Duration::from_secs(300))).collect();
    for publisher in &mut publishers {
        publisher.record(clock::now(), Duration::ZERO, Err(PollFailure::new(FailureReason::Dns, "")));
    }
    let routes = routes(&store);
    let plain = get(&routes, "/metrics").await.1;
    let mut request = request(Method::GET, "/metrics");
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let response = routes.respond(&request).await;
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(response.headers()[CONTENT_TYPE], METRICS);
    let body = response.into_body();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    let clusters = |text: &str| text.lines().filter(|line| line.contains("cluster=")).collect::<Vec<_>>().join("\n");
    assert!(clusters(&text).len() > 3 * 64 * 1024);
    assert_eq!(clusters(&text), clusters(&plain));
    assert!(text.ends_with('\n') && text.contains("process_open_fds"));
}

#[tokio::test]
async fn unknown_paths_are_counted_together() {
    let routes = routes(&Store::default());
    for path in ["/a", "/b", "/-/a"] {
        assert_eq!(get(&routes, path).await.0, 404);
    }
    let (_, text) = get(&routes, "/metrics").await;
    assert!(text.contains("http_requests_total{code=\"404\",handler=\"other\"} 3\n"), "{text}");
}

#[tokio::test]
async fn index_links_relatively_and_allows_its_own_style_only() {
    let response = routes(&Store::default()).respond(&request(Method::GET, "/")).await;
    let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8_lossy(response.body());
    assert!(page.contains("href=\"metrics\"") && !page.contains("href=\"/"), "{page}");
}

#[tokio::test]
async fn one_cluster_is_probed_from_the_store() {
    let store = Store::default();
    let _publishers =
        ["a b", "other"].map(|name| store.publisher(ClusterName::new(name).unwrap(), Duration::from_secs(300)));
    let routes = routes(&store);
    let (status, text) = get(&routes, "/probe?target=a%20b").await;
    assert_eq!(status, 200);
    assert!(text.contains("polls_total{cluster=\"a b\"} 0\n") && !text.contains("other"), "{text}");
    assert!(!text.contains("build_info"), "the exporter's own metrics are on /metrics");
    for (path, status) in [("/probe", 400), ("/probe?module=x", 400), ("/probe?target=", 404), ("/probe?target=c", 404)]
    {
        assert_eq!(get(&routes, path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn discovery_lists_each_cluster_at_the_address_that_was_asked() {
    let store = Store::default();
    let publisher = store.publisher(ClusterName::new("a\"b").unwrap(), Duration::from_secs(300));
    let labels = Labels::new([("site", "berlin")]).unwrap();
    store.set_metadata(publisher.name(), &ClusterMetadata { labels, ..ClusterMetadata::default() });
    let routes = routes(&store);
    let (status, text) = get(&routes, "/sd").await;
    assert_eq!(status, 200);
    let expect = json!([{
        "targets": ["exporter.example.com:10979"],
        "labels": { "__metrics_path__": "/probe", "__param_target": "a\"b", "instance": "a\"b", "site": "berlin" },
    }]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expect);
    for bad in ["", "a b", "user@host", "a/b"] {
        let response = routes.respond(&Request::get("/sd").header(HOST, bad).body(()).unwrap()).await;
        assert_eq!(response.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn discovery_knows_the_way_through_a_proxy() {
    let store = Store::default();
    let _publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    let check =
        async |external: Option<&str>, prefix: Option<&str>, over_tls: bool, forwarded: &str, expect: [&str; 3]| {
            let paths = UrlPrefix::new(external.map(|url| url.parse().unwrap()), prefix);
            let path = paths.add("/sd");
            let mut request = request(Method::GET, &path);
            request.headers_mut().insert(FORWARDED_PROTO, HeaderValue::from_str(forwarded).unwrap());
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            let response = at(paths, &store, None).respond(&request).await;
            let body = response.into_body();
            let found: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let label = |name: &str| found[0]["labels"][name].as_str().unwrap_or_default().to_owned();
            let target = found[0]["targets"][0].as_str().unwrap().to_owned();
            assert_eq!([label("__scheme__"), target, label("__metrics_path__")], expect, "{external:?} {prefix:?}");
        };
    let host = "exporter.example.com:10979";
    check(None, None, false, "", ["", host, "/probe"]).await;
    check(None, None, true, "", ["https", host, "/probe"]).await;
    check(None, None, false, "https", ["https", host, "/probe"]).await;
    check(None, None, true, "http", ["http", host, "/probe"]).await;
    check(None, None, false, "javascript", ["", host, "/probe"]).await;
    check(None, Some("/q"), false, "", ["", host, "/q/probe"]).await;
    check(Some("https://x.example/q/"), None, false, "http", ["https", "x.example:443", "/q/probe"]).await;
    check(Some("http://x.example/q"), Some("/"), true, "", ["http", "x.example:80", "/q/probe"]).await;
}

#[tokio::test]
async fn every_path_is_below_the_prefix() {
    let routes = at(UrlPrefix::new(None, Some("/q")), &Store::default(), None);
    for path in
        ["/", "/metrics", "/api/v1/clusters", "/runbooks/", "/runbooks/QumuloEncryptionKeyNotFound", "/-/healthy"]
    {
        assert_eq!(get(&routes, &format!("/q{path}")).await.0, 200, "{path}");
        let outside = if path == "/" { 302 } else { 404 };
        assert_eq!(get(&routes, path).await.0, outside, "{path}");
    }
    assert!(routes.is_health_check("/q/-/healthy") && !routes.is_health_check("/-/healthy"));
    assert_eq!(routes.respond(&request(Method::GET, "/q")).await.headers()[LOCATION], "/q/");
    let (_, text) = get(&routes, "/q/metrics").await;
    assert!(text.contains("http_requests_total{code=\"200\",handler=\"/runbooks/\"} 2\n"), "{text}");
    // Kubernetes does not use the proxy to reach the listener for health checks.
    let health = Health(Arc::new(routes));
    assert!(health.is_health_check(HEALTHY));
}

#[tokio::test]
async fn json_can_be_filtered_by_state() {
    let store = Store::default();
    let _publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
    let routes = routes(&store);
    for (path, clusters) in
        [("/api/v1/clusters", 1), ("/api/v1/clusters?state=unknown", 1), ("/api/v1/clusters?state=good", 0)]
    {
        let (_, text) = get(&routes, path).await;
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["clusters"].as_array().unwrap().len(), clusters, "{path}");
    }
}

#[tokio::test]
async fn reload_is_by_post_and_only_where_it_is_allowed() {
    let check = async |routes: &Routes, method: Method, code: u16, words: &str| {
        let response = routes.respond(&request(method, RELOAD)).await;
        let status = response.status().as_u16();
        let body = response.into_body();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(status == code && body.contains(words), "{status} {body}");
    };
    let forbidding = routes(&Store::default());
    check(&forbidding, Method::POST, 403, "--web.enable-lifecycle").await;
    let (trigger, mut requests) = crate::reload::channel();
    let allowing = with_trigger(&Store::default(), Some(trigger));
    check(&allowing, Method::GET, 405, "POST, OPTIONS").await;
    let reloading = async {
        for outcome in [Ok("2 added".to_owned()), Err("a.yml\nclusters[0].url: bad".to_owned())] {
            let mut asked = requests.next().await;
            asked.pop().unwrap().send(outcome).unwrap();
        }
    };
    let asking = async {
        check(&allowing, Method::POST, 200, "2 added").await;
        check(&allowing, Method::POST, 500, "clusters[0].url: bad").await;
    };
    tokio::join!(reloading, asking);
    drop(requests);
    check(&allowing, Method::POST, 500, "ending").await;
    assert!(!allowing.is_health_check(RELOAD) && allowing.is_health_check("/-/healthy"));
}

#[tokio::test]
async fn nothing_is_changed_by_a_request() {
    let routes = routes(&Store::default());
    for path in ["/", "/metrics", "/api/v1/clusters", "/probe", "/sd", "/-/healthy", "/-/ready"] {
        let response = routes.respond(&request(Method::POST, path)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()[ALLOW], "GET, HEAD, OPTIONS", "{path}");
    }
}
