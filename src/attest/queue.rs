//! What waits for the writer.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::chain::Chain;
use super::error::AppendError;
use super::predicate::Predicate;
use super::receipt::Receipt;
use super::statement::Link;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;
use crate::keys::PublicSvid;

/// Where a receipt goes, or why there is none.
pub(super) type Reply = oneshot::Sender<Result<Receipt, AppendError>>;

/// What reaches the writer.
pub(super) enum Job {
    /// Write this.
    Append(Box<Queued>),
    /// Write what came before, then end, then say so.
    Close(oneshot::Sender<()>),
}

/// A record that waits.
pub(super) enum Queued {
    /// Of a session: complete but for its signature.
    Record(Record),
    /// Of the gateway: the writer gives it its place.
    Gateway {
        /// What it says.
        predicate: Box<Predicate>,
        /// Who waits.
        reply: Reply,
    },
}

/// A session's record with its place.
pub(super) struct Record {
    pub(super) chain: Chain,
    pub(super) generation: u64,
    pub(super) link: Link,
    pub(super) time: Timestamp,
    pub(super) payload: Vec<u8>,
    pub(super) digest: Sha256Digest,
    pub(super) decision: Option<DecisionId>,
    /// What must be archived before it is written.
    pub(super) key: Option<Arc<PublicSvid>>,
    /// None under `queued`, whose receipt was given at once.
    pub(super) reply: Option<Reply>,
    pub(super) since: Instant,
}

impl Queued {
    /// Its payload's bytes, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Record(record) => record.payload.len(),
            Self::Gateway { .. } => 1024,
        }
    }
}
