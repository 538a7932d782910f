//! A TCP proxy between exporter and cluster that causes network faults. Toxiproxy calls them toxics.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
};

use crate::raw_server::RawServer;

/// A network fault. Numbers are bytes from the cluster since the fault was set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Toxic {
    /// No fault.
    #[default]
    None,
    /// Changes the byte after this many bytes.
    Alter(usize),
    /// Closes both sides after this many bytes.
    Cut(usize),
    /// Resets the connection after this many bytes.
    Reset(usize),
    /// Forwards nothing after this many bytes and keeps the connection open.
    Stall(usize),
    /// A pause before every byte.
    Slow(Duration),
}

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    server: RawServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    changes: AtomicUsize,
    toxic: Mutex<Toxic>,
}

impl Proxy {
    /// Forwards to a port of this host.
    pub async fn start(to: u16) -> Self {
        let state = Arc::<State>::default();
        let shared = state.clone();
        let server = RawServer::serve(move |client, _| forward(client, to, shared.clone())).await;
        Self { server, state }
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Also affects open connections.
    pub fn set(&self, toxic: Toxic) {
        *self.state.toxic.lock().unwrap() = toxic;
        self.state.changes.fetch_add(1, Ordering::SeqCst);
    }
}

async fn forward(client: TcpStream, to: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    client.set_nodelay(true).unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let down = down(&mut from_server, &mut to_client, &state);
    let reset = tokio::select! {
        () = up => false,
        reset = down => reset,
    };
    if reset {
        let client = from_client.reunite(to_client).unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Copies bytes to the client. Returns whether to reset the connection.
async fn down(from: &mut tcp::OwnedReadHalf, to: &mut tcp::OwnedWriteHalf, state: &State) -> bool {
    let (mut change, mut count) = (0, 0);
    let mut buffer = [0; 4096];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return false };
        let now = state.changes.load(Ordering::SeqCst);
        if now != change {
            (change, count) = (now, 0);
        }
        let toxic = *state.toxic.lock().unwrap();
        let bytes = &mut buffer[..length];
        let left = |limit: usize| limit.saturating_sub(count).min(length);
        match toxic {
            Toxic::Alter(limit) if (count..count + length).contains(&limit) => bytes[limit - count] ^= 0x55,
            Toxic::Cut(limit) | Toxic::Reset(limit) | Toxic::Stall(limit) if left(limit) < length => {
                let _ = to.write_all(&bytes[..left(limit)]).await;
                if let Toxic::Stall(_) = toxic {
                    pending::<()>().await;
                }
                return matches!(toxic, Toxic::Reset(_));
            }
            Toxic::Slow(pause) => {
                for byte in &mut *bytes {
                    // Until the next change.
                    if state.changes.load(Ordering::SeqCst) == change {
                        tokio::time::sleep(pause).await;
                    }
                    if to.write_all(&[*byte]).await.is_err() {
                        return false;
                    }
                }
                count += length;
                continue;
            }
            _ => {}
        }
        if to.write_all(bytes).await.is_err() {
            return false;
        }
        count += length;
    }
}
