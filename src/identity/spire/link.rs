//! Whether the Workload API can be reached, and what the operator is told while it gives no SVIDs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spiffe::WorkloadApiError;
use spiffe::transport::{Endpoint, TransportError};
use spiffe::x509_source::{MetricsErrorKind, MetricsRecorder};

use super::error::SpireError;
use super::held::Held;
use super::source;
use crate::domain::clock::{Clock, Timestamp};

/// A connection counts as one when nothing was wrong with it for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// Between two lines of one trouble.
const REMIND: Duration = Duration::from_secs(60);

/// How long the agent is asked what was wrong with its update.
const ASKING: Duration = Duration::from_secs(5);

/// What is known of the connection to the agent.
#[derive(Debug)]
pub(super) struct Link {
    socket: String,
    endpoint: Endpoint,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when nothing comes.
    down: Option<Timestamp>,
    /// When a connection was made since.
    connected: Option<Timestamp>,
    why: String,
    /// What was wrong with the last update that could not be read; told once.
    unreadable: Option<String>,
    /// What was told last: when, and whether nothing could be signed.
    told: Option<(Timestamp, bool)>,
}

impl State {
    fn broke(&mut self, now: Timestamp, why: String) {
        self.down.get_or_insert(now);
        self.connected = None;
        self.why = why;
    }
}

impl Link {
    pub(super) fn new(socket: String, endpoint: Endpoint, clock: Clock) -> Self {
        Self { socket, endpoint, clock, state: Arc::default() }
    }

    /// A connection was tried.
    pub(super) fn attempted(&self, error: Option<&WorkloadApiError>) {
        let (now, mut state) = (self.clock.now(), self.state.lock());
        match error {
            None => state.connected = Some(now),
            Some(error) => state.broke(now, SpireError::of(error, &self.socket).to_string()),
        }
    }

    /// Since when the agent has been silent, and why, if it is.
    fn outage(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let state = &mut *self.state.lock();
        if state.connected.is_some_and(|at| now.since(at) >= SETTLED) {
            state.down = None;
        }
        state.down.filter(|since| now.since(*since) >= SETTLED).map(|since| (since, state.why.clone()))
    }

    /// Tells the operator what is wrong, at once when nothing can be signed any more, and again each minute; and when
    /// it is over. `refused` is since when updates are refused, and why.
    pub(super) fn tell(&self, held: &Held, refused: Option<&(Timestamp, String)>, now: Timestamp) {
        let left = held.left(now);
        let trouble = if let Some(why) = &held.withdrawn {
            Some(format!("the signing identity was withdrawn: {why}"))
        } else if let Some((since, why)) = self.outage(now) {
            Some(format!("no SVIDs come since {since}: {why}"))
        } else if !held.is_overdue(now) {
            None
        } else if let Some((since, why)) = refused {
            Some(format!("the SPIRE agent's updates are refused since {since}: {why}"))
        } else {
            Some(format!("the SPIRE agent at {} has sent no new SVID: can it reach its server?", self.socket))
        };
        let told = std::mem::take(&mut self.state.lock().told);
        let Some(trouble) = trouble else {
            if told.is_some() {
                tracing::info!("SVIDs come again; signing goes on for {} s at least", left.as_secs());
            }
            return;
        };
        let dead = left.is_zero();
        let due = told.is_none_or(|(at, was_dead)| now.since(at) >= REMIND || (dead && !was_dead));
        self.state.lock().told = if due { Some((now, dead)) } else { told };
        match (due, dead) {
            (false, _) => {}
            (true, true) => {
                tracing::error!("{trouble}. Nothing can be signed, so every session and call is refused");
            }
            (true, false) => {
                tracing::warn!("{trouble}. Signing goes on for {} s, until the SVID ends", left.as_secs());
            }
        }
    }

    /// Finds out what was wrong with an update that could not be read: the stream does not say.
    fn ask_why(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (endpoint, socket) = (self.endpoint.clone(), self.socket.clone());
        let (state, clock) = (Arc::clone(&self.state), self.clock.clone());
        runtime.spawn(async move {
            let Ok(Err(error)) = tokio::time::timeout(ASKING, source::fetch(&endpoint)).await else { return };
            // The connection itself, or a withdrawal: said elsewhere.
            let elsewhere = matches!(
                error,
                WorkloadApiError::Transport(TransportError::Connect(_))
                    | WorkloadApiError::NoIdentityIssued
                    | WorkloadApiError::PermissionDenied(_)
            );
            if elsewhere {
                return;
            }
            let said = SpireError::of(&error, &socket);
            let why = said.to_string();
            let mut state = state.lock();
            // An agent that says that it can't serve has sent no update: that is an outage, and told as one.
            if !matches!(said, SpireError::Unreachable { .. })
                && state.unreadable.replace(why.clone()).as_ref() != Some(&why)
            {
                tracing::error!(
                    "an update of the SPIFFE Workload API is refused, the key in use stays: {why}"
                );
            }
            state.broke(clock.now(), why);
        });
    }
}

impl MetricsRecorder for Link {
    fn record_update(&self) {
        let state = &mut *self.state.lock();
        (state.down, state.connected, state.unreadable) = (None, None, None);
    }

    fn record_reconnect(&self) {}

    fn record_error(&self, kind: MetricsErrorKind) {
        let now = self.clock.now();
        match kind {
            MetricsErrorKind::StreamConnect | MetricsErrorKind::StreamEnded => {
                let why = format!("the stream of the Workload API at {} ended", self.socket);
                self.state.lock().broke(now, why);
            }
            MetricsErrorKind::StreamError => {
                let why =
                    format!("the Workload API at {} sent what can't be read, or broke off", self.socket);
                self.state.lock().broke(now, why);
                // As often as the stream is tried again, which is less and less often.
                self.ask_why();
            }
            // An update that is over the limits; the source names it.
            _ => {}
        }
    }
}
