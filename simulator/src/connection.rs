//! Accepting connections and serving HTTP/1.1 over TLS on each of them.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::listener::Accepted;
use super::respond::{Disconnect, respond};
use super::state::State;

/// The pause after a failed `accept(2)`, so that "too many open files" does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts connections for as long as the task lives.
pub(super) async fn accept_all(state: Arc<State>) -> Infallible {
    loop {
        match state.listener.accept().await {
            Ok(Accepted { stream, closed }) => {
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
    let Ok(tls) = state.identity().acceptor.accept(stream).await else {
        state.counter.add(|counts| counts.failed_handshakes += 1);
        return;
    };
    state.counter.add(|counts| counts.handshakes += 1);
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move { respond(&state, request).await }
    });
    // Header names as the vendor's documentation spells them; HTTP itself does not mind.
    let mut http = http1::Builder::new();
    let mut connection = http.title_case_headers(true).serve_connection(TokioIo::new(tls), service);
    let ended = (&mut connection).await;
    let disconnect = ended.as_ref().err().and_then(|err| err.source()?.downcast_ref());
    if let Some(Disconnect::Reset) = disconnect {
        // A socket already dead cannot be reset; nothing is lost then.
        let _ = connection.into_parts().io.inner().get_ref().0.set_zero_linger();
    }
}
