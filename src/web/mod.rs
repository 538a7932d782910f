//! The HTTP listener: bind, then serve. Generic: what the paths answer is a [`Handler`](handler::Handler)'s business.
//!
//! ```text
//! TcpListener ─► server ─► registry ─► WriteTimeout<TcpStream> ─► (TLS) ─► hyper (HTTP/1) ─► RequestPipeline ─► Handler
//! ```
//!
//! Every connection is counted from `accept` until its socket is closed. When there are too many, or when clients leave too
//! much unread, the `registry` closes the one that has kept the server waiting for longest.
//!
//! Invariant: nothing here knows a path, a metric or a cluster.

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
mod write_timeout;

#[cfg(test)]
mod tests;
