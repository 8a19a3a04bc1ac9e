//! Server-sent events (WHATWG HTML §9.2), decoded with a bound and encoded.
#![allow(clippy::todo, reason = "first the interface")]

use bytes::Bytes;

/// One event.
///
/// An event without data is yielded too when it carries an id or a retry time: MCP servers send such an event first, so that
/// a client can resume. It is no message: see [`Event::is_message`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `id` field of this event, if it had one.
    pub id: Option<String>,
    /// The `event` field; absent means `message`.
    pub event: Option<String>,
    /// The `data` lines, joined by LF.
    pub data: Vec<u8>,
    /// The `retry` field, in milliseconds.
    pub retry: Option<u64>,
}

impl Event {
    /// An event that carries `data` alone.
    pub fn of(data: Vec<u8>) -> Self {
        Self { data, ..Self::default() }
    }

    /// Whether this carries a message: data, and no other event type than `message`.
    pub fn is_message(&self) -> bool {
        !self.data.is_empty() && self.event.as_deref().is_none_or(|e| e == "message")
    }

    /// The event as text, with the blank line that ends it.
    pub fn encode(&self) -> Bytes {
        todo!()
    }
}

/// The stream is not one that may be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than the limit.
    #[error("an event of more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Decodes a stream, however it was cut into chunks.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// One event may hold `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let _ = limit;
        Self {}
    }

    /// Takes a chunk and yields the events that it completes. An unfinished event at the stream's end is dropped, as
    /// the standard says.
    ///
    /// # Errors
    /// An event larger than the limit; the decoder stays failed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Event>, SseError> {
        let _ = chunk;
        todo!()
    }
}
