//! Integration tests with sockets and TLS on loopback, and checks of the documentation.
//!
//! `lab` is the common fixture: one simulated cluster with credentials and certificate. It searches every result and log line for
//! planted secrets, so no test passes if one is shown. `addresses` has its own resolver, `bare` sends literal responses, `proxy` is
//! an HTTP proxy, `authority` issues certificates. `walls` checks the imports of modules, `readme` the documentation.

// `clippy.toml` allows these in test functions only; helpers of tests need it too.
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
mod recorded;
mod secrets;
mod tls;
mod tls_change;
mod toxic;
mod walls;
