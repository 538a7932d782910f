//! Prometheus exporter for the at-rest encryption of Qumulo clusters.
//!
//! # Data flow
//!
//! ```text
//!  YAML, flags ──► config ──► poll ◄─────── client ◄──── REST API of a cluster
//!                              │              JSON ► model
//!                              ▼
//!                            store      the latest snapshot of each cluster; freshness
//!                              │
//!                              ▼ view + now
//!                     metrics, report, page   samples, findings, HTML; pure
//!                              │
//!                              ▼
//!                            routes ──► web ──► Prometheus, browsers, probes
//! ```
//!
//! Data flows in one direction. Polls and scrapes never wait for each other; they share one map behind one lock.
//!
//! # Threads
//!
//! | thread | work |
//! |---|---|
//! | two tokio workers | everything that does not block: one task per cluster ([`poll`]), the listener ([`web`], [`routes`]), reloads, signals |
//! | tokio's blocking threads, limited by [`blocking`] | work that can block or takes long: name resolution, files, password hashes; callers have timeouts |
//! | `log` | writes to standard error ([`logging::writer`]) from a bounded queue; lines that do not fit are dropped and counted |
//! | `grace`, started by a shutdown | ends the process if the shutdown takes too long ([`signals`]) |
//!
//! # Reading order
//!
//! 1. [`model`]: the encryption status of a cluster as plain values.
//! 2. [`client`]: polls one cluster. `client::decode` turns JSON into the model and documents the quirks of the API.
//! 3. [`store`]: the latest snapshot of every cluster, and the freshness rule.
//! 4. [`poll`]: one task per cluster; `poll::schedule` decides when the next poll is due.
//! 5. [`report`]: findings, their severity and advice. [`metrics`]: samples and text format; [`metrics::catalog`] defines
//!    all names. [`page`]: the status page.
//! 6. [`routes`]: the HTTP paths, on top of [`web`], which is independent of them: listener, TLS, limits, authentication.
//! 7. [`config`]: the configuration file, its JSON Schema and its errors; [`web_config`]: the same for the listener.
//! 8. [`cmd`]: the commands, which put everything together; [`cli`] and `main` call them.
//!
//! Further modules: [`recording`] (the file of `status --record`), [`trust`] (certificate verification for [`client`] and
//! [`web`]), [`address`] (strict parsing of URLs and hosts), [`telemetry`] (the exporter's own metrics), [`logging`],
//! [`secret`] (strings that cannot be printed), [`clock`], [`mod@file`] (reading of configured files), [`blocking`] (threads
//! for blocking work), [`limits`] (file descriptors and threads), [`lock`], [`signals`], [`reload`] (reload requests), and
//! [`service`] (systemd). The crate [`qumulo_simulator`] in `simulator/` has simulated clusters for the demonstration and for
//! tests.
//!
//! # Invariants
//!
//! * **Metrics never use a stale status.** They read it through [`store::Snapshot::fresh`], which takes the current time. Other
//!   output may use the last known status, and states its age.
//! * **One table of findings.** [`report::findings`] decides, with the limits of the configured policy. Metric, page, JSON and
//!   `status` show its result; alert rules and dashboards use the metric.
//! * **Output is consistent.** A scrape or a page is rendered from one [`store::View`].
//! * **The core does no IO and reads no clock**: [`model`], [`store`], [`metrics`], [`report`], [`page`], `client::decode`,
//!   `poll::schedule`. They take the time as an argument.
//! * **The exporter does not write to clusters.** Every request is a GET, except the login.
//! * **Secrets are of type [`secret::Secret`]** from the file to the request. A response that contains one is rejected.
//! * **Only `config::raw` and `client::decode` know the formats** of the configuration file and of the API. The texts of the
//!   statuses are in [`model::Status`].
//! * **The simulator does not depend on this crate**, so that an error in the understanding of the API is not repeated there.
//! * **Label values are from a closed list**, or validated (UUID, version, host, port, printable ASCII identifier), or names
//!   chosen by the user.
//!
//! Deliberately absent: writing to disk (except by `simulate` and `status --record`), KMIP (only the KMS server certificate is
//! checked), tracing spans, feature flags, and metrics state that outlives a scrape.
//!
//! `tests/it/walls.rs` defines which module may import which, and checks it.

pub mod address;
pub mod blocking;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod file;
pub mod limits;
pub mod lock;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod page;
pub mod poll;
pub mod recording;
pub mod reload;
pub mod report;
pub mod routes;
pub mod secret;
pub mod service;
pub mod signals;
pub mod store;
pub mod telemetry;
pub mod trust;
pub mod web;
pub mod web_config;
