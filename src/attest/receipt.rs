//! Receipts: the proof that a record is written, without which nothing is permitted (invariant I1).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::config::Durability;
use super::error::AppendError;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;

/// Proof that a record is in the log, as durable as [`Receipt::durability`] says. Only the log makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    digest: Sha256Digest,
    seq: u64,
    durability: Durability,
    decision: Option<DecisionId>,
}

impl Receipt {
    pub(super) const fn new(
        digest: Sha256Digest,
        seq: u64,
        durability: Durability,
        decision: Option<DecisionId>,
    ) -> Self {
        Self { digest, seq, durability, decision }
    }

    /// SHA-256 of the record's payload, by which the next record links back and callers may quote it.
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Its number in its chain.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// What it has survived.
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// The decision it records, if it is one's.
    pub const fn decision_id(&self) -> Option<DecisionId> {
        self.decision
    }
}

/// A receipt to come. Dropping it cancels nothing: a record that is enqueued is written.
#[derive(Debug)]
#[must_use = "nothing may go on before the receipt is there"]
pub struct PendingReceipt(State);

#[derive(Debug)]
enum State {
    Ready(Option<Receipt>),
    Waiting(oneshot::Receiver<Result<Receipt, AppendError>>),
}

impl PendingReceipt {
    pub(super) const fn ready(receipt: Receipt) -> Self {
        Self(State::Ready(Some(receipt)))
    }

    pub(super) const fn waiting(receiver: oneshot::Receiver<Result<Receipt, AppendError>>) -> Self {
        Self(State::Waiting(receiver))
    }

    /// Waits on a thread that runs no tasks.
    ///
    /// # Errors
    /// As [`super::Log::append`]; panics inside an asynchronous task, where it would block others.
    pub fn wait(self) -> Result<Receipt, AppendError> {
        match self.0 {
            State::Ready(receipt) => receipt.ok_or(AppendError::Closed),
            State::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(AppendError::Closed)),
        }
    }
}

impl Future for PendingReceipt {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(receipt) => Poll::Ready(receipt.take().ok_or(AppendError::Closed)),
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|sent| sent.unwrap_or(Err(AppendError::Closed)))
            }
        }
    }
}
