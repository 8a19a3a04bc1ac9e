//! What goes on beside the messages: keys rotate, sessions that are over are collected, refusals are summed up.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, RefusalCount, Refusals};
use crate::attest::predicate as records;
use crate::attest::{AppendError, Log, Predicate};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::recorder::SharedRecorder;
use crate::gate::Gate;
use crate::identity::Identity;

/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// Sums up refusals before admission, one record an interval, none when there were none.
#[derive(Debug)]
pub(super) struct Summary {
    refusals: Arc<Refusals>,
    log: Log,
    clock: Clock,
    since: Timestamp,
}

impl Summary {
    pub(super) fn new(refusals: Arc<Refusals>, log: Log, clock: Clock) -> Self {
        let since = clock.now();
        Self { refusals, log, clock, since }
    }

    /// Writes the record of what was counted since the last one. What can't be recorded now is counted again.
    pub(super) async fn write(&mut self) {
        let counted = self.refusals.drain();
        let until = self.clock.now();
        if counted.is_empty() {
            self.since = until;
            return;
        }
        match self.record(&counted, until).await {
            Ok(()) => {
                self.since = until;
                tracing::warn!("{}", told(&counted));
            }
            Err(error) => {
                tracing::warn!(%error, "the summary of refusals waits until it can be recorded");
                self.refusals.put_back(&counted);
            }
        }
    }

    async fn record(&self, counted: &[RefusalCount], until: Timestamp) -> Result<(), AppendError> {
        let row = |row: &RefusalCount| records::RefusalCount {
            listener: row.listener.as_str().to_owned(),
            reason: row.reason.as_str().to_owned(),
            count: row.count,
        };
        let refusals = counted.iter().map(row).collect();
        let summary = records::RefusalSummary { since: self.since, until, refusals };
        self.log.append_gateway(Predicate::RefusalSummary(summary))?.await?;
        Ok(())
    }
}

/// What the operator reads of an interval: `7 requests were turned away before admission: tcp no_evidence 7`.
fn told(counted: &[RefusalCount]) -> String {
    let total: u64 = counted.iter().map(|row| row.count).sum();
    let (requests, were) = if total == 1 { ("request", "was") } else { ("requests", "were") };
    let row = |row: &RefusalCount| format!("{} {} {}", row.listener.as_str(), row.reason.as_str(), row.count);
    let rows: Vec<String> = counted.iter().map(row).collect();
    format!("{total} {requests} {were} turned away before admission: {}", rows.join(", "))
}

/// Runs all of it until `stop`.
pub(super) fn spawn(
    gate: &Arc<Gate>,
    admission: &Arc<Admission>,
    identity: &Arc<Identity>,
    mut summary: Summary,
    interval: Duration,
    recorder: SharedRecorder,
    stop: &CancellationToken,
) -> Upkeep {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(identity).rotate_forever(stop.clone()));

    let (gate, identity, stopped) = (Arc::clone(gate), Arc::clone(identity), stop.clone());
    let admission = Arc::clone(admission);
    let clock = summary.clock.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP);
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            gate.sweep(clock.now()).await;
            let summed = Arc::clone(&gate);
            if let Err(error) = tokio::task::spawn_blocking(move || summed.save_ledger(false)).await {
                tracing::debug!(%error, "what principals did was not summed up");
            }
            admission.watch();
            gate.revoke_those(|binding| admission.has_outlived(binding)).await;
            gate.end_signed_by(|kid| identity.has_dropped(kid)).await;
            recorder.signer_validity(identity.validity_left());
        }
    });

    let stopped = stop.clone();
    let summing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            summary.write().await;
        }
        summary
    });
    Upkeep { tasks, summing }
}

/// The running tasks.
#[derive(Debug)]
pub(super) struct Upkeep {
    tasks: JoinSet<()>,
    summing: tokio::task::JoinHandle<Summary>,
}

impl Upkeep {
    /// Waits for the tasks, which `stop` has ended, and writes the last summary.
    pub(super) async fn finish(mut self) {
        self.tasks.shutdown().await;
        if let Ok(mut summary) = self.summing.await {
            summary.write().await;
        }
    }
}
