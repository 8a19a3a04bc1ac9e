//! What the gateway tells its operator: log lines on stderr, and by OTLP a span for each message and metrics.
//!
//! [`subscriber`] sets up the log. [`Telemetry`] starts the exporters that the configuration asks for and hands
//! out the two ends that the rest of the gateway speaks to: the [`Recorder`](crate::domain::recorder::Recorder)
//! of [`metrics`] and the observer of [`spans`]. Exporting happens on threads of its own behind bounded queues: a
//! receiver that is slow or gone costs measurements, never a call. Nothing here may hold a token, a secret or an
//! argument's value (invariant I7); what goes out are names, ids, digests and durations.
//!
//! layer: L4

pub mod config;
mod exporter;
mod labels;
pub mod metrics;
mod provider;
pub mod spans;
pub mod subscriber;
#[cfg(test)]
mod tests;

pub use config::{Config, LogConfig, LogFormat, OtlpConfig};
pub use provider::{Telemetry, TelemetryError, install_crypto_provider};
