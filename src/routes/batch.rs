//! One rendering for all requests that wait for the same.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::oneshot, task::yield_now};

/// What is about to be made, and who waits for it.
#[derive(Debug)]
pub struct Batch<T>(Mutex<HashMap<String, Vec<oneshot::Sender<T>>>>);

/// The one who makes it. Dropped before, it lets the others make it themselves.
struct Maker<'a, T> {
    batch: &'a Batch<T>,
    key: &'a str,
}

// === impl Batch ===

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Batch<T> {
    /// Makes what `key` names once for all who ask before it is made: for those whose requests are there already. Nobody
    /// gets something that was made before the request came.
    pub async fn share(&self, key: &str, make: impl FnOnce() -> T) -> T {
        let waiting = match self.lock().get_mut(key) {
            None => None,
            Some(others) => {
                let (sender, receiver) = oneshot::channel();
                others.push(sender);
                Some(receiver)
            }
        };
        if let Some(receiver) = waiting
            && let Ok(made) = receiver.await
        {
            return made;
        }
        self.lock().entry(key.to_owned()).or_default();
        let maker = Maker { batch: self, key };
        // The requests that are there join now.
        yield_now().await;
        let others = self.lock().remove(key).unwrap_or_default();
        let made = make();
        for other in others {
            // It may have gone.
            let _ = other.send(made.clone());
        }
        drop(maker);
        made
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<oneshot::Sender<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Maker<'_, T> {
    fn drop(&mut self) {
        self.batch.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Poll,
    };

    use super::*;

    #[tokio::test]
    async fn those_who_wait_get_the_same_and_later_ones_something_new() {
        let (batch, made) = (Arc::new(Batch::<usize>::default()), Arc::new(AtomicUsize::new(0)));
        for round in 1..=2 {
            let asking: Vec<_> = (0..100)
                .map(|_| {
                    let (batch, made) = (batch.clone(), made.clone());
                    tokio::spawn(
                        async move { batch.share("metrics", || made.fetch_add(1, Ordering::SeqCst) + 1).await },
                    )
                })
                .collect();
            for answer in asking {
                assert_eq!(answer.await.unwrap(), round);
            }
        }
        assert_eq!(batch.share("page", || 7).await, 7);
    }

    #[tokio::test]
    async fn a_maker_that_goes_away_leaves_nobody_waiting() {
        let batch = Batch::<usize>::default();
        let mut first = Box::pin(batch.share("metrics", || 1));
        assert_eq!(std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await, Poll::Pending);
        let mut second = Box::pin(batch.share("metrics", || 2));
        assert_eq!(std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx))).await, Poll::Pending);
        drop(first);
        assert_eq!(second.await, 2);
    }
}
