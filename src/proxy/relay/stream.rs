//! One stream of a client's: a queue whose sending side can also take back what its client does not read.
//!
//! A channel can't do that: its messages live until its receiver is polled, and the receiver of a client that does
//! not read is never polled. What waits is bounded by the session's budget, of which each parcel holds its share.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::proxy::upstream::EventMeta;

/// One message, or one SSE event without data, on its way to a client's stream.
#[derive(Debug)]
pub(in crate::proxy) struct Parcel {
    /// The message; empty for an event without data.
    pub(in crate::proxy) bytes: Bytes,
    /// The upstream's event fields.
    pub(in crate::proxy) event: Option<EventMeta>,
    /// Whether it answers a request of the client.
    pub(in crate::proxy) answer: bool,
    /// Its share of what one session may have waiting.
    #[expect(dead_code, reason = "given back when the parcel is dropped")]
    pub(super) held: Option<OwnedSemaphorePermit>,
}

impl Parcel {
    /// An answer of the gateway's own.
    pub(in crate::proxy) fn answer(bytes: Bytes) -> Self {
        Self { bytes, event: None, answer: true, held: None }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    parcels: VecDeque<Parcel>,
    senders: usize,
    /// The reader is gone, or the stream was cut.
    closed: bool,
}

/// The sending end; the stream ends when all clones are dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Sender(Arc<Shared>);

/// The reading end.
#[derive(Debug)]
pub(in crate::proxy) struct Reader(Arc<Shared>);

/// A new stream.
pub(in crate::proxy) fn stream() -> (Sender, Reader) {
    let state = Mutex::new(State { parcels: VecDeque::new(), senders: 1, closed: false });
    let shared = Arc::new(Shared { state, changed: Notify::new() });
    (Sender(Arc::clone(&shared)), Reader(shared))
}

impl Sender {
    /// Puts a parcel on the stream. False if nobody reads it any more.
    pub(in crate::proxy) fn send(&self, parcel: Parcel) -> bool {
        let mut state = self.0.state.lock();
        if state.closed {
            return false;
        }
        state.parcels.push_back(parcel);
        drop(state);
        self.0.changed.notify_one();
        true
    }

    /// Whether nobody reads it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.state.lock().closed
    }

    /// Ends the stream and drops what waits on it.
    pub(super) fn cut(&self) {
        self.0.close();
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.0.changed.notify_one();
        }
    }
}

impl Shared {
    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.parcels);
        drop(state);
        // Outside the lock: each gives back its share.
        drop(dropped);
        self.changed.notify_one();
    }
}

impl Reader {
    /// The next parcel; `None` at the stream's end.
    pub(in crate::proxy) async fn recv(&mut self) -> Option<Parcel> {
        loop {
            // There is one reader only, so a notification between the look and the wait is kept for it.
            if let Some(next) = self.look() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }

    /// The next parcel, if it is there already.
    pub(in crate::proxy) fn try_recv(&mut self) -> Option<Parcel> {
        self.look().flatten()
    }

    /// Nothing is read any more.
    pub(in crate::proxy) fn close(&mut self) {
        self.0.close();
    }

    /// `Some(None)`: the stream has ended. `None`: nothing is there yet.
    fn look(&self) -> Option<Option<Parcel>> {
        let mut state = self.0.state.lock();
        match state.parcels.pop_front() {
            Some(parcel) => Some(Some(parcel)),
            None if state.closed || state.senders == 0 => Some(None),
            None => None,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn parcel(text: &'static str) -> Parcel {
        Parcel::answer(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn parcels_come_in_order_until_the_last_sender_is_dropped() {
        let (one, mut reader) = stream();
        let two = one.clone();
        assert!(one.send(parcel("a")) && two.send(parcel("b")));
        drop(one);
        assert_eq!(reader.recv().await.unwrap().bytes, "a");
        assert_eq!(reader.recv().await.unwrap().bytes, "b");
        assert!(reader.try_recv().is_none());
        let waiting = tokio::spawn(async move { reader.recv().await.is_none() });
        drop(two);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn cutting_gives_back_what_was_not_read() {
        let (sender, mut reader) = stream();
        let budget = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&budget).try_acquire_owned().ok();
        assert!(sender.send(Parcel { held, ..parcel("a") }));
        assert_eq!(budget.available_permits(), 0);
        sender.cut();
        assert_eq!(budget.available_permits(), 1);
        assert!(!sender.send(parcel("b")));
        assert!(reader.recv().await.is_none());
    }

    #[test]
    fn a_reader_that_is_gone_takes_nothing() {
        let (sender, reader) = stream();
        drop(reader);
        assert!(sender.is_closed() && !sender.send(parcel("a")));
    }
}
