//! What the gate tells of each message while it handles it; `telemetry` turns it into spans.
//!
//! The gate itself knows no tracing system. It asks an [`Observer`] for a [`Span`] per message, hands it the
//! decision and ends it when the answer has come. No argument value and no token is ever passed here (I7).

use std::fmt;

use crate::domain::decision::Effect;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{DecisionId, ServerName, SessionId};
use crate::domain::refusal::DenyReason;
use crate::domain::revision::Revision;
use crate::wire::Traceparent;

use super::route::Transport;

/// A W3C trace context (Trace Context §3.2): whose span is the parent of what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span in it.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceContext {
    /// The trace id as 32 lower-case hex digits.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    /// The span id as 16 lower-case hex digits.
    pub fn span_id_hex(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.span_id))
    }
}

impl From<Traceparent> for TraceContext {
    fn from(sent: Traceparent) -> Self {
        Self { trace_id: sent.trace_id, span_id: sent.parent_id, flags: sent.flags }
    }
}

/// The `traceparent` header's value, version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id_hex(), self.span_id_hex(), self.flags)
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heading {
    /// From the client to the tool server.
    ToServer,
    /// From the tool server to the client.
    ToClient,
}

/// What is known of a message before it is decided.
#[derive(Debug, Clone)]
pub struct MessageFacts<'a> {
    /// The session it belongs to.
    pub session: SessionId,
    /// The tool server of the session.
    pub server: &'a ServerName,
    /// Which way it goes.
    pub heading: Heading,
    /// Its JSON-RPC method.
    pub method: &'a str,
    /// The tool, on `tools/call`.
    pub tool: Option<&'a str>,
    /// The prompt, on `prompts/get`.
    pub prompt: Option<&'a str>,
    /// The resource's URI, on `resources/*`.
    pub resource: Option<&'a str>,
    /// The JSON-RPC id as JSON text; absent on notifications.
    pub request_id: Option<String>,
    /// The negotiated revision, once there is one.
    pub revision: Option<Revision>,
    /// How the client is connected.
    pub transport: Transport,
    /// The sender's span, from `params._meta.traceparent` or the HTTP header.
    pub parent: Option<TraceContext>,
}

/// What was decided of a message.
#[derive(Debug, Clone)]
pub struct DecisionFacts<'a> {
    /// The decision's id.
    pub id: DecisionId,
    /// Allow or deny.
    pub effect: Effect,
    /// Why, when denied.
    pub reason: Option<DenyReason>,
    /// Ids of the determining policies.
    pub policies: Vec<&'a str>,
    /// The `@reason` of each of them that has one.
    pub reasons: Vec<&'a str>,
    /// Digest of the policy set.
    pub policy_set: Sha256Digest,
    /// Digest of the attestation; absent when it could not be written.
    pub attestation: Option<Sha256Digest>,
}

/// Makes a span per message. Calls are cheap and never block.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A message arrived. `None` when nobody listens.
    fn begin(&self, facts: &MessageFacts<'_>) -> Option<Box<dyn Span>>;
}

/// One message's span; dropping it without [`Span::end`] ends it as well.
pub trait Span: Send + fmt::Debug {
    /// Its trace context, which goes on to the tool server.
    fn context(&self) -> Option<TraceContext>;
    /// The message was decided.
    fn decided(&mut self, facts: &DecisionFacts<'_>);
    /// Begins a child: `policy.evaluate`, `attest.append` or `upstream`.
    fn child(&self, name: &'static str) -> Option<Box<dyn Span>>;
    /// The message's handling is over; `error` is the semantic conventions' `error.type`.
    fn end(self: Box<Self>, error: Option<&str>);
}

/// An observer that makes no spans.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn begin(&self, _facts: &MessageFacts<'_>) -> Option<Box<dyn Span>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_written_as_the_recommendation_says() {
        let context = TraceContext { trace_id: [0xab; 16], span_id: [1, 2, 3, 4, 5, 6, 7, 0xf8], flags: 1 };
        assert_eq!(context.to_string(), format!("00-{}-01020304050607f8-01", "ab".repeat(16)));
    }
}
