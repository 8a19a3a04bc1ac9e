//! A message: its own bytes and where its parts are.
#![allow(clippy::todo, reason = "first the interface")]

use std::fmt;

use bytes::Bytes;

use super::error::WireError;
use super::id::RequestId;
use super::trace::Traceparent;
use crate::domain::limits::Limits;

/// What a message is (JSON-RPC 2.0 §4, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A method and an id.
    Request,
    /// A method without an id.
    Notification,
    /// A result.
    Response,
    /// An error; its id may be unknown.
    Error,
}

/// Who a client says that it is; never proof of anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// `clientInfo.name`, at most 128 characters.
    pub name: String,
    /// `clientInfo.version`, at most 128 characters.
    pub version: String,
}

/// One message, read strictly. Cheap to clone.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
}

impl Frame {
    /// Reads one message.
    ///
    /// # Errors
    /// Whatever two parsers could read in two ways, and whatever is no message of MCP; see [`super::Malformed`].
    pub fn parse(bytes: Vec<u8>, limits: &Limits) -> Result<Self, WireError> {
        let _ = (bytes, limits);
        todo!()
    }

    /// The message: CR and LF outside strings are spaces, all else is as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        todo!()
    }

    /// The id; absent on notifications, and on errors that answer no known request.
    pub fn id(&self) -> Option<&RequestId> {
        todo!()
    }

    /// The method, decoded.
    pub fn method(&self) -> Option<&str> {
        todo!()
    }

    /// `params`, an object, as it stands in the bytes.
    pub fn params(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `params.name` if it is a string, decoded.
    pub fn name(&self) -> Option<&str> {
        todo!()
    }

    /// `params.uri` if it is a string, decoded.
    pub fn uri(&self) -> Option<&str> {
        todo!()
    }

    /// `params.arguments`, an object, as it stands in the bytes. `null` counts as absent.
    pub fn arguments(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `result`, as it stands in the bytes.
    pub fn result(&self) -> Option<&[u8]> {
        todo!()
    }

    /// `error`, an object, as it stands in the bytes.
    pub fn error(&self) -> Option<&[u8]> {
        todo!()
    }

    /// The progress token, a JSON string or integer as it stands in the bytes: `params.progressToken` of
    /// `notifications/progress`, `params._meta.progressToken` of all others.
    pub fn progress_token(&self) -> Option<&[u8]> {
        todo!()
    }

    /// Which request `notifications/cancelled` gives up.
    pub fn cancelled_id(&self) -> Option<RequestId> {
        todo!()
    }

    /// `params.protocolVersion` or `result.protocolVersion`, decoded.
    pub fn protocol_version(&self) -> Option<&str> {
        todo!()
    }

    /// Who the client of `initialize` says that it is.
    pub fn client_info(&self) -> Option<ClientInfo> {
        todo!()
    }

    /// `params._meta.traceparent`, where it stands as 55 plain characters and is valid.
    pub fn traceparent(&self) -> Option<Traceparent> {
        todo!()
    }

    /// The same message with the parent id of its `traceparent` replaced in place; unchanged where there is none.
    #[must_use]
    pub fn with_trace_parent_id(&self, span_id: [u8; 8]) -> Self {
        let _ = span_id;
        todo!()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}
