//! map

pub mod cli;
pub mod client;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod routes;
pub mod secret;
pub mod shutdown;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod web;
