//! Accepting connections and serving HTTP/1.1 over TLS on each of them.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::door::Visitor;
use super::respond::{Cut, respond};
use super::state::State;

/// The pause after a failed `accept(2)`, so that "too many open files" does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A socket that ends with a reset (RST) when told so, and otherwise as usual.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

/// Accepts connections for as long as the task lives.
pub(super) async fn accept_all(state: Arc<State>) -> Infallible {
    loop {
        match state.door.accept().await {
            Ok(Visitor { stream, closed }) => {
                state.counter.add(|counts| counts.connections += 1);
                let serving = serve(Arc::clone(&state), stream);
                tokio::spawn(async move { closed.run_until_cancelled(serving).await });
            }
            Err(error) => {
                tracing::debug!(err = %error, "simulated cluster could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end. Whatever ends it is the client's business or a fault asked
/// for, so errors are not reported.
async fn serve(state: Arc<State>, stream: TcpStream) {
    if state.applied().spec.faults.hang_handshake {
        // Holds the socket: never answers, never closes.
        let _stream = stream;
        return pending().await;
    }
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, reset: Arc::clone(&reset) };
    let Ok(tls) = state.identity().acceptor.accept(wire).await else {
        state.counter.add(|counts| counts.failed_handshakes += 1);
        return;
    };
    let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    state.counter.add(|counts| {
        counts.handshakes += 1;
        counts.full_handshakes += u64::from(!resumed);
    });
    let service = service_fn(|request| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        async move {
            let response = respond(&state, request).await;
            if let Err(Cut::Reset) = response {
                reset.store(true, Ordering::Relaxed);
            }
            response
        }
    });
    // Header names as the vendor's documentation spells them; HTTP itself does not mind.
    let mut http = http1::Builder::new();
    let _ = http.title_case_headers(true).serve_connection(TokioIo::new(tls), service).await;
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // A socket already dead cannot be reset; nothing is lost then.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
