//! The parts together: real sockets, real TLS, no network beyond loopback; and what is written about them.
//!
//! `lab` is what the tests stand on: one cluster, its credentials and certificate, and a watch over every outcome and
//! every log line, so that no test can pass while a planted secret shows. `addresses` has a resolver of its own, `bare` answers word for word what no cluster
//! would, `proxy` is an HTTP proxy, `authority` issues certificates. `walls` is about the source, `readme` about the
//! README.

// `clippy.toml` allows these in test functions; the helpers around them are tests as well.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod addresses;
mod authority;
mod bare;
mod client;
mod connections;
mod credentials;
mod details;
mod faults;
mod fetch;
mod fleet;
mod judgement;
mod kms_probe;
mod lab;
mod leak;
mod listener;
mod poller;
mod proxy;
mod readme;
mod secrets;
mod tls;
mod tls_change;
mod toxic;
mod walls;
