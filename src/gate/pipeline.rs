//! Client to tool server: what becomes of each message of the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction};
use crate::wire::completion::Reference;
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, Kind, RequestId, WireError, lists};

use super::again::{Again, Replaced};
use super::asked::{Asked, AskedKind, list_of, listed, target};
use super::catalog::OWN_ID_PREFIX;
use super::claim::Claim;
use super::config::HiddenTools;
use super::decide::Outcome;
use super::denial::{Denial, discover_reply};
use super::matter::{Enter, Matter};
use super::onward::Onward;
use super::permit::{Delivery, Outgoing, Permit, ToServer};
use super::session::{Phase, Session, Shared};
use super::standing::Standing;
use super::verdict::{Arrival, DropReason, Verdict};

/// How often a session's chain tells of someone else's use of its handle, at most.
const MISMATCH_INTERVAL: Duration = Duration::from_secs(60);

/// What is said to a principal that calls faster than it may.
const TOO_FAST: &str = "You call tools faster than one principal may. Wait, and try again.";

/// What is said where the tool server does not list its tools.
const UNLISTED: &str = "The tool server has not said which tools it has, so none is called. Try again.";

/// Whether an id is one that only the gateway's own requests have.
pub(super) fn is_own_id(id: &RequestId) -> bool {
    matches!(id, RequestId::String(text) if text.starts_with(OWN_ID_PREFIX))
}

impl Session {
    /// Takes one message of the client. `admitted` is the admission of this very request.
    pub async fn from_client(&self, admitted: &Admitted, frame: Frame, at: &Arrival) -> Verdict {
        let shared = &self.shared;
        if shared.is_over() {
            return shared.refuse_or_drop(&frame, DenyReason::SessionOver, DropReason::SessionOver);
        }
        if !shared.is_bound_to(admitted) {
            shared.binding_mismatch(admitted);
            return shared.refuse_or_drop(&frame, DenyReason::SessionOver, DropReason::Binding);
        }
        shared.touch();
        shared.note_evidence(admitted);
        match frame.kind() {
            Kind::Request => shared.client_request(admitted, &frame, at, None).await,
            Kind::Notification => shared.client_notification(admitted, &frame, at).await,
            Kind::Response | Kind::Error => shared.client_answer(&frame),
        }
    }

    /// Takes a message of the client that could not be read strictly: it is refused, and the refusal recorded.
    /// `received` is the digest of its bytes; the record holds only a salted digest of it. Returns the reply.
    pub async fn refuse_malformed(&self, error: &WireError, received: Sha256Digest) -> Bytes {
        let matter = Matter::refused(DenyReason::Malformed, received.as_bytes());
        self.shared.touch();
        let _the_reply_is_the_same = self.shared.decide(&matter, &mut None).await;
        error.reply()
    }

    /// Leave to open the stream for the tool server's messages (GET), under the standing permit.
    ///
    /// # Errors
    /// The session is not open (any more), the evidence is another's, or the allowance is used up.
    pub fn stream(
        &self,
        admitted: &Admitted,
        last_event_id: Option<String>,
    ) -> Result<Permit<ToServer>, DropReason> {
        self.bare(admitted, Standing::Stream, Delivery::OpenStream { last_event_id })
    }

    /// Leave to end the session at the tool server (DELETE), under the standing permit. Redeem it before
    /// [`Session::close`].
    ///
    /// # Errors
    /// The session is not open (any more), or the evidence is another's.
    pub fn delete(&self, admitted: &Admitted) -> Result<Permit<ToServer>, DropReason> {
        self.bare(admitted, Standing::Delete, Delivery::EndSession)
    }

    fn bare(
        &self,
        admitted: &Admitted,
        kind: Standing,
        delivery: Delivery,
    ) -> Result<Permit<ToServer>, DropReason> {
        let shared = &self.shared;
        if !shared.is_bound_to(admitted) {
            shared.binding_mismatch(admitted);
            return Err(DropReason::Binding);
        }
        shared.touch();
        shared.note_evidence(admitted);
        let now = shared.now();
        let mut core = shared.core.lock();
        let phase = core.phase;
        match phase {
            Phase::Opening => return Err(DropReason::OutOfOrder),
            Phase::Over => return Err(DropReason::SessionOver),
            Phase::Open(_) if !core.standing.take(kind, now) => return Err(DropReason::Limited),
            Phase::Open(_) => drop(core),
        }
        let outgoing = Outgoing { headers: shared.headers(), ..Outgoing::bare(delivery) };
        Ok(Permit::standing(kind, Arc::clone(shared), outgoing, None))
    }

    /// What the gateway itself wants to ask the tool server next: its `tools/list` after the handshake and after
    /// every change, page by page. Call it after each message of either side was dealt with; send what it gives.
    /// The answers are consumed by [`Session::from_server`].
    #[must_use]
    pub fn own_request(&self) -> Option<Permit<ToServer>> {
        self.shared.own_request()
    }
}

impl Shared {
    /// `replaces`: the decision on this request that the policies have outlived. How fast its sender calls, and whether
    /// the tool server has listed its tools, was asked for that one.
    pub(super) async fn client_request(
        self: &Arc<Self>,
        admitted: &Admitted,
        frame: &Frame,
        at: &Arrival,
        replaces: Option<&Replaced>,
    ) -> Verdict {
        let (Some(id), Some(method)) = (frame.id(), frame.method()) else {
            return self.drop_message(DropReason::OutOfOrder);
        };
        let class = methods::classify(method);
        let phase = self.core.lock().phase;
        let refuse = match (class, phase) {
            _ if is_own_id(id) => Some("Request ids that begin with `chancery:` are the gateway's own."),
            (Class::Discover, _) => return Verdict::Reply(discover_reply(Some(id))),
            (Class::Ping, _) => return self.client_ping(id, frame),
            (Class::Initialize, _) => Some("The session is initialized already."),
            (Class::Completion, _) if Reference::of(frame).is_none() => {
                Some("`params.ref` must be a prompt's (`ref/prompt`) or a resource's (`ref/resource`).")
            }
            (_, Phase::Opening) => Some("The session is not open yet: wait for the answer to `initialize`."),
            _ => None,
        };
        let renewed = if refuse.is_none() { self.renew_if_due(admitted).await } else { Ok(()) };
        let unlisted = match class {
            Class::ToolCall if refuse.is_none() && renewed.is_ok() && replaces.is_none() => {
                self.tools_listed().await
            }
            _ => None,
        };
        let unrenewed = match renewed {
            Ok(()) => None,
            // Refused below, so that it is recorded, or counted with what the log could not take (I3).
            Err(reason @ DenyReason::SignerUnavailable) => Some(reason),
            Err(reason) => return Verdict::Reply(Denial::plain(Some(id), reason).reply()),
        };
        let mut onward = Onward::begin(self, frame, at, Direction::Client);
        let decidable = refuse.is_none() && unrenewed.is_none() && unlisted.is_none();
        let wait = if decidable && replaces.is_none() { self.too_fast(class) } else { None };
        let unlisted_detail = unlisted.filter(|reason| *reason == DenyReason::UpstreamUnavailable);
        let detail = refuse.or(wait.map(|_| TOO_FAST)).or(unlisted_detail.map(|_| UNLISTED));
        let limited = wait.map(|_| DenyReason::Limited);
        let reference = (class == Class::Completion).then(|| Reference::of(frame)).flatten();
        let action = match class {
            Class::ToolCall => {
                Action::ToolCall { name: frame.name().unwrap_or_default(), arguments: frame.arguments() }
            }
            _ => {
                let target = reference.as_ref().map(Reference::target).or_else(|| target(class, frame));
                Action::Method { method, target, from: Direction::Client }
            }
        };
        let first = || !lists::has_cursor(frame);
        let kind = list_of(class).map_or(AskedKind::Plain, |list| AskedKind::List(list, first()));
        let matter = Matter {
            action,
            method: Some(method),
            refuse: refuse.map(|_| DenyReason::Malformed).or(unrenewed).or(unlisted).or(limited),
            received: frame.params().unwrap_or_default(),
            forwarded: onward.frame.params().unwrap_or_default(),
            trace: onward.trace,
            by: Some(admitted),
            tells_of: reference.as_ref().map(listed),
            replaces,
            enter: Enter::OfClient { id, progress: frame.progress_token(), kind },
        };
        match self.decide(&matter, &mut onward.span).await {
            Outcome::Allowed { allowed, receipt, claim } => {
                let outgoing = onward.outgoing(self, Some(id));
                onward.hand_over(self, claim.as_ref());
                let again = Again::after(&allowed, claim.as_ref(), (Some(admitted), frame, at), replaces);
                match Permit::decided(&allowed, receipt, Arc::clone(self), outgoing, claim) {
                    Some(permit) => Verdict::Forward(permit.or(again)),
                    None => Verdict::Reply(Denial::plain(Some(id), DenyReason::AttestationFailed).reply()),
                }
            }
            Outcome::Denied { decision, reason, policies, detail: found, attestation, hidden } => {
                onward.end(Some(reason.as_str()));
                let explained = policies.iter().any(|policy| policy.reason.is_some());
                let as_unknown = self.house.parts.config.hidden_tools == HiddenTools::AsUnknown;
                let unknown = reason == DenyReason::UnknownTool || (hidden && as_unknown && !explained);
                let denial = Denial {
                    detail: detail.or(found.as_deref()),
                    unknown_tool: unknown.then(|| frame.name()).flatten(),
                    decision: Some(decision),
                    policies: &policies,
                    attestation: Some(attestation),
                    retry_after: wait,
                    ..Denial::plain(Some(id), reason)
                };
                Verdict::Reply(denial.reply())
            }
            Outcome::Answered => {
                onward.end(Some("withdrawn"));
                self.drop_message(DropReason::Unmatched)
            }
            Outcome::Unrecorded(reason) => {
                let reason = unrenewed.unwrap_or(reason);
                onward.end(Some(reason.as_str()));
                let detail = detail.filter(|_| reason == DenyReason::Limited);
                let denial = Denial { detail, retry_after: wait, ..Denial::plain(Some(id), reason) };
                Verdict::Reply(denial.reply())
            }
        }
    }

    /// Takes a tool call from what the session's principal may do in a second; how long to wait if nothing is left.
    fn too_fast(&self, class: Class) -> Option<Duration> {
        let calls = self.house.calls.as_ref().filter(|_| class == Class::ToolCall)?;
        calls.try_take(self.admitted.principal(), self.now()).err()
    }

    fn client_ping(self: &Arc<Self>, id: &RequestId, frame: &Frame) -> Verdict {
        let now = self.now();
        let mut claim = None;
        let mut core = self.core.lock();
        let refused = if core.phase == Phase::Over {
            Some(DenyReason::SessionOver)
        } else if let Err(refusal) = core.asked.check(id) {
            Some(refusal.into())
        } else if !core.standing.take(Standing::Ping, now) {
            Some(DenyReason::Limited)
        } else {
            let asked = Asked::new(AskedKind::Plain, methods::PING);
            let entered = core.asked.enter(id.clone(), frame.progress_token(), asked);
            claim = entered.ok().map(|serial| Claim::OfClient(id.clone(), serial));
            entered.err().map(Into::into)
        };
        drop(core);
        if let Some(reason) = refused {
            return Verdict::Reply(Denial::plain(Some(id), reason).reply());
        }
        let outgoing = Outgoing {
            request: Some(id.clone()),
            headers: self.headers(),
            ..Outgoing::message(frame.bytes().clone())
        };
        Verdict::Forward(Permit::standing(Standing::Ping, Arc::clone(self), outgoing, claim))
    }

    pub(super) fn refuse_or_drop(&self, frame: &Frame, reason: DenyReason, dropped: DropReason) -> Verdict {
        match (frame.kind(), frame.id()) {
            (Kind::Request, Some(id)) => Verdict::Reply(Denial::plain(Some(id), reason).reply()),
            _ => self.drop_message(dropped),
        }
    }

    pub(super) fn drop_message(&self, reason: DropReason) -> Verdict {
        self.house.counters.dropped(reason);
        Verdict::Drop(reason)
    }

    /// Someone else used the session's handle: counted each time, recorded at most once a minute.
    pub(super) fn binding_mismatch(&self, admitted: &Admitted) {
        self.house.counters.binding();
        let now = self.now();
        let mut core = self.core.lock();
        let recent = |at: Timestamp| now.since(at) < MISMATCH_INTERVAL;
        if core.phase == Phase::Over || core.mismatch.is_some_and(recent) {
            return;
        }
        core.mismatch = Some(now);
        drop(core);
        let principal = admitted.principal();
        tracing::warn!(
            target: "chancery::session",
            session = %self.id,
            %principal,
            "a request with this session's handle came with other evidence; it was refused"
        );
        self.record_refusal(&Matter {
            by: Some(admitted),
            ..Matter::refused(DenyReason::EvidenceMismatch, &[])
        });
    }
}
