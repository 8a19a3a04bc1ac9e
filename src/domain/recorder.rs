//! Where the parts report measurements to; `telemetry` implements it, [`Silent`] is for when nobody listens.

use std::sync::Arc;
use std::time::Duration;

use super::decision::Effect;
use super::refusal::AdmissionRefusal;

/// Receives measurements. Calls are cheap and never block.
pub trait Recorder: Send + Sync + std::fmt::Debug {
    /// A decision was made on `method`.
    fn decision(&self, _method: &str, _effect: Effect) {}
    /// Policies were evaluated.
    fn evaluation(&self, _took: Duration) {}
    /// A record was appended and is as durable as configured.
    fn append(&self, _took: Duration) {}
    /// Records now waiting for the log's writer.
    fn append_queue(&self, _depth: usize) {}
    /// A request was turned away before admission.
    fn refused(&self, _listener: &str, _reason: AdmissionRefusal) {}
    /// A message was handled from its arrival to its answer.
    fn operation(&self, _method: &str, _error: Option<&str>, _took: Duration) {}
    /// A decision would have been another: by a `@shadow` policy (`policy`) or the candidate set (`set`); `effect` is
    /// the one that was enforced.
    fn shadow_flip(&self, _by: &'static str, _effect: Effect) {}
    /// Policies were read anew: `applied`, `refused`, or `candidate_refused`.
    fn reload(&self, _outcome: &'static str) {}
    /// Tools of a server that differ from what was approved, now.
    fn quarantined(&self, _server: &str, _tools: usize) {}
    /// Sessions open now.
    fn sessions(&self, _open: usize) {}
    /// Time left until the signing certificate ends.
    fn signer_validity(&self, _left: Duration) {}
}

/// Drops every measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Recorder for Silent {}

/// A shared recorder.
pub type SharedRecorder = Arc<dyn Recorder>;
