//! map

pub mod client;
pub mod clock;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod secret;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod web;
