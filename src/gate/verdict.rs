//! What the gate answers: forward this, reply that, or drop it.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::refusal::DenyReason;

use super::observe::TraceContext;
use super::permit::{Permit, ToClient, ToServer};

/// What came with a message besides its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// The trace context of the HTTP header; one inside the message goes before it.
    pub trace: Option<TraceContext>,
}

/// What becomes of a client's message.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// Redeem the permit and send what it holds.
    Forward(Permit<ToServer>),
    /// Send this to the client; nothing goes to the tool server.
    Reply(Bytes),
    /// Nothing goes anywhere.
    Drop(DropReason),
}

/// What becomes of a tool server's message.
#[derive(Debug)]
#[must_use]
pub enum ServerVerdict {
    /// Redeem the permit and send what it holds.
    Deliver(Permit<ToClient>),
    /// Nothing goes to the client; the tool server gets this answer.
    Answer(Permit<ToServer>),
    /// Nothing goes anywhere.
    Drop(DropReason),
}

/// Why a message goes nowhere; each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It answers nothing that is under way, or cancels or reports progress of nothing that is.
    Unmatched,
    /// A notification that the policies deny.
    Denied,
    /// The gateway asked for it on its own account.
    Consumed,
    /// The session is over.
    SessionOver,
    /// It is not expected at this point of the handshake.
    OutOfOrder,
    /// More maintenance traffic than the session's allowance.
    Limited,
    /// The sender's evidence is not that of the session.
    Binding,
    /// The record of its decision could not be written.
    Unrecorded,
}

impl DropReason {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmatched => "unmatched",
            Self::Denied => "denied",
            Self::Consumed => "consumed",
            Self::SessionOver => "session_over",
            Self::OutOfOrder => "out_of_order",
            Self::Limited => "limited",
            Self::Binding => "binding",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// A session that does not open.
#[derive(Debug, thiserror::Error)]
#[error("the session was refused: {reason}")]
pub struct Refused {
    /// Why, for metrics.
    pub reason: DenyReason,
    /// The JSON-RPC error for the client: at HTTP 200, or at 429 with `retry_after`.
    pub reply: Bytes,
    /// As many sessions as allowed are open: when to ask again.
    pub retry_after: Option<Duration>,
}

/// A handle that leads to no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// No live session has this handle: HTTP 404, and the client may initialize anew.
    #[error("no live session has this handle")]
    NotFound,
    /// As [`ResumeError::NotFound`]: it is no token of ours at all.
    #[error("the handle is no session token of this gateway")]
    Invalid,
    /// As [`ResumeError::NotFound`], and the caller's own bootstrap secret holds another session by now: HTTP 404.
    #[error("the session's bootstrap secret holds another session by now")]
    Superseded,
    /// The handle is another caller's: HTTP 404 as well, so that a thief learns nothing. It was counted and attested.
    #[error("the session is bound to other evidence")]
    Binding,
}
