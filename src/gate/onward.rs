//! A message on its way through the gate: its span, its trace context, and the form in which it goes on.

use crate::policy::Direction;
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, RequestId};

use super::claim::Claim;
use super::observe::{Heading, MessageFacts, Span, TraceContext};
use super::permit::Outgoing;
use super::session::{Phase, Shared};
use super::verdict::Arrival;

/// What goes on is what came, save the parent id inside a `traceparent` that the sender put there (I2).
#[derive(Debug)]
pub(super) struct Onward {
    pub(super) frame: Frame,
    /// The context that goes on, and that the record names.
    pub(super) trace: Option<TraceContext>,
    pub(super) span: Option<Box<dyn Span>>,
}

impl Onward {
    pub(super) fn begin(shared: &Shared, frame: &Frame, at: &Arrival, from: Direction) -> Self {
        let method = frame.method().unwrap_or_default();
        let class = methods::classify(method);
        let sent = frame.traceparent();
        let parent = sent.map(TraceContext::from).or(at.trace);
        let named = |wanted: Class| (class == wanted).then(|| frame.name()).flatten();
        let facts = MessageFacts {
            session: shared.id,
            server: &shared.route.server,
            heading: match from {
                Direction::Client => Heading::ToServer,
                Direction::Server => Heading::ToClient,
            },
            method,
            tool: named(Class::ToolCall),
            prompt: named(Class::PromptGet),
            resource: frame.uri(),
            request_id: frame.id().map(ToString::to_string),
            revision: shared.revision(),
            transport: shared.route.transport,
            parent,
        };
        let span = shared.house.parts.observer.begin(&facts);
        let own = span.as_ref().and_then(|span| span.context());
        let frame = match (own, sent) {
            (Some(own), Some(sent)) if own.trace_id == sent.trace_id => {
                frame.with_trace_parent_id(own.span_id)
            }
            _ => frame.clone(),
        };
        Self { frame, trace: own.or(parent), span }
    }

    /// The message to send to the tool server, with the headers that go with it.
    pub(super) fn outgoing(&self, shared: &Shared, request: Option<&RequestId>) -> Outgoing {
        let mut outgoing = Outgoing::message(self.frame.bytes().clone());
        outgoing.request = request.cloned();
        outgoing.headers = shared.headers();
        outgoing.headers.extend(self.trace.map(|trace| ("traceparent", trace.to_string())));
        outgoing
    }

    /// Leaves the span with the request under way, to be ended with its answer.
    pub(super) fn hand_over(self, shared: &Shared, claim: Option<&Claim>) {
        let upstream = self.span.as_ref().and_then(|span| span.child("upstream"));
        let Some(Claim::OfClient(id, serial)) = claim else { return };
        if let Some(asked) = shared.core.lock().asked.find(id, *serial) {
            asked.span = self.span;
            asked.upstream = upstream;
        }
    }

    pub(super) fn end(self, error: Option<&str>) {
        if let Some(span) = self.span {
            span.end(error);
        }
    }
}

impl Shared {
    /// The headers of every message to an HTTP tool server in this session.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let revision = self.revision();
        revision.map(|revision| ("mcp-protocol-version", revision.as_str().to_owned())).into_iter().collect()
    }

    pub(super) fn revision(&self) -> Option<crate::domain::revision::Revision> {
        match self.core.lock().phase {
            Phase::Open(revision) => Some(revision),
            Phase::Opening | Phase::Over => None,
        }
    }
}
