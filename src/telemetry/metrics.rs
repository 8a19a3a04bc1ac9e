//! Measurements as OpenTelemetry metrics: the [`Recorder`] that the other parts report to.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use super::labels;
use crate::domain::decision::Effect;
use crate::domain::recorder::Recorder;
use crate::domain::refusal::AdmissionRefusal;
use crate::domain::semconv;

/// Bucket bounds in seconds for whole operations; the MCP semantic conventions' own.
const OPERATION_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Bucket bounds in seconds for what takes microseconds: an evaluation, an append.
const STEP_BUCKETS: [f64; 13] =
    [0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0];

/// Records into instruments of one meter. Recording is lock-free but for the SDK's own short locks, and never blocks
/// on the exporter.
#[derive(Debug)]
pub struct Metrics {
    decisions: Counter<u64>,
    refusals: Counter<u64>,
    operation: Histogram<f64>,
    evaluation: Histogram<f64>,
    append: Histogram<f64>,
    queue: Gauge<u64>,
    flips: Counter<u64>,
    reloads: Counter<u64>,
    quarantined: Gauge<u64>,
    sessions: Gauge<u64>,
    validity: Gauge<f64>,
}

impl Metrics {
    /// Creates the instruments.
    pub fn new(meter: &Meter) -> Self {
        let seconds = |name, text: &'static str, bounds: &[f64]| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(text)
                .with_boundaries(bounds.to_vec())
                .build()
        };
        Self {
            decisions: meter
                .u64_counter(semconv::METRIC_DECISIONS)
                .with_unit("{decision}")
                .with_description("Decisions by method and effect")
                .build(),
            refusals: meter
                .u64_counter(semconv::METRIC_REFUSALS)
                .with_unit("{request}")
                .with_description("Requests turned away before admission, by listener and reason")
                .build(),
            operation: seconds(
                semconv::METRIC_OPERATION_DURATION,
                "From a message's arrival to its answer",
                &OPERATION_BUCKETS,
            ),
            evaluation: seconds(
                semconv::METRIC_EVALUATION_DURATION,
                "Evaluation of the policies",
                &STEP_BUCKETS,
            ),
            append: seconds(semconv::METRIC_APPEND_DURATION, "Until a record is durable", &STEP_BUCKETS),
            queue: meter
                .u64_gauge(semconv::METRIC_APPEND_QUEUE)
                .with_unit("{record}")
                .with_description("Records that wait for the log's writer")
                .build(),
            flips: meter
                .u64_counter(semconv::METRIC_SHADOW_FLIPS)
                .with_unit("{decision}")
                .with_description("Decisions that policies which are not enforced would have turned")
                .build(),
            reloads: meter
                .u64_counter(semconv::METRIC_RELOADS)
                .with_unit("{reload}")
                .with_description("Policies read anew, by outcome")
                .build(),
            quarantined: meter
                .u64_gauge(semconv::METRIC_QUARANTINED)
                .with_unit("{tool}")
                .with_description("Tools that differ from what was approved, by server")
                .build(),
            sessions: meter
                .u64_gauge(semconv::METRIC_SESSIONS)
                .with_unit("{session}")
                .with_description("Sessions open")
                .build(),
            validity: meter
                .f64_gauge(semconv::METRIC_SIGNER_VALIDITY)
                .with_unit("s")
                .with_description("Until the signing certificate ends")
                .build(),
        }
    }
}

fn method(name: &str) -> KeyValue {
    KeyValue::new(semconv::MCP_METHOD_NAME, labels::method(name))
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl Recorder for Metrics {
    fn decision(&self, name: &str, effect: Effect) {
        let effect = KeyValue::new(semconv::CHANCERY_DECISION_EFFECT, effect.as_str());
        self.decisions.add(1, &[method(name), effect]);
    }

    fn evaluation(&self, took: Duration) {
        self.evaluation.record(took.as_secs_f64(), &[]);
    }

    fn append(&self, took: Duration) {
        self.append.record(took.as_secs_f64(), &[]);
    }

    fn append_queue(&self, depth: usize) {
        self.queue.record(count(depth), &[]);
    }

    fn refused(&self, listener: &str, reason: AdmissionRefusal) {
        let listener = KeyValue::new(semconv::NETWORK_TRANSPORT, labels::listener(listener));
        self.refusals.add(1, &[listener, KeyValue::new(semconv::ERROR_TYPE, reason.as_str())]);
    }

    fn operation(&self, name: &str, error: Option<&str>, took: Duration) {
        let seconds = took.as_secs_f64();
        match error {
            None => self.operation.record(seconds, &[method(name)]),
            Some(error) => {
                let error = KeyValue::new(semconv::ERROR_TYPE, labels::error(error));
                self.operation.record(seconds, &[method(name), error]);
            }
        }
    }

    fn shadow_flip(&self, by: &'static str, effect: Effect) {
        let flip = match effect {
            Effect::Allow => "allow_to_deny",
            Effect::Deny => "deny_to_allow",
        };
        let flip = KeyValue::new(semconv::CHANCERY_SHADOW_FLIP, flip);
        self.flips.add(1, &[KeyValue::new(semconv::CHANCERY_SHADOW_BY, by), flip]);
    }

    fn reload(&self, outcome: &'static str) {
        self.reloads.add(1, &[KeyValue::new(semconv::CHANCERY_RELOAD_OUTCOME, outcome)]);
    }

    fn quarantined(&self, server: &str, tools: usize) {
        let server = KeyValue::new(semconv::CHANCERY_SERVER, server.to_owned());
        self.quarantined.record(count(tools), &[server]);
    }

    fn sessions(&self, open: usize) {
        self.sessions.record(count(open), &[]);
    }

    fn signer_validity(&self, left: Duration) {
        self.validity.record(left.as_secs_f64(), &[]);
    }
}
