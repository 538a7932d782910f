//! What each path answers. Everything is in memory: no answer waits for a cluster.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming};

use crate::{
    clock,
    metrics::{self, Text},
    reload::Trigger,
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
    Healthy,
    Index,
    Metrics,
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
            route(HEALTHY.into(), Target::Healthy),
            route(READY.into(), Target::Ready),
            Route { path: RELOAD.into(), methods: Methods::Post, target: Target::Reload },
        ];
        let (gzip, length, ready) = (Gzip::default(), AtomicUsize::default(), AtomicBool::default());
        Self { gzip, length, metrics_path, ready, routes, store, telemetry, trigger }
    }

    /// The answer to a request that is known by method, path and headers.
    pub async fn answer(&self, method: &hyper::Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        match route::find(&self.routes, method, path) {
            Err(refusal) => refusal.into_answer(),
            Ok(route) => match route.target {
                Target::Healthy => respond::text(StatusCode::OK, "Healthy.\n"),
                Target::Index => self.index(headers),
                Target::Metrics => self.metrics(headers),
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

    fn index(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        // Relative, so that it works behind a proxy that rewrites paths.
        let metrics = escape(self.metrics_path.trim_start_matches('/'));
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Qumulo encryption exporter</title>\
             </head>\n<body>\n<h1>Qumulo encryption exporter</h1>\n<p>Version {}</p>\n<ul>\n\
             <li><a href=\"{metrics}\">Metrics</a></li>\n<li><a href=\"-/healthy\">Healthy</a></li>\n\
             <li><a href=\"-/ready\">Ready</a></li>\n</ul>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        );
        respond::compressible(headers, &self.gzip, respond::HTML, page)
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.answer(request.method(), request.uri().path(), request.headers()).await
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
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

    fn with_trigger(store: &Store, trigger: Option<Trigger>) -> Routes {
        let telemetry = Arc::new(Telemetry::new(&clock::now(), true).unwrap());
        Routes::new(store.clone(), telemetry, "/metrics".to_owned(), trigger)
    }

    async fn get(routes: &Routes, path: &str) -> (u16, String) {
        let answer = routes.answer(&Method::GET, path, &HeaderMap::new()).await;
        routes.answered(path, answer.status());
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
        let answer = routes.answer(&Method::GET, "/metrics", &HeaderMap::new()).await;
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
    async fn reload_is_by_post_and_only_where_it_is_allowed() {
        let check = async |routes: &Routes, method: &Method, code: u16, words: &str| {
            let answer = routes.answer(method, RELOAD, &HeaderMap::new()).await;
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
        for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
            let answer = routes.answer(&Method::POST, path, &HeaderMap::new()).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.headers()[ALLOW], "GET, HEAD", "{path}");
        }
    }
}
