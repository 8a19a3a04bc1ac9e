//! Which entries of a list a session gets to see: what some arguments could be permitted, and nothing else.
//!
//! Cedar's partial evaluation is asked with the arguments and the time unknown, and for a resource template with the
//! resource unknown too. Its `residual_policies()` leaves out the policies that are already decided, so the response is
//! asked for both: what is satisfied now and what still could be; [`Residuals`] looks whether those could be satisfied
//! together. In doubt the entry is shown; a call of it is decided anyway.
//!
//! The time is left open because a list is kept for longer than it stays the same: what only the hour forbids stays
//! visible, and its refusal says why.

use std::cell::RefCell;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, PartialResponse, PolicyId, Request, RestrictedExpression as Expr,
};
use serde_json::Value;

use crate::domain::clock::Timestamp;

use super::engine::Engine;
use super::entities::{SessionEntities, TYPES};
use super::glob::{Glob, Part};
use super::index::position_of;
use super::query::{Action, Direction, Listed};
use super::residual::{Residuals, Truth, operation, sides};
use super::state::State;
use super::target::Target;

/// Most atoms about a template's URIs that are kept when judged.
const MAX_JUDGED: usize = 256;

/// See [`Engine::could_be_permitted`].
pub(super) fn could_be_permitted(
    engine: &Engine,
    session: &SessionEntities,
    entry: Listed<'_>,
    now: Timestamp,
    state: &State,
) -> bool {
    if engine.is_empty() {
        return false;
    }
    let from = Direction::Client;
    let action = match entry {
        Listed::Tool(name) => Action::ToolCall { name, arguments: None },
        Listed::Prompt(name) => Action::Method { method: "prompts/get", target: Some(name), from },
        Listed::Resource(uri) => Action::Method { method: "resources/read", target: Some(uri), from },
        Listed::Template(template) => {
            return template_could_be_permitted(engine, session, template, now, state);
        }
    };
    let Ok(target) = Target::of(engine, session, action) else { return false };
    let slice = target.slice(engine);
    if !slice.permits {
        return false;
    }
    let Some(context) = context(session, target.tool.is_some()) else { return true };
    let request =
        Request::new(target.principal.clone(), target.action.clone(), target.resource.clone(), context, None);
    let Ok(request) = request else { return true };
    let Some(entities) = target.entities(now, state, slice.observed) else { return false };
    let response = Authorizer::new().is_authorized_partial(&request, &slice.enforced, &entities);
    possible(engine, &response, &|_open| Truth::OPEN)
}

/// As [`could_be_permitted`], for some URI that the template can expand to.
fn template_could_be_permitted(
    engine: &Engine,
    session: &SessionEntities,
    template: &str,
    now: Timestamp,
    state: &State,
) -> bool {
    // The template in the URI's place gives all that is the same for every URI of the server.
    let action = Action::Method { method: "resources/read", target: Some(template), from: Direction::Client };
    let Ok(target) = Target::of(engine, session, action) else { return false };
    let Some(context) = context(session, false) else { return true };
    let expansion = Expansion { server: session.facts().server.as_str(), uris: Glob::of_template(template) };
    let request = Request::builder()
        .principal(target.principal.clone())
        .action(target.action.clone())
        .unknown_resource_with_type(TYPES.resource.clone())
        .context(context)
        .build();
    let slice = target.slice_of_unknown(engine, &TYPES.resource, &|entity| {
        entity.type_name() != &TYPES.resource || expansion.is_named(entity.id().unescaped()).can_hold
    });
    let Some(entities) = target.entities(now, state, slice.observed) else { return false };
    let response = Authorizer::new().is_authorized_partial(&request, &slice.enforced, &entities);
    // Each atom is judged once: one may cost a million steps.
    let judged = RefCell::new(Vec::new());
    possible(engine, &response, &|atom| {
        let known = judged.borrow().iter().find(|(known, _)| known == atom).map(|(_, truth)| *truth);
        known.unwrap_or_else(|| {
            let truth = expansion.judge(atom);
            let mut judged = judged.borrow_mut();
            if judged.len() < MAX_JUDGED {
                judged.push((atom.clone(), truth));
            }
            truth
        })
    })
}

/// The context with what is unknown.
fn context(session: &SessionEntities, has_input: bool) -> Option<Context> {
    let unknown = |name: &str| (name.to_owned(), Expr::new_unknown(name));
    let source = ("source".to_owned(), Expr::new_string(session.facts().transport.to_owned()));
    let input = has_input.then(|| unknown("input"));
    Context::from_pairs([unknown("time"), unknown("local"), source].into_iter().chain(input)).ok()
}

fn possible(engine: &Engine, response: &PartialResponse, atom: &dyn Fn(&Value) -> Truth) -> bool {
    let forbids = |id: &PolicyId| {
        position_of(id).and_then(|at| engine.policies.get(at)).is_none_or(|compiled| compiled.forbid)
    };
    // Whatever the arguments are, that forbid fails, and so denies (I5); that permit is never satisfied.
    if response.definitely_errored().any(forbids) {
        return false;
    }
    match response.decision() {
        // A forbid is satisfied, or no permit can be.
        Some(Decision::Deny) => return false,
        // A permit is satisfied, and no forbid can be.
        Some(Decision::Allow) => return true,
        None => {}
    }
    let (forbids, permits) =
        response.nontrivial_residuals().partition(|residual| residual.effect() == Effect::Forbid);
    // None of those is a forbid, or the request would be denied.
    let permitted = response.definitely_satisfied().next().is_some();
    Residuals { permitted, permits, forbids }.could_be_allowed(atom)
}

/// The URIs of a template, as resources of a server.
struct Expansion<'a> {
    server: &'a str,
    uris: Glob,
}

impl Expansion<'_> {
    /// What is known of an atom for all the URIs.
    fn judge(&self, atom: &Value) -> Truth {
        self.known(atom).unwrap_or(Truth::OPEN)
    }

    fn known(&self, atom: &Value) -> Option<Truth> {
        match operation(atom)? {
            ("like", test) if is_uri(test.get("left")?) => {
                let part = |element: &Value| match element.get("Literal") {
                    Some(Value::String(text)) => text.chars().map(Part::Char).collect(),
                    _ => vec![Part::Any],
                };
                Some(self.compare(&Glob::of(test.get("pattern")?.as_array()?.iter().flat_map(part))))
            }
            ("has", test) if is_resource(test.get("left")?) && test.get("attr")? == "uri" => {
                Some(Truth::known(true))
            }
            ("==", operands) => {
                let (left, right) = sides(operands)?;
                let (own, other) = if literal(right).is_some() { (left, right) } else { (right, left) };
                match literal(other)? {
                    Value::String(text) if is_uri(own) => Some(self.compare(&Glob::exactly(text))),
                    entity if is_resource(own) => self.is_in(entity, false),
                    _ => None,
                }
            }
            ("in", operands) => {
                let (own, other) = sides(operands)?;
                if !is_resource(own) {
                    return None;
                }
                match operation(other)? {
                    ("Value", entity) => self.is_in(entity, true),
                    ("Set", entities) => {
                        let each = entities.as_array()?.iter().map(|one| self.is_in(literal(one)?, true));
                        let each: Vec<Truth> = each.collect::<Option<_>>()?;
                        Some(Truth {
                            can_hold: each.iter().any(|one| one.can_hold),
                            can_fail: each.iter().all(|one| one.can_fail),
                        })
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn compare(&self, other: &Glob) -> Truth {
        Truth { can_hold: self.uris.meets(other), can_fail: !self.uris.is_within(other) }
    }

    /// Whether the resource is the entity, or, with `ancestors`, in it.
    fn is_in(&self, entity: &Value, ancestors: bool) -> Option<Truth> {
        let entity = entity.get("__entity")?;
        let id = entity.get("id")?.as_str()?;
        Some(match entity.get("type")?.as_str()? {
            "Mcp::Resource" => self.is_named(id),
            "Mcp::Server" => Truth::known(ancestors && id == self.server),
            _ => Truth::known(false),
        })
    }

    /// Whether the resource's id is `id`.
    fn is_named(&self, id: &str) -> Truth {
        match id.strip_prefix(self.server).and_then(|rest| rest.strip_prefix('/')) {
            Some(uri) => self.compare(&Glob::exactly(uri)),
            None => Truth::known(false),
        }
    }
}

fn literal(expr: &Value) -> Option<&Value> {
    expr.get("Value")
}

/// `resource`, or what stands for it where it is unknown.
fn is_resource(expr: &Value) -> bool {
    let unknown = || expr.get("unknown")?.as_array()?.first().and_then(literal);
    expr.get("Var").or_else(unknown).is_some_and(|name| name == "resource")
}

fn is_uri(expr: &Value) -> bool {
    let access = expr.get(".");
    access.is_some_and(|access| {
        access.get("attr").is_some_and(|attr| attr == "uri") && access.get("left").is_some_and(is_resource)
    })
}
