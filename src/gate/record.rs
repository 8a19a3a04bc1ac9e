//! What a decision's record says, from what was decided and the state it was decided in.

use crate::attest::predicate::{self, AddedLabel, RequestRef, StateRef, TraceRef};
use crate::attest::{Direction as Sender, clip};
use crate::domain::decision::{Effect, Ruling};
use crate::domain::digest::{Salt, Sha256Digest};
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction, Engine};
use crate::wire::Frame;

use super::matter::Matter;
use super::session::{Core, Shared};

/// What was decided of a matter.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pub(super) decision: DecisionId,
    pub(super) effect: Effect,
    pub(super) deny: Option<DenyReason>,
    /// What the policies said; absent where none was asked.
    pub(super) ruling: Option<&'a Ruling>,
    /// The decision of the same message by policies that are no longer in force.
    pub(super) replaces: Option<DecisionId>,
    /// What it rested on, where a policy can see it.
    pub(super) state: Option<StateRef>,
    /// Seconds that the configured zone was ahead of UTC.
    pub(super) utc_offset: i32,
    pub(super) added: &'a [AddedLabel],
    /// Thrown away with the record's making (I7).
    pub(super) salt: &'a Salt,
}

/// A list that was cut.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    pub(super) method: &'static str,
    pub(super) came: &'a Frame,
    pub(super) shown: &'a Frame,
    pub(super) removed: usize,
}

impl Shared {
    /// The record of a decided message.
    pub(super) fn record(
        &self,
        core: &Core,
        engine: &Engine,
        matter: &Matter<'_>,
        made: Made<'_>,
    ) -> predicate::Decision {
        let digest = |bytes| Sha256Digest::salted(made.salt, bytes);
        let forwarded = (made.effect == Effect::Allow).then(|| digest(matter.forwarded));
        let request = RequestRef::unrecorded(digest(matter.received), forwarded);
        let mut record = self.bare_record(core, engine, made.decision, request);
        record.effect = made.effect;
        if let Some(ruling) = made.ruling {
            record.ruled(ruling);
        }
        record.deny_reason = made.deny;
        record.replaces = made.replaces;
        record.state = made.state;
        record.utc_offset = Some(made.utc_offset).filter(|offset| *offset != 0);
        record.added_labels = made.added.to_vec();
        let server = &self.route.server;
        let within = |name: &str| clip(&format!("{server}/{name}"));
        match matter.action {
            Action::SessionOpen => "session/open".clone_into(&mut record.action),
            Action::ToolCall { name, .. } => {
                record.action = within(name);
                record.resource = within(name);
                record.tool_definition = engine.tool(server, name).map(|tool| tool.digest());
            }
            Action::Method { method, target, .. } => {
                record.action = clip(method);
                record.resource = target.map_or(record.resource, within);
            }
        }
        record.method = matter.method.map(clip);
        if let Action::Method { from: Direction::Server, .. } = matter.action {
            record.from = Sender::Server;
            record.principal = format!("server:{server}");
        } else {
            let by = matter.by.unwrap_or(&self.admitted);
            record.principal = by.principal().as_str().to_owned();
            record.evidence = by.evidence().kind();
        }
        record.trace = matter
            .trace
            .map(|trace| TraceRef { trace_id: trace.trace_id_hex(), span_id: trace.span_id_hex() });
        record
    }

    /// The record of a list that goes on shorter than it came, with both digests (I2).
    pub(super) fn cut_record(
        &self,
        core: &Core,
        engine: &Engine,
        (decision, salt): (DecisionId, &Salt),
        cut: &Cut<'_>,
    ) -> predicate::Decision {
        let digest = |frame: &Frame| Sha256Digest::salted(salt, frame.result().unwrap_or_default());
        let request = RequestRef::unrecorded(digest(cut.came), Some(digest(cut.shown)));
        let mut record = self.bare_record(core, engine, decision, request);
        cut.method.clone_into(&mut record.action);
        record.method = Some(cut.method.to_owned());
        record.removed = Some(u64::try_from(cut.removed).unwrap_or(u64::MAX));
        record.from = Sender::Server;
        record.principal = format!("server:{}", self.route.server);
        record
    }

    fn bare_record(
        &self,
        core: &Core,
        engine: &Engine,
        decision_id: DecisionId,
        request: RequestRef,
    ) -> predicate::Decision {
        predicate::Decision {
            decision_id,
            effect: Effect::Allow,
            mode: "enforce",
            deny_reason: None,
            policies: Vec::new(),
            failures: Vec::new(),
            shadow: Vec::new(),
            would_flip: None,
            candidate: None,
            policy_set: engine.digest(),
            schema: engine.schema_digest(),
            input: None,
            replaces: None,
            state: None,
            utc_offset: None,
            added_labels: Vec::new(),
            principal: String::new(),
            action: String::new(),
            resource: self.route.server.to_string(),
            server: self.route.server.clone(),
            method: None,
            from: Sender::Client,
            tool_definition: None,
            token: core.current.as_ref().map(|current| current.reference.clone()),
            evidence: self.admitted.evidence().kind(),
            request,
            removed: None,
            trace: None,
        }
    }
}
