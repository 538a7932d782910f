//! What comes over a connection to the listener, from its first byte on.
#![no_main]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{Arc, LazyLock},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use qumulo_encryption_exporter::web::{
    handler::Handler,
    listen::{ListenAddress, bind},
    policy::{ListenerPolicy, fixed},
    respond,
    server::{Limits, serve},
};
use tokio_util::sync::CancellationToken;

/// Says what it was asked, body included.
struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request<Incoming>) -> Response<Bytes> {
        let line = format!("{} {}\n", request.method(), request.uri());
        match request.into_body().collect().await {
            Ok(body) => respond::text(StatusCode::OK, [line.as_bytes(), &body.to_bytes()].concat()),
            Err(_) => respond::text(StatusCode::BAD_REQUEST, line),
        }
    }
}

static LISTENER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listeners = bind(&[ListenAddress::new(Ipv4Addr::LOCALHOST.into(), 0)], "").unwrap();
            sender.send(listeners[0].local_addr().unwrap()).unwrap();
            let policy = fixed(ListenerPolicy::default());
            serve(listeners, Arc::new(Echo), policy, Limits::default(), CancellationToken::new()).await;
        });
    });
    receiver.recv().unwrap()
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut client = TcpStream::connect(*LISTENER).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may have been closed before all was sent.
    let _ = client.write_all(data).and_then(|()| client.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Err(err) => assert_ne!(err.kind(), ErrorKind::WouldBlock, "the connection is not ended"),
        Ok(0) => {}
        Ok(_) => assert!(answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer)),
    }
});
