//! The way to the first SVID, and the stream from there on.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spiffe::transport::Endpoint;
use spiffe::{WorkloadApiClient, X509Context, X509Source};
use tokio::time::{sleep, timeout};

use super::choice::Choice;
use super::error::SpireError;
use super::link::Link;
use super::update;
use crate::domain::clock::Clock;
use crate::domain::ids::SpiffeId;
use crate::identity::config::Spire;
use crate::keys::ActiveKey;

/// How long an attempt may be silent before the operator is told.
const SILENT: Duration = Duration::from_secs(1);

/// Between attempts to get the first SVID.
const RETRY: Duration = Duration::from_millis(250);

/// Between attempts to get the stream back; it doubles from the first to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A stream that has delivered an SVID which may sign.
pub(super) struct Connected {
    pub(super) source: X509Source,
    pub(super) choice: Choice,
    pub(super) link: Arc<Link>,
    pub(super) key: ActiveKey,
}

/// Waits for an SVID that holds, then begins the stream.
///
/// # Errors
/// What was wrong at the last attempt before the time was over, or what waiting can't mend.
pub(super) async fn connect(
    config: &Spire,
    before: Option<SpiffeId>,
    clock: &Clock,
) -> Result<Connected, SpireError> {
    let socket = config.socket.as_deref().ok_or(SpireError::NoSocket)?;
    let endpoint = endpoint(socket)?;
    let wanted = Choice::of(config, before);
    let (started, patience) = (Instant::now(), config.initial_sync_timeout);
    let mut told = false;
    let mut tell = |what: &dyn std::fmt::Display| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("waiting up to {} s for an SVID: {what}", patience.as_secs());
        }
    };
    let (choice, key) = loop {
        let left = patience.saturating_sub(started.elapsed());
        let attempt = timeout(left, first(&endpoint, socket, &wanted, clock));
        tokio::pin!(attempt);
        let outcome = tokio::select! {
            outcome = &mut attempt => outcome,
            () = sleep(SILENT) => {
                tell(&format_args!("{socket} does not answer"));
                attempt.await
            }
        };
        let error = match outcome {
            Ok(Ok(first)) => break first,
            Ok(Err(error)) => error,
            Err(_elapsed) => SpireError::Silent { socket: socket.to_owned(), waited: patience },
        };
        if error.is_final() || started.elapsed() + RETRY >= patience {
            return Err(error);
        }
        tell(&error);
        sleep(RETRY).await;
    };
    let link = Arc::new(Link::new(socket.to_owned(), endpoint.clone(), clock.clone()));
    let factory_link = Arc::clone(&link);
    let source = X509Source::builder()
        .client_factory(Arc::new(move || {
            let (endpoint, link) = (endpoint.clone(), Arc::clone(&factory_link));
            Box::pin(async move {
                let connected = WorkloadApiClient::connect(endpoint).await;
                link.attempted(connected.as_ref().err());
                connected
            })
        }))
        .picker(choice.clone())
        .metrics(link.clone())
        .reconnect_backoff(RECONNECT.0, RECONNECT.1)
        .initial_sync_timeout(config.initial_sync_timeout)
        .build()
        .await?;
    Ok(Connected { source, choice, link, key })
}

/// One attempt: the SVIDs as they are offered now, and ours among them.
async fn first(
    endpoint: &Endpoint,
    socket: &str,
    wanted: &Choice,
    clock: &Clock,
) -> Result<(Choice, ActiveKey), SpireError> {
    if let Endpoint::Unix(path) = endpoint {
        match fs::metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(SpireError::NotASocket(path.clone())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SpireError::Missing(path.clone()));
            }
            // Whatever else is wrong, connecting says it.
            _ => {}
        }
    }
    let context = fetch(endpoint).await.map_err(|error| SpireError::of(&error, socket))?;
    let svid = wanted.of_offered(context.svids())?;
    let key = update::key(&context, svid, clock.now())?;
    if context.svids().len() > 1 && wanted.is_open() {
        let count = context.svids().len();
        tracing::warn!(
            "the SPIRE agent offers {count} SVIDs, this one is taken: {}; choose by `identity.spire.spiffe_id`",
            key.spiffe_id()
        );
    }
    Ok((wanted.clone().pinned(key.spiffe_id().clone()), key))
}

/// The SVIDs as they are offered now.
pub(super) async fn fetch(endpoint: &Endpoint) -> Result<X509Context, spiffe::WorkloadApiError> {
    WorkloadApiClient::connect(endpoint.clone()).await?.fetch_x509_context().await
}

/// The address, if what it names is on this machine. A path alone is a Unix socket's.
pub(super) fn endpoint(socket: &str) -> Result<Endpoint, SpireError> {
    let path = socket.starts_with('/').then(|| format!("unix://{socket}"));
    let endpoint = Endpoint::parse(path.as_deref().unwrap_or(socket))
        .map_err(|error| SpireError::Address { socket: socket.to_owned(), why: error.to_string() })?;
    match &endpoint {
        Endpoint::Tcp { host, .. } if !host.is_loopback() => Err(SpireError::Remote(socket.to_owned())),
        _ => Ok(endpoint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_api_on_another_machine_is_refused() {
        for remote in ["tcp://10.0.0.1:8081", "tcp://[2001:db8::1]:1", "tcp:0.0.0.0:1"] {
            assert!(matches!(endpoint(remote), Err(SpireError::Remote(_))), "{remote}");
        }
        for local in [
            "unix:///run/spire/agent.sock",
            "/run/spire/agent.sock",
            "unix:/run/a",
            "tcp://127.0.0.1:1",
            "tcp://[::1]:1",
        ] {
            assert!(endpoint(local).is_ok(), "{local}");
        }
        for none in [
            "",
            "run/spire/agent.sock",
            "unix://./agent.sock",
            "http://127.0.0.1:1",
            "unix:run/a",
            "tcp://localhost:1",
        ] {
            let error = endpoint(none).unwrap_err().to_string();
            assert!(error.contains("unix:///"), "{error}");
        }
    }
}
