//! The log: one subscriber for the process, on stderr and nowhere else (under `chancery run` stdout is the protocol).

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::config::{LogConfig, LogFormat};

/// Why the log did not start.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// The filter can't be read.
    #[error("`{filter}` is not a log filter; write a level (`info`) or directives (`warn,chancery=debug`)")]
    Filter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        #[source]
        cause: tracing_subscriber::filter::ParseError,
    },
    /// There is a subscriber already.
    #[error("a log subscriber is installed already")]
    Installed(#[source] TryInitError),
}

/// Reads the filter without starting anything, so that a configuration can be checked.
///
/// # Errors
/// When a directive can't be parsed.
pub fn filter(text: &str) -> Result<EnvFilter, SubscriberError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|cause| SubscriberError::Filter { filter: text.chars().take(256).collect(), cause })
}

/// Starts the process's log. Call it once, before anything that logs.
///
/// Whatever the filter asks for, other crates are heard at `info` and above only: HTTP libraries print headers,
/// bearer tokens included, at their `debug` and `trace` levels (invariant I7).
///
/// # Errors
/// When the filter can't be parsed or a subscriber is installed already.
pub fn install(config: &LogConfig) -> Result<(), SubscriberError> {
    let filter = filter(&config.filter)?;
    let cap = Targets::new().with_default(LevelFilter::INFO).with_target("chancery", LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match config.format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry()
        .with(lines.with_filter(cap))
        .with(filter)
        .try_init()
        .map_err(SubscriberError::Installed)?;
    // There is one subscriber, so there is one of these.
    let _set_once = REFILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
    Ok(())
}

/// Puts another filter in the place of the one in force.
type Refilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// Changes the running log's filter; false where no log was started.
///
/// # Errors
/// When the filter can't be parsed.
pub fn refilter(text: &str) -> Result<bool, SubscriberError> {
    let filter = filter(text)?;
    Ok(REFILTER.get().is_some_and(|refilter| refilter(filter)))
}
