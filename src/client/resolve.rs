//! Names to addresses, with an error of its own type so that it can be told from a refused connection.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::lanes::Lanes;

/// The host's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {problem}")]
pub struct DnsError {
    host: String,
    problem: String,
}

/// Lookups under way at the same time. One that hangs keeps its thread until the system gives it up.
pub const LOOKUPS: usize = 256;

/// The system's resolver.
#[derive(Debug)]
pub struct Resolver {
    /// One lookup for each host at a time, shared by all clusters.
    pub lanes: Arc<Lanes>,
    /// Whether other addresses than loopback ones are left out, so that a token never crosses a network in the clear
    /// even if `localhost` were made to point elsewhere.
    pub only_loopback: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lanes, only_loopback) = (self.lanes.clone(), self.only_loopback);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses = lookup(&lanes, &host, only_loopback).await;
            let addresses = addresses.map_err(|problem| DnsError { host, problem: problem.to_string() })?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

async fn lookup(lanes: &Lanes, host: &str, only_loopback: bool) -> io::Result<Vec<SocketAddr>> {
    // Port 0 stands for the URL's port.
    let mut addresses: Vec<SocketAddr> = lanes
        .run(host, {
            let host = host.to_owned();
            move || (host.as_str(), 0).to_socket_addrs().map(Iterator::collect)
        })
        .await
        .unwrap_or_else(|| Err(io::Error::other("the lookup was given up")))?;
    addresses.retain(|address| !only_loopback || address.ip().is_loopback());
    if addresses.is_empty() {
        return Err(io::Error::other(if only_loopback { "no loopback address" } else { "no address" }));
    }
    Ok(addresses)
}
