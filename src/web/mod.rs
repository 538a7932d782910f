//! The HTTP listener: bind, then serve. Generic: what the paths answer is a [`Handler`](handler::Handler)'s business.
//!
//! Reading order: [`listen`] (everything that can fail at start), [`server`] (accepting, draining), `connection` (one
//! connection's HTTP), [`timed_io`] and [`turn`] (the one time limit), then what handlers are made of: [`route`],
//! [`respond`], [`gzip`], [`accept_encoding`].
//!
//! ```text
//! TcpListener -> Acceptor -> TimedIo<TcpStream> -> hyper (HTTP/1) -> Gate -> Handler
//!                               `------ Turn: deadline, permit ------'
//! ```
//!
//! A TLS stream goes between `TimedIo` and hyper: time is limited on the raw socket, so that a handshake is under the
//! same rule as a request.
//!
//! Invariant: nothing here knows a path, a metric or a cluster.

pub mod accept_encoding;
pub mod gzip;
pub mod handler;
pub mod listen;
pub mod respond;
pub mod route;
pub mod server;
pub mod timed_io;
pub mod turn;

mod accept;
mod connection;

#[cfg(test)]
mod tests;
