//! What each path answers. Everything is in memory: no answer waits for a cluster.

mod url_prefix;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
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

/// The label `handler` of paths that do not exist; their names would make it unbounded.
const OTHER: &str = "other";

/// How a client reached the proxy in front of the exporter: what every proxy can be told to send.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

const CLUSTERS: &str = "/api/v1/clusters";
const DISCOVERY: &str = "/sd";
const HEALTHY: &str = "/-/healthy";
const INDEX: &str = "/";
const PROBE: &str = "/probe";
const READY: &str = "/-/ready";
/// The one path that has an effect.
const RELOAD: &str = "/-/reload";
/// Below it are the pages of the runbooks.
const RUNBOOKS: &str = "/runbooks/";

/// All paths but that of the metrics, which is the user's choice.
const FIXED: [&str; 8] = [CLUSTERS, DISCOVERY, HEALTHY, INDEX, PROBE, READY, RELOAD, RUNBOOKS];

/// Whether a path has a meaning of its own, or is in a folder where others have or may get one, so that metrics cannot be
/// there.
pub fn is_taken(path: &str) -> bool {
    let folder = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    FIXED.iter().any(|fixed| *fixed == path || (fixed.matches('/').count() > 1 && folder(fixed) == folder(path)))
}

/// The exporter's answers.
#[derive(Debug)]
pub struct Routes {
    metrics_path: String,
    page_policy: HeaderValue,
    prefix: UrlPrefix,
    /// Sticky: what has been ready once stays ready, whatever clusters come later.
    ready: AtomicBool,
    store: Store,
    telemetry: Arc<Telemetry>,
    /// `None` without `--web.enable-lifecycle`.
    trigger: Option<Trigger>,
}

// === impl Routes ===

impl Routes {
    /// Serves the clusters of `store`, with the metrics at `metrics_path` below the `prefix`. Without a `trigger` nobody can
    /// reload.
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

    /// The response to a request.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match (self.prefix.inside(path), self.prefix.home(path)) {
            (_, Some(home)) => respond::found(&home),
            (Some(path), None) => self.answer_inside(request, path).await,
            (None, None) => respond::not_found(),
        }
    }

    /// The response to a request for a path below the prefix.
    async fn answer_inside<B>(&self, request: &Request<B>, path: &str) -> Response<Full<Bytes>> {
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

    /// The route that a path leads to, as the label `handler` names it: all runbooks are one.
    fn route(&self, path: &str) -> Option<&str> {
        let route = if path.starts_with(RUNBOOKS) { RUNBOOKS } else { path };
        let routes = [&*self.metrics_path].into_iter().chain(FIXED);
        routes.into_iter().find(|each| *each == route)
    }

    /// The list of runbooks, or one of them.
    fn runbook(&self, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let page = match path.strip_prefix(RUNBOOKS).unwrap_or_default() {
            "" => Some(page::runbooks::index()),
            name => page::runbooks::page(name),
        };
        match page {
            Some(page) => self.html(headers, page),
            None => respond::not_found(),
        }
    }

    /// Counts a response to a request for a path below the prefix.
    fn count(&self, path: Option<&str>, status: StatusCode) {
        let route = path.and_then(|path| self.route(path));
        self.telemetry.count_request(route.unwrap_or(OTHER), status.as_u16());
    }

    fn html(&self, headers: &HeaderMap, page: String) -> Response<Full<Bytes>> {
        let mut answer = respond::compressible(headers, respond::HTML, page);
        let set = answer.headers_mut();
        set.insert(CONTENT_SECURITY_POLICY, self.page_policy.clone());
        set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        set.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let now = clock::now();
        let mut text = Text::default();
        metrics::render(&self.store.view(), &now, &mut text);
        let mut text = text.into_string();
        self.telemetry.render(&mut text);
        respond::compressible(headers, METRICS, text)
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
            Ok(outcome) => respond::text(StatusCode::OK, outcome + "\n"),
            Err(outcome) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, outcome + "\n"),
        }
    }

    /// The status page.
    fn index(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
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

    /// The same as JSON.
    fn clusters(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let selection = Selection::new(pairs(query));
        let report = report::report(&self.store.view(), &clock::now()).filter(|cluster| selection.admits(cluster));
        let json = report::json::render(&report, Some(self.metrics_path.trim_start_matches('/')));
        let mut answer = respond::compressible(headers, respond::JSON, json);
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
        respond::compressible(headers, METRICS, text.into_string())
    }

    /// Prometheus' HTTP service discovery: each cluster is a target of its own, at the external URL, or else at the address
    /// that was asked. Without a scheme here the scrape configuration's counts.
    fn discovery(&self, headers: &HeaderMap, over_tls: bool) -> Response<Full<Bytes>> {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (scheme, host) = match self.prefix.origin() {
            Some((scheme, host)) => (Some(scheme), Some(host)),
            None => {
                let forwarded = header(FORWARDED_PROTO).filter(|scheme| ["http", "https"].contains(scheme));
                let host = header(HOST.as_str()).filter(|host| is_authority(host)).map(str::to_owned);
                (forwarded.or(over_tls.then_some("https")), host)
            }
        };
        let Some(host) = host else {
            return respond::text(StatusCode::BAD_REQUEST, "the Host header is missing or is no host and port\n");
        };
        let (view, path) = (self.store.view(), self.prefix.outside(PROBE));
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

/// Whether this can be a target's address.
fn is_authority(host: &str) -> bool {
    host.parse::<hyper::http::uri::Authority>().is_ok() && !host.contains('@')
}

/// Nothing but the page's own stylesheet, known by its hash, its own search form, and the icon that is written into it.
fn page_policy() -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, page::STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    // Base 64 and the words above are all visible ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

impl Handler for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.answer(&request).await
    }

    fn answered(&self, path: &str, status: StatusCode) {
        self.count(self.prefix.inside(path), status);
    }

    fn handshake_failed(&self) {
        self.telemetry.count_handshake_failure();
    }

    fn is_open(&self, path: &str) -> bool {
        self.prefix.inside(path).is_some_and(is_health)
    }

    fn is_limited(&self, path: &str) -> bool {
        !self.is_open(path)
    }
}

/// What an orchestrator asks: for everybody, and never too many.
fn is_health(path: &str) -> bool {
    path == HEALTHY || path == READY
}

/// The health paths of `Routes` alone, for a listener that everybody reaches without a proxy: there is no prefix.
#[derive(Debug)]
pub struct Health(pub Arc<Routes>);

impl Handler for Health {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if is_health(path) { self.0.answer_inside(&request, path).await } else { respond::not_found() }
    }

    fn answered(&self, path: &str, status: StatusCode) {
        self.0.count(Some(path).filter(|path| is_health(path)), status);
    }

    fn is_limited(&self, _path: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
