//! A server span for each message, with the decision on it, and child spans for what the time went into.
//!
//! Spans are made on the OpenTelemetry API itself, without an ambient context: a message's handling crosses tasks,
//! and its parent is the one that the sender named, nothing that happens to be current on a thread.

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

use super::labels;
use crate::domain::semconv;
use crate::gate::observe::{DecisionFacts, MessageFacts, Observer, Span, TraceContext};
use crate::wire::methods;

/// Longest attribute value, in characters; a stranger chooses tool names and URIs (invariant I10).
const LONGEST: usize = 256;

/// Makes spans with one tracer.
#[derive(Debug, Clone)]
pub struct Spans {
    tracer: SdkTracer,
}

impl Spans {
    /// Spans that `provider` exports.
    pub fn new(provider: &SdkTracerProvider) -> Self {
        Self { tracer: provider.tracer("chancery") }
    }
}

impl Observer for Spans {
    fn begin(&self, facts: &MessageFacts<'_>) -> Option<Box<dyn Span>> {
        let target = facts.tool.or(facts.prompt);
        let method = labels::method(facts.method);
        let name = target.map_or_else(|| method.to_owned(), |target| format!("{method} {}", short(target)));
        let parent = facts.parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(SpanContext::new(
                TraceId::from_bytes(parent.trace_id),
                SpanId::from_bytes(parent.span_id),
                TraceFlags::new(parent.flags),
                true,
                TraceState::NONE,
            ))
        });
        let builder =
            self.tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes(facts));
        let span = self.tracer.build_with_context(builder, &parent);
        Some(Box::new(Message { span, tracer: self.tracer.clone() }))
    }
}

fn attributes(facts: &MessageFacts<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(semconv::MCP_METHOD_NAME, short(facts.method)),
        KeyValue::new(semconv::MCP_SESSION_ID, facts.session.to_string()),
        KeyValue::new(semconv::CHANCERY_SERVER, facts.server.to_string()),
        KeyValue::new(semconv::NETWORK_TRANSPORT, facts.transport.network()),
    ];
    let texts = [
        (semconv::GEN_AI_TOOL_NAME, facts.tool),
        (semconv::GEN_AI_PROMPT_NAME, facts.prompt),
        (semconv::MCP_RESOURCE_URI, facts.resource),
        (semconv::JSONRPC_REQUEST_ID, facts.request_id.as_deref()),
        (semconv::MCP_PROTOCOL_VERSION, facts.revision.map(|revision| revision.as_str())),
        (semconv::GEN_AI_OPERATION_NAME, (facts.method == methods::TOOLS_CALL).then_some("execute_tool")),
    ];
    for (key, text) in texts {
        attributes.extend(text.map(|text| KeyValue::new(key, short(text))));
    }
    attributes
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// A message's span, or a child of one. The SDK ends it when it is dropped.
#[derive(Debug)]
struct Message {
    span: SdkSpan,
    tracer: SdkTracer,
}

impl Span for Message {
    fn context(&self) -> Option<TraceContext> {
        let context = self.span.span_context();
        context.is_valid().then(|| TraceContext {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }

    fn decided(&mut self, facts: &DecisionFacts<'_>) {
        let policies = facts.policies.iter().map(|id| StringValue::from(short(id))).collect();
        self.span.set_attributes([
            KeyValue::new(semconv::CHANCERY_DECISION_EFFECT, facts.effect.as_str()),
            KeyValue::new(semconv::CHANCERY_DECISION_ID, facts.id.to_string()),
            KeyValue::new(semconv::CHANCERY_DECISION_MODE, "enforce"),
            KeyValue::new(semconv::CHANCERY_DECISION_POLICIES, Value::Array(Array::String(policies))),
            KeyValue::new(semconv::CHANCERY_DECISION_POLICY_SET, facts.policy_set.to_string()),
        ]);
        if !facts.reasons.is_empty() {
            let reasons = facts.reasons.iter().map(|text| StringValue::from(short(text))).collect();
            let reasons = Value::Array(Array::String(reasons));
            self.span.set_attribute(KeyValue::new(semconv::CHANCERY_DECISION_REASONS, reasons));
        }
        if let Some(reason) = facts.reason {
            self.span.set_attribute(KeyValue::new(semconv::CHANCERY_DECISION_REASON, reason.as_str()));
        }
        if let Some(digest) = facts.attestation {
            self.span.set_attribute(KeyValue::new(semconv::CHANCERY_ATTESTATION_DIGEST, digest.to_string()));
        }
    }

    fn child(&self, name: &'static str) -> Option<Box<dyn Span>> {
        let kind = if name == "upstream" { SpanKind::Client } else { SpanKind::Internal };
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let span = self.tracer.build_with_context(self.tracer.span_builder(name).with_kind(kind), &parent);
        Some(Box::new(Self { span, tracer: self.tracer.clone() }))
    }

    fn end(mut self: Box<Self>, error: Option<&str>) {
        if let Some(error) = error {
            self.span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, short(error)));
            self.span.set_status(Status::error(short(error)));
        }
        self.span.end();
    }
}
