//! JSON-RPC batches, which exist in revision 2025-03-26 alone.
#![allow(clippy::todo, reason = "first the interface")]

use super::error::WireError;
use super::frame::Frame;
use crate::domain::limits::Limits;

/// Whether the first character that is no white space opens an array.
pub fn is_batch(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// The messages of a batch, each read on its own.
///
/// # Errors
/// A batch that is not strict JSON, that is empty, or that holds more messages than a session may have under way.
pub fn split(bytes: Vec<u8>, limits: &Limits) -> Result<Vec<Result<Frame, WireError>>, WireError> {
    let _ = (bytes, limits);
    todo!()
}
