//! The critical section: counters, evaluation, reservation and the record's place in the chain, under one lock;
//! then, outside, the wait for the receipt.

use std::sync::Arc;

use crate::attest::{AppendError, PendingReceipt, Predicate, Receipt, Statement};
use crate::domain::clock::{Stopwatch, Timestamp};
use crate::domain::decision::{Effect, PolicyRef, Ruling};
use crate::domain::digest::{Salt, Sha256Digest};
use crate::domain::ids::DecisionId;
use crate::domain::random;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction, Engine, Query, State};

use super::again::Replaced;
use super::asked::{Asked, AskedKind};
use super::changes::{is_hidden, tells_of_hidden};
use super::claim::{Claim, Reserved};
use super::matter::{Enter, Matter};
use super::observe::{DecisionFacts, Span};
use super::permit::Allowed;
use super::record::Made;
use super::report::{self, Decided};
use super::session::{Core, Phase, Shared};
use super::state::{self, Counted};

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Allowed and recorded; the entry is taken.
    Allowed { allowed: Allowed, receipt: Receipt, claim: Option<Claim> },
    /// Denied and recorded.
    Denied {
        decision: DecisionId,
        reason: DenyReason,
        policies: Vec<PolicyRef>,
        /// What is wrong with the arguments, and where; no value of them.
        detail: Option<String>,
        attestation: Sha256Digest,
        hidden: bool,
    },
    /// Neither: there is no record, so nothing may happen.
    Unrecorded(DenyReason),
    /// It was to be decided anew, and has its answer already.
    Answered,
}

/// A decision whose record is queued.
struct Settled {
    decision: DecisionId,
    effect: Effect,
    deny: Option<DenyReason>,
    ruling: Option<Ruling>,
    allowed: Option<Allowed>,
    epoch: u64,
    policy_set: Sha256Digest,
    pending: PendingReceipt,
    hidden: bool,
    since: Stopwatch,
    claim: Option<Claim>,
    counted: Counted,
}

/// Why there is no decision.
pub(super) enum Unsettled {
    Refused(DenyReason),
    Answered,
}

impl From<DenyReason> for Unsettled {
    fn from(reason: DenyReason) -> Self {
        Self::Refused(reason)
    }
}

/// How often a message is decided anew because the policies changed while its record was written.
const ATTEMPTS: usize = 3;

impl Shared {
    /// Decides, records, and waits until the record is as durable as configured.
    pub(super) async fn decide(&self, matter: &Matter<'_>, span: &mut Option<Box<dyn Span>>) -> Outcome {
        let mut replaces = matter.replaces.cloned();
        let mut reserved = Reserved { shared: self, claim: None };
        for _ in 0..ATTEMPTS {
            let mut outlived = None;
            let settled = self.settle(matter, span.as_deref(), replaces.as_ref(), &mut outlived);
            if let Some(outlived) = outlived {
                outlived.outlived();
            }
            let settled = match settled {
                Ok(settled) => settled,
                Err(Unsettled::Answered) => return Outcome::Answered,
                Err(Unsettled::Refused(reason)) => {
                    report::unrecorded(self, matter, reason);
                    return Outcome::Unrecorded(reason);
                }
            };
            let Settled {
                decision,
                effect,
                deny,
                ruling,
                allowed,
                epoch,
                policy_set,
                pending,
                hidden,
                since,
                claim,
                counted,
            } = settled;
            reserved.claim = claim;
            let append = span.as_ref().and_then(|span| span.child("attest.append"));
            let receipt = pending.await;
            if let Some(append) = append {
                append.end(receipt.as_ref().err().map(|_| DenyReason::AttestationFailed.as_str()));
            }
            let receipt = match receipt {
                Ok(receipt) => receipt,
                Err(error) => {
                    self.roll_back(matter, effect, counted);
                    return Outcome::Unrecorded(self.failed(matter, &error));
                }
            };
            let policies = ruling.as_ref().map(|ruling| &*ruling.determining).unwrap_or_default();
            let ruling_ref = ruling.as_ref();
            let took = since.elapsed();
            let told = Decided { decision, deny, policies, ruling: ruling_ref, receipt: &receipt, took };
            report::decided(self, matter, &told);
            if let Some(span) = span {
                let attestation = Some(receipt.digest());
                let reasons = policies.iter().filter_map(|policy| policy.reason.as_deref()).collect();
                let policies = policies.iter().map(|policy| &*policy.id).collect();
                span.decided(&DecisionFacts {
                    id: decision,
                    effect,
                    reason: deny,
                    policies,
                    reasons,
                    policy_set,
                    attestation,
                });
            }
            let Some(allowed) = allowed else {
                let reason = deny.unwrap_or(DenyReason::NotPermitted);
                let (policies, mut failures) =
                    ruling.map(|ruling| (ruling.determining, ruling.failures)).unwrap_or_default();
                let detail = failures.pop().filter(|_| reason == DenyReason::InvalidInput);
                let detail = detail.map(|failure| failure.message);
                let attestation = receipt.digest();
                return Outcome::Denied { decision, reason, policies, detail, attestation, hidden };
            };
            if epoch == self.policy_epoch() {
                return Outcome::Allowed { allowed, receipt, claim: reserved.claim.take() };
            }
            // The policies changed while the record was written: that permit is worth nothing, decide again (I6).
            replaces = Some(Replaced::by(&allowed, reserved.claim.clone(), replaces.as_ref()));
        }
        if let Some(replaced) = replaces {
            self.roll_back(matter, Effect::Allow, replaced.counted);
        }
        Outcome::Unrecorded(DenyReason::Limited)
    }

    /// Records a refusal without waiting for its receipt: nothing rests on it.
    pub(super) fn record_refusal(&self, matter: &Matter<'_>) {
        if let Err(Unsettled::Refused(reason)) = self.settle(matter, None, None, &mut None) {
            report::unrecorded(self, matter, reason);
        }
    }

    fn settle(
        &self,
        matter: &Matter<'_>,
        span: Option<&dyn Span>,
        replaces: Option<&Replaced>,
        outlived: &mut Option<Asked>,
    ) -> Result<Settled, Unsettled> {
        let since = Stopwatch::start();
        let now = self.now();
        let no_random = |_no_random| DenyReason::AttestationFailed;
        let salt = random::salt().map_err(no_random)?;
        let decision = DecisionId::from_uuid(random::uuid_v7(now).map_err(no_random)?);

        let mut core = self.core.lock();
        if core.phase == Phase::Over {
            return Err(DenyReason::SessionOver.into());
        }
        let Some(replaced) = replaces else {
            return self.settle_as(&mut core, matter, span, None, (decision, &salt, now, since));
        };
        self.give_way(&mut core, matter, replaced, now, outlived)?;
        // It is decided for the bearer of its own request; whose came later is still the session's after it.
        let (bearer, entities) = (core.bearer, Arc::clone(&core.entities));
        let begun = (decision, &salt, now, since);
        let settled = self.settle_as(&mut core, matter, span, Some(replaced.decision), begun);
        (core.bearer, core.entities) = (bearer, entities);
        settled
    }

    /// Decides and queues the record, for whom the message's own request speaks. `begun`: the id, the salt, the time.
    fn settle_as(
        &self,
        core: &mut Core,
        matter: &Matter<'_>,
        span: Option<&dyn Span>,
        replaces: Option<DecisionId>,
        begun: (DecisionId, &Salt, Timestamp, Stopwatch),
    ) -> Result<Settled, Unsettled> {
        let (decision, salt, now, since) = begun;
        let parts = &self.house.parts;
        let (engine, epoch) = parts.engines.snapshot();
        if let Some(by) = matter.by {
            self.hear(core, &engine, by);
        }
        let reads = engine.state_reads();
        // Held from reading to counting, so that no other session of the principal comes in between.
        let mut account = (reads.lasting() && matter.refuse.is_none()).then(|| self.account.lock());
        let counts = engine.enforced_reads().lasting();
        let uncountable =
            counts && account.as_ref().is_some_and(|account| self.is_uncountable(account, matter));
        let refused = matter.refuse.or_else(|| self.refused(core, matter, &engine));
        let refused = refused.or(uncountable.then_some(DenyReason::Limited));
        let tool = if let Action::ToolCall { name, .. } = matter.action { Some(name) } else { None };
        let state = match refused {
            Some(_) => State::default(),
            None => self.state(&core.did, account.as_deref(), tool, (now, reads)),
        };
        let refused = refused.or_else(|| tells_of_hidden(core, matter, &engine, (now, &state)));
        let ruling = match refused {
            Some(_) => None,
            None => {
                let child = span.and_then(|span| span.child("policy.evaluate"));
                let query =
                    Query { session: &core.entities, action: matter.action, now, state: &state, salt };
                let evaluating = Stopwatch::start();
                let ruling = engine.decide(&query);
                parts.recorder.evaluation(evaluating.elapsed());
                if let Some(child) = child {
                    child.end(None);
                }
                Some(ruling)
            }
        };
        let mut counted = Counted::nothing(now);
        let mut allowed = ruling.as_ref().and_then(|ruling| Allowed::by(ruling, decision, epoch, counted));
        let effect = if allowed.is_some() { Effect::Allow } else { Effect::Deny };
        let deny = match (&allowed, refused) {
            (Some(_), _) => None,
            (None, Some(reason)) => Some(reason),
            (None, None) => Some(ruling.as_ref().and_then(|r| r.deny).unwrap_or(DenyReason::NotPermitted)),
        };
        if effect == Effect::Deny && !self.may_refuse(matter, now) {
            self.house.counters.unrecorded();
            return Err(DenyReason::Limited.into());
        }
        let hidden = effect == Effect::Deny && is_hidden(core, matter, &engine, (now, &state), deny);
        let age = now.since(self.opened).as_secs();
        let rested = (ruling.is_some() && reads.any()).then(|| state::recorded(&state, age));
        let utc_offset = state.utc_offset;
        let added = self.added(matter, ruling.as_ref(), now);
        let made = Made {
            decision,
            effect,
            deny,
            ruling: ruling.as_ref(),
            replaces,
            state: rested,
            utc_offset,
            added: &added,
            salt,
        };
        let record = self.record(core, &engine, matter, made);
        let pending = parts
            .log
            .append(&self.chain, |link| Statement::new(Predicate::Decision(record), link))
            .map_err(|error| self.failed(matter, &error))?;
        let mut claim = None;
        if let Some(allowed) = &mut allowed {
            claim = core.reserve(matter);
            let account = &mut *account.get_or_insert_with(|| self.account.lock());
            counted = self.charge((&mut core.did, account), matter, &added, now);
            allowed.count(counted);
            self.stir(core, &engine);
        } else {
            core.denied += 1;
        }
        drop(account);
        let policy_set = engine.digest();
        Ok(Settled {
            decision,
            effect,
            deny,
            ruling,
            allowed,
            epoch,
            policy_set,
            pending,
            hidden,
            since,
            claim,
            counted,
        })
    }

    /// Whether one more refusal of this matter's sender is recorded.
    fn may_refuse(&self, matter: &Matter<'_>, now: Timestamp) -> bool {
        match matter.action {
            Action::Method { from: Direction::Server, .. } => {
                self.house.server_refusals.take(&self.route.server, now)
            }
            _ => self.house.refusals.take(matter.by.unwrap_or(&self.admitted).principal(), now),
        }
    }

    /// What refuses a message before any policy is asked.
    fn refused(&self, core: &Core, matter: &Matter<'_>, engine: &Engine) -> Option<DenyReason> {
        let entry = match matter.enter {
            Enter::Nothing => Ok(()),
            Enter::OfClient { id, .. } => core.asked.check(id),
            Enter::OfServer { id, .. } => core.served.check(id),
        };
        if let Err(refusal) = entry {
            return Some(refusal.into());
        }
        let Action::ToolCall { name, .. } = matter.action else { return None };
        let compiled = engine.tool(&self.route.server, name).map(|tool| tool.digest());
        let held_back = !engine.is_empty() && core.seen.is_quarantined(name, compiled);
        held_back.then_some(DenyReason::ToolQuarantined)
    }

    fn roll_back(&self, matter: &Matter<'_>, effect: Effect, counted: Counted) {
        let mut core = self.core.lock();
        match effect {
            Effect::Allow => {
                core.allowed = core.allowed.saturating_sub(1);
                self.discharge(&mut core.did, matter, counted);
            }
            Effect::Deny => core.denied = core.denied.saturating_sub(1),
        }
    }

    fn failed(&self, matter: &Matter<'_>, error: &AppendError) -> DenyReason {
        tracing::error!(
            target: "chancery::decision",
            session = %self.id,
            method = matter.method.unwrap_or("-"),
            %error,
            "the decision could not be recorded; nothing was forwarded"
        );
        error.deny_reason()
    }
}

impl Core {
    /// Counts an allowed message and enters its request; that there is room was checked under the same lock.
    fn reserve(&mut self, matter: &Matter<'_>) -> Option<Claim> {
        self.allowed += 1;
        let entered = match matter.enter {
            Enter::Nothing => return None,
            Enter::OfClient { id, progress, kind } => {
                let by = matches!(kind, AskedKind::List(..)).then(|| Arc::clone(&self.entities));
                let asked = Asked { by, ..Asked::new(kind, matter.method.unwrap_or_default()) };
                let entered = self.asked.enter(id.clone(), progress, asked);
                entered.map(|serial| Claim::OfClient(id.clone(), serial))
            }
            Enter::OfServer { id, progress } => {
                let entered = self.served.enter(id.clone(), progress, ());
                entered.map(|serial| Claim::OfServer(id.clone(), serial))
            }
        };
        debug_assert!(entered.is_ok(), "checked under the same lock");
        entered.ok()
    }
}
