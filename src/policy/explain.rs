//! Why a request was decided as it was: what each policy made of it, down to the part of a condition that did not hold.
//!
//! What a policy came to is Cedar's own word on that policy alone. The parts of its conditions are then evaluated one by
//! one from the text, in order, as far as Cedar would have come.

use std::ops::Range;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Effect, Entities, EvalResult, Expression, Policy, PolicySet, Request, eval_expression,
};

use crate::domain::decision::{PolicyRef, Ruling};
use crate::domain::digest::Sha256Digest;

use super::clauses::{clauses, reads};
use super::decide::{Asked, arguments, decide, describe};
use super::engine::Engine;
use super::hint::{Hint, hint};
use super::observed::Observed;
use super::query::Query;
use super::sources::{PolicySources, Statement};
use super::target::Target;

/// Longest value that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Where a policy stands.
#[derive(Debug, Clone)]
pub struct PolicyPlace {
    /// Id, digest and reason.
    pub reference: PolicyRef,
    /// A `forbid`, and not a `permit`.
    pub forbid: bool,
    /// `@shadow`.
    pub shadow: bool,
    /// The file's name.
    pub file: Arc<str>,
    /// The file's text.
    pub text: Arc<str>,
    /// The line of its first token, from 1.
    pub line: usize,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// A decision and what the policies had to do with it.
#[derive(Debug)]
pub struct Explanation {
    /// The decision.
    pub ruling: Ruling,
    /// The policies whose scope is about the action, in order.
    pub considered: Vec<Considered>,
    /// How many others there are.
    pub others: usize,
    /// Whether policies were asked at all.
    pub asked: bool,
    /// What may be wrong with the request itself: a name that nothing has, and the one that was probably meant.
    pub hint: Option<Hint>,
}

/// A policy that is about the action.
#[derive(Debug)]
pub struct Considered {
    /// Which.
    pub place: PolicyPlace,
    /// What it came to.
    pub outcome: Outcome,
    /// Its conditions, where its scope matches.
    pub clauses: Vec<Clause>,
}

/// What a policy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// Its scope is about someone or something else: `principal`, `resource` or both.
    OutOfScope(Vec<&'static str>),
    /// One of its conditions is false.
    Unmet,
    /// It failed; a `forbid` that fails denies.
    Failed(String),
    /// It depends on an argument that Cedar can't hold exactly.
    Unseen,
}

impl Outcome {
    /// The stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::OutOfScope(_) => "out_of_scope",
            Self::Unmet => "unmet",
            Self::Failed(_) => "failed",
            Self::Unseen => "unseen",
        }
    }
}

/// A `when` or an `unless`.
#[derive(Debug)]
pub struct Clause {
    /// `when`, and not `unless`.
    pub when: bool,
    /// Whether it lets its policy hold.
    pub met: bool,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// A part of a condition.
#[derive(Debug)]
pub struct Part {
    /// Its bytes in the file.
    pub span: Range<usize>,
    /// Its text.
    pub text: String,
    /// What it came to.
    pub truth: Truth,
    /// What it reads of the request, with the values there.
    pub values: Vec<(String, String)>,
}

/// What a part came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// It is true or false.
    Known(bool),
    /// It can't be evaluated.
    Failed(&'static str),
    /// A part before it decided.
    NotReached,
}

impl PolicySources {
    /// Every policy that can be parsed, with its place; nothing is validated.
    pub fn places(&self) -> Vec<PolicyPlace> {
        let of = |statement: Statement<'_>| {
            let policy = Policy::parse(None, statement.text).ok()?;
            let named = policy.annotation("id").map(str::to_owned);
            let id = named.unwrap_or_else(|| format!("{}:{}", statement.file.name, statement.line));
            let reason = policy.annotation("reason").map(Arc::from);
            let reference = PolicyRef { id: id.into(), digest: statement.digest(), reason };
            let forbid = policy.effect() == Effect::Forbid;
            Some(place(&statement, reference, forbid, policy.annotation("shadow").is_some()))
        };
        self.statements().filter_map(of).collect()
    }

    /// The digests of the enforced policies' texts, and whether each is a `forbid`.
    pub fn enforced(&self) -> Vec<(Sha256Digest, bool)> {
        let enforced = self.places().into_iter().filter(|place| !place.shadow);
        enforced.map(|place| (place.reference.digest, place.forbid)).collect()
    }
}

fn place(statement: &Statement<'_>, reference: PolicyRef, forbid: bool, shadow: bool) -> PolicyPlace {
    PolicyPlace {
        reference,
        forbid,
        shadow,
        file: Arc::clone(&statement.file.name),
        text: Arc::clone(&statement.file.text),
        line: statement.line,
        span: statement.start..statement.start + statement.text.len(),
    }
}

/// See [`Engine::places`].
pub(super) fn places(engine: &Engine) -> Vec<PolicyPlace> {
    // An engine has every statement as a policy, at its position.
    let statements = engine.sources.statements().zip(&engine.policies);
    let places = statements.map(|(statement, c)| place(&statement, c.reference.clone(), c.forbid, c.shadow));
    places.collect()
}

/// See [`Engine::explain`].
pub(super) fn explain(engine: &Engine, query: &Query<'_>) -> Explanation {
    let ruling = decide(engine, query);
    let all = engine.policies.len();
    let hint = hint(engine, query);
    let none = Explanation {
        ruling: ruling.clone(),
        considered: Vec::new(),
        others: all,
        asked: false,
        hint: hint.clone(),
    };
    let target = Target::of(engine, query.session, query.action);
    let Ok(target) = target else { return none };
    let Ok(asked) = Asked::new(query, &target, arguments(query), Observed::ALL) else { return none };
    let mut considered = Vec::new();
    for (place, compiled) in places(engine).into_iter().zip(&engine.policies) {
        let [principal, action, resource] = target.fitting(&compiled.policy);
        if !action {
            continue;
        }
        let parts = [(principal, "principal"), (resource, "resource")];
        let wrong: Vec<_> = parts.into_iter().filter(|(fits, _)| !fits).map(|(_, part)| part).collect();
        let unseen = asked.opaque.iter().any(|opaque| compiled.reads.observes(&opaque.property));
        let outcome = match (wrong.is_empty(), unseen) {
            (false, _) => Outcome::OutOfScope(wrong),
            (true, true) => Outcome::Unseen,
            (true, false) => outcome(&compiled.policy, &asked.request, &asked.entities),
        };
        let fits = !matches!(outcome, Outcome::OutOfScope(_));
        let clauses = if fits { evaluated(&place, &asked.request, &asked.entities) } else { Vec::new() };
        considered.push(Considered { place, outcome, clauses });
    }
    let others = all - considered.len();
    Explanation { ruling, considered, others, asked: all > 0, hint }
}

/// What Cedar says of the policy alone.
fn outcome(policy: &Policy, request: &Request, entities: &Entities) -> Outcome {
    // One policy can't conflict with another; an empty set holds nothing.
    let set = PolicySet::from_policies([policy.clone()]).unwrap_or_default();
    let response = Authorizer::new().is_authorized(request, &set, entities);
    let diagnostics = response.diagnostics();
    if let Some(cedar_policy::AuthorizationError::PolicyEvaluationError(error)) = diagnostics.errors().next()
    {
        return Outcome::Failed(describe(error.inner()).to_owned());
    }
    if diagnostics.reason().next().is_some() { Outcome::Holds } else { Outcome::Unmet }
}

fn evaluated(place: &PolicyPlace, request: &Request, entities: &Entities) -> Vec<Clause> {
    let Some(text) = place.text.get(place.span.clone()) else { return Vec::new() };
    let evaluate = |text: &str| {
        Some(eval_expression(request, entities, &text.parse::<Expression>().ok()?).map_err(Box::new))
    };
    let mut found = Vec::new();
    for clause in clauses(text) {
        let readable =
            clause.parts.iter().all(|part| text.get(part.clone()).is_some_and(|t| evaluate(t).is_some()));
        let whole = vec![clause.body.clone()];
        let mut parts = Vec::new();
        let mut decided = false;
        for part in if readable { &clause.parts } else { &whole } {
            let own = text.get(part.clone()).unwrap_or_default();
            let truth = match (decided, evaluate(own)) {
                (true, _) => Truth::NotReached,
                (false, Some(Ok(EvalResult::Bool(value)))) => Truth::Known(value),
                (false, Some(Err(error))) => Truth::Failed(describe(&error)),
                (false, _) => Truth::Failed("it is no condition by itself"),
            };
            decided |= truth != Truth::Known(true);
            let mut values = Vec::new();
            for read in reads(own).into_iter().filter(|_| truth != Truth::NotReached) {
                if let Some(Ok(value)) =
                    evaluate(read).filter(|value| !matches!(value, Ok(EvalResult::Record(_))))
                {
                    values.push((read.to_owned(), value.to_string().chars().take(MAX_SHOWN).collect()));
                }
            }
            let span = place.span.start + part.start..place.span.start + part.end;
            parts.push(Part { span, text: own.to_owned(), truth, values });
        }
        let holds = parts.iter().all(|part| part.truth == Truth::Known(true));
        let known = parts.iter().all(|part| !matches!(part.truth, Truth::Failed(_)));
        found.push(Clause { when: clause.when, met: known && holds == clause.when, parts });
    }
    found
}
