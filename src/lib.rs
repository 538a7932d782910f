//! Prometheus exporter for the at-rest encryption of Qumulo clusters.
//!
//! # Data flow
//!
//! ```text
//!  YAML, flags ──► config ──► poll ◄─────── client ◄──── a cluster's REST API
//!                              │              wire ► model
//!                              ▼
//!                            store      the latest snapshot of each cluster, and the freshness rule
//!                              │
//!                              ▼ view + now
//!                     metrics, report   text, judgement; pure
//!                              │
//!                              ▼
//!                            routes ──► web ──► Prometheus, a browser, a probe
//! ```
//!
//! It runs one way. A poll never waits for a scrape, a scrape never waits for a poll, and they meet in one map behind
//! one lock.
//!
//! # Threads
//!
//! | thread | what it does |
//! |---|---|
//! | two tokio workers | everything that does not block: one task for each cluster ([`poll`]), the listener ([`web`], [`routes`]), reloads, signals |
//! | tokio's blocking threads, bounded for each kind of work by [`blocking`] | what can hang or computes for long: names, files, password hashes; whoever waits for them gives up in time |
//! | `log` | writes to standard error ([`logging::writer`]): a bounded queue, what does not fit is dropped and counted |
//! | `grace`, once the shutdown has begun | ends the process whatever hangs ([`signals`]) |
//!
//! # In which order to read
//!
//! 1. [`model`]: what there is to know about a cluster's encryption. Plain values.
//! 2. [`client`]: one question to one cluster, one outcome. Its `decode` is where the vendor's quirks are named.
//! 3. [`store`]: the latest snapshots. [`store::Snapshot::fresh`] is the only way to read a status.
//! 4. [`poll`]: one task per cluster, and when to ask next.
//! 5. [`metrics`]: [`metrics::catalog`] is the one list of names; `domain` says which samples there are.
//!    Beside it [`report`]: what to think of each cluster, for people; [`page`] shows it.
//! 6. [`routes`]: what each path answers, on top of [`web`]: listening, limits, compression, for any handler.
//! 7. [`config`]: what users write, held against the JSON Schemas in `deploy/`, and every error they make; [`web_config`]:
//!    the same for the listener.
//! 8. [`cmd`]: where all of it is put together; [`cli`] and `main` in front.
//!
//! Beside the data flow: [`trust`] (which certificates are trusted, for [`client`] and [`web`]), [`address`] (URLs and hosts that
//! mean what a person reads), [`telemetry`] (the exporter about itself), [`logging`], [`secret`] (strings that cannot be
//! printed), [`clock`], [`mod@file`] (how users' files are read), [`blocking`] (work that can
//! hang), [`limits`], [`lock`], [`signals`], [`reload`] (who asks for it), [`service`] (systemd). Simulated clusters, for the demonstration
//! and for tests, are a crate of their own: [`qumulo_simulator`], in `simulator/`.
//!
//! # What always holds
//!
//! * **No old status is a metric.** Whoever wants one passes the time to [`store::Snapshot::fresh`]; what was seen last is for
//!   people, who are told its age.
//! * **One judgement.** [`report::findings`] is the table, the policy of the configuration its limits; metric, page, JSON and
//!   `status` show it, and alert rules and dashboards read the metric.
//! * **A view is one instant.** Whatever is rendered comes from one [`store::View`].
//! * **The core does no IO and reads no clock**: [`model`], [`store`], [`metrics`], [`report`],
//!   [`page`], `client::decode`, `poll::schedule`, `poll::config_diff`.
//!   Below [`cmd`], [`poll`] and [`routes`] the time is an argument.
//! * **Nothing is written to a cluster.** Every request is a GET, but for the login.
//! * **A secret is a [`secret::Secret`]** from the file to the request. An answer that repeats it is refused.
//! * **Types know no YAML and no JSON.** `config::raw` and `client::decode` are the borders.
//! * **The simulator depends on nothing of ours**, so a wrong belief about the API cannot cancel out.
//! * **A label's values are a closed list**, or checked to be a UUID, a version, a host, a port or an identifier of printable
//!   ASCII, or the user's own names.
//!
//! Deliberately absent: writing to disk (but for the files of `simulate`), speaking KMIP (all that is ever seen of a key management server is its
//! certificate), tracing spans, feature flags, and any gauge of a cluster that lives between two scrapes.
//!
//! A test (`tests/it/walls.rs`) holds the modules' imports against the table in it.

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
