//! Request ids, compared with their JSON type.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Longest id that is a string, in bytes once decoded.
pub(super) const MAX_ID_BYTES: usize = 256;

/// Largest integer that every JSON parser reads exactly, 2^53 − 1 (RFC 7493 §2.2).
pub(super) const MAX_ID_INTEGER: i64 = (1 << 53) - 1;

/// The id of a request: `1` and `"1"` are different ids.
///
/// Integers are within ±(2^53 − 1): a peer that keeps numbers as doubles could otherwise answer one request
/// under the id of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// A JSON integer.
    Integer(i64),
    /// A JSON string, decoded.
    String(Arc<str>),
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(n) => serializer.serialize_i64(*n),
            Self::String(s) => serializer.serialize_str(s),
        }
    }
}

/// The id as JSON text.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(n) => n.fmt(f),
            Self::String(s) => f.write_str(&serde_json::Value::from(&**s).to_string()),
        }
    }
}

impl From<i64> for RequestId {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<&str> for RequestId {
    fn from(s: &str) -> Self {
        Self::String(s.into())
    }
}
