//! The wire: MCP messages as bytes, read strictly once and forwarded unchanged (invariant I2).
//!
//! A [`Frame`] owns a message's bytes and knows where its parts are: [`Frame::parse`] scans the bytes a single time,
//! refuses whatever two parsers could read in two ways, and keeps spans instead of values. What is decided on is the
//! bytes; what is sent is the same bytes. The few documented rewrites ([`lists`], [`meta`],
//! [`Frame::with_trace_parent_id`]) are splices that keep every other byte, and their results are read again.
//!
//! Nothing here does I/O: bytes come in, values go out.
//!
//! - `scan`, `keys`, `text`, `walk`: the scanner, its duplicate and twin checks, string decoding, and a walker over
//!   text that was already scanned.
//! - `envelope`, `frame`, [`batch`], [`strict`]: what a scan is made into.
//! - [`completion`]: what a completion tells of.
//! - [`methods`], [`replies`]: MCP's methods, and the messages that the gateway itself writes.
//! - [`framing`], [`sse`]: message boundaries on stdio and on HTTP.
//!
//! layer: L1

pub mod batch;
pub mod completion;
mod envelope;
pub mod error;
mod frame;
pub mod framing;
mod id;
mod keys;
pub mod lists;
pub mod meta;
pub mod methods;
mod place;
pub mod replies;
mod scan;
pub mod sse;
pub mod strict;
pub mod text;
mod trace;
mod walk;

pub use error::{Malformed, WireError};
pub use frame::{ClientInfo, Frame, Kind};
pub use id::RequestId;
pub use keys::folded;
pub use trace::Traceparent;
#[cfg(test)]
mod tests;
