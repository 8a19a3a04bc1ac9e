//! What a set would have said of a request that is only known from its record: without its arguments, and perhaps
//! without more.
//!
//! A record tells of the set that decided which policies held: in an allowed request all its permits that held, and that
//! no forbid did. A policy with the same text under another set held or not all the same. The others are evaluated with
//! what is not known left open, by Cedar's partial evaluation; what then is open stays open here.

use std::collections::HashMap;

use cedar_policy::{
    Authorizer, Context, Effect, Policy, PolicySet, PrincipalConstraint, Request,
    RestrictedExpression as Expr,
};
use serde_json::Value;

use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;

use super::engine::{Compiled, Engine};
use super::entities::SessionEntities;
use super::index::position_of;
use super::observed::Observed;
use super::query::{Action, Direction};
use super::state::{State, StateReads};
use super::target::Target;

/// A request that was decided, as far as its record tells.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Who asked.
    pub session: &'a SessionEntities,
    /// For what; of a call the arguments count as not known.
    pub action: Action<'a>,
    /// When.
    pub now: Timestamp,
    /// What the principal had done before.
    pub state: &'a State,
    /// Whether `state` was recorded, and is not made up.
    pub state_known: bool,
    /// Whether the session has all groups that the principal was in.
    pub groups_known: bool,
    /// Whether transport, protocol and client of the session are recorded.
    pub session_known: bool,
    /// Policies, by the digest of their text, of which the record tells whether they held.
    pub held: &'a HashMap<Sha256Digest, bool>,
}

/// What a set would have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindsight {
    /// Allowed, whatever is not known.
    Allow,
    /// Denied, whatever is not known.
    Deny,
    /// It depends on what is not known.
    Open,
}

/// What is known of the policies of one effect.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    holds: bool,
    open: bool,
}

/// See [`Engine::hindsight`].
pub(super) fn hindsight(engine: &Engine, recorded: &Recorded<'_>) -> Hindsight {
    if engine.is_empty() {
        return Hindsight::Deny;
    }
    let Ok(target) = Target::of(engine, recorded.session, recorded.action) else { return Hindsight::Open };
    let (mut permits, mut forbids) = (Tally::default(), Tally::default());
    let mut asked = Vec::new();
    for compiled in engine.policies.iter().filter(|compiled| !compiled.shadow) {
        let [principal, action, resource] = target.fitting(&compiled.policy);
        let tally = if compiled.forbid { &mut forbids } else { &mut permits };
        let doubtful = !recorded.groups_known && in_group(&compiled.policy);
        if !action || !resource || !(principal || doubtful) {
            continue;
        }
        match recorded.held.get(&compiled.reference.digest) {
            Some(held) => tally.holds |= held,
            None if doubtful || unknown(compiled, recorded) => tally.open = true,
            None => asked.push(compiled.policy.clone()),
        }
    }
    if !ask(engine, recorded, &target, asked, &mut permits, &mut forbids) {
        return Hindsight::Open;
    }
    match (forbids, permits) {
        (Tally { holds: true, .. }, _) | (_, Tally { holds: false, open: false }) => Hindsight::Deny,
        (Tally { open: false, .. }, Tally { holds: true, .. }) => Hindsight::Allow,
        _ => Hindsight::Open,
    }
}

/// Evaluates policies with the arguments left open; false if that can't be done.
fn ask(
    engine: &Engine,
    recorded: &Recorded<'_>,
    target: &Target<'_>,
    policies: Vec<Policy>,
    permits: &mut Tally,
    forbids: &mut Tally,
) -> bool {
    let source = match target.from {
        Direction::Client => recorded.session.facts().transport,
        Direction::Server => "server",
    };
    let mut pairs = vec![
        ("time".to_owned(), Expr::new_datetime(recorded.now.to_rfc3339())),
        ("source".to_owned(), Expr::new_string(source.to_owned())),
    ];
    pairs.extend(recorded.state.local(recorded.now).map(|local| ("local".to_owned(), local)));
    if target.tool.is_some() {
        pairs.push(("input".to_owned(), Expr::new_unknown("input")));
    }
    let Ok(context) = Context::from_pairs(pairs) else { return false };
    let (principal, action) = (target.principal.clone(), target.action.clone());
    let Ok(request) = Request::new(principal, action, target.resource.clone(), context, None) else {
        return false;
    };
    let entities = target.entities(recorded.now, recorded.state, Observed::ALL);
    let (Ok(set), Some(entities)) = (PolicySet::from_policies(policies), entities) else { return false };
    let response = Authorizer::new().is_authorized_partial(&request, &set, &entities);
    // A forbid that fails denies; a permit that fails does not hold.
    for id in response.definitely_errored() {
        let compiled = position_of(id).and_then(|at| engine.policies.get(at));
        forbids.holds |= compiled.is_none_or(|compiled| compiled.forbid);
    }
    for policy in response.definitely_satisfied() {
        let tally = if policy.effect() == Effect::Forbid { &mut *forbids } else { &mut *permits };
        tally.holds = true;
    }
    for policy in response.nontrivial_residuals() {
        let tally = if policy.effect() == Effect::Forbid { &mut *forbids } else { &mut *permits };
        tally.open = true;
    }
    true
}

fn in_group(policy: &Policy) -> bool {
    matches!(policy.principal_constraint(), PrincipalConstraint::In(_) | PrincipalConstraint::IsIn(..))
        || policy
            .to_json()
            .ok()
            .and_then(|json| json.get("conditions").map(|c| mentions(c, "in")))
            .unwrap_or(true)
}

/// Whether a policy can see something beside the arguments that no record tells.
fn unknown(compiled: &Compiled, recorded: &Recorded<'_>) -> bool {
    let state = !recorded.state_known && StateReads::of([&compiled.reads]).any();
    let mut hidden = vec!["executable"];
    if !recorded.session_known {
        hidden.extend(["client", "source", "transport", "protocol"]);
    }
    if !recorded.groups_known {
        hidden.extend(["hasTag", "getTag"]);
    }
    let json = compiled.policy.to_json().ok();
    let conditions = json.as_ref().and_then(|json| json.get("conditions"));
    state || conditions.is_none_or(|conditions| hidden.iter().any(|name| mentions(conditions, name)))
}

/// Whether `name` stands anywhere in `node`, as an operator or a text.
fn mentions(node: &Value, name: &str) -> bool {
    match node {
        Value::Object(members) => members.iter().any(|(key, value)| key == name || mentions(value, name)),
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::String(text) => text == name,
        _ => false,
    }
}
