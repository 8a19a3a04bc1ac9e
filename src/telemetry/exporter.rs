//! Wraps the SDK's exporters so that a dead receiver is one log line a minute, not one a batch.

use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

const QUIET: Duration = Duration::from_secs(60);

/// Says at most once a minute that exporting fails, and how often it did since.
#[derive(Debug)]
struct Complaints {
    signal: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    failed: u64,
}

impl Complaints {
    fn new(signal: &'static str) -> Self {
        Self { signal, state: Mutex::new(State::default()) }
    }

    /// Counts a failure at `now`; the number of failures to speak of, if it is time to speak.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        state.failed += 1;
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.failed))
    }

    fn hear(&self, outcome: OTelSdkResult) -> OTelSdkResult {
        if let Err(error) = &outcome
            && let Some(failed) = self.due(Instant::now())
        {
            tracing::warn!(signal = self.signal, failed, %error, "telemetry was not delivered; calls are not affected");
        }
        outcome
    }
}

/// An exporter whose failures are told sparingly.
#[derive(Debug)]
pub(super) struct Sparing<E> {
    inner: E,
    complaints: Complaints,
}

impl<E> Sparing<E> {
    pub(super) fn new(signal: &'static str, inner: E) -> Self {
        Self { inner, complaints: Complaints::new(signal) }
    }
}

impl<E: SpanExporter> SpanExporter for Sparing<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.complaints.hear(self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Sparing<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.complaints.hear(self.inner.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_once_a_minute_with_their_number() {
        let complaints = Complaints::new("traces");
        let start = Instant::now();
        assert_eq!(complaints.due(start), Some(1));
        for second in 1..60 {
            assert_eq!(complaints.due(start + Duration::from_secs(second)), None);
        }
        assert_eq!(complaints.due(start + Duration::from_secs(60)), Some(60));
    }
}
