//! The HTTP listener, for any [`Handler`](handler::Handler): it knows no path, metric or cluster.
//!
//! ```text
//! TcpListener ─► server ─► registry ─► (TLS) ─► TimeoutWriter ─► hyper (HTTP/1) ─► RequestPipeline ─► Handler
//! ```
//!
//! Every connection is counted from `accept` until its socket is closed. When there are too many, or when clients leave too
//! much unread, the `registry` closes the one that has kept the server waiting for longest.

pub mod accept_encoding;
pub mod basic_auth;
pub mod handler;
pub mod listen;
pub mod policy;
pub mod rate_limit;
pub mod respond;
pub mod server;
pub mod tls;

mod connection;
mod registry;

#[cfg(test)]
mod tests;
