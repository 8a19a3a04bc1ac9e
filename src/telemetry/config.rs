//! Settings of logs, traces and metrics, resolved.

use std::str::FromStr;

/// What is logged and exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The log on stderr.
    pub log: LogConfig,
    /// Where spans and metrics go; `None` exports nothing.
    pub otlp: Option<OtlpConfig>,
}

/// The log on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Filter directives as `tracing-subscriber`'s `EnvFilter` reads them: `info`, `chancery=debug`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl LogConfig {
    /// One line a decision, and what an operator must know.
    pub const DEFAULT_FILTER: &'static str = "warn,spiffe=error,chancery=info";
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: Self::DEFAULT_FILTER.to_owned(), format: LogFormat::default() }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

/// Neither `human` nor `json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log format; use `human` or `json`")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(UnknownLogFormat(other.to_owned())),
        }
    }
}

/// OTLP over HTTP with protobuf bodies. What is not here (headers, timeouts, resource attributes, batch
/// sizes, intervals) the SDK reads from the standard `OTEL_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Base URL from the configuration file; `/v1/traces` and `/v1/metrics` are appended. Without it the SDK
    /// reads `OTEL_EXPORTER_OTLP_ENDPOINT` and its per-signal forms.
    pub endpoint: Option<String>,
    /// Export spans.
    pub traces: bool,
    /// Export metrics.
    pub metrics: bool,
    /// `OTEL_SERVICE_NAME`; `chancery` without it.
    pub service_name: Option<String>,
}

impl OtlpConfig {
    /// Decides what is exported, from the configuration file's endpoint and the environment, which `config`
    /// hands in as `variable`. A signal is exported when an endpoint is known for it; `OTEL_SDK_DISABLED=true`
    /// and `OTEL_{TRACES,METRICS}_EXPORTER=none` switch off.
    pub fn resolve(configured: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return None;
        }
        let base = configured.is_some() || set("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let wanted = |endpoint: &str, exporter: &str| {
            let on = base || set(endpoint).is_some();
            on && !set(exporter).is_some_and(|v| v.eq_ignore_ascii_case("none"))
        };
        let traces = wanted("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER");
        let metrics = wanted("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_METRICS_EXPORTER");
        (traces || metrics).then(|| Self {
            endpoint: configured.map(str::to_owned),
            traces,
            metrics,
            service_name: set("OTEL_SERVICE_NAME"),
        })
    }

    /// The full URL of one signal, if the configuration file named a base URL.
    pub(super) fn url(&self, path: &str) -> Option<String> {
        self.endpoint.as_ref().map(|base| format!("{}{path}", base.trim_end_matches('/')))
    }
}
