use std::time::{Duration, Instant};

use super::*;

fn environment(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn nothing_is_exported_unless_an_endpoint_is_known() {
    assert_eq!(OtlpConfig::resolve(None, environment(&[])), None);
    assert_eq!(OtlpConfig::resolve(None, environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")])), None);
    assert_eq!(OtlpConfig::resolve(None, environment(&[("OTEL_TRACES_EXPORTER", "otlp")])), None);
}

#[test]
fn the_standard_variables_switch_each_signal() {
    let both =
        OtlpConfig::resolve(None, environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318")])).unwrap();
    assert_eq!((both.traces, both.metrics, both.endpoint), (true, true, None));
    let only = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:4318/x")];
    let traces = OtlpConfig::resolve(None, |name| environment_of(&only, name)).unwrap();
    assert_eq!((traces.traces, traces.metrics), (true, false));
    let none = environment(&[("OTEL_METRICS_EXPORTER", "none")]);
    let configured = OtlpConfig::resolve(Some("http://h:4318/"), none).unwrap();
    assert_eq!((configured.traces, configured.metrics), (true, false));
    assert_eq!(configured.url("/v1/traces").as_deref(), Some("http://h:4318/v1/traces"));
    assert_eq!(OtlpConfig::resolve(Some("http://h"), environment(&[("OTEL_SDK_DISABLED", "TRUE")])), None);
}

fn environment_of(pairs: &[(&str, &str)], name: &str) -> Option<String> {
    pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn strangers_names_never_become_labels() {
    assert_eq!(labels::method("tools/call"), "tools/call");
    assert_eq!(labels::method("tools/call\u{0}evil"), "other");
    assert_eq!(labels::error("not_permitted"), "not_permitted");
    assert_eq!(labels::error("-31999"), "_OTHER");
    assert_eq!(labels::listener("tcp:127.0.0.1:1"), "tcp");
}

#[test]
fn a_bad_filter_is_told_apart_from_a_good_one() {
    assert!(subscriber::filter("warn,chancery=debug").is_ok());
    let error = subscriber::filter("chancery=loud").unwrap_err();
    assert!(error.to_string().contains("`chancery=loud`"), "{error}");
}

#[test]
fn an_https_receiver_can_be_configured() {
    let otlp = OtlpConfig {
        endpoint: Some("https://127.0.0.1:1".into()),
        traces: true,
        metrics: true,
        service_name: None,
    };
    let telemetry = Telemetry::start(&Config { log: LogConfig::default(), otlp: Some(otlp) }).unwrap();
    telemetry.shutdown();
}

#[test]
fn a_receiver_that_never_answers_holds_up_the_shutdown_for_two_seconds_at_most() {
    // Accepts by the kernel's backlog, never reads, never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let otlp = OtlpConfig { endpoint: Some(endpoint), traces: true, metrics: true, service_name: None };
    let telemetry = Telemetry::start(&Config { log: LogConfig::default(), otlp: Some(otlp) }).unwrap();
    telemetry.recorder().decision("tools/call", crate::domain::decision::Effect::Allow);
    let begun = Instant::now();
    telemetry.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
}

mod span_tests {
    use std::sync::Arc;

    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use parking_lot::Mutex;

    use crate::domain::decision::Effect;
    use crate::domain::digest::Sha256Digest;
    use crate::domain::ids::{DecisionId, ServerName, SessionId};
    use crate::domain::refusal::DenyReason;
    use crate::domain::revision::Revision;
    use crate::gate::Transport;
    use crate::gate::observe::{DecisionFacts, Heading, MessageFacts, Observer as _, TraceContext};
    use crate::telemetry::spans::Spans;

    /// The SDK's own in-memory exporter is behind a feature that would come with the whole crate.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(batch);
            Ok(())
        }
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        span.attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string())
    }

    #[test]
    fn a_denied_call_is_one_server_span_under_its_sender_with_the_decision_on_it() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let server: ServerName = "files".parse().unwrap();
        let parent = TraceContext { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
        let facts = MessageFacts {
            session: SessionId::from_uuid(uuid::Uuid::from_u128(1)),
            server: &server,
            heading: Heading::ToServer,
            method: "tools/call",
            tool: Some("write_file"),
            prompt: None,
            resource: None,
            request_id: Some("\"a\"".into()),
            revision: Some(Revision::LATEST),
            transport: Transport::Stdio,
            parent: Some(parent),
        };
        let mut span = Spans::new(&provider).begin(&facts).unwrap();
        let own = span.context().unwrap();
        assert_eq!(own.trace_id, parent.trace_id);
        assert_ne!(own.span_id, parent.span_id);
        span.child("policy.evaluate").unwrap().end(None);
        span.decided(&DecisionFacts {
            id: DecisionId::from_uuid(uuid::Uuid::from_u128(2)),
            effect: Effect::Deny,
            reason: Some(DenyReason::Forbidden),
            policies: vec!["no-writes"],
            reasons: vec!["This folder is read-only."],
            policy_set: Sha256Digest::of(b"set"),
            attestation: Some(Sha256Digest::of(b"record")),
        });
        span.end(Some("forbidden"));

        let spans = kept.0.lock();
        let [child, message] = &spans[..] else { panic!("{} spans", spans.len()) };
        assert_eq!((message.name.as_ref(), &message.span_kind), ("tools/call write_file", &SpanKind::Server));
        assert_eq!(message.parent_span_id.to_bytes(), parent.span_id);
        assert_eq!((child.name.as_ref(), child.parent_span_id.to_bytes()), ("policy.evaluate", own.span_id));
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", "write_file"),
            ("gen_ai.operation.name", "execute_tool"),
            ("network.transport", "pipe"),
            ("jsonrpc.request.id", "\"a\""),
            ("chancery.decision.effect", "deny"),
            ("chancery.decision.reason", "forbidden"),
            ("chancery.decision.policies", "[\"no-writes\"]"),
            ("chancery.decision.reasons", "[\"This folder is read-only.\"]"),
            ("error.type", "forbidden"),
        ] {
            assert_eq!(attribute(message, key).as_deref(), Some(value), "{key}");
        }
        let digest = Sha256Digest::of(b"record").to_string();
        assert_eq!(attribute(message, "chancery.attestation.digest"), Some(digest));
    }
}
