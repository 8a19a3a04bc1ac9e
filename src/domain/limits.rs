//! Bounds on what others can make us hold (invariant I10).

use std::time::Duration;

/// The limits of one gateway; every buffer, map and queue is sized by one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes.
    pub message_bytes: usize,
    /// Deepest nesting of arrays and objects.
    pub depth: usize,
    /// Requests of one session that may be under way at once, in either direction.
    pub in_flight: usize,
    /// Messages that wait for one session's client.
    pub queued_messages: usize,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions of one principal at once, handshakes under way included.
    pub sessions_per_principal: usize,
    /// Tool calls of one principal per second in the long run, twice as many at once; any number when absent.
    pub calls_per_second: Option<u32>,
    /// Counters and labels that are kept of principals, their tool servers and tools.
    pub counters: usize,
    /// Records that wait for the log's writer.
    pub queued_records: usize,
    /// How long a tool server may take to answer `initialize` or the gateway's own `tools/list`.
    pub handshake: Duration,
    /// How long a request's head and body may take to arrive.
    pub request_read: Duration,
    /// How long a stopped child may take before it is killed.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 4 * 1024 * 1024,
            depth: 64,
            in_flight: 256,
            queued_messages: 1024,
            sessions: 4096,
            sessions_per_principal: 64,
            calls_per_second: None,
            counters: 131_072,
            queued_records: 8192,
            handshake: Duration::from_secs(60),
            request_read: Duration::from_secs(30),
            grace: Duration::from_secs(5),
        }
    }
}
