//! Errors of `status --exporter.url` for invalid responses.

use qumulo_encryption_exporter::client::fetch;
use tokio::io::{AsyncWriteExt, BufReader};

use crate::raw_server::{self, RawServer, reply};

/// Sends `head`, then `bytes` bytes, and closes the connection.
async fn answering(head: String, bytes: usize) -> RawServer {
    RawServer::serve(move |stream, _| {
        let head = head.clone();
        async move {
            let mut stream = BufReader::new(stream);
            raw_server::head(&mut stream).await;
            let body = vec![b' '; bytes];
            for piece in [head.as_bytes(), &body] {
                // The client may have closed the connection.
                let _ = stream.write_all(piece).await;
            }
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn invalid_responses_are_explained() {
    const TOO_LARGE: usize = 64 * 1024 * 1024 + 1;
    let length = |bytes: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    for (head, bytes, expect) in [
        (reply("200 OK", "{}"), 0, Ok(&b"{}"[..])),
        (reply("401 Unauthorized", "no"), 0, Err("requires a password, which this command cannot send")),
        (reply("503 Service Unavailable", "later"), 0, Err("responds with HTTP 503")),
        (reply("302 Found", ""), 0, Err("responds with HTTP 302")),
        (length(5), 4, Err("closed before the response was complete")),
        (length(TOO_LARGE), TOO_LARGE, Err("is larger than 64 MiB")),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), TOO_LARGE, Err("is larger than 64 MiB")),
        ("nonsense\r\n\r\n".to_owned(), 0, Err("does not speak HTTP; check scheme and port in --exporter.url")),
    ] {
        let server = answering(head.clone(), bytes).await;
        let got = fetch(&format!("http://127.0.0.1:{}/x", server.port).parse().unwrap()).await;
        match (&got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(words)) => assert!(got.contains(words), "{head:?} {bytes}: {got}"),
            _ => panic!("{head:?} {bytes}: {got:?}"),
        }
    }
}
