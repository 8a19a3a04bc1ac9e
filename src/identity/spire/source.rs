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
use crate::identity::config::Spire;
use crate::keys::ActiveKey;

/// Between attempts to get the first SVID.
const RETRY: Duration = Duration::from_millis(250);

/// Between attempts to get the stream back; it doubles from the first to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A stream that has delivered a SVID which may sign.
pub(super) struct Connected {
    pub(super) source: X509Source,
    pub(super) choice: Choice,
    pub(super) link: Arc<Link>,
    pub(super) key: ActiveKey,
}

/// Waits for a SVID that holds, then begins the stream.
///
/// # Errors
/// What was wrong at the last attempt before the time was over, or what waiting can't mend.
pub(super) async fn connect(config: &Spire, clock: &Clock) -> Result<Connected, SpireError> {
    let endpoint = endpoint(&config.socket)?;
    let started = Instant::now();
    let mut told = false;
    let (choice, key) = loop {
        let left = config.initial_sync_timeout.saturating_sub(started.elapsed());
        let error = match timeout(left, first(&endpoint, config, clock)).await {
            Ok(Ok(first)) => break first,
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                SpireError::Silent { socket: config.socket.clone(), waited: config.initial_sync_timeout }
            }
        };
        if error.is_final() || started.elapsed() + RETRY >= config.initial_sync_timeout {
            return Err(error);
        }
        if !told {
            tracing::warn!("waiting up to {} s for a SVID: {error}", config.initial_sync_timeout.as_secs());
            told = true;
        }
        sleep(RETRY).await;
    };
    let link = Arc::new(Link::new(config.socket.clone(), clock.clone()));
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
    config: &Spire,
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
    let context = fetch(endpoint).await.map_err(|error| SpireError::of(&error, &config.socket))?;
    let choice = Choice::of(config);
    let svid = choice.of_offered(context.svids())?;
    let key = update::key(&context, svid, clock.now())?;
    if context.svids().len() > 1 && config.spiffe_id.is_none() && config.hint.is_none() {
        let count = context.svids().len();
        tracing::warn!(
            "the SPIRE agent offers {count} SVIDs, the first is taken: {}; choose by `identity.spire.spiffe_id`",
            key.spiffe_id()
        );
    }
    Ok((choice.pinned(key.spiffe_id().clone()), key))
}

async fn fetch(endpoint: &Endpoint) -> Result<X509Context, spiffe::WorkloadApiError> {
    WorkloadApiClient::connect(endpoint.clone()).await?.fetch_x509_context().await
}

/// The address, if what it names is on this machine.
fn endpoint(socket: &str) -> Result<Endpoint, SpireError> {
    let endpoint = Endpoint::parse(socket)
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
        for local in ["unix:///run/spire/agent.sock", "unix:/run/a", "tcp://127.0.0.1:1", "tcp://[::1]:1"] {
            assert!(endpoint(local).is_ok(), "{local}");
        }
        for none in ["", "/run/spire/agent.sock", "http://127.0.0.1:1", "unix:run/a", "tcp://localhost:1"] {
            let error = endpoint(none).unwrap_err().to_string();
            assert!(error.contains("unix:///"), "{error}");
        }
    }
}
