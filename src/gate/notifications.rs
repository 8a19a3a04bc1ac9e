//! A client's notifications, and its answers to the tool server.

use std::sync::Arc;

use crate::domain::admitted::Admitted;
use crate::policy::{Action, Direction};
use crate::wire::Frame;
use crate::wire::methods::{self, Class};

use super::again::{Again, Replaced};
use super::decide::Outcome;
use super::matter::{Enter, Matter};
use super::onward::Onward;
use super::permit::{Outgoing, Permit};
use super::pipeline::is_own_id;
use super::session::{Core, Phase, Shared};
use super::standing::Standing;
use super::verdict::{Arrival, DropReason, Verdict};

impl Shared {
    pub(super) async fn client_notification(
        self: &Arc<Self>,
        admitted: &Admitted,
        frame: &Frame,
        at: &Arrival,
    ) -> Verdict {
        let Some(method) = frame.method() else { return self.drop_message(DropReason::OutOfOrder) };
        match methods::classify(method) {
            Class::Initialized => self.client_maintenance(frame, Standing::Initialized, |core| {
                // Only now may a server be asked for anything (MCP lifecycle: operation begins here).
                core.own.want();
                true
            }),
            Class::Cancelled => self.client_maintenance(frame, Standing::Cancelled, |core| {
                frame.cancelled_id().is_some_and(|id| !is_own_id(&id) && core.asked.cancel(&id))
            }),
            Class::Progress => self.client_maintenance(frame, Standing::Progress, |core| {
                frame.progress_token().is_some_and(|token| core.served.by_progress(token).is_some())
            }),
            _ => self.decided_notification(admitted, frame, at, None).await,
        }
    }

    /// `replaces` as with [`Shared::client_request`].
    pub(super) async fn decided_notification(
        self: &Arc<Self>,
        admitted: &Admitted,
        frame: &Frame,
        at: &Arrival,
        replaces: Option<&Replaced>,
    ) -> Verdict {
        let Some(method) = frame.method() else { return self.drop_message(DropReason::OutOfOrder) };
        if self.core.lock().phase == Phase::Opening {
            return self.drop_message(DropReason::OutOfOrder);
        }
        let unrenewed = self.renew_if_due(admitted).await.err();
        let mut onward = Onward::begin(self, frame, at, Direction::Client);
        let matter = Matter {
            action: Action::Method { method, target: None, from: Direction::Client },
            method: Some(method),
            refuse: unrenewed,
            received: frame.params().unwrap_or_default(),
            forwarded: onward.frame.params().unwrap_or_default(),
            trace: onward.trace,
            by: Some(admitted),
            tells_of: None,
            replaces,
            enter: Enter::Nothing,
        };
        let outcome = self.decide(&matter, &mut onward.span).await;
        let outgoing = onward.outgoing(self, None);
        match outcome {
            Outcome::Allowed { allowed, receipt, claim } => {
                onward.end(None);
                let again = Again::after(&allowed, None, (Some(admitted), frame, at), replaces);
                match Permit::decided(&allowed, receipt, Arc::clone(self), outgoing, claim) {
                    Some(permit) => Verdict::Forward(permit.or(again)),
                    None => self.drop_message(DropReason::Unrecorded),
                }
            }
            Outcome::Denied { reason, .. } => {
                onward.end(Some(reason.as_str()));
                self.drop_message(DropReason::Denied)
            }
            Outcome::Answered => {
                onward.end(Some("withdrawn"));
                self.drop_message(DropReason::Unmatched)
            }
            Outcome::Unrecorded(reason) => {
                onward.end(Some(reason.as_str()));
                self.drop_message(DropReason::Unrecorded)
            }
        }
    }

    fn client_maintenance(
        self: &Arc<Self>,
        frame: &Frame,
        kind: Standing,
        expected: impl FnOnce(&mut Core) -> bool,
    ) -> Verdict {
        let now = self.now();
        let mut core = self.core.lock();
        let phase = core.phase;
        let dropped = match phase {
            Phase::Over => Some(DropReason::SessionOver),
            Phase::Opening => Some(DropReason::OutOfOrder),
            Phase::Open(_) if !expected(&mut core) => Some(DropReason::Unmatched),
            Phase::Open(_) => (!core.standing.take(kind, now)).then_some(DropReason::Limited),
        };
        drop(core);
        if let Some(reason) = dropped {
            return self.drop_message(reason);
        }
        let outgoing = Outgoing { headers: self.headers(), ..Outgoing::message(frame.bytes().clone()) };
        Verdict::Forward(Permit::standing(kind, Arc::clone(self), outgoing, None))
    }

    /// An answer goes on only to a request of the tool server that was let through.
    pub(super) fn client_answer(self: &Arc<Self>, frame: &Frame) -> Verdict {
        let now = self.now();
        let mut core = self.core.lock();
        let matched = frame.id().is_some_and(|id| core.served.answer(id).is_some());
        if matched {
            core.standing.take(Standing::ClientAnswer, now);
        }
        drop(core);
        if !matched {
            return self.drop_message(DropReason::Unmatched);
        }
        let outgoing = Outgoing {
            in_reply_to: frame.id().cloned(),
            headers: self.headers(),
            ..Outgoing::message(frame.bytes().clone())
        };
        Verdict::Forward(Permit::standing(Standing::ClientAnswer, Arc::clone(self), outgoing, None))
    }
}
