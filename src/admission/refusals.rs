//! Strangers' requests, counted by listener and reason with atomics; bounded whatever they send (I10).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::recorder::SharedRecorder;
use crate::domain::refusal::AdmissionRefusal;

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listener {
    /// Our own stdin.
    Stdio,
    /// HTTP on the Unix socket.
    Unix,
    /// HTTP on TCP.
    Tcp,
    /// HTTP on TLS, mutually authenticated.
    Tls,
}

impl Listener {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stdio, Self::Unix, Self::Tcp, Self::Tls];

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// How many requests one listener turned away for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalCount {
    /// Where they came in.
    pub listener: Listener,
    /// Why they were turned away.
    pub reason: AdmissionRefusal,
    /// How many since the counters were drained before.
    pub count: u64,
}

/// The counters.
#[derive(Debug)]
pub struct Refusals {
    cells: Vec<(Listener, AdmissionRefusal, AtomicU64)>,
    recorder: SharedRecorder,
}

impl Refusals {
    /// Counters at zero that also report each refusal to `recorder`.
    pub fn new(recorder: SharedRecorder) -> Self {
        let reasons = AdmissionRefusal::ALL;
        let cell = |listener| reasons.iter().map(move |reason| (listener, *reason, AtomicU64::new(0)));
        Self { cells: Listener::ALL.into_iter().flat_map(cell).collect(), recorder }
    }

    /// Counts one refused request.
    pub fn count(&self, listener: Listener, reason: AdmissionRefusal) {
        if let Some(cell) = self.cell(listener, reason) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        self.recorder.refused(listener.as_str(), reason);
    }

    fn cell(&self, listener: Listener, reason: AdmissionRefusal) -> Option<&AtomicU64> {
        self.cells.iter().find(|(l, r, _)| *l == listener && *r == reason).map(|(_, _, cell)| cell)
    }

    /// Counts again what was drained and could not be recorded.
    pub fn put_back(&self, counts: &[RefusalCount]) {
        for row in counts {
            if let Some(cell) = self.cell(row.listener, row.reason) {
                cell.fetch_add(row.count, Ordering::Relaxed);
            }
        }
    }

    /// Takes what was counted since the last time; only what is not zero.
    pub fn drain(&self) -> Vec<RefusalCount> {
        let taken = self.cells.iter().map(|(listener, reason, cell)| RefusalCount {
            listener: *listener,
            reason: *reason,
            count: cell.swap(0, Ordering::Relaxed),
        });
        taken.filter(|row| row.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::recorder::Silent;

    #[test]
    fn draining_takes_each_count_once() {
        let refusals = Refusals::new(Arc::new(Silent));
        for _ in 0..3 {
            refusals.count(Listener::Tcp, AdmissionRefusal::NoEvidence);
        }
        refusals.count(Listener::Unix, AdmissionRefusal::PeerNotAllowed);
        let drained = refusals.drain();
        assert_eq!(drained.len(), 2);
        assert!(drained.contains(&RefusalCount {
            listener: Listener::Tcp,
            reason: AdmissionRefusal::NoEvidence,
            count: 3
        }));
        assert!(refusals.drain().is_empty());
        refusals.put_back(&drained);
        assert_eq!(refusals.drain(), drained);
    }
}
