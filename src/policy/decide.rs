//! One decision: from a message's action and arguments to a ruling.

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EvaluationError, PolicyId, PolicySet,
    Request, RestrictedExpression as Expr,
};

use crate::domain::decision::{Effect, Label, PolicyFailure, PolicyRef, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::DenyReason;

use super::engine::Engine;
use super::index::{Slice, position_of};
use super::input::InputError;
use super::json::{Json, parse, write_string};
use super::judge::judge;
use super::methods::About;
use super::observed::Observed;
use super::opaque::{self, Opaque};
use super::query::{Action, Direction, Query};
use super::schema::quoted;
use super::target::Target;

/// See [`Engine::decide`].
pub(super) fn decide(engine: &Engine, query: &Query<'_>) -> Ruling {
    let arguments = arguments(query);
    let input_digest = input_digest(engine, query, arguments.as_ref().ok());
    if engine.is_empty() {
        return denied(DenyReason::NoPolicy, input_digest);
    }
    let target = match Target::of(engine, query.session, query.action) {
        Ok(target) => target,
        Err(reason) => return denied(reason, input_digest),
    };
    let slice = target.slice(engine);
    match Asked::new(query, &target, arguments, slice.observed) {
        Ok(asked) => asked.rule(engine, query, &target, &slice, input_digest),
        Err(what) => invalid(what, input_digest),
    }
}

/// The arguments of a call, read; in words why they can't be.
pub(super) fn arguments<'q>(query: &Query<'q>) -> Result<Json<'q>, String> {
    match query.action {
        Action::ToolCall { arguments: Some(raw), .. } => parse(raw).map_err(|error| error.to_string()),
        _ => Ok(Json::Object(Vec::new())),
    }
}

/// A request, ready for Cedar.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) entities: Entities,
    /// Arguments that Cedar can't hold exactly.
    pub(super) opaque: Vec<Opaque>,
    /// What does not fit the tool's schema and is let through by configuration.
    breach: Option<InputError>,
}

impl Asked {
    pub(super) fn new(
        query: &Query<'_>,
        target: &Target<'_>,
        arguments: Result<Json<'_>, String>,
        observed: Observed,
    ) -> Result<Self, String> {
        let source = match target.from {
            Direction::Client => query.session.facts().transport,
            Direction::Server => "server",
        };
        let mut pairs = vec![("source".to_owned(), Expr::new_string(source.to_owned()))];
        if observed.has("time") {
            pairs.push(("time".to_owned(), Expr::new_datetime(query.now.to_rfc3339())));
        }
        if observed.has("local") {
            pairs.extend(query.state.local(query.now).map(|local| ("local".to_owned(), local)));
        }
        let (mut opaque, mut breach) = (Vec::new(), None);
        if let Some(tool) = target.tool {
            let arguments =
                arguments.map_err(|error| format!("the arguments are no strict JSON: {error}"))?;
            let judged = judge(tool, &arguments).map_err(|error| error.to_string())?;
            pairs.push(("input".to_owned(), judged.value));
            (opaque, breach) = (judged.opaque, judged.breach);
        }
        // What Cedar says here may quote a value, so it goes no further (I7).
        let whole = |_quotes| "the arguments can't be represented".to_owned();
        let context = Context::from_pairs(pairs).map_err(|error| whole(error.to_string()))?;
        let (principal, action) = (target.principal.clone(), target.action.clone());
        let request = Request::new(principal, action, target.resource.clone(), context, None);
        let request = request.map_err(|error| whole(error.to_string()))?;
        let entities = target.entities(query.now, query.state, observed);
        let entities = entities.ok_or_else(|| "the entities can't be represented".to_owned())?;
        Ok(Self { request, entities, opaque, breach })
    }

    fn rule(
        &self,
        engine: &Engine,
        query: &Query<'_>,
        target: &Target<'_>,
        slice: &Slice,
        input_digest: Sha256Digest,
    ) -> Ruling {
        let observers = self.observers(engine, &slice.enforced);
        let found = match observers.is_empty() {
            true => evaluate(&self.request, &slice.enforced, &self.entities),
            // What can be decided without the missing value counts: another policy may forbid.
            false => evaluate(&self.request, &without(&slice.enforced, &observers), &self.entities),
        };
        let mut failures: Vec<_> = found.errors.iter().filter_map(|error| failure(engine, error)).collect();
        failures.sort_by(|a, b| a.policy.id.cmp(&b.policy.id));
        let forbid_failed =
            failures.len() < found.errors.len() || failures.iter().any(|failure| failure.forbid);
        let mut ruling = denied(DenyReason::NotPermitted, input_digest);
        let shadow = self.shadow(engine, &slice.shadow);
        ruling.failures.extend(self.breach.iter().map(|breach| PolicyFailure {
            policy: gateway_check(),
            forbid: false,
            message: format!("{breach}; it is let through because `arguments: record` is configured"),
        }));
        let determining = references(engine, &found.reasons);
        if found.decision == Decision::Deny && !determining.is_empty() {
            ruling.deny = Some(DenyReason::Forbidden);
            ruling.determining = determining;
        } else if forbid_failed {
            ruling.deny = Some(DenyReason::ForbidError);
        } else if !observers.is_empty() {
            ruling.deny = Some(DenyReason::InvalidInput);
            let message = opaque::told(&self.opaque);
            ruling.failures.push(PolicyFailure { policy: gateway_check(), forbid: true, message });
        } else if found.decision == Decision::Allow {
            ruling.effect = Effect::Allow;
            ruling.deny = None;
            ruling.labels = labels(engine, &found);
            ruling.determining = determining;
        } else {
            ruling.unmet = unmet(engine, &slice.enforced, target, &found.errors);
            ruling.suggestion = Some(suggestion(query, target));
        }
        ruling.failures.extend(failures);
        ruling.would_flip = would_flip(engine, &ruling, &shadow);
        ruling.shadow = references(engine, &shadow);
        ruling
    }

    /// The policies that can observe an argument that is missing here because Cedar can't hold it.
    fn observers(&self, engine: &Engine, policies: &PolicySet) -> Vec<PolicyId> {
        if self.opaque.is_empty() {
            return Vec::new();
        }
        let observes = |id: &PolicyId| {
            let compiled = position_of(id).and_then(|at| engine.policies.get(at));
            compiled.is_none_or(|c| self.opaque.iter().any(|opaque| c.reads.observes(&opaque.property)))
        };
        policies.policies().map(|policy| policy.id().clone()).filter(observes).collect()
    }

    /// The shadow policies that hold, and the forbids among them that fail, which would deny as well.
    fn shadow(&self, engine: &Engine, policies: &[PolicySet; 2]) -> Vec<PolicyId> {
        let mut counting = Vec::new();
        for policies in policies.iter().filter(|policies| !policies.is_empty()) {
            let observers = self.observers(engine, policies);
            // All of one effect: whichever match are what determines.
            let found = match observers.is_empty() {
                true => evaluate(&self.request, policies, &self.entities),
                false => evaluate(&self.request, &without(policies, &observers), &self.entities),
            };
            let failed = found.errors.iter().map(policy_of).filter(|id| is_forbid(engine, id));
            counting.extend(failed.cloned());
            counting.extend(found.reasons);
        }
        counting
    }
}

fn is_forbid(engine: &Engine, id: &PolicyId) -> bool {
    position_of(id).and_then(|at| engine.policies.get(at)).is_none_or(|compiled| compiled.forbid)
}

/// Whether enforcing the shadow policies `shadow` would have made `ruling` another one.
fn would_flip(engine: &Engine, ruling: &Ruling, shadow: &[PolicyId]) -> bool {
    let forbids = shadow.iter().any(|id| is_forbid(engine, id));
    match ruling.deny {
        None => forbids,
        Some(DenyReason::NotPermitted) => !forbids && !shadow.is_empty(),
        // A forbid that holds or fails, or a value that can't be seen, denies whatever else there is.
        Some(_) => false,
    }
}

/// What Cedar found.
struct Found {
    decision: Decision,
    reasons: Vec<PolicyId>,
    errors: Vec<AuthorizationError>,
}

fn evaluate(request: &Request, policies: &PolicySet, entities: &Entities) -> Found {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let diagnostics = response.diagnostics();
    Found {
        decision: response.decision(),
        reasons: diagnostics.reason().cloned().collect(),
        errors: diagnostics.errors().cloned().collect(),
    }
}

/// `policies` without those named.
fn without(policies: &PolicySet, named: &[PolicyId]) -> PolicySet {
    let kept = policies.policies().filter(|policy| !named.contains(policy.id())).cloned();
    // Ids are distinct already; an empty set denies.
    PolicySet::from_policies(kept).unwrap_or_default()
}

fn policy_of(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

fn references(engine: &Engine, ids: &[PolicyId]) -> Vec<PolicyRef> {
    let mut positions: Vec<usize> = ids.iter().filter_map(position_of).collect();
    positions.sort_unstable();
    positions.into_iter().filter_map(|at| engine.policies.get(at)).map(|c| c.reference.clone()).collect()
}

/// The labels of what is let in: of every permit that holds, and of those that failed, whose scope fits and of which
/// nobody knows whether they would have held.
fn labels(engine: &Engine, found: &Found) -> Vec<Label> {
    let ids = found.reasons.iter().chain(found.errors.iter().map(policy_of));
    let compiled = ids.filter_map(|id| engine.policies.get(position_of(id)?));
    let mut labels: Vec<Label> = compiled.flat_map(|compiled| compiled.labels.iter().cloned()).collect();
    // The longest of each name, that of the session being the shortest.
    labels.sort_by(|a, b| a.name.cmp(&b.name).then(b.keeps.cmp(&a.keeps)));
    labels.dedup_by(|later, first| later.name == first.name);
    labels
}

/// The permits whose scope fits and whose condition did not hold; what failed is told elsewhere.
fn unmet(
    engine: &Engine,
    policies: &PolicySet,
    target: &Target<'_>,
    errors: &[AuthorizationError],
) -> Vec<PolicyRef> {
    let failed: Vec<&PolicyId> = errors.iter().map(policy_of).collect();
    let permits = policies.policies().filter(|policy| policy.effect() == cedar_policy::Effect::Permit);
    let fitting = permits.filter(|policy| target.fits(policy) && !failed.contains(&policy.id()));
    let ids: Vec<PolicyId> = fitting.map(|policy| policy.id().clone()).collect();
    references(engine, &ids)
}

fn failure(engine: &Engine, error: &AuthorizationError) -> Option<PolicyFailure> {
    let compiled = engine.policies.get(position_of(policy_of(error))?)?;
    let AuthorizationError::PolicyEvaluationError(inner) = error;
    Some(PolicyFailure {
        policy: compiled.reference.clone(),
        forbid: compiled.forbid,
        message: describe(inner.inner()).to_owned(),
    })
}

/// Cedar's own messages may quote values, so only the kind of error is told (I7).
pub(super) fn describe(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::EntityDoesNotExist(_) => "it reads an entity that does not exist",
        EvaluationError::EntityAttrDoesNotExist(_) => {
            "it reads an attribute or tag that the entity does not have"
        }
        EvaluationError::RecordAttrDoesNotExist(_) => "it reads an attribute that is absent",
        EvaluationError::TypeError(_) => "a value is of another type than it expects",
        EvaluationError::IntegerOverflow(_) => "its arithmetic overflows",
        EvaluationError::FailedExtensionFunctionExecution(_) => "an extension function fails",
        EvaluationError::RecursionLimit(_) => "it is nested too deeply",
        _ => "it can't be evaluated",
    }
}

/// Stands for the gateway's own check of arguments, where no policy is at fault.
const GATEWAY_CHECK: &str = "chancery:input";

fn gateway_check() -> PolicyRef {
    let digest = Sha256Digest::of(GATEWAY_CHECK.as_bytes());
    PolicyRef { id: GATEWAY_CHECK.into(), digest, reason: None }
}

/// Whether a failure is not a policy's: the gateway's own check of a call's arguments found it.
pub fn is_gateway_check(failure: &PolicyFailure) -> bool {
    failure.policy.digest == gateway_check().digest
}

fn denied(reason: DenyReason, input_digest: Sha256Digest) -> Ruling {
    Ruling {
        effect: Effect::Deny,
        deny: Some(reason),
        determining: Vec::new(),
        failures: Vec::new(),
        shadow: Vec::new(),
        would_flip: false,
        labels: Vec::new(),
        candidate: None,
        input_digest,
        unmet: Vec::new(),
        suggestion: None,
    }
}

fn invalid(what: String, input_digest: Sha256Digest) -> Ruling {
    let mut ruling = denied(DenyReason::InvalidInput, input_digest);
    ruling.failures.push(PolicyFailure { policy: gateway_check(), forbid: true, message: what });
    ruling
}

/// The policy that would permit this: its scope without any argument's value (I7). A prompt's name and a resource's
/// URI are such values too. The agent is named by its user, where known: its own id changes with its executable.
fn suggestion(query: &Query<'_>, target: &Target<'_>) -> String {
    let facts = query.session.facts();
    let server = facts.server.as_str();
    let agent = match facts.uid {
        Some(uid) => format!("in Mcp::Group::{}", quoted(&format!("uid:{uid}"))),
        None => format!("== Mcp::Agent::{}", quoted(facts.principal.as_str())),
    };
    let action = quoted(target.action.id().unescaped());
    match (target.from, target.tool.is_some(), target.about) {
        (Direction::Client, true, _) => {
            format!("permit (principal {agent}, action == Mcp::Action::{action}, resource);")
        }
        (Direction::Client, false, About::Peer) => format!(
            "permit (principal {agent}, action == Mcp::Action::{action}, resource == Mcp::Server::{});",
            quoted(server)
        ),
        (Direction::Client, false, About::Prompt | About::Resource) => format!(
            "permit (principal {agent}, action == Mcp::Action::{action}, resource in Mcp::Server::{});",
            quoted(server)
        ),
        (Direction::Server, ..) => format!(
            "permit (principal == Mcp::Server::{}, action == Mcp::Action::{action}, resource {agent});",
            quoted(server)
        ),
    }
}

/// SHA-256 of salt and one JSON text that holds all that the decision rests on beside the policies themselves.
fn input_digest(engine: &Engine, query: &Query<'_>, arguments: Option<&Json<'_>>) -> Sha256Digest {
    let mut text = String::with_capacity(1_024);
    text.push('{');
    text.push_str(&query.session.canonical);
    let mut member = |key: &str, value: &str| {
        write_string(key, &mut text);
        text.push(':');
        write_string(value, &mut text);
        text.push(',');
    };
    member("schema", &engine.schema_digest.to_string());
    member("time", &query.now.to_rfc3339());
    member("session.age", &query.session.age(query.now).to_string());
    query.state.members(&mut member);
    match query.action {
        Action::SessionOpen => member("action", "session/open"),
        Action::ToolCall { name, arguments: raw } => {
            member("action", "tools/call");
            member("tool", name);
            if let Some(tool) = engine.tool(&query.session.facts().server, name) {
                member("definition", &tool.digest().to_string());
                let pinned = engine.catalogue.pinned.contains(&query.session.facts().server);
                member("pinned", if pinned { "true" } else { "false" });
            }
            match (arguments, raw) {
                (Some(arguments), _) => member("arguments", &arguments.canonical()),
                (None, Some(raw)) => member("unreadable", &String::from_utf8_lossy(raw)),
                (None, None) => {}
            }
        }
        Action::Method { method, target, from } => {
            member("action", method);
            member("from", if from == Direction::Client { "client" } else { "server" });
            if let Some(target) = target {
                member("target", target);
            }
        }
    }
    text.push('}');
    Sha256Digest::salted(query.salt, text.as_bytes())
}
