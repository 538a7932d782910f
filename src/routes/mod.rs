//! What each path answers. Everything is in memory: no answer waits for a cluster.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderValue, REFERRER_POLICY},
};
use serde_json::json;

use crate::{
    clock,
    metrics::{self, Text},
    page::{self, Selection},
    reload::Trigger,
    report,
    store::Store,
    telemetry::Telemetry,
    web::{
        gzip::Gzip,
        handler::Handler,
        respond,
        route::{self, Methods, Route},
    },
};

/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label `handler` of paths that do not exist; their names would make it unbounded.
const OTHER: &str = "other";

const PROBE: &str = "/probe";
const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";

/// The one path that has an effect.
const RELOAD: &str = "/-/reload";

/// The exporter's answers.
#[derive(Debug)]
pub struct Routes {
    gzip: Gzip,
    /// How long the last metrics were: the next ones will be about as long.
    length: AtomicUsize,
    metrics_path: String,
    page_policy: HeaderValue,
    /// Sticky: what has been ready once stays ready, whatever clusters come later.
    ready: AtomicBool,
    routes: Vec<Route<Target>>,
    store: Store,
    telemetry: Arc<Telemetry>,
    /// `None` without `--web.enable-lifecycle`.
    trigger: Option<Trigger>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Clusters,
    Discovery,
    Healthy,
    Index,
    Metrics,
    Probe,
    Ready,
    Reload,
}

// === impl Routes ===

impl Routes {
    /// Serves the clusters of `store` at `metrics_path`. Without a `trigger` nobody can reload.
    pub fn new(store: Store, telemetry: Arc<Telemetry>, metrics_path: String, trigger: Option<Trigger>) -> Self {
        let route = |path: Cow<'static, str>, target| Route { path, methods: Methods::Read, target };
        let routes = vec![
            route(metrics_path.clone().into(), Target::Metrics),
            route("/".into(), Target::Index),
            route("/api/v1/clusters".into(), Target::Clusters),
            route(PROBE.into(), Target::Probe),
            route("/sd".into(), Target::Discovery),
            route(HEALTHY.into(), Target::Healthy),
            route(READY.into(), Target::Ready),
            Route { path: RELOAD.into(), methods: Methods::Post, target: Target::Reload },
        ];
        let (gzip, length, ready) = (Gzip::default(), AtomicUsize::default(), AtomicBool::default());
        Self { gzip, length, metrics_path, page_policy: page_policy(), ready, routes, store, telemetry, trigger }
    }

    /// The answer to a request that is known by method, target and headers.
    pub async fn answer(&self, method: &hyper::Method, uri: &Uri, headers: &HeaderMap) -> Response<Full<Bytes>> {
        match route::find(&self.routes, method, uri.path()) {
            Err(refusal) => refusal.into_answer(),
            Ok(route) => match route.target {
                Target::Healthy => respond::text(StatusCode::OK, "Healthy.\n"),
                Target::Index => self.index(uri.query(), headers),
                Target::Clusters => self.clusters(uri.query(), headers),
                Target::Discovery => self.discovery(headers),
                Target::Metrics => self.metrics(headers),
                Target::Probe => self.probe(uri.query(), headers),
                Target::Ready => self.ready(),
                Target::Reload => self.reload().await,
            },
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let (view, now) = (self.store.view(), clock::now());
        // Some room for counters that grew a digit.
        let mut text = Text::with_capacity(self.length.load(Ordering::Relaxed) + 1024);
        metrics::render(&view, &now, &mut text);
        let mut body = text.into_string().into_bytes();
        self.telemetry.render(now.mono, &mut body);
        self.length.store(body.len(), Ordering::Relaxed);
        respond::compressible(headers, &self.gzip, METRICS, body)
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        if self.ready.load(Ordering::Relaxed) || self.store.view().all_polled() {
            self.ready.store(true, Ordering::Relaxed);
            return respond::text(StatusCode::OK, "Ready.\n");
        }
        respond::text(StatusCode::SERVICE_UNAVAILABLE, "Not ready: some clusters have not been polled yet.\n")
    }

    /// Status codes and words as in Prometheus.
    async fn reload(&self) -> Response<Full<Bytes>> {
        let Some(trigger) = &self.trigger else {
            return respond::text(
                StatusCode::FORBIDDEN,
                "Lifecycle API is not enabled: start with --web.enable-lifecycle, or send SIGHUP.\n",
            );
        };
        match trigger.reload().await {
            Ok(changes) => respond::text(StatusCode::OK, format!("Reloaded; {changes}\n")),
            Err(mistakes) => {
                let body = format!("Not reloaded, the last good configuration stays.\n{mistakes}\n");
                respond::text(StatusCode::INTERNAL_SERVER_ERROR, body)
            }
        }
    }

    /// The status page.
    fn index(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let report = report::report(&self.store.view(), &clock::now());
        let page = page::render(&report, &Selection::new(pairs(query)), self.metrics_path.trim_start_matches('/'));
        let mut answer = respond::compressible(headers, &self.gzip, respond::HTML, page);
        let set = answer.headers_mut();
        set.insert(CONTENT_SECURITY_POLICY, self.page_policy.clone());
        set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        set.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// The same as JSON.
    fn clusters(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let selection = Selection::new(pairs(query));
        let report = report::report(&self.store.view(), &clock::now()).filter(|cluster| selection.admits(cluster));
        let mut answer = respond::compressible(headers, &self.gzip, respond::JSON, report::json::render(&report));
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// One cluster's series, from the store: nothing is polled.
    fn probe(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let Some((_, target)) = pairs(query).find(|(key, _)| key == "target") else {
            let problem = "target is missing: write /probe?target=NAME with the name of a configured cluster\n";
            return respond::text(StatusCode::BAD_REQUEST, problem);
        };
        let mut view = self.store.view();
        view.clusters.retain(|cluster| cluster.name().as_str() == target);
        if view.clusters.is_empty() {
            let problem = "no cluster of this name is configured; /sd lists those that are\n";
            return respond::text(StatusCode::NOT_FOUND, problem);
        }
        let mut text = Text::default();
        metrics::render(&view, &clock::now(), &mut text);
        respond::compressible(headers, &self.gzip, METRICS, text.into_string())
    }

    /// Prometheus' HTTP service discovery: each cluster is a target of its own, at the address that was asked.
    fn discovery(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
        let Some(host) = host else {
            return respond::text(StatusCode::BAD_REQUEST, "the Host header is missing or is no host and port\n");
        };
        let view = self.store.view();
        let targets = view.clusters.iter().map(|cluster| {
            let name = cluster.name().as_str();
            let labels = json!({ "__metrics_path__": PROBE, "__param_target": name, "instance": name });
            json!({ "targets": [host], "labels": labels })
        });
        let body = serde_json::Value::from_iter(targets).to_string();
        respond::compressible(headers, &self.gzip, respond::JSON, body)
    }
}

/// The decoded pairs of a query string.
fn pairs(query: Option<&str>) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
}

/// Whether this can be a target's address.
fn is_authority(host: &str) -> bool {
    host.parse::<hyper::http::uri::Authority>().is_ok() && !host.contains('@')
}

/// Nothing but the page's own stylesheet, known by its hash, and its own search form.
fn page_policy() -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, page::STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Base 64 and the words above are all visible ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.answer(request.method(), request.uri(), request.headers()).await
    }

    fn answered(&self, path: &str, status: StatusCode) {
        let known = self.routes.iter().find(|route| route.path == path);
        self.telemetry.count_request(known.map_or(OTHER, |route| &route.path), status.as_u16());
    }

    fn handshake_failed(&self) {
        self.telemetry.count_handshake_failure();
    }

    fn is_open(&self, path: &str) -> bool {
        is_health(path)
    }

    fn is_limited(&self, path: &str) -> bool {
        !is_health(path)
    }
}

/// What an orchestrator asks: for everybody, and never too many.
fn is_health(path: &str) -> bool {
    path == HEALTHY || path == READY
}

/// The health paths of `Routes` alone, for a listener that everybody reaches.
#[derive(Debug)]
pub struct Health(pub Arc<Routes>);

impl Handler for Health {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if is_health(request.uri().path()) { self.0.handle(request).await } else { respond::not_found() }
    }

    fn answered(&self, path: &str, status: StatusCode) {
        self.0.answered(if is_health(path) { path } else { OTHER }, status);
    }

    fn is_limited(&self, _path: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use hyper::{
        Method,
        header::{ALLOW, CONTENT_TYPE},
    };

    use super::*;
    use crate::model::{ClusterName, FailureReason, PollFailure};

    fn routes(store: &Store) -> Routes {
        with_trigger(store, None)
    }

    fn host() -> HeaderMap {
        HeaderMap::from_iter([(HOST, HeaderValue::from_static("exporter.example.com:10979"))])
    }

    fn with_trigger(store: &Store, trigger: Option<Trigger>) -> Routes {
        let telemetry = Arc::new(Telemetry::new(&clock::now(), true).unwrap());
        Routes::new(store.clone(), telemetry, "/metrics".to_owned(), trigger)
    }

    async fn get(routes: &Routes, path: &str) -> (u16, String) {
        let answer = routes.answer(&Method::GET, &path.parse().unwrap(), &host()).await;
        routes.answered(path.split('?').next().unwrap(), answer.status());
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
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
    async fn metrics_are_the_clusters_and_the_exporter() {
        let store = Store::default();
        let _publisher = store.publisher(ClusterName::new("one").unwrap(), Duration::from_secs(300));
        let routes = routes(&store);
        let (status, text) = get(&routes, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("qumulo_encryption_polls_total{cluster=\"one\"} 0\n"), "{text}");
        assert!(text.contains("process_open_fds"), "{text}");
        let answer = routes.answer(&Method::GET, &Uri::from_static("/metrics"), &HeaderMap::new()).await;
        assert_eq!(answer.headers()[CONTENT_TYPE], METRICS);
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
    async fn index_links_relatively() {
        let (status, page) = get(&routes(&Store::default()), "/").await;
        assert_eq!(status, 200);
        assert!(page.contains("href=\"metrics\"") && !page.contains("href=\"/"), "{page}");
    }

    #[tokio::test]
    async fn page_allows_its_own_style_and_nothing_else() {
        let routes = routes(&Store::default());
        let answer = routes.answer(&Method::GET, &Uri::from_static("/"), &HeaderMap::new()).await;
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
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
        for (path, status) in
            [("/probe", 400), ("/probe?module=x", 400), ("/probe?target=", 404), ("/probe?target=c", 404)]
        {
            assert_eq!(get(&routes, path).await.0, status, "{path}");
        }
    }

    #[tokio::test]
    async fn discovery_lists_each_cluster_at_the_address_that_was_asked() {
        let store = Store::default();
        let _publisher = store.publisher(ClusterName::new("a\"b").unwrap(), Duration::from_secs(300));
        let routes = routes(&store);
        let (status, text) = get(&routes, "/sd").await;
        assert_eq!(status, 200);
        let expect = json!([{
            "targets": ["exporter.example.com:10979"],
            "labels": { "__metrics_path__": "/probe", "__param_target": "a\"b", "instance": "a\"b" },
        }]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expect);
        for bad in ["", "a b", "user@host", "a/b"] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(bad).unwrap())]);
            let answer = routes.answer(&Method::GET, &Uri::from_static("/sd"), &headers).await;
            assert_eq!(answer.status(), 400, "{bad}");
        }
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
        let check = async |routes: &Routes, method: &Method, code: u16, words: &str| {
            let answer = routes.answer(method, &Uri::from_static(RELOAD), &HeaderMap::new()).await;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(status == code && body.contains(words), "{status} {body}");
        };
        let forbidding = routes(&Store::default());
        check(&forbidding, &Method::POST, 403, "--web.enable-lifecycle").await;
        let (trigger, mut wishes) = crate::reload::channel();
        let allowing = with_trigger(&Store::default(), Some(trigger));
        check(&allowing, &Method::GET, 405, "POST").await;
        let reloading = async {
            wishes.next().await.send(Ok("2 added".to_owned())).unwrap();
            wishes.next().await.send(Err("a.yml\nclusters[0].url: bad".to_owned())).unwrap();
        };
        let asking = async {
            check(&allowing, &Method::POST, 200, "2 added").await;
            check(&allowing, &Method::POST, 500, "clusters[0].url: bad").await;
        };
        tokio::join!(reloading, asking);
        drop(wishes);
        check(&allowing, &Method::POST, 500, "ending").await;
        assert!(allowing.is_limited(RELOAD) && !allowing.is_limited("/-/healthy"));
    }

    #[tokio::test]
    async fn nothing_is_changed_by_a_request() {
        let routes = routes(&Store::default());
        for path in ["/", "/metrics", "/api/v1/clusters", "/probe", "/sd", "/-/healthy", "/-/ready"] {
            let answer = routes.answer(&Method::POST, &Uri::from_static(path), &HeaderMap::new()).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.headers()[ALLOW], "GET, HEAD", "{path}");
        }
    }
}
