//! Decisions of a log: what other policies would have said of them.

use std::collections::HashMap;
use std::path::Path;

use crate::app::records::{LoggedDecision, Records, RecordsError};
use crate::cli::Failure;
use crate::cli::report::with_help;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::EvidenceKind;
use crate::policy::{Action, Direction, Engine, Hindsight, Recorded};

/// The records of a log.
pub(super) fn records(dir: &Path) -> Result<Records, Failure> {
    Records::read(dir).map_err(|error| {
        let help = match error {
            RecordsError::Read { .. } => "name the directory of a log: the one that holds log.json",
            RecordsError::Record { .. } => "see what else is wrong with it: chancery verify",
        };
        with_help(&error, help)
    })
}

/// What a decision asked for; none where its record does not have it whole.
pub(super) fn action(decision: &LoggedDecision) -> Option<Action<'_>> {
    let whole = |text: &str| !text.contains("… sha256:");
    if !whole(&decision.action) || !whole(&decision.resource) || decision.removed.is_some() {
        return None;
    }
    let own = decision.resource.strip_prefix(&decision.server).and_then(|rest| rest.strip_prefix('/'));
    let from = if decision.from == "server" { Direction::Server } else { Direction::Client };
    Some(match (decision.action.as_str(), decision.method.as_deref()) {
        ("session/open", _) => Action::SessionOpen,
        (_, Some("tools/call")) => Action::ToolCall { name: own?, arguments: None },
        (method, _) => Action::Method { method, target: own, from },
    })
}

/// What came of the decisions of a log under other policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// They would say the same.
    Same,
    /// They would say the other thing.
    Flips,
    /// It depends on what is not recorded.
    Open,
    /// No policies decided it, or its record does not tell what was asked.
    Elsewhere,
}

/// Looks back at decisions.
pub(super) struct Hindsights<'a> {
    records: &'a Records,
    engine: &'a Engine,
    /// The enforced policies of the sets that decided.
    sets: HashMap<Sha256Digest, Vec<(Sha256Digest, bool)>>,
}

impl<'a> Hindsights<'a> {
    pub(super) fn new(records: &'a Records, engine: &'a Engine) -> Self {
        Self { records, engine, sets: HashMap::new() }
    }

    /// What the policies would have said of this one.
    pub(super) fn of(&mut self, decision: &LoggedDecision) -> Past {
        let allowed = decision.effect == "allow";
        let reason = decision.deny_reason.as_deref();
        let ruled = ["forbidden", "not_permitted", "forbid_error", "no_policy"];
        if !allowed && !reason.is_some_and(|reason| ruled.contains(&reason)) {
            return Past::Elsewhere;
        }
        let (Some(action), Some(facts)) = (action(decision), self.records.facts(decision)) else {
            return Past::Elsewhere;
        };
        let Some(now) = Timestamp::parse_rfc3339(&decision.time) else { return Past::Elsewhere };
        let held = self.held(decision, reason);
        let (state, state_known) = decision.state();
        let hindsight = self.engine.hindsight(&Recorded {
            session: &self.engine.session_principal(&facts),
            action,
            now,
            state: &state,
            state_known,
            groups_known: facts.evidence != EvidenceKind::Oidc,
            session_known: self.records.was_opened(decision),
            held: &held,
        });
        match (hindsight, allowed) {
            (Hindsight::Allow, true) | (Hindsight::Deny, false) => Past::Same,
            (Hindsight::Allow, false) | (Hindsight::Deny, true) => Past::Flips,
            (Hindsight::Open, _) => Past::Open,
        }
    }

    /// Which policies held, as far as the record tells.
    fn held(&mut self, decision: &LoggedDecision, reason: Option<&str>) -> HashMap<Sha256Digest, bool> {
        let set = self.sets.entry(decision.policy_set).or_insert_with(|| {
            self.records.sources(&decision.policy_set).map(|sources| sources.enforced()).unwrap_or_default()
        });
        let mut held = HashMap::new();
        match reason {
            // Cedar names every permit that held; no forbid did.
            None => held.extend(set.iter().map(|(digest, _)| (*digest, false))),
            Some("not_permitted") => held.extend(set.iter().map(|(digest, _)| (*digest, false))),
            _ => {}
        }
        let named = decision.policies.iter().chain(decision.failures.iter().map(|failure| &failure.policy));
        let forbids = |digest: &Sha256Digest| set.iter().any(|(other, forbid)| other == digest && *forbid);
        for policy in named {
            // A forbid that failed denied as one that holds does; a permit that failed did not hold.
            let failed = decision.failures.iter().any(|failure| failure.policy.sha256 == policy.sha256);
            held.insert(policy.sha256, !failed || forbids(&policy.sha256));
        }
        held
    }
}
