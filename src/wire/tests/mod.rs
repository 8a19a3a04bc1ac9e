//! The wire's tests: what attackers send, what must pass untouched, and properties against `serde_json`.

use super::*;
use crate::domain::limits::Limits;

mod attacks;
mod messages;
mod properties;
mod splices;

/// Parses with the default limits.
fn parse(text: impl AsRef<[u8]>) -> Result<Frame, WireError> {
    Frame::parse(text.as_ref().to_vec(), &Limits::default())
}

/// A `tools/call` with these params.
fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
}

/// A `tools/call` with these arguments.
fn with_arguments(arguments: &str) -> String {
    call(&format!(r#"{{"name":"t","arguments":{arguments}}}"#))
}

fn raw(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.map(|b| std::str::from_utf8(b).unwrap())
}
