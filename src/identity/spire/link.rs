//! Whether the Workload API can be reached, and the warnings that tell how long signing goes on without it.

use std::time::Duration;

use parking_lot::Mutex;
use spiffe::WorkloadApiError;
use spiffe::x509_source::{MetricsErrorKind, MetricsRecorder};

use super::held::Held;
use crate::domain::clock::{Clock, Timestamp};

/// A connection counts as one when nothing was wrong with it for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// Between two warnings of one outage.
const REMIND: Duration = Duration::from_secs(60);

/// What is known of the connection to the agent.
#[derive(Debug)]
pub(super) struct Link {
    socket: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when nothing comes.
    down: Option<Timestamp>,
    /// When a connection was made since.
    connected: Option<Timestamp>,
    why: String,
    warned: Option<Timestamp>,
    /// A warning was given, so that its end is worth a line.
    told: bool,
}

impl Link {
    pub(super) fn new(socket: String, clock: Clock) -> Self {
        Self { socket, clock, state: Mutex::default() }
    }

    /// A connection was tried.
    pub(super) fn attempted(&self, error: Option<&WorkloadApiError>) {
        match error {
            None => self.state.lock().connected = Some(self.clock.now()),
            Some(error) => self.broke(super::error::SpireError::of(error, &self.socket).to_string()),
        }
    }

    fn broke(&self, why: String) {
        let state = &mut *self.state.lock();
        state.down.get_or_insert(self.clock.now());
        state.connected = None;
        state.why = why;
    }

    /// Since when the agent has been silent, and why, if it is.
    fn outage(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let state = &mut *self.state.lock();
        if state.connected.is_some_and(|at| now.since(at) >= SETTLED) {
            state.down = None;
        }
        state.down.map(|since| (since, state.why.clone()))
    }

    /// Whether it is time to say it (again).
    fn due(&self, now: Timestamp) -> bool {
        let state = &mut *self.state.lock();
        let due = state.warned.is_none_or(|at| now.since(at) >= REMIND);
        if due {
            (state.warned, state.told) = (Some(now), true);
        }
        due
    }

    /// Tells the operator when the agent is gone, or when the SVID comes to its end without a new one.
    pub(super) fn warn(&self, held: &Held, now: Timestamp) {
        let left = held.left(now);
        let rest = if left.is_zero() {
            "nothing can be signed, so every session and call is refused".to_owned()
        } else {
            format!("signing goes on for {} s, until the SVID ends", left.as_secs())
        };
        match self.outage(now) {
            Some((since, why)) if now.since(since) >= SETTLED && self.due(now) => {
                tracing::warn!("no SVIDs come since {since}: {why}; {rest}");
            }
            Some(_) => {}
            None if held.is_overdue(now) && self.due(now) => {
                tracing::warn!(
                    "the SPIRE agent at {} is there but has sent no new SVID; {rest}: can the agent reach its server?",
                    self.socket
                );
            }
            None if held.is_overdue(now) => {}
            None => {
                let state = &mut *self.state.lock();
                state.warned = None;
                if std::mem::take(&mut state.told) {
                    tracing::info!("SVIDs come again; signing goes on for {} s at least", left.as_secs());
                }
            }
        }
    }
}

impl MetricsRecorder for Link {
    fn record_update(&self) {
        let state = &mut *self.state.lock();
        (state.down, state.connected) = (None, None);
    }

    fn record_reconnect(&self) {}

    fn record_error(&self, kind: MetricsErrorKind) {
        match kind {
            MetricsErrorKind::StreamConnect | MetricsErrorKind::StreamEnded => {
                self.broke(format!("the stream of the Workload API at {} ended", self.socket));
            }
            MetricsErrorKind::StreamError => {
                self.broke(format!(
                    "the Workload API at {} sent what can't be read, or broke off",
                    self.socket
                ));
            }
            // An update that is over the limits; the source names it.
            _ => {}
        }
    }
}
