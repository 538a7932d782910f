//! The HTTP listener: bind, then serve. Generic: what the paths answer is a [`Handler`](handler::Handler)'s business.
//!
//! Reading order: [`listen`] (everything that can fail at start), [`server`] (accepting, draining), `connection` (one
//! connection's HTTP), `crowd` (all of them together), [`timed_io`] and [`request_clock`] (the one time limit), then what handlers are made of: [`route`],
//! [`respond`], [`gzip`], [`accept_encoding`].
//!
//! ```text
//! TcpListener -> Acceptor -> TimedIo<TcpStream> -> (TLS) -> hyper (HTTP/1) -> Gate -> Handler
//!                               `------ RequestClock: stage, deadline ------------'
//! ```
//!
//! Time is limited on the raw socket, so that a TLS handshake is under the same rule as a request. Whether there is one,
//! and who may come in, is asked of [`policy`] for each connection and request: [`tls`], [`basic_auth`],
//! [`rate_limit`].
//!
//! Invariant: nothing here knows a path, a metric or a cluster.

pub mod accept_encoding;
pub mod basic_auth;
pub mod gzip;
pub mod handler;
pub mod listen;
pub mod policy;
pub mod rate_limit;
pub mod request_clock;
pub mod respond;
pub mod route;
pub mod server;
pub mod timed_io;
pub mod tls;

mod accept;
mod connection;
mod crowd;

#[cfg(test)]
mod tests;
