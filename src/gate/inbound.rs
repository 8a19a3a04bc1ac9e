//! Tool server to client: answers go only to requests that were let through, requests of the server are decided,
//! its notifications pass under the standing permit.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction};
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, Kind, RequestId};

use super::again::{Again, Replaced};
use super::asked::AskedKind;
use super::claim::Claim;
use super::decide::Outcome;
use super::denial::Denial;
use super::matter::{Enter, Matter};
use super::onward::Onward;
use super::permit::{Outgoing, Permit, ToClient};
use super::session::{Phase, Session, Shared};
use super::standing::Standing;
use super::verdict::{Arrival, DropReason, ServerVerdict};

impl Session {
    /// Takes one message of the tool server, from whichever stream it came on.
    pub async fn from_server(&self, frame: Frame) -> ServerVerdict {
        let shared = &self.shared;
        if shared.is_over() {
            return shared.drop_inbound(DropReason::SessionOver);
        }
        match frame.kind() {
            Kind::Response | Kind::Error => shared.server_answer(frame).await,
            Kind::Request => shared.server_request(&frame, None).await,
            Kind::Notification => shared.server_notification(&frame),
        }
    }
}

impl Shared {
    async fn server_answer(self: &Arc<Self>, frame: Frame) -> ServerVerdict {
        let asked = frame.id().and_then(|id| Some((id.clone(), self.core.lock().asked.answer(id)?)));
        let Some((id, asked)) = asked else { return self.drop_inbound(DropReason::Unmatched) };
        let failed = frame.kind() == Kind::Error;
        match asked.kind {
            AskedKind::OwnTools => {
                asked.end(self, None);
                self.own_tools_answer(&frame).await;
                self.drop_inbound(DropReason::Consumed)
            }
            AskedKind::Initialize => self.complete_handshake(id, frame, asked).await,
            AskedKind::List(list, first) if !failed => self.filtered((list, first), id, &frame, asked).await,
            AskedKind::List(..) | AskedKind::Plain => {
                asked.end(self, failed.then_some("jsonrpc_error"));
                self.deliver_answer(id, frame.bytes().clone())
            }
        }
    }

    /// Delivers the answer to a request that was let through.
    pub(super) fn deliver_answer(self: &Arc<Self>, id: RequestId, bytes: Bytes) -> ServerVerdict {
        let now = self.now();
        self.core.lock().standing.take(Standing::ServerAnswer, now);
        let outgoing =
            Outgoing { related: Some(id.clone()), in_reply_to: Some(id), ..Outgoing::message(bytes) };
        ServerVerdict::Deliver(Permit::standing(Standing::ServerAnswer, Arc::clone(self), outgoing, None))
    }

    /// Delivers an error of the gateway's own in place of the answer.
    pub(super) fn deliver_error(self: &Arc<Self>, id: RequestId, error: Bytes, last: bool) -> ServerVerdict {
        let outgoing =
            Outgoing { related: Some(id.clone()), in_reply_to: Some(id), ..Outgoing::message(error) };
        let permit = Permit::standing(Standing::GatewayAnswer, Arc::clone(self), outgoing, None);
        ServerVerdict::Deliver(if last { permit.last() } else { permit })
    }

    /// `replaces`: the decision on this request that the policies have outlived.
    pub(super) async fn server_request(
        self: &Arc<Self>,
        frame: &Frame,
        replaces: Option<&Replaced>,
    ) -> ServerVerdict {
        let (Some(id), Some(method)) = (frame.id(), frame.method()) else {
            return self.drop_inbound(DropReason::OutOfOrder);
        };
        if methods::classify(method) == Class::Ping {
            return self.server_ping(id, frame);
        }
        let mut onward = Onward::begin(self, frame, &Arrival::default(), Direction::Server);
        let opening = self.core.lock().phase == Phase::Opening;
        let matter = Matter {
            action: Action::Method { method, target: None, from: Direction::Server },
            method: Some(method),
            // MCP lifecycle: before the handshake is answered, a server may only ping and log.
            refuse: opening.then_some(DenyReason::Malformed),
            received: frame.params().unwrap_or_default(),
            forwarded: onward.frame.params().unwrap_or_default(),
            trace: onward.trace,
            by: None,
            tells_of: None,
            replaces,
            enter: Enter::OfServer { id, progress: frame.progress_token() },
        };
        let outcome = self.decide(&matter, &mut onward.span).await;
        let denied = match outcome {
            Outcome::Allowed { allowed, receipt, claim } => {
                let related = self.only_request_under_way();
                let outgoing = Outgoing {
                    request: Some(id.clone()),
                    related,
                    ..Outgoing::message(onward.frame.bytes().clone())
                };
                onward.end(None);
                let message = (None, frame, &Arrival::default());
                let again = Again::after(&allowed, claim.as_ref(), message, replaces);
                return match Permit::<ToClient>::decided(&allowed, receipt, Arc::clone(self), outgoing, claim)
                {
                    Some(permit) => ServerVerdict::Deliver(permit.or(again)),
                    None => self.answer(id, Denial::plain(Some(id), DenyReason::AttestationFailed).reply()),
                };
            }
            Outcome::Denied { decision, reason, policies, attestation, .. } => {
                onward.end(Some(reason.as_str()));
                Denial {
                    decision: Some(decision),
                    policies: &policies,
                    attestation: Some(attestation),
                    ..Denial::plain(Some(id), reason)
                }
                .reply()
            }
            Outcome::Answered => {
                onward.end(Some("withdrawn"));
                return self.drop_inbound(DropReason::Unmatched);
            }
            Outcome::Unrecorded(reason) => {
                onward.end(Some(reason.as_str()));
                Denial::plain(Some(id), reason).reply()
            }
        };
        self.answer(id, denied)
    }

    fn server_ping(self: &Arc<Self>, id: &RequestId, frame: &Frame) -> ServerVerdict {
        let now = self.now();
        let mut claim = None;
        let mut core = self.core.lock();
        let refused = if let Err(refusal) = core.served.check(id) {
            Some(refusal.into())
        } else if !core.standing.take(Standing::Ping, now) {
            Some(DenyReason::Limited)
        } else {
            let entered = core.served.enter(id.clone(), None, ());
            claim = entered.ok().map(|serial| Claim::OfServer(id.clone(), serial));
            entered.err().map(Into::into)
        };
        drop(core);
        if let Some(reason) = refused {
            return self.answer(id, Denial::plain(Some(id), reason).reply());
        }
        let outgoing = Outgoing { request: Some(id.clone()), ..Outgoing::message(frame.bytes().clone()) };
        ServerVerdict::Deliver(Permit::standing(Standing::Ping, Arc::clone(self), outgoing, claim))
    }

    /// The gateway's answer to a request of the tool server that it did not let through.
    fn answer(self: &Arc<Self>, id: &RequestId, error: Bytes) -> ServerVerdict {
        let now = self.now();
        self.core.lock().standing.take(Standing::GatewayAnswer, now);
        let outgoing =
            Outgoing { in_reply_to: Some(id.clone()), headers: self.headers(), ..Outgoing::message(error) };
        ServerVerdict::Answer(Permit::standing(Standing::GatewayAnswer, Arc::clone(self), outgoing, None))
    }

    fn server_notification(self: &Arc<Self>, frame: &Frame) -> ServerVerdict {
        let method = frame.method().unwrap_or_default();
        let now = self.now();
        let mut core = self.core.lock();
        let mut related = None;
        let (kind, matched) = match methods::classify(method) {
            Class::Progress => {
                related = frame.progress_token().and_then(|token| core.asked.by_progress(token)).cloned();
                (Standing::Progress, related.is_some())
            }
            // The server gives up a request of its own.
            Class::Cancelled => {
                (Standing::Cancelled, frame.cancelled_id().is_some_and(|id| core.served.cancel(&id)))
            }
            _ => (Standing::ServerNotification, true),
        };
        let dropped = match matched {
            false => Some(DropReason::Unmatched),
            true => (!core.standing.take(kind, now)).then_some(DropReason::Limited),
        };
        if dropped.is_none() && method == methods::NOTIFICATIONS_TOOLS_LIST_CHANGED {
            core.own.want();
        }
        drop(core);
        if let Some(reason) = dropped {
            return self.drop_inbound(reason);
        }
        let outgoing = Outgoing { related, ..Outgoing::message(frame.bytes().clone()) };
        ServerVerdict::Deliver(Permit::standing(kind, Arc::clone(self), outgoing, None))
    }

    /// Where a server's request on stdio belongs can be said only while a single request is under way.
    fn only_request_under_way(&self) -> Option<RequestId> {
        self.core.lock().asked.only().cloned()
    }

    pub(super) fn drop_inbound(&self, reason: DropReason) -> ServerVerdict {
        self.house.counters.dropped(reason);
        ServerVerdict::Drop(reason)
    }
}
