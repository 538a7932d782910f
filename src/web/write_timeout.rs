//! hyper has no time limit for sending a response; this stream has.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails when its peer leaves something unread for longer than the limit. Bytes that trickle do not extend it: it counts
/// from the first write that has to wait until everything is sent.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    limit: Duration,
    stream: S,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { limit, stream, waiting: None }
    }

    fn check<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            return outcome;
        }
        let limit = self.limit;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.waiting = None;
        }
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.check(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_read_one_by_one_do_not_extend_the_limit() {
        for pause in [Duration::from_secs(5), LIMIT * 10] {
            let (mut client, server) = duplex(16);
            let mut stream = WriteTimeout::new(server, LIMIT);
            let start = Instant::now();
            let reader = tokio::spawn(async move {
                while client.read_u8().await.is_ok() {
                    sleep(pause).await;
                }
            });
            assert_eq!(stream.write_all(&[0; 4096]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed().abs_diff(LIMIT) <= Duration::from_millis(2), "after {:?}", start.elapsed());
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_response_has_a_limit_of_its_own() {
        let (mut client, server) = duplex(16);
        let mut stream = WriteTimeout::new(server, LIMIT);
        for _ in 0..4 {
            let reader = async {
                sleep(LIMIT / 2).await;
                client.read_exact(&mut [0; 64]).await
            };
            let (written, read) = tokio::join!(stream.write_all(&[0; 64]), reader);
            written.unwrap();
            read.unwrap();
            stream.flush().await.unwrap();
        }
    }
}
