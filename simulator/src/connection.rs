//! Accepts connections, and serves HTTP/1.1 over TLS.

use std::{convert::Infallible, error::Error, future::pending, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    respond::{Disconnect, respond},
    state::Shared,
};

/// Delay after a failed `accept(2)`, so that an error such as too many open files does not keep a CPU busy.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Runs until it is aborted.
pub async fn accept_all(shared: Arc<Shared>) -> Infallible {
    loop {
        match shared.accept().await {
            Ok((stream, closed)) => {
                shared.counts.send_modify(|counts| counts.connections += 1);
                let serving = serve(shared.clone(), stream);
                tokio::spawn(async move { closed.run_until_cancelled(serving).await });
            }
            Err(err) => {
                tracing::debug!(%err, "simulated cluster could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves one connection. Errors are caused by the client or by a configured fault, so they are not reported.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let (spec, acceptor) = {
        let state = shared.lock();
        (state.spec.clone(), state.identity.acceptor.clone())
    };
    if spec.faults.hang_handshake {
        // The connection stays open.
        return pending().await;
    }
    let Ok(tls) = acceptor.accept(stream).await else {
        shared.counts.send_modify(|counts| counts.failed_handshakes += 1);
        return;
    };
    shared.counts.send_modify(|counts| counts.handshakes += 1);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { respond(&shared, request).await }
    });
    // The vendor's documentation has header names in title case.
    let mut connection = http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(tls), service);
    let result = (&mut connection).await;
    let disconnect = result.as_ref().err().and_then(|err| err.source()?.downcast_ref());
    if let Some(Disconnect::Reset) = disconnect {
        // Fails only if the connection is already closed.
        let _ = connection.into_parts().io.inner().get_ref().0.set_zero_linger();
    }
}
