//! The signing identity that SPIRE issues: X.509-SVIDs streamed by the SPIFFE Workload API.
//!
//! [`spiffe::X509Source`] keeps the stream; every update is checked here before anything signs with it: the chain
//! leads to the update's own bundle, the key is the leaf's, the leaf is an SVID that may sign, on P-256 or P-384. An
//! update that fails is refused and named, and the key in use stays, if the update's bundle vouches for it. Private
//! keys live in memory only; the public chains are kept in a directory, so that a gateway that starts again still
//! answers for the tokens it issued.

mod choice;
mod error;
mod held;
mod kept;
mod link;
mod source;
mod update;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spiffe::X509Source;
use spiffe::x509_source::X509SourceUpdates;

use super::config::Spire;
use super::error::IdentityError;
use super::material::{Material, Published};
use super::tls::SpiffeTls;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::SpiffeId;
use choice::Choice;
pub use error::SpireError;
use held::{Held, NOT_VOUCHED_FOR};
use kept::Kept;
pub(super) use kept::look;
use link::Link;

/// How long another process may hold the directory's lock: at the start, and later, when a withdrawal may be next.
const START_PATIENCE: Duration = Duration::from_secs(10);
const KEEP_PATIENCE: Duration = Duration::from_millis(250);

/// Most that is repeated of an agent's words, in characters.
const SAID: usize = 512;

/// The gateway's own entry at a SPIRE agent.
#[derive(Debug)]
pub(super) struct Workload {
    choice: Choice,
    spiffe_id: SpiffeId,
    source: X509Source,
    link: Arc<Link>,
    updates: tokio::sync::Mutex<X509SourceUpdates>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Held,
    kept: Kept,
    /// The revision of the source that was looked at last, and whether it was refused.
    looked_at: Option<(u64, bool)>,
    /// Since when updates are refused, and why.
    refused: Option<(Timestamp, String)>,
    /// Why what is held could not be written down the last time: told once, tried again each time.
    unkept: Option<String>,
}

impl Workload {
    /// Waits for the first SVID, no longer than configured.
    pub(super) async fn connect(
        config: &Spire,
        lead: Duration,
        clock: &Clock,
    ) -> Result<Self, IdentityError> {
        // Before the agent is asked: a directory that can't be used.
        let mut kept = Kept::open(&config.dir)?;
        let connected = source::connect(config, kept.owner(), clock).await?;
        let now = clock.now();
        let spiffe_id = connected.key.spiffe_id().clone();
        let known = kept.known(&spiffe_id, connected.key.bundle(), now)?;
        let held = Held::begin(connected.key, known, lead, now);
        kept.keep(&held, now, START_PATIENCE)?;
        let updates = tokio::sync::Mutex::new(connected.source.updated());
        let state = Mutex::new(State { held, kept, looked_at: None, refused: None, unkept: None });
        let (choice, source, link) = (connected.choice, connected.source, connected.link);
        Ok(Self { choice, spiffe_id, source, link, updates, state })
    }

    pub(super) fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// TLS from the same stream.
    pub(super) fn tls(&self) -> SpiffeTls {
        SpiffeTls::new(self.source.clone())
    }

    /// Looks at what the source holds now, unless it was looked at and taken over before. What was refused is looked
    /// at again: a certificate from the future becomes valid with time.
    fn look(&self, state: &mut State, now: Timestamp) {
        let seen = self.source.state();
        let revision = seen.revision();
        let again = match state.looked_at {
            Some((looked_at, refused)) if looked_at == revision && !refused => return,
            Some((looked_at, _)) => looked_at == revision,
            None => false,
        };
        let offered = match seen.context() {
            Ok(context) => update::read(&context, &self.choice, now),
            Err(error) => update::Offered::Nothing(said(&error.to_string())),
        };
        state.looked_at = Some((revision, matches!(offered, update::Offered::Refused(..))));
        let refused = state.refused.take();
        match offered {
            update::Offered::Key(key) => state.held.take(*key, now),
            update::Offered::Nothing(why) => state.held.withdraw(why),
            update::Offered::Refused(bundle, error) => {
                let goes_on = bundle.is_none_or(|bundle| state.held.trust(bundle, now));
                let effect = if goes_on { "the key in use stays" } else { NOT_VOUCHED_FOR };
                if !again {
                    tracing::error!("an update of the SPIFFE Workload API is refused, {effect}: {error}");
                }
                let since = refused.map_or(now, |(since, _)| since);
                state.refused = Some((since, error.to_string()));
            }
        }
    }
}

/// Whether `socket` can be the address of a Workload API that may be asked.
pub(super) fn check_socket(socket: &str) -> Result<(), SpireError> {
    source::endpoint(socket).map(drop)
}

/// What the agent said, so that it stays text on a terminal.
fn said(words: &str) -> String {
    let words: String = words.chars().take(SAID).collect();
    format!("the SPIRE agent says: {}", words.escape_debug())
}

impl Material for Workload {
    fn refresh(&self, now: Timestamp) -> Result<Published, IdentityError> {
        let state = &mut *self.state.lock();
        self.look(state, now);
        state.held.settle(now);
        self.link.tell(&state.held, state.refused.as_ref(), now);
        Ok(state.kept.published(&state.held))
    }

    fn keep(&self, now: Timestamp) {
        let state = &mut *self.state.lock();
        let unkept = state.kept.keep(&state.held, now, KEEP_PATIENCE).err().map(|error| error.to_string());
        if let Some(why) = unkept.as_ref().filter(|_| unkept != state.unkept) {
            tracing::error!(
                "a public key can't be kept, after a restart its tokens could not be verified: {why}"
            );
        }
        state.unkept = unkept;
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.updates.lock().await.changed().await.is_err() {
                tracing::error!("the stream of the SPIFFE Workload API has ended: restart the gateway");
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
