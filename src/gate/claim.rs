//! A message's entry in the session's table of requests under way: it is given back by whoever holds it when nothing
//! comes of the message.

use bytes::Bytes;

use crate::domain::refusal::DenyReason;
use crate::wire::RequestId;

use super::asked::Asked;
use super::denial::Denial;
use super::pending::Serial;
use super::session::{Core, Shared};

/// One entry, and no later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// A request of the client (or of the gateway itself).
    OfClient(RequestId, Serial),
    /// A request of the tool server.
    OfServer(RequestId, Serial),
}

/// What became of an entry whose message was not sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The requester does not want it any more.
    Cancelled,
    /// It was answered, early, or failed.
    Answered,
}

impl Claim {
    pub(super) fn id(&self) -> &RequestId {
        let (Self::OfClient(id, _) | Self::OfServer(id, _)) = self;
        id
    }
}

impl Core {
    /// Whether the entry is there and its requester waits.
    pub(super) fn waits(&self, claim: &Claim) -> Result<(), Lost> {
        let waits = match claim {
            Claim::OfClient(id, serial) => self.asked.waits(id, *serial),
            Claim::OfServer(id, serial) => self.served.waits(id, *serial),
        };
        match waits {
            Some(true) => Ok(()),
            Some(false) => Err(Lost::Cancelled),
            None => Err(Lost::Answered),
        }
    }

    /// Takes the entry out; `None` if it was gone. Of a request of the client: what it was.
    pub(super) fn release(&mut self, claim: &Claim) -> Option<Option<Asked>> {
        match claim {
            Claim::OfClient(id, serial) => self.asked.release(id, *serial).map(Some),
            Claim::OfServer(id, serial) => self.served.release(id, *serial).map(|()| None),
        }
    }
}

impl Shared {
    /// Gives an entry back whose message was not sent; false if it was gone.
    pub(super) fn release(&self, claim: &Claim) -> bool {
        let released = self.core.lock().release(claim);
        let there = released.is_some();
        if let Some(asked) = released.flatten() {
            asked.end(self, Some("withdrawn"));
        }
        there
    }

    /// Takes a permit's entry back and tells its requester; nothing to tell where nothing was asked, or where it has
    /// its answer.
    pub(super) fn withdraw(&self, claim: Option<&Claim>, reason: DenyReason) -> Option<Bytes> {
        self.house.counters.withdrawn();
        let claim = claim?;
        self.release(claim).then(|| Denial::plain(Some(claim.id()), reason).reply())
    }
}

/// Gives the entry back when the wait for the receipt is given up.
pub(super) struct Reserved<'a> {
    pub(super) shared: &'a Shared,
    pub(super) claim: Option<Claim>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.release(&claim);
        }
    }
}
