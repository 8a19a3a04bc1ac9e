//! A message that was allowed and, before it was sent, outlived its policies: it is decided anew, so that a change of
//! the policies fails nothing that old and new ones allow.

use std::marker::PhantomData;

use crate::domain::clock::Timestamp;
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::wire::{Frame, Kind, RequestId};

use super::permit::{Allowed, ToClient, ToServer};
use super::session::Session;
use super::verdict::{Arrival, DropReason, ServerVerdict, Verdict};

/// How often one message is decided anew.
const ATTEMPTS: u8 = 3;

/// The decision whose place another one takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replaced {
    pub(super) decision: DecisionId,
    /// When it was counted.
    pub(super) at: Timestamp,
    attempt: u8,
}

/// What is needed to decide a message anew.
#[derive(Debug)]
pub(super) struct Again {
    frame: Frame,
    at: Arrival,
    replaced: Replaced,
}

impl Again {
    /// `before` is what `allowed` itself replaced. `None` when it was tried often enough.
    pub(super) fn after(
        allowed: &Allowed,
        frame: &Frame,
        at: &Arrival,
        before: Option<Replaced>,
    ) -> Option<Box<Self>> {
        let attempt = before.map_or(0, |before| before.attempt) + 1;
        let (decision, counted) = allowed.decided();
        let replaced = Replaced { decision, at: counted, attempt };
        (attempt <= ATTEMPTS).then(|| Box::new(Self { frame: frame.clone(), at: *at, replaced }))
    }

    pub(super) fn outdated<D>(self: Box<Self>) -> Outdated<D> {
        Outdated { again: self, towards: PhantomData }
    }
}

/// A message towards `D` whose permit was withdrawn only because the policies changed: it may be decided anew, once.
#[derive(Debug)]
#[must_use = "what is not decided anew is refused"]
pub struct Outdated<D> {
    again: Box<Again>,
    towards: PhantomData<fn() -> D>,
}

impl<D> Outdated<D> {
    /// The id of the request, if it is one.
    pub fn request(&self) -> Option<&RequestId> {
        self.again.frame.id().filter(|_| self.again.frame.kind() == Kind::Request)
    }
}

impl Session {
    /// Decides a client's message anew, by the policies in force now. The record says which decision it replaces.
    pub async fn from_client_again(&self, outdated: Outdated<ToServer>) -> Verdict {
        let (shared, Again { frame, at, replaced }) = (&self.shared, *outdated.again);
        if shared.is_over() {
            return shared.refuse_or_drop(&frame, DenyReason::SessionOver, DropReason::SessionOver);
        }
        match frame.kind() {
            Kind::Request => shared.client_request(None, &frame, &at, Some(replaced)).await,
            _ => shared.decided_notification(None, &frame, &at, Some(replaced)).await,
        }
    }

    /// Decides a request of the tool server anew, by the policies in force now.
    pub async fn from_server_again(&self, outdated: Outdated<ToClient>) -> ServerVerdict {
        let (shared, Again { frame, replaced, .. }) = (&self.shared, *outdated.again);
        if shared.is_over() {
            return shared.drop_inbound(DropReason::SessionOver);
        }
        shared.server_request(&frame, Some(replaced)).await
    }
}
