//! The paths of the exporter. All data is in memory: no response waits for a cluster.

mod url_prefix;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderValue, REFERRER_POLICY},
};
use serde_json::json;

pub use self::url_prefix::UrlPrefix;
use crate::{
    clock,
    metrics::{self, Text},
    page::{self, Selection},
    reload::Trigger,
    report,
    store::Store,
    telemetry::Telemetry,
    web::{
        handler::{Handler, OverTls},
        respond,
    },
};

/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label `handler` of paths that do not exist: with their names it would have any number of values.
const OTHER: &str = "other";

/// The scheme by which a client reached the proxy in front of the exporter.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

const CLUSTERS: &str = "/api/v1/clusters";
const DISCOVERY: &str = "/sd";
const HEALTHY: &str = "/-/healthy";
const INDEX: &str = "/";
const PROBE: &str = "/probe";
const READY: &str = "/-/ready";
/// The only path that has an effect.
const RELOAD: &str = "/-/reload";
/// The list of runbooks; each is a page below it.
const RUNBOOKS: &str = "/runbooks/";

/// All paths but that of the metrics, which is configurable.
const FIXED: [&str; 8] = [CLUSTERS, DISCOVERY, HEALTHY, INDEX, PROBE, READY, RELOAD, RUNBOOKS];

/// Whether the metrics cannot be at `path`, because it is one of the exporter's own paths or in a folder of them.
pub fn is_taken(path: &str) -> bool {
    let folder = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    FIXED.iter().any(|fixed| *fixed == path || (fixed.matches('/').count() > 1 && folder(fixed) == folder(path)))
}

#[derive(Debug)]
pub struct Routes {
    metrics_path: String,
    page_policy: HeaderValue,
    prefix: UrlPrefix,
    /// Stays set: the exporter remains ready when clusters are added later.
    ready: AtomicBool,
    store: Store,
    telemetry: Arc<Telemetry>,
    /// `None` without `--web.enable-lifecycle`.
    trigger: Option<Trigger>,
}

// === impl Routes ===

impl Routes {
    /// Serves the clusters of `store`, with the metrics at `metrics_path` below the `prefix`. Without a `trigger` reloads are
    /// refused.
    pub fn new(
        store: Store,
        telemetry: Arc<Telemetry>,
        metrics_path: String,
        prefix: UrlPrefix,
        trigger: Option<Trigger>,
    ) -> Self {
        let (page_policy, ready) = (page_policy(), AtomicBool::default());
        Self { metrics_path, page_policy, prefix, ready, store, telemetry, trigger }
    }

    pub async fn respond<B>(&self, request: &Request<B>) -> Response<Bytes> {
        let path = request.uri().path();
        match (self.prefix.strip(path), self.prefix.redirect(path)) {
            (_, Some(target)) => respond::found(&target),
            (Some(path), None) => self.respond_below(request, path).await,
            (None, None) => respond::not_found(),
        }
    }

    /// `path` is that of the request, without the prefix.
    async fn respond_below<B>(&self, request: &Request<B>, path: &str) -> Response<Bytes> {
        let (query, headers) = (request.uri().query(), request.headers());
        let Some(route) = self.route(path) else { return respond::not_found() };
        let allowed = if route == RELOAD { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        match (request.method().as_str(), route) {
            ("OPTIONS", _) => respond::options(allowed),
            ("POST", RELOAD) => self.reload().await,
            (_, RELOAD) => respond::method_not_allowed(allowed),
            ("GET" | "HEAD", CLUSTERS) => self.clusters(query, headers),
            ("GET" | "HEAD", DISCOVERY) => self.discovery(headers, request.extensions().get::<OverTls>().is_some()),
            ("GET" | "HEAD", HEALTHY) => respond::text(StatusCode::OK, "Healthy.\n"),
            ("GET" | "HEAD", INDEX) => self.index(query, headers),
            ("GET" | "HEAD", PROBE) => self.probe(query, headers),
            ("GET" | "HEAD", READY) => self.ready(),
            ("GET" | "HEAD", RUNBOOKS) => self.runbook(path, headers),
            ("GET" | "HEAD", _) => self.metrics(headers),
            _ => respond::method_not_allowed(allowed),
        }
    }

    /// The label `handler` of a path, which is the same for all runbooks; `None` if there is no such path.
    fn route(&self, path: &str) -> Option<&str> {
        let route = if path.starts_with(RUNBOOKS) { RUNBOOKS } else { path };
        let routes = [&*self.metrics_path].into_iter().chain(FIXED);
        routes.into_iter().find(|each| *each == route)
    }

    /// The list of runbooks, or one of them.
    fn runbook(&self, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        let page = match path.strip_prefix(RUNBOOKS).unwrap_or_default() {
            "" => Some(page::runbooks::index()),
            name => page::runbooks::page(name),
        };
        match page {
            Some(page) => self.html(headers, page),
            None => respond::not_found(),
        }
    }

    /// Counts a response. `path` is without the prefix, `None` for a path that is not below it.
    fn count(&self, path: Option<&str>, status: StatusCode) {
        let route = path.and_then(|path| self.route(path));
        self.telemetry.count_request(route.unwrap_or(OTHER), status.as_u16());
    }

    fn html(&self, headers: &HeaderMap, page: String) -> Response<Bytes> {
        let mut response = respond::compressible(headers, respond::HTML, page);
        let set = response.headers_mut();
        set.insert(CONTENT_SECURITY_POLICY, self.page_policy.clone());
        set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        set.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Bytes> {
        let now = clock::now();
        let mut text = Text::default();
        metrics::render(&self.store.view(), &now, &mut text);
        let mut text = text.into_string();
        self.telemetry.render(&mut text);
        respond::compressible(headers, METRICS, text)
    }

    fn ready(&self) -> Response<Bytes> {
        if self.ready.load(Ordering::Relaxed) || self.store.view().all_polled() {
            self.ready.store(true, Ordering::Relaxed);
            return respond::text(StatusCode::OK, "Ready.\n");
        }
        respond::text(StatusCode::SERVICE_UNAVAILABLE, "Not ready: some clusters have not been polled yet.\n")
    }

    /// Status codes and texts are those of Prometheus.
    async fn reload(&self) -> Response<Bytes> {
        let Some(trigger) = &self.trigger else {
            return respond::text(
                StatusCode::FORBIDDEN,
                "Lifecycle API is not enabled: start with --web.enable-lifecycle, or send SIGHUP.\n",
            );
        };
        match trigger.reload().await {
            Ok(outcome) => respond::text(StatusCode::OK, outcome + "\n"),
            Err(outcome) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, outcome + "\n"),
        }
    }

    fn index(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Bytes> {
        let report = report::report(&self.store.view(), &clock::now());
        let config_warnings = self.telemetry.config_warnings();
        let exporter = page::Exporter {
            config_is_good: self.telemetry.config_is_good(),
            config_warnings: &config_warnings,
            metrics: self.metrics_path.trim_start_matches('/'),
        };
        let page = page::render(&report, &Selection::new(pairs(query)), exporter);
        self.html(headers, page)
    }

    fn clusters(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Bytes> {
        let selection = Selection::new(pairs(query));
        let report = report::report(&self.store.view(), &clock::now()).filter(|cluster| selection.admits(cluster));
        let json = report::json::render(&report, Some(self.metrics_path.trim_start_matches('/')));
        let mut response = respond::compressible(headers, respond::JSON, json);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The series of one cluster, from the store: nothing is polled.
    fn probe(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Bytes> {
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
        respond::compressible(headers, METRICS, text.into_string())
    }

    /// Prometheus' HTTP service discovery. Each cluster is a target, with the address of the external URL or else of the
    /// request. If the scheme is unknown, that of the scrape configuration is used.
    fn discovery(&self, headers: &HeaderMap, over_tls: bool) -> Response<Bytes> {
        let (scheme, host) = match self.prefix.origin() {
            Some((scheme, host)) => (Some(scheme), Some(host)),
            None => {
                let forwarded = headers.get(FORWARDED_PROTO).and_then(|scheme| scheme.to_str().ok());
                let forwarded = forwarded.filter(|scheme| ["http", "https"].contains(scheme));
                let host = headers.get(HOST).and_then(respond::authority).map(str::to_owned);
                (forwarded.or(over_tls.then_some("https")), host)
            }
        };
        let Some(host) = host else {
            return respond::text(StatusCode::BAD_REQUEST, "the Host header is missing or is not a host and port\n");
        };
        let (view, path) = (self.store.view(), self.prefix.external(PROBE));
        let targets = view.clusters.iter().map(|cluster| {
            let name = cluster.name().as_str();
            let own = cluster.metadata().labels.iter();
            let ours = [("__metrics_path__", &*path), ("__param_target", name), ("instance", name)];
            let scheme = scheme.map(|scheme| ("__scheme__", scheme));
            let labels: serde_json::Map<_, _> =
                own.chain(ours).chain(scheme).map(|(name, value)| (name.to_owned(), value.into())).collect();
            json!({ "targets": [host], "labels": labels })
        });
        let body = serde_json::Value::from_iter(targets).to_string();
        respond::compressible(headers, respond::JSON, body)
    }
}

/// The decoded pairs of a query string.
fn pairs(query: Option<&str>) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
}

/// The content security policy: the page's own stylesheet (by its hash), its search form and its inline icon are allowed.
fn page_policy() -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, page::STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    // The fallback is never used: the text is visible ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response<Bytes> {
        self.respond(&request).await
    }

    fn on_response(&self, path: &str, status: StatusCode) {
        self.count(self.prefix.strip(path), status);
    }

    fn on_handshake_failure(&self) {
        self.telemetry.count_handshake_failure();
    }

    fn is_health_check(&self, path: &str) -> bool {
        self.prefix.strip(path).is_some_and(is_health_check)
    }
}

fn is_health_check(path: &str) -> bool {
    path == HEALTHY || path == READY
}

/// Serves only the health checks of `Routes`, without its prefix: clients of this listener do not come through a proxy.
#[derive(Debug)]
pub struct Health(pub Arc<Routes>);

impl Handler for Health {
    async fn handle(&self, request: Request<Incoming>) -> Response<Bytes> {
        let path = request.uri().path();
        if is_health_check(path) { self.0.respond_below(&request, path).await } else { respond::not_found() }
    }

    fn on_response(&self, path: &str, status: StatusCode) {
        self.0.count(Some(path).filter(|path| is_health_check(path)), status);
    }

    fn is_health_check(&self, _path: &str) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
