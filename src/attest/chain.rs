//! Chains: the sequence number and back link of a session's records, assigned when a record is enqueued and
//! rolled back when it could not be written.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::statement::{ChainId, Link};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::SessionId;

/// The records of one session, in order. Cloning shares it; it holds about 200 bytes.
#[derive(Debug, Clone)]
pub struct Chain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ChainId,
    state: Mutex<State>,
}

/// Where the next record of a chain goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    seq: u64,
    last: Option<Sha256Digest>,
}

impl Position {
    /// The link of the record that goes here.
    pub(super) const fn link(&self) -> Link {
        Link { seq: self.seq, previous: self.last }
    }

    /// The position after a record with this payload digest.
    pub(super) const fn after(&self, digest: Sha256Digest) -> Self {
        Self { seq: self.seq + 1, last: Some(digest) }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Counts rollbacks: a record that was enqueued before one is stale and never written.
    generation: u64,
    next: Position,
    durable: Position,
}

impl State {
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn next(&self) -> Position {
        self.next
    }

    /// A record with this digest was enqueued.
    pub(super) fn enqueued(&mut self, digest: Sha256Digest) {
        self.next = self.next.after(digest);
    }
}

impl Chain {
    /// The chain of a new session.
    pub fn for_session(id: SessionId) -> Self {
        Self(Arc::new(Inner { id: ChainId::Session(id), state: Mutex::default() }))
    }

    /// Whose chain it is.
    pub fn id(&self) -> ChainId {
        self.0.id
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// Whether a record of this generation may still be written.
    pub(super) fn accepts(&self, generation: u64) -> bool {
        self.lock().generation == generation
    }

    /// The record with this link and digest is as durable as configured.
    pub(super) fn confirm(&self, link: Link, digest: Sha256Digest) {
        self.lock().durable = Position { seq: link.seq + 1, last: Some(digest) };
    }

    /// A record of this generation failed: the chain goes back to what is durable, and whatever else of this
    /// generation is still queued is stale. Later calls for the same generation change nothing.
    pub(super) fn roll_back(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.generation += 1;
            state.next = state.durable;
        }
    }
}
