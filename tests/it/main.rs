//! Integration tests with sockets and TLS on loopback, and checks of the documentation.
//!
//! Fixtures:
//!
//! * `lab`: one simulated cluster with credentials and a certificate. Every result and log line is searched for planted secrets
//!   (`leak`), so no test passes if one is shown.
//! * `fleet`: several labs that are polled.
//! * `raw_server`: a server that sends literal responses.
//! * `toxic`: a TCP proxy that causes network faults, like Toxiproxy.
//! * `authority`: a CA.
//!
//! `walls` checks the imports between modules, `readme` the documentation.

// `clippy.toml` allows these in test functions only; helpers of tests need it too.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod addresses;
mod authority;
mod client;
mod connections;
mod credentials;
mod details;
mod faults;
mod fetch;
mod findings;
mod fleet;
mod raw_server;

mod kms_probe;
mod lab;
mod leak;
mod listener;
mod poller;
mod proxy;
mod readme;
mod recorded;
mod secrets;
mod tls;
mod tls_change;
mod toxic;
mod walls;
