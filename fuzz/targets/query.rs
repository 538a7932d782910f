//! Paths, queries and headers of requests, as far as hyper lets them through. The first line is the target, the others are
//! the values of headers.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use hyper::{
    Request,
    header::{ACCEPT_ENCODING, HOST, HeaderName, HeaderValue},
};
use qumulo_encryption_exporter::{
    clock,
    model::{ClusterName, FailureReason, PollFailure},
    routes::{Routes, UrlPrefix},
    store::{Publisher, Store},
    telemetry::Telemetry,
};
use tokio::runtime::Runtime;

struct Setup {
    routes: Routes,
    runtime: Runtime,
    _cluster: Publisher,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let store = Store::default();
    let mut cluster = store.publisher(ClusterName::new("a\"b <c>").unwrap(), Duration::from_secs(300));
    cluster.record(clock::now(), Duration::ZERO, Err(PollFailure::new(FailureReason::Dns, "<script>")));
    let telemetry = Arc::new(Telemetry::new(&clock::now(), true).unwrap());
    let routes = Routes::new(store, telemetry, "/metrics".to_owned(), UrlPrefix::default(), None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Setup { routes, runtime, _cluster: cluster }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(mut request) = Request::get(lines.next().unwrap_or_default()).body(()) else { return };
    let names = [HOST, ACCEPT_ENCODING, HeaderName::from_static("x-forwarded-proto")];
    for (name, value) in names.into_iter().zip(lines) {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        request.headers_mut().insert(name, value);
    }
    let response = SETUP.runtime.block_on(SETUP.routes.respond(&request));
    assert!(response.status().as_u16() < 500 || response.status() == 503, "{}", response.status());
    let is_page = response.headers().get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let body = response.into_body();
    if is_page {
        assert!(
            !body.windows(7).any(|window| window.eq_ignore_ascii_case(b"<script")),
            "markup of others is on the page"
        );
    }
});
