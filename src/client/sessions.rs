//! TLS sessions to resume: as many as there are clusters.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    NamedGroup,
    client::{ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// Tickets that rustls keeps for each server.
const PER_SERVER: usize = 8;

/// A cache with room for a number of servers that can grow. Growing forgets what is in it, which costs each cluster one full
/// handshake; a cache for the largest fleet from the start would cost a megabyte.
#[derive(Debug)]
pub struct Sessions {
    cache: RwLock<Cache>,
}

#[derive(Debug)]
struct Cache {
    servers: usize,
    store: Arc<ClientSessionMemoryCache>,
}

// === impl Sessions ===

impl Sessions {
    /// Room for so many servers.
    pub fn new(servers: usize) -> Self {
        Self { cache: RwLock::new(Cache::new(servers)) }
    }

    /// From now on room for so many servers, if that is more than before.
    pub fn grow(&self, servers: usize) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.servers < servers {
            *cache = Cache::new(servers);
        }
    }

    fn store(&self) -> Arc<ClientSessionMemoryCache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).store.clone()
    }
}

impl Cache {
    fn new(servers: usize) -> Self {
        Self { servers, store: Arc::new(ClientSessionMemoryCache::new(servers * PER_SERVER)) }
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.store().set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.store().kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.store().set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.store().tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.store().remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.store().insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.store().take_tls13_ticket(server)
    }
}
