//! A message that was allowed and, before it was sent, outlived its policies: it is decided anew, so that a change of
//! the policies fails nothing that old and new ones allow.
//!
//! Its entry in the table of requests under way stays until then, so that its id is nobody else's and it can be cancelled.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::wire::{Frame, Kind};

use super::asked::Asked;
use super::claim::{Claim, Lost};
use super::decide::Unsettled;
use super::matter::Matter;
use super::permit::{Allowed, ToClient, ToServer};
use super::session::{Core, Shared};
use super::state::Counted;
use super::verdict::{Arrival, DropReason, ServerVerdict, Verdict};

/// How often one message is decided anew after it was handed out.
const ATTEMPTS: u8 = 3;

/// The decision whose place another one takes.
#[derive(Debug, Clone)]
pub(super) struct Replaced {
    pub(super) decision: DecisionId,
    pub(super) counted: Counted,
    pub(super) claim: Option<Claim>,
    attempt: u8,
}

impl Replaced {
    /// `before` is what `allowed` itself replaced.
    pub(super) fn by(allowed: &Allowed, claim: Option<Claim>, before: Option<&Self>) -> Self {
        let (decision, counted) = allowed.decided();
        Self { decision, counted, claim, attempt: before.map_or(0, |before| before.attempt) }
    }
}

/// What is needed to decide a message anew.
#[derive(Debug)]
pub(super) struct Again {
    /// Who sent it, by the evidence of its own request; nobody where the tool server did.
    admitted: Option<Admitted>,
    frame: Frame,
    at: Arrival,
    replaced: Replaced,
}

impl Again {
    /// `before` is what `allowed` itself replaced. `None` when it was tried often enough.
    pub(super) fn after(
        allowed: &Allowed,
        claim: Option<&Claim>,
        message: (Option<&Admitted>, &Frame, &Arrival),
        before: Option<&Replaced>,
    ) -> Option<Box<Self>> {
        let (admitted, frame, at) = message;
        let mut replaced = Replaced::by(allowed, claim.cloned(), before);
        replaced.attempt += 1;
        let again = Self { admitted: admitted.cloned(), frame: frame.clone(), at: *at, replaced };
        (again.replaced.attempt <= ATTEMPTS).then(|| Box::new(again))
    }

    /// Unless who sent it would not be heard any more, does not want it any more, or has an answer.
    pub(super) fn outdated<D>(self: Box<Self>, shared: &Arc<Shared>) -> Option<Outdated<D>> {
        let now = shared.now();
        let ended = self.admitted.as_ref().and_then(Admitted::expires).is_some_and(|end| now >= end);
        let waits = self.replaced.claim.as_ref().is_none_or(|claim| shared.core.lock().waits(claim).is_ok());
        (waits && !ended).then(|| Outdated { again: self, shared: Arc::clone(shared), towards: PhantomData })
    }
}

/// A message towards `D` whose permit was withdrawn only because the policies changed. It is decided anew, once, in
/// its place: before what is to be sent after it. Dropping it sends nothing and answers nobody.
#[derive(Debug)]
#[must_use = "its requester waits for an answer"]
pub struct Outdated<D> {
    again: Box<Again>,
    shared: Arc<Shared>,
    towards: PhantomData<fn() -> D>,
}

impl<D> Drop for Outdated<D> {
    fn drop(&mut self) {
        // Of no effect once another decision has taken the place of this one.
        if let Some(claim) = &self.again.replaced.claim {
            self.shared.release(claim);
        }
    }
}

impl Outdated<ToServer> {
    /// Decides a client's message by the policies in force now. The record says which decision it replaces.
    pub async fn decide_again(self) -> Verdict {
        let (shared, Again { admitted, frame, at, replaced }) = (&self.shared, &*self.again);
        if shared.is_over() {
            return shared.refuse_or_drop(frame, DenyReason::SessionOver, DropReason::SessionOver);
        }
        let Some(admitted) = admitted else { return shared.drop_message(DropReason::OutOfOrder) };
        match frame.kind() {
            Kind::Request => shared.client_request(admitted, frame, at, Some(replaced)).await,
            _ => shared.decided_notification(admitted, frame, at, Some(replaced)).await,
        }
    }
}

impl Outdated<ToClient> {
    /// Decides a request of the tool server by the policies in force now.
    pub async fn decide_again(self) -> ServerVerdict {
        let (shared, Again { frame, replaced, .. }) = (&self.shared, &*self.again);
        if shared.is_over() {
            return shared.drop_inbound(DropReason::SessionOver);
        }
        shared.server_request(frame, Some(replaced)).await
    }
}

impl Shared {
    /// A decision makes room for the one that replaces it: its entry, and what it counted. `outlived` gets the entry of
    /// a client's request.
    pub(super) fn give_way(
        &self,
        core: &mut Core,
        matter: &Matter<'_>,
        replaced: &Replaced,
        now: Timestamp,
        outlived: &mut Option<Asked>,
    ) -> Result<(), Unsettled> {
        let claim = replaced.claim.as_ref();
        let waits = claim.map_or(Ok(()), |claim| core.waits(claim));
        *outlived = claim.and_then(|claim| core.release(claim)).flatten();
        let ended = matter.by.and_then(Admitted::expires).is_some_and(|end| now >= end);
        match waits {
            Ok(()) if ended => return Err(DenyReason::Limited.into()),
            Ok(()) => {}
            Err(Lost::Answered) => return Err(Unsettled::Answered),
            Err(Lost::Cancelled) => return Err(DenyReason::Limited.into()),
        }
        core.allowed = core.allowed.saturating_sub(1);
        self.discharge(&mut core.did, matter, replaced.counted);
        Ok(())
    }
}
