//! Starts and stops the exporters, and hands out what the gateway reports to.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::blocking::Client;

use super::config::{Config, OtlpConfig};
use super::exporter::Sparing;
use super::metrics::Metrics;
use super::spans::Spans;
use crate::domain::recorder::{SharedRecorder, Silent};
use crate::gate::observe::{Observer, Unobserved};

/// How long the last measurements may take to leave when the gateway stops.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// How long one export may take where the SDK's own client, which reads `OTEL_EXPORTER_OTLP_TIMEOUT`, can't be made.
const EXPORT: Duration = Duration::from_secs(10);
const SCOPE: &str = "chancery";

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An exporter refused its settings.
    #[error(
        "the OTLP exporter of {signal} can't be set up; check `telemetry.otlp_endpoint` and the OTEL_* variables"
    )]
    Exporter {
        /// `traces` or `metrics`.
        signal: &'static str,
        /// What it said.
        #[source]
        cause: ExporterBuildError,
    },
}

/// The running exporters of one process; without configuration there are none, and everything here is free.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    recorder: SharedRecorder,
    observer: Arc<dyn Observer>,
}

impl Telemetry {
    /// Starts what `config` asks for. TLS to the receiver uses the process's rustls provider, which this
    /// installs if nobody did before.
    ///
    /// # Errors
    /// When an endpoint, a header or another `OTEL_*` setting can't be used.
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        let Some(otlp) = &config.otlp else {
            let (recorder, observer) = (Arc::new(Silent), Arc::new(Unobserved));
            return Ok(Self { traces: None, metrics: None, recorder, observer });
        };
        install_crypto_provider();
        // Later attributes win: ours, then OTEL_RESOURCE_ATTRIBUTES, then OTEL_SERVICE_NAME.
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", SCOPE),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
            .with_attributes(otlp.service_name.iter().map(|name| KeyValue::new("service.name", name.clone())))
            .build();
        let traces = otlp.traces.then(|| traces(otlp, resource.clone())).transpose()?;
        let metrics = otlp.metrics.then(|| metrics(otlp, resource)).transpose()?;
        let recorder: SharedRecorder = match &metrics {
            Some(provider) => Arc::new(Metrics::new(&provider.meter(SCOPE))),
            None => Arc::new(Silent),
        };
        let observer: Arc<dyn Observer> = match &traces {
            Some(provider) => Arc::new(Spans::new(provider)),
            None => Arc::new(Unobserved),
        };
        Ok(Self { traces, metrics, recorder, observer })
    }

    /// Where measurements go.
    pub fn recorder(&self) -> SharedRecorder {
        Arc::clone(&self.recorder)
    }

    /// Who makes the spans.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.observer)
    }

    /// Sends what is still queued and stops the exporters; returns after two seconds at most, whatever the
    /// receiver does. Call it after the last message, from a thread that may block.
    pub fn shutdown(self) {
        let Self { traces, metrics, .. } = self;
        if traces.is_none() && metrics.is_none() {
            return;
        }
        let (done, finished) = mpsc::channel::<()>();
        // The SDK honours no deadline for metrics, and joins its thread for traces: wait beside it.
        let mut stops: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        if let Some(traces) = traces {
            stops.push(Box::new(move || drop(traces.shutdown_with_timeout(SHUTDOWN))));
        }
        if let Some(metrics) = metrics {
            stops.push(Box::new(move || drop(metrics.shutdown())));
        }
        for stop in stops {
            let done = done.clone();
            let worker = std::thread::Builder::new().name("otlp-shutdown".into()).spawn(move || {
                stop();
                drop(done);
            });
            if let Err(error) = worker {
                tracing::warn!(%error, "no thread to flush telemetry on");
            }
        }
        drop(done);
        // Disconnected as soon as every worker is done.
        if matches!(finished.recv_timeout(SHUTDOWN), Err(mpsc::RecvTimeoutError::Timeout)) {
            tracing::warn!("telemetry was still being delivered when the gateway stopped; the rest is lost");
        }
    }
}

/// Makes aws-lc-rs the process's rustls provider; a second call changes nothing.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

fn traces(otlp: &OtlpConfig, resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let url = otlp.url("/v1/traces");
    let build = |client| reaching(SpanExporter::builder().with_http(), url.clone(), client).build();
    let exporter = with_or_without_roots(build);
    let exporter = exporter.map_err(|cause| TelemetryError::Exporter { signal: "traces", cause })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(Sparing::new("traces", exporter))
        .with_resource(resource)
        .build())
}

fn metrics(otlp: &OtlpConfig, resource: Resource) -> Result<SdkMeterProvider, TelemetryError> {
    let url = otlp.url("/v1/metrics");
    let build = |client| reaching(MetricExporter::builder().with_http(), url.clone(), client).build();
    let exporter = with_or_without_roots(build);
    let exporter = exporter.map_err(|cause| TelemetryError::Exporter { signal: "metrics", cause })?;
    Ok(SdkMeterProvider::builder()
        .with_periodic_exporter(Sparing::new("metrics", exporter))
        .with_resource(resource)
        .build())
}

fn reaching<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    url: Option<String>,
    client: Option<Client>,
) -> B {
    let builder = match url {
        Some(url) => builder.with_endpoint(url),
        None => builder,
    };
    match client {
        Some(client) => builder.with_http_client(client),
        None => builder,
    }
}

/// The SDK's own client refuses to be made on a machine without root certificates, even for a receiver on plain
/// HTTP, as in a small container with its collector beside it. A client that trusts nobody serves that one.
fn with_or_without_roots<E>(
    build: impl Fn(Option<Client>) -> Result<E, ExporterBuildError>,
) -> Result<E, ExporterBuildError> {
    build(None).or_else(|error| match rootless() {
        Some(client) => build(Some(client)),
        None => Err(error),
    })
}

fn rootless() -> Option<Client> {
    let make = || Client::builder().tls_certs_only([]).timeout(EXPORT).build().ok();
    // A blocking client can't be made on a thread of an asynchronous runtime.
    std::thread::spawn(make).join().ok().flatten()
}
