//! Tests of the parts together, in one binary: against simulated clusters, and of what is written about them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panic"
)]

mod readme;
mod walls;
