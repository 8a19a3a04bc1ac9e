//! Server-sent events (WHATWG HTML §9.2), decoded with a bound and encoded.

use bytes::Bytes;

/// One event.
///
/// An event without data is yielded too when it carries an id or a retry time: MCP servers send such an event first,
/// so that a client can resume (the standard's dispatch drops it, but remembers the id). It is no message: see
/// [`Event::is_message`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `id` field of this event, if it had one.
    pub id: Option<String>,
    /// The `event` field; absent means `message`.
    pub event: Option<String>,
    /// The `data` lines, joined by LF. Not checked to be UTF-8: whoever reads a message from it does that.
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

    /// The event as text, with the blank line that ends it. An id that can't stand on one line is left out; line breaks
    /// in an event type become spaces, for without its type the event would be a message.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.data.len() + 64);
        let mut field = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.push(b'\n');
        };
        if let Some(event) = &self.event {
            field("event", event.replace(['\r', '\n'], " ").as_bytes());
        }
        if let Some(id) = self.id.as_ref().filter(|id| !id.contains(['\r', '\n', '\0'])) {
            field("id", id.as_bytes());
        }
        if let Some(retry) = self.retry {
            field("retry", retry.to_string().as_bytes());
        }
        let mut rest = &*self.data;
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            let (line, end) = rest.split_at(at);
            field("data", line);
            rest = end.strip_prefix(b"\r\n").or(end.get(1..)).unwrap_or_default();
        }
        field("data", rest);
        out.push(b'\n');
        out.into()
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
pub struct Decoder {
    limit: usize,
    line: Vec<u8>,
    event: Event,
    /// `data` had a line; it may have been empty.
    has_data: bool,
    /// Bytes of the unfinished event so far.
    held: usize,
    after_cr: bool,
    at_start: bool,
    failed: bool,
}

impl Decoder {
    /// One event may be `limit` bytes long, all its lines together.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            held: 0,
            after_cr: false,
            at_start: true,
            failed: false,
        }
    }

    /// Takes a chunk and yields the events that it completes. An unfinished event at the stream's end is dropped, as
    /// the standard says.
    ///
    /// # Errors
    /// An event larger than the limit; the decoder stays failed.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        while !chunk.is_empty() && !self.failed {
            if std::mem::take(&mut self.after_cr) && chunk.first() == Some(&b'\n') {
                chunk = chunk.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', chunk);
            let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.held = self.held.saturating_add(part.len());
            if self.held > self.limit {
                self.failed = true;
                break;
            }
            self.line.extend_from_slice(part);
            if let Some((end, rest)) = rest.split_first() {
                self.after_cr = *end == b'\r';
                events.extend(self.end_line());
                chunk = rest;
            } else {
                chunk = rest;
            }
        }
        if self.failed { Err(SseError::TooLarge { limit: self.limit }) } else { Ok(events) }
    }

    /// A line is complete; a blank one completes an event.
    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let bom = std::mem::take(&mut self.at_start);
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| bom).unwrap_or(&line);
        if line.is_empty() {
            self.held = 0;
            let has_data = std::mem::take(&mut self.has_data);
            let event = std::mem::take(&mut self.event);
            let says_something =
                has_data && !event.data.is_empty() || event.id.is_some() || event.retry.is_some();
            return says_something.then_some(event);
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(0) => {
                // A comment: keep-alive traffic must not add up to a large event.
                self.held = self.held.saturating_sub(line.len());
                return None;
            }
            Some(at) => {
                let (name, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"event" => self.event.event = Some(text()).filter(|t| !t.is_empty()),
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry = text().parse().ok();
            }
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests;
