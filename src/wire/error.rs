//! Why a message is not one that may be decided on.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::id::RequestId;
use super::replies;

/// JSON-RPC 2.0 §5.1: the text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC 2.0 §5.1: the JSON is not a request that may be served.
pub const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0 §5.1: there is no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC 2.0 §5.1: the params are wrong.
pub const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC 2.0 §5.1: the gateway itself failed.
pub const INTERNAL_ERROR: i64 = -32603;

/// What is wrong with a message; stable labels for metrics and attestations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// More bytes than the limit.
    TooLarge,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not one JSON value (RFC 8259), or something beside it.
    NotJson,
    /// A raw control character inside a string (RFC 8259 §7).
    ControlCharacter,
    /// An escaped surrogate without its other half.
    LoneSurrogate,
    /// Arrays and objects nested deeper than the limit.
    TooDeep,
    /// Two keys of one object are equal once decoded.
    DuplicateKey,
    /// A key that is not, but could be taken for, a known key or a sibling.
    KeyTwin,
    /// A batch where none is allowed, an empty one, or one of too many messages.
    Batch,
    /// A JSON value that is not an object.
    NotAnObject,
    /// `jsonrpc` is missing or not `"2.0"`.
    Version,
    /// An id that is neither a string of at most 256 bytes nor an integer within ±(2^53 − 1).
    Id,
    /// A request or a result without an id, or a notification with one.
    IdPresence,
    /// A method that is not a string of 1 to 256 bytes.
    Method,
    /// Not exactly one of `method`, `result` and `error`.
    Shape,
    /// `params` is not an object, or lacks what its method needs.
    Params,
    /// A `result` or `error` of the wrong JSON type.
    Outcome,
}

impl Malformed {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotJson => "not_json",
            Self::ControlCharacter => "control_character",
            Self::LoneSurrogate => "lone_surrogate",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::KeyTwin => "key_twin",
            Self::Batch => "batch",
            Self::NotAnObject => "not_an_object",
            Self::Version => "jsonrpc_version",
            Self::Id => "id",
            Self::IdPresence => "id_presence",
            Self::Method => "method",
            Self::Shape => "shape",
            Self::Params => "params",
            Self::Outcome => "outcome",
        }
    }

    /// The JSON-RPC error code that a sender is told.
    pub const fn code(self) -> i64 {
        match self {
            Self::InvalidUtf8 | Self::NotJson | Self::ControlCharacter => PARSE_ERROR,
            Self::Params => INVALID_PARAMS,
            _ => INVALID_REQUEST,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is refused as it stands, before any policy is asked.
///
/// The text names byte offsets, never content (invariant I7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// What is wrong, for machines.
    pub reason: Malformed,
    /// The JSON-RPC error code.
    pub code: i64,
    /// The message's id where the whole message was read and it has exactly one.
    pub id: Option<RequestId>,
    /// What is wrong, for people; safe to send to the caller.
    pub message: Cow<'static, str>,
}

impl WireError {
    /// An error without an id, with the code that `reason` calls for.
    pub fn new(reason: Malformed, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, code: reason.code(), id: None, message: message.into() }
    }

    /// The same error, said to answer `id`.
    #[must_use]
    pub fn with_id(mut self, id: Option<RequestId>) -> Self {
        self.id = id;
        self
    }

    /// The complete JSON-RPC error, `id` null where it is not known (JSON-RPC 2.0 §5).
    pub fn reply(&self) -> Bytes {
        let data = serde_json::json!({ "reason": self.reason.as_str() });
        replies::error(self.id.as_ref(), self.code, &self.message, Some(&data))
    }
}
