//! How the bytes of an answer leave: whole, half, drop by drop.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// What an answer is filled up with. White space keeps JSON valid.
static SPACES: [u8; 16_384] = [b' '; 16_384];

/// The body of an answer.
pub(super) struct SimBody {
    data: Bytes,
    /// Spaces that follow the data.
    padding: u64,
    /// Whether the length is announced; if not, the body is chunked.
    sized: bool,
    delivery: Delivery,
}

enum Delivery {
    Full,
    /// This many bytes, then nothing, and no end either.
    Stall(u64),
    Trickle(Duration, Pin<Box<Sleep>>),
}

impl SimBody {
    /// `data`, sent at once with its length.
    pub(super) fn whole(data: Bytes) -> SimBody {
        SimBody { data, padding: 0, sized: true, delivery: Delivery::Full }
    }

    /// Only the first half, announced as if it were all.
    pub(super) fn truncated(mut self) -> SimBody {
        self.data.truncate(self.data.len() / 2);
        self
    }

    /// Fills up with spaces to `bytes` in all.
    pub(super) fn padded_to(self, bytes: u64) -> SimBody {
        SimBody { padding: bytes.saturating_sub(self.data.len() as u64), ..self }
    }

    /// Does not announce the length.
    pub(super) fn chunked(self) -> SimBody {
        SimBody { sized: false, ..self }
    }

    /// Stops for ever after half of it.
    pub(super) fn stalling(self) -> SimBody {
        SimBody { delivery: Delivery::Stall(self.left() / 2), ..self }
    }

    /// One byte at a time, each after a pause.
    pub(super) fn trickling(self, pause: Duration) -> SimBody {
        SimBody { delivery: Delivery::Trickle(pause, Box::pin(sleep(pause))), ..self }
    }

    fn left(&self) -> u64 {
        self.data.len() as u64 + self.padding
    }

    /// The next bytes, at most `limit` of them; `None` at the end.
    fn take(&mut self, limit: u64) -> Option<Bytes> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if !self.data.is_empty() {
            return Some(self.data.split_to(limit.min(self.data.len())));
        }
        let wanted = usize::try_from(self.padding).unwrap_or(usize::MAX).min(limit);
        let spaces = SPACES.get(..wanted).unwrap_or(&SPACES);
        self.padding -= spaces.len() as u64;
        (!spaces.is_empty()).then(|| Bytes::from_static(spaces))
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let bytes = match &mut this.delivery {
            Delivery::Full => this.take(u64::MAX),
            // Nobody is ever woken: the connection ends only when a side closes it.
            Delivery::Stall(0) => return Poll::Pending,
            Delivery::Stall(left) => {
                let limit = *left;
                let bytes = this.take(limit);
                let sent = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                this.delivery = Delivery::Stall(limit - sent);
                bytes
            }
            Delivery::Trickle(pause, timer) => {
                ready!(timer.as_mut().poll(cx));
                timer.as_mut().reset(Instant::now() + *pause);
                this.take(1)
            }
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}
