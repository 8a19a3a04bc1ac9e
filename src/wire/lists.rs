//! Answers to list requests: what they hold, and the same with some entries cut out.
#![allow(clippy::todo, reason = "first the interface")]

use super::error::WireError;
use super::frame::Frame;
use crate::domain::limits::Limits;

/// Keeps those entries of `result.<key>` for which `keep(name, raw entry)` holds; every other byte stays as it was.
/// The name is what a call would say: `uri` for `resources`, `uriTemplate` for `resourceTemplates`, else `name`.
/// An entry without one, or with a twin of that key, is cut out unasked. Returns the number of entries cut out.
///
/// # Errors
/// `result.<key>` is there but is no array.
pub fn filter(
    frame: &Frame,
    key: &str,
    limits: &Limits,
    keep: impl FnMut(&str, &[u8]) -> bool,
) -> Result<(Frame, usize), WireError> {
    let _ = (frame, key, limits, keep);
    todo!()
}

/// The entries of `result.<key>` by name, as [`filter`] sees them. None if there is no such key.
///
/// # Errors
/// `result.<key>` is there but is no array.
pub fn entries<'a>(frame: &'a Frame, key: &str) -> Result<Vec<(String, &'a [u8])>, WireError> {
    let _ = (frame, key);
    todo!()
}

/// `result.nextCursor`, decoded.
pub fn next_cursor(frame: &Frame) -> Option<String> {
    let _ = frame;
    todo!()
}
