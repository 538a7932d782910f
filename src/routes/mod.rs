//! What each path answers. Everything is in memory: no answer waits for a cluster.

mod batch;
mod site;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

use self::batch::Batch;
pub use self::site::Site;
use crate::{
    clock,
    metrics::{self, Text},
    page::{self, Selection},
    reload::Trigger,
    report,
    store::Store,
    telemetry::Telemetry,
    web::{
        accept_encoding::accepts_gzip,
        gzip::Gzip,
        handler::{Handler, OverTls},
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

/// How a client reached the proxy in front of the exporter: what every proxy can be told to send.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Below it are the pages of the runbooks.
const RUNBOOKS: &str = "/runbooks/";

/// The one path that has an effect.
const RELOAD: &str = "/-/reload";

/// All paths but that of the metrics, which is the user's choice.
const FIXED: [(&str, Methods, Target); 8] = [
    ("/", Methods::Read, Target::Index),
    ("/api/v1/clusters", Methods::Read, Target::Clusters),
    (PROBE, Methods::Read, Target::Probe),
    ("/sd", Methods::Read, Target::Discovery),
    (HEALTHY, Methods::Read, Target::Healthy),
    (READY, Methods::Read, Target::Ready),
    (RELOAD, Methods::Post, Target::Reload),
    (RUNBOOKS, Methods::Read, Target::Runbook),
];

/// Whether a path has a meaning of its own, or is in a folder where others have or may get one, so that metrics cannot be
/// there.
pub fn is_taken(path: &str) -> bool {
    let folder = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    FIXED.iter().any(|(fixed, ..)| *fixed == path || (fixed.matches('/').count() > 1 && folder(fixed) == folder(path)))
}

/// The exporter's answers.
#[derive(Debug)]
pub struct Routes {
    batch: Batch<Response<Full<Bytes>>>,
    gzip: Gzip,
    metrics_path: String,
    page_policy: HeaderValue,
    /// Sticky: what has been ready once stays ready, whatever clusters come later.
    ready: AtomicBool,
    routes: Vec<Route<Target>>,
    site: Site,
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
    Runbook,
}

// === impl Routes ===

impl Routes {
    /// Serves the clusters of `store` at `metrics_path` of the `site`. Without a `trigger` nobody can reload.
    pub fn new(
        store: Store,
        telemetry: Arc<Telemetry>,
        metrics_path: String,
        site: Site,
        trigger: Option<Trigger>,
    ) -> Self {
        let route = |path: Cow<'static, str>, (methods, target)| Route { path, methods, target };
        let mut routes = vec![route(metrics_path.clone().into(), (Methods::Read, Target::Metrics))];
        routes.extend(FIXED.map(|(path, methods, target)| route(path.into(), (methods, target))));
        let (gzip, ready) = (Gzip::default(), AtomicBool::default());
        let batch = Batch::default();
        let page_policy = page_policy();
        Self { batch, gzip, metrics_path, page_policy, ready, routes, site, store, telemetry, trigger }
    }

    /// The answer to a request.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match (self.site.inside(path), self.site.home(path)) {
            (_, Some(home)) => respond::found(&home),
            (Some(path), None) => self.answer_inside(request, path).await,
            (None, None) => respond::not_found(),
        }
    }

    /// The answer to a request for a path of ours.
    async fn answer_inside<B>(&self, request: &Request<B>, path: &str) -> Response<Full<Bytes>> {
        let (query, headers) = (request.uri().query(), request.headers());
        match route::find(&self.routes, request.method(), known(path)) {
            Err(refusal) => refusal.into_answer(),
            Ok(route) => match route.target {
                Target::Healthy => respond::text(StatusCode::OK, "Healthy.\n"),
                Target::Index => self.shared(request, || self.index(query, headers)).await,
                Target::Clusters => self.shared(request, || self.clusters(query, headers)).await,
                Target::Discovery => self.discovery(headers, request.extensions().get::<OverTls>().is_some()),
                Target::Metrics => self.shared(request, || self.metrics(headers)).await,
                Target::Probe => self.probe(query, headers),
                Target::Ready => self.ready(),
                Target::Reload => self.reload().await,
                Target::Runbook => self.runbook(path, headers),
            },
        }
    }

    /// One answer for all requests of the same that wait; a large fleet's take milliseconds.
    async fn shared<B>(
        &self,
        request: &Request<B>,
        make: impl FnOnce() -> Response<Full<Bytes>>,
    ) -> Response<Full<Bytes>> {
        let encoding = if accepts_gzip(request.headers()) { "gzip" } else { "plain" };
        self.batch.share(&format!("{encoding} {}", request.uri()), make).await
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

    /// Counts an answer to a request for a path of ours.
    fn count(&self, path: Option<&str>, status: StatusCode) {
        let path = path.map(known);
        let known = self.routes.iter().find(|route| Some(&*route.path) == path);
        self.telemetry.count_request(known.map_or(OTHER, |route| &route.path), status.as_u16());
    }

    fn html(&self, headers: &HeaderMap, page: String) -> Response<Full<Bytes>> {
        let mut answer = respond::compressible(headers, &self.gzip, respond::HTML, page);
        let set = answer.headers_mut();
        set.insert(CONTENT_SECURITY_POLICY, self.page_policy.clone());
        set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        set.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let (view, now) = (self.store.view(), clock::now());
        respond::in_pieces(headers, &self.gzip, METRICS, |pass_on| {
            let mut text = Text::in_pieces(pass_on);
            metrics::render(&view, &now, &mut text);
            let mut rest = text.into_string();
            self.telemetry.render(now.mono, &mut rest);
            pass_on(&rest);
        })
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
            Err(errors) => {
                let body = format!("Not reloaded, the last good configuration stays.\n{errors}\n");
                respond::text(StatusCode::INTERNAL_SERVER_ERROR, body)
            }
        }
    }

    /// The status page.
    fn index(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let report = report::report(&self.store.view(), &clock::now());
        let exporter = page::Exporter {
            config_is_good: self.telemetry.config_is_good(),
            metrics: self.metrics_path.trim_start_matches('/'),
        };
        let page = page::render(&report, &Selection::new(pairs(query)), exporter);
        self.html(headers, page)
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

    /// Prometheus' HTTP service discovery: each cluster is a target of its own, at the external URL, or else at the address
    /// that was asked. Without a scheme here the scrape configuration's counts.
    fn discovery(&self, headers: &HeaderMap, over_tls: bool) -> Response<Full<Bytes>> {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (scheme, host) = match self.site.origin() {
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
        let (view, path) = (self.store.view(), self.site.outside(PROBE));
        let targets = view.clusters.iter().map(|cluster| {
            let name = cluster.name().as_str();
            let own = cluster.about().labels.iter();
            let ours = [("__metrics_path__", &*path), ("__param_target", name), ("instance", name)];
            let scheme = scheme.map(|scheme| ("__scheme__", scheme));
            let labels: serde_json::Map<_, _> =
                own.chain(ours).chain(scheme).map(|(name, value)| (name.to_owned(), value.into())).collect();
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
        self.count(self.site.inside(path), status);
    }

    fn handshake_failed(&self) {
        self.telemetry.count_handshake_failure();
    }

    fn is_open(&self, path: &str) -> bool {
        self.site.inside(path).is_some_and(is_health)
    }

    fn is_limited(&self, path: &str) -> bool {
        !self.is_open(path)
    }
}

/// The route's path behind a request's: all runbooks are one.
fn known(path: &str) -> &str {
    if path.starts_with(RUNBOOKS) { RUNBOOKS } else { path }
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
