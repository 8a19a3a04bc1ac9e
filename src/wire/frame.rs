//! A message: its own bytes and where its parts are.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{self, Envelope};
use super::error::WireError;
use super::id::RequestId;
use super::methods::Class;
use super::place::Slot;
use super::text;
use super::trace::{PARENT_ID_AT, TRACEPARENT_LEN, Traceparent};
use crate::domain::limits::Limits;

/// Most characters of what a client says about itself that are kept.
const CLIENT_INFO_CHARS: usize = 128;

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

/// One message, read strictly. Cheap to clone. Printing it shows no content.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
    envelope: Arc<Envelope>,
}

impl Frame {
    /// Reads one message. White space around it stays; CR and LF outside strings become spaces.
    ///
    /// # Errors
    /// Whatever two parsers could read in two ways, and whatever is no message of MCP; see [`super::Malformed`].
    pub fn parse(mut bytes: Vec<u8>, limits: &Limits) -> Result<Self, WireError> {
        let envelope = Arc::new(Envelope::read(&mut bytes, limits)?);
        Ok(Self { bytes: bytes.into(), envelope })
    }

    /// The message: CR and LF outside strings are spaces, all else is as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.envelope.kind
    }

    /// What its method is to the gateway; [`Class::Other`] for results and errors.
    pub fn class(&self) -> Class {
        self.envelope.class
    }

    /// The id; absent on notifications, and on errors that answer no known request.
    pub fn id(&self) -> Option<&RequestId> {
        self.envelope.id.as_ref()
    }

    /// The method, decoded.
    pub fn method(&self) -> Option<&str> {
        self.envelope.method.of(&self.bytes)
    }

    /// `params`, an object, as it stands in the bytes.
    pub fn params(&self) -> Option<&[u8]> {
        self.raw(Slot::Params)
    }

    /// `params.name` if it is a string, decoded. Always there on `tools/call` and `prompts/get`.
    pub fn name(&self) -> Option<&str> {
        self.envelope.name.of(&self.bytes)
    }

    /// `params.uri` if it is a string, decoded. Always there on `resources/read`, `subscribe` and `unsubscribe`.
    pub fn uri(&self) -> Option<&str> {
        self.envelope.uri.of(&self.bytes)
    }

    /// `params.arguments`, an object, as it stands in the bytes. `null` counts as absent.
    pub fn arguments(&self) -> Option<&[u8]> {
        self.raw(Slot::Arguments).filter(|raw| raw.first() == Some(&b'{'))
    }

    /// `result`, an object, as it stands in the bytes.
    pub fn result(&self) -> Option<&[u8]> {
        self.raw(Slot::Result)
    }

    /// `error`, an object, as it stands in the bytes.
    pub fn error(&self) -> Option<&[u8]> {
        self.raw(Slot::Error)
    }

    /// The progress token, a JSON string or number as it stands in the bytes: `params.progressToken` of
    /// `notifications/progress`, `params._meta.progressToken` of all others.
    pub fn progress_token(&self) -> Option<&[u8]> {
        let slot = match self.class() {
            Class::Progress => Slot::ParamsProgressToken,
            _ => Slot::MetaProgressToken,
        };
        self.raw(slot).filter(|raw| matches!(raw, [b'"' | b'-' | b'0'..=b'9', ..]))
    }

    /// Which request `notifications/cancelled` gives up.
    pub fn cancelled_id(&self) -> Option<RequestId> {
        let raw = self.raw(Slot::RequestId).filter(|_| self.class() == Class::Cancelled)?;
        envelope::read_id(Some(raw)).ok().flatten()
    }

    /// `params.protocolVersion` or `result.protocolVersion`, decoded.
    pub fn protocol_version(&self) -> Option<&str> {
        self.envelope.protocol_version.of(&self.bytes)
    }

    /// Who the client of `initialize` says that it is; what it leaves out is empty.
    pub fn client_info(&self) -> Option<ClientInfo> {
        self.raw(Slot::ClientInfo).filter(|_| self.class() == Class::Initialize)?;
        let text = |slot| {
            let decoded = self.raw(slot).and_then(text::decode);
            decoded.map(|t| t.chars().take(CLIENT_INFO_CHARS).collect()).unwrap_or_default()
        };
        Some(ClientInfo { name: text(Slot::ClientName), version: text(Slot::ClientVersion) })
    }

    /// `params._meta.traceparent`, where it stands as 55 plain characters and is valid.
    pub fn traceparent(&self) -> Option<Traceparent> {
        let quoted = self.raw(Slot::Traceparent).filter(|raw| raw.len() == TRACEPARENT_LEN + 2)?;
        std::str::from_utf8(quoted.get(1..=TRACEPARENT_LEN)?).ok()?.parse().ok()
    }

    /// The same message with the parent id of its `traceparent` replaced in place; unchanged where there is none.
    #[must_use]
    pub fn with_trace_parent_id(&self, span_id: [u8; 8]) -> Self {
        if self.traceparent().is_none() {
            return self.clone();
        }
        let mut bytes = self.bytes.to_vec();
        let at = self.envelope.slots.span(Slot::Traceparent).start as usize + 1 + PARENT_ID_AT;
        if let Some(parent) = bytes.get_mut(at..at + 16) {
            parent.copy_from_slice(format!("{:016x}", u64::from_be_bytes(span_id)).as_bytes());
        }
        Self { bytes: bytes.into(), envelope: Arc::clone(&self.envelope) }
    }

    /// Where `result` begins in the bytes.
    pub(super) fn result_at(&self) -> usize {
        self.envelope.slots.span(Slot::Result).start as usize
    }

    fn raw(&self, slot: Slot) -> Option<&[u8]> {
        self.envelope.slots.of(slot, &self.bytes)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope { kind, .. } = &*self.envelope;
        f.debug_struct("Frame").field("kind", kind).field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}
