//! The one time limit of a connection, kept where all its bytes pass.
//!
//! Slow headers, slow bodies, slow readers, handshakes that never end, handlers that hang, forgotten connections: each
//! is usually given a timer of its own, and one is forgotten. Here there is one rule. At every moment a connection has
//! one deadline, told by its [`RequestClock`]: while a request is under way, from its first byte until its answer's last byte
//! has been flushed, the time allowed for a request; between requests, the time allowed for idling. A deadline moves
//! only when the clock changes. Bytes do not move it, so that a client that trickles them gains nothing.
//!
//! Once the deadline has passed, every operation on the socket fails with [`TimedOut`](io::ErrorKind::TimedOut), hyper
//! ends the connection and the task is gone, whatever it was waiting for: hyper polls the socket each time that it is
//! woken, and the timer wakes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use crate::web::request_clock::RequestClock;

/// A byte stream that fails once its [`RequestClock`]'s deadline has passed, and that tells the clock of first bytes and of
/// flushes.
#[derive(Debug)]
pub struct TimedIo<S> {
    stream: S,
    clock: RequestClock,
    timer: Pin<Box<Sleep>>,
}

// === impl TimedIo ===

impl<S> TimedIo<S> {
    /// Limits `stream`. Call it inside a tokio runtime with time enabled.
    pub fn new(stream: S, clock: RequestClock) -> Self {
        let timer = Box::pin(sleep_until(clock.deadline()));
        Self { stream, clock, timer }
    }

    /// Asked before every operation and not only while the stream is pending: a peer that is always ready has no more
    /// time than others. It also leaves the task's waker with the timer.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let deadline = self.clock.deadline();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.clock.begin();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.clock.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Duration, Instant, advance, sleep},
    };

    use super::*;
    use crate::web::request_clock::TimeLimits;

    const LIMITS: TimeLimits = TimeLimits { idle: Duration::from_secs(300), request: Duration::from_secs(30) };

    fn pair() -> (DuplexStream, RequestClock, TimedIo<DuplexStream>) {
        let (client, server) = duplex(16);
        let clock = RequestClock::new(LIMITS);
        (client, clock.clone(), TimedIo::new(server, clock))
    }

    #[track_caller]
    fn assert_timed_out<T: std::fmt::Debug>(result: io::Result<T>, start: Instant, after: Duration) {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Timers have a resolution of one millisecond.
        assert!(start.elapsed().abs_diff(after) <= Duration::from_millis(2), "after {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_client_has_the_time_of_a_request() {
        let (_client, _, mut io) = pair();
        let start = Instant::now();
        assert_timed_out(io.read_u8().await, start, LIMITS.request);
    }

    #[tokio::test(start_paused = true)]
    async fn trickled_bytes_do_not_move_the_deadline() {
        let (mut client, _, mut io) = pair();
        let start = Instant::now();
        let trickle = tokio::spawn(async move {
            while client.write_u8(b'x').await.is_ok() {
                sleep(Duration::from_secs(7)).await;
            }
        });
        let ended = loop {
            if let Err(error) = io.read_u8().await {
                break error;
            }
        };
        assert_timed_out::<()>(Err(ended), start, LIMITS.request);
        trickle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_bounded_too() {
        let (mut client, clock, mut io) = pair();
        clock.answered(1);
        let start = Instant::now();
        let reader = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                sleep(Duration::from_secs(5)).await;
            }
        });
        assert_timed_out(io.write_all(&[0; 4096]).await, start, LIMITS.request);
        reader.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_lives_longer_and_its_next_byte_starts_a_request() {
        let (mut client, clock, mut io) = pair();
        clock.answered(1);
        io.flush().await.unwrap();
        advance(LIMITS.idle - Duration::from_secs(1)).await;
        client.write_u8(b'x').await.unwrap();
        io.read_u8().await.unwrap();
        let start = Instant::now();
        assert_timed_out(io.read_u8().await, start, LIMITS.request);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_ends() {
        let (_client, clock, mut io) = pair();
        clock.answered(1);
        io.flush().await.unwrap();
        let start = Instant::now();
        assert_timed_out(io.read_u8().await, start, LIMITS.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn flush_after_the_deadline_fails_even_when_the_stream_is_ready() {
        let (_client, _, mut io) = pair();
        let start = Instant::now();
        advance(LIMITS.request).await;
        assert_timed_out(io.flush().await, start, LIMITS.request);
    }
}
