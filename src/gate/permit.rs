//! The only way out: a message leaves the gateway inside a [`Permit`], once (I1).
//!
//! A permit is built from an allow decision together with the log's receipt for that very decision, or from a
//! named kind of [`Standing`] traffic. It holds the complete outgoing message. Whether the session still lives and
//! the policies are still the ones that allowed it is looked at again when it is redeemed, at the moment of sending.
//!
//! Whoever holds one may spend it:
//!
//! ```
//! use chancery::gate::{Outgoing, Permit, ToServer, Withdrawn};
//! fn spend(permit: Permit<ToServer>) -> Result<Outgoing, Withdrawn<ToServer>> { permit.redeem() }
//! ```
//!
//! There is no other constructor:
//!
//! ```compile_fail,E0451
//! use chancery::gate::{Permit, ToServer};
//! let forged: Permit<ToServer> = Permit { inner: None, to: std::marker::PhantomData };
//! ```
//!
//! and none that is only hidden:
//!
//! ```compile_fail,E0624
//! use chancery::gate::{Permit, ToServer};
//! fn forge(message: bytes::Bytes) -> Permit<ToServer> { Permit::standing(message) }
//! ```
//!
//! and a permit is spent when it is redeemed:
//!
//! ```compile_fail,E0382
//! use chancery::gate::{Permit, ToServer};
//! fn twice(permit: Permit<ToServer>) { let _ = permit.redeem(); let _ = permit.redeem(); }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use crate::attest::{CloseReason, Receipt};
use crate::domain::decision::{Effect, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::wire::RequestId;

use super::again::{Again, Outdated};
use super::claim::Claim;
use super::session::Shared;
use super::standing::Standing;
use super::state::Counted;

/// Towards the tool server.
#[derive(Debug)]
pub enum ToServer {}

/// Towards the client.
#[derive(Debug)]
pub enum ToClient {}

/// What a permit asks its holder to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Send `bytes` as one message.
    Message,
    /// Open the stream for server messages (GET); there is no body.
    OpenStream {
        /// Where the client wants to resume.
        last_event_id: Option<String>,
    },
    /// End the session at the tool server (DELETE); there is no body.
    EndSession,
}

/// A message that may be sent now.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What to do.
    pub delivery: Delivery,
    /// The complete message, one line without its newline; empty unless `delivery` is a message.
    pub bytes: Bytes,
    /// The id under which an answer is expected, when this is a request.
    pub request: Option<RequestId>,
    /// The id of the request that this answers, when it is an answer.
    pub in_reply_to: Option<RequestId>,
    /// The client's request that this belongs to, on whose stream it should go; absent when it belongs to none.
    pub related: Option<RequestId>,
    /// The HTTP headers that go with it upstream, and no others of the client's: `mcp-protocol-version`, `traceparent`.
    pub headers: Vec<(&'static str, String)>,
}

impl Outgoing {
    pub(super) fn message(bytes: Bytes) -> Self {
        Self {
            delivery: Delivery::Message,
            bytes,
            request: None,
            in_reply_to: None,
            related: None,
            headers: Vec::new(),
        }
    }

    pub(super) fn bare(delivery: Delivery) -> Self {
        Self { delivery, ..Self::message(Bytes::new()) }
    }
}

/// Proof that the policies allowed one message; only [`Allowed::by`] makes it.
#[derive(Debug)]
pub(super) struct Allowed {
    decision: DecisionId,
    epoch: u64,
    counted: Counted,
}

impl Allowed {
    /// `None` unless `ruling` allows. `epoch` is that of the policies which ruled.
    pub(super) fn by(ruling: &Ruling, decision: DecisionId, epoch: u64, counted: Counted) -> Option<Self> {
        (ruling.effect == Effect::Allow && ruling.deny.is_none()).then_some(Self { decision, epoch, counted })
    }

    /// Notes that its message was counted.
    pub(super) fn count(&mut self, counted: Counted) {
        self.counted = counted;
    }

    /// Which decision it was, and what it counted.
    pub(super) fn decided(&self) -> (DecisionId, Counted) {
        (self.decision, self.counted)
    }
}

/// On what ground a message may pass.
#[derive(Debug)]
enum Basis {
    Decided { receipt: Receipt, epoch: u64 },
    Standing(Standing),
}

#[derive(Debug)]
struct Inner {
    outgoing: Outgoing,
    shared: Arc<Shared>,
    basis: Basis,
    claim: Option<Claim>,
    /// By which it is decided anew where the policies changed.
    again: Option<Box<Again>>,
    /// Tells why the session does not open: it passes in any case, and the session ends with it.
    last: bool,
}

/// Leave to send one message once, towards `D`.
///
/// Dropping it unredeemed sends nothing and takes the request out of the table of those under way.
#[must_use = "a permit that is not redeemed sends nothing"]
pub struct Permit<D> {
    inner: Option<Box<Inner>>,
    to: PhantomData<fn() -> D>,
}

impl<D> Permit<D> {
    /// From an allow decision and the receipt of its record; `None` if the receipt is another decision's.
    pub(super) fn decided(
        allowed: &Allowed,
        receipt: Receipt,
        shared: Arc<Shared>,
        outgoing: Outgoing,
        claim: Option<Claim>,
    ) -> Option<Self> {
        if receipt.decision_id() != Some(allowed.decision) {
            return None;
        }
        let basis = Basis::Decided { receipt, epoch: allowed.epoch };
        Some(Self::of(Inner { outgoing, shared, basis, claim, again: None, last: false }))
    }

    /// From the session's standing permit.
    pub(super) fn standing(
        kind: Standing,
        shared: Arc<Shared>,
        outgoing: Outgoing,
        claim: Option<Claim>,
    ) -> Self {
        let basis = Basis::Standing(kind);
        Self::of(Inner { outgoing, shared, basis, claim, again: None, last: false })
    }

    fn of(inner: Inner) -> Self {
        Self { inner: Some(Box::new(inner)), to: PhantomData }
    }

    /// Where the policies change before it is sent, its message may be decided anew.
    pub(super) fn or(mut self, again: Option<Box<Again>>) -> Self {
        if let Some(inner) = &mut self.inner {
            inner.again = again;
        }
        self
    }

    /// Makes it the session's last message: the session ends when it is handed out, not before, so that whoever
    /// waits for the end has it in hand.
    pub(super) fn last(mut self) -> Self {
        if let Some(inner) = &mut self.inner {
            inner.last = true;
        }
        self
    }

    /// Digest of the attestation that this message rests on; absent for standing traffic.
    pub fn attestation(&self) -> Option<Sha256Digest> {
        match &self.inner.as_ref()?.basis {
            Basis::Decided { receipt, .. } => Some(receipt.digest()),
            Basis::Standing(_) => None,
        }
    }

    /// The standing kind that this message passes under; absent when it was decided.
    pub fn standing_kind(&self) -> Option<Standing> {
        match &self.inner.as_ref()?.basis {
            Basis::Decided { .. } => None,
            Basis::Standing(kind) => Some(*kind),
        }
    }

    fn take_if_current(&mut self) -> Result<Box<Inner>, (DenyReason, Option<Box<Inner>>)> {
        let Some(inner) = self.inner.take() else { return Err((DenyReason::SessionOver, None)) };
        if inner.shared.is_over() && !inner.last {
            return Err((DenyReason::SessionOver, Some(inner)));
        }
        if inner.last {
            let _written_later = inner.shared.end(CloseReason::Handshake);
        }
        match inner.basis {
            Basis::Decided { epoch, .. } if epoch != inner.shared.policy_epoch() => {
                Err((DenyReason::Limited, Some(inner)))
            }
            _ => Ok(inner),
        }
    }
}

impl Permit<ToServer> {
    /// Hands out the message, if the session still lives and its policies are still in force.
    ///
    /// # Errors
    /// [`Withdrawn`] otherwise; it carries what the client is told.
    pub fn redeem(mut self) -> Result<Outgoing, Withdrawn<ToServer>> {
        self.take_if_current().map(|inner| inner.outgoing).map_err(|(reason, mut inner)| {
            let outdated = outdated(reason, &mut inner);
            let inner = inner.filter(|_| outdated.is_none());
            let reply = inner.and_then(|i| i.shared.withdraw(i.claim.as_ref(), reason));
            Withdrawn { reason, reply, answer: None, outdated }
        })
    }
}

impl Permit<ToClient> {
    /// Hands out the message, if the session still lives and its policies are still in force.
    ///
    /// # Errors
    /// [`Withdrawn`] otherwise; it carries the answer for the tool server.
    pub fn redeem(mut self) -> Result<Outgoing, Withdrawn<ToClient>> {
        self.take_if_current().map(|inner| inner.outgoing).map_err(|(reason, mut inner)| {
            let outdated = outdated(reason, &mut inner);
            let inner = inner.filter(|_| outdated.is_none());
            let answer = inner.and_then(|i| {
                let id = i.outgoing.request.clone()?;
                let error = i.shared.withdraw(i.claim.as_ref(), reason)?;
                let outgoing = Outgoing { in_reply_to: Some(id), ..Outgoing::message(error) };
                Some(Box::new(Permit::standing(Standing::GatewayAnswer, i.shared, outgoing, None)))
            });
            Withdrawn { reason, reply: None, answer, outdated }
        })
    }
}

impl<D> Drop for Permit<D> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if let Some(claim) = &inner.claim {
            inner.shared.release(claim);
        }
        if inner.last {
            let _written_later = inner.shared.end(CloseReason::Handshake);
        }
    }
}

impl<D> fmt::Debug for Permit<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let basis = self.inner.as_ref().map(|inner| &inner.basis);
        f.debug_struct("Permit").field("basis", &basis).finish_non_exhaustive()
    }
}

/// A permit that was no longer good when it was to be redeemed; nothing may be sent.
#[derive(Debug, thiserror::Error)]
#[error("the permit was withdrawn: {reason}")]
pub struct Withdrawn<D> {
    /// Why: the session is over, or ([`DenyReason::Limited`]) the policies changed in between.
    pub reason: DenyReason,
    /// For a request of the client: the error that it is answered with.
    pub reply: Option<Bytes>,
    /// For a request of the tool server: the error that it is answered with.
    pub answer: Option<Box<Permit<ToServer>>>,
    /// Where only the policies changed: it is to be decided anew, and nobody is told anything.
    pub outdated: Option<Outdated<D>>,
}

/// What the holder of a withdrawn permit may do about it, where the policies changed and the session still lives.
fn outdated<D>(reason: DenyReason, inner: &mut Option<Box<Inner>>) -> Option<Outdated<D>> {
    let inner = inner.as_mut().filter(|_| reason == DenyReason::Limited)?;
    inner.again.take()?.outdated(&inner.shared)
}
