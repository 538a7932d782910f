//! map

pub mod client;
pub mod clock;
pub mod metrics;
pub mod model;
pub mod poll;
pub mod secret;
pub mod store;
