//! Which entries of a list a session gets to see: partial evaluation with the arguments and the time unknown.
//!
//! Cedar's `residual_policies()` leaves out the policies that are already decided, so the response is asked for
//! both: what is satisfied now and what still could be. In doubt the entry is shown; a call of it is decided anyway.

use cedar_policy::{
    Authorizer, Context, Effect, PartialResponse, PolicyId, Request, RestrictedExpression as Expr,
};

use crate::domain::clock::Timestamp;

use super::engine::Engine;
use super::entities::SessionEntities;
use super::index::position_of;
use super::query::{Action, Direction, Listed};
use super::state::State;
use super::target::Target;

/// See [`Engine::could_be_permitted`].
pub(super) fn could_be_permitted(
    engine: &Engine,
    session: &SessionEntities,
    entry: Listed<'_>,
    now: Timestamp,
    state: &State,
) -> bool {
    let from = Direction::Client;
    let action = match entry {
        Listed::Tool(name) => Action::ToolCall { name, arguments: None },
        Listed::Prompt(name) => Action::Method { method: "prompts/get", target: Some(name), from },
        Listed::Resource(uri) => Action::Method { method: "resources/read", target: Some(uri), from },
    };
    if engine.is_empty() {
        return false;
    }
    let Ok(target) = Target::of(engine, session, action, now, state) else { return false };
    let unknown = |name: &str| (name.to_owned(), Expr::new_unknown(name));
    let source = ("source".to_owned(), Expr::new_string(session.facts().transport.to_owned()));
    let input = target.tool.map(|_| unknown("input"));
    let Ok(context) = Context::from_pairs([unknown("time"), source].into_iter().chain(input)) else {
        return true;
    };
    let request =
        Request::new(target.principal.clone(), target.action.clone(), target.resource.clone(), context, None);
    let Ok(request) = request else { return true };
    let slice = target.slice(engine);
    let response = Authorizer::new().is_authorized_partial(&request, &slice.enforced, &target.entities);
    possible(engine, &response)
}

fn possible(engine: &Engine, response: &PartialResponse) -> bool {
    if response.definitely_satisfied().any(|policy| policy.effect() == Effect::Forbid) {
        return false;
    }
    let permits = |id: &PolicyId| {
        position_of(id).and_then(|at| engine.policies.get(at)).is_none_or(|compiled| !compiled.forbid)
    };
    response
        .definitely_satisfied()
        .chain(response.nontrivial_residuals())
        .any(|p| p.effect() == Effect::Permit)
        || response.definitely_errored().any(permits)
}
