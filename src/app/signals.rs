//! SIGTERM, SIGINT and SIGHUP: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Begins to listen; the token is cancelled by the first signal. The second exits with 128 and its number, as a
/// shell reports it, without waiting for anything.
///
/// # Errors
/// When the handlers can't be installed.
pub(super) fn listen() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
                _ = hangup.recv() => 1,
            };
            if asked.is_cancelled() {
                tracing::error!("a second signal: ending at once");
                std::process::exit(128 + number);
            }
            tracing::info!("shutting down; another signal ends at once");
            asked.cancel();
        }
    });
    Ok(stop)
}
