//! The strict scan for JSON that is no message: a token's header and claims, a persisted file.
#![allow(clippy::todo, reason = "first the interface")]

use super::error::WireError;

/// Refuses what a message would be refused for wherever it stands: not one JSON value, duplicate keys (decoded), lone surrogates,
/// invalid UTF-8, nesting beyond `depth`.
///
/// # Errors
/// The first such finding.
pub fn check(bytes: &[u8], depth: usize) -> Result<(), WireError> {
    let _ = (bytes, depth);
    todo!()
}
