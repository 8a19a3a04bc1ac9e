//! What is valid and still not what an author meant: policies that another one makes pointless, tools that nobody can be
//! permitted.
//!
//! Only what is certain from scopes and conditions as they are written is reported. A policy is covered by another if
//! that one's scope includes its scope, and every condition of that one is among its own: whenever it holds, the other
//! holds too.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::{Value, json};

use super::diagnostic::{PolicyDiagnostic, Severity, Warning};
use super::engine::{Compiled, Engine};
use super::entities::{TYPES, uid};
use super::explain::places;
use super::methods::METHODS;

/// Most policies that are compared with each other.
const MAX_COMPARED: usize = 2_000;

/// A policy, ready to be compared.
struct Seen<'a> {
    compiled: &'a Compiled,
    principal: PrincipalConstraint,
    action: ActionConstraint,
    resource: ResourceConstraint,
    conditions: Vec<Value>,
}

impl<'a> Seen<'a> {
    fn of(compiled: &'a Compiled) -> Option<Self> {
        let policy = &compiled.policy;
        Some(Self {
            compiled,
            principal: policy.principal_constraint(),
            action: policy.action_constraint(),
            resource: policy.resource_constraint(),
            conditions: conditions(policy)?,
        })
    }

    /// Whether this one's scope includes that of `other`.
    fn includes(&self, other: &Self) -> bool {
        principals(&self.principal, &other.principal)
            && actions(&self.action, &other.action)
            && resources(&self.resource, &other.resource)
    }

    /// Whether this one holds whenever `other` holds.
    fn covers(&self, other: &Self) -> bool {
        self.includes(other) && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }
}

/// See [`Engine::pointless`].
pub(super) fn pointless(engine: &Engine) -> Vec<Warning> {
    if engine.policies.len() > MAX_COMPARED {
        return Vec::new();
    }
    let seen: Vec<Option<Seen<'_>>> = engine.policies.iter().map(Seen::of).collect();
    let enforced = || {
        seen.iter().enumerate().filter_map(|(at, s)| Some((at, s.as_ref().filter(|s| !s.compiled.shadow)?)))
    };
    let mut found = Vec::new();
    for ((at, own), place) in seen.iter().enumerate().zip(places(engine)) {
        let Some(own) = own else { continue };
        // Of two that cover each other the later one is pointless.
        let covering = |forbid: bool| {
            enforced().find(|(other_at, other)| {
                let twins =
                    own.covers(other) && !own.compiled.shadow && own.compiled.forbid == other.compiled.forbid;
                *other_at != at
                    && other.compiled.forbid == forbid
                    && other.covers(own)
                    && (!twins || *other_at < at)
            })
        };
        let (message, help) = if own.compiled.forbid {
            // A forbid that fails denies too, and its reason is shown beside others.
            let same = |other: &Seen<'_>| other.conditions.is_empty() || other.conditions == own.conditions;
            let Some((_, other)) = covering(true).filter(|(_, other)| same(other)) else { continue };
            if own.compiled.reference.reason != other.compiled.reference.reason {
                continue;
            }
            let id = &other.compiled.reference.id;
            (format!("this forbid changes nothing: `{id}` forbids all of it already"), "remove one of them")
        } else if let Some((_, other)) = covering(false).filter(|_| own.compiled.labels.is_empty()) {
            let id = &other.compiled.reference.id;
            let help = "remove it, or narrow the other one: permits add up";
            (format!("this permit changes nothing: `{id}` permits all of it already"), help)
        } else if let Some((_, other)) = covering(true) {
            let id = &other.compiled.reference.id;
            let help = "a forbid wins over every permit: narrow it with `unless`, or remove the permit";
            (format!("this permit never lets anything in: `{id}` forbids all of it"), help)
        } else {
            continue;
        };
        found.push(PolicyDiagnostic {
            severity: Severity::Warning,
            file: place.file,
            text: place.text,
            span: Some((place.span.start, place.span.len())),
            message,
            help: Some(help.to_owned()),
            policy: Some(place.reference.id),
            unknown_name: false,
        });
    }
    found
}

/// See [`Engine::about_tool`].
pub(super) fn about_tool(engine: &Engine, id: &str) -> Vec<Arc<str>> {
    let action = ActionConstraint::Eq(uid(&TYPES.action, id));
    let resource = ResourceConstraint::Eq(uid(&TYPES.tool, id));
    let about = |compiled: &&Compiled| {
        actions(&compiled.policy.action_constraint(), &action)
            && resources(&compiled.policy.resource_constraint(), &resource)
    };
    engine.policies.iter().filter(about).map(|compiled| compiled.reference.id.clone()).collect()
}

/// See [`Engine::unpermitted`].
pub(super) fn unpermitted(engine: &Engine) -> Vec<String> {
    let seen: Vec<Seen<'_>> = engine.policies.iter().filter(|c| !c.shadow).filter_map(Seen::of).collect();
    let mut found = BTreeSet::new();
    for tool in engine.tools.values().flat_map(|tools| tools.values()) {
        let action = ActionConstraint::Eq(tool.action.clone());
        let resource = ResourceConstraint::Eq(tool.resource.clone());
        let about =
            |policy: &Seen<'_>| actions(&policy.action, &action) && resources(&policy.resource, &resource);
        let agents = |policy: &Seen<'_>| match &policy.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => *ty == TYPES.agent,
            PrincipalConstraint::Eq(entity) => *entity.type_name() == TYPES.agent,
            PrincipalConstraint::In(_) => true,
        };
        let all = |policy: &Seen<'_>| match &policy.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(ty) => *ty == TYPES.agent,
            _ => false,
        };
        let permitted = seen.iter().any(|p| !p.compiled.forbid && about(p) && agents(p));
        let forbidden =
            seen.iter().any(|p| p.compiled.forbid && about(p) && all(p) && p.conditions.is_empty());
        if !permitted || forbidden {
            found.insert(tool.action.id().unescaped().to_owned());
        }
    }
    found.into_iter().collect()
}

/// Every condition that must be true, `unless` turned round and `&&` taken apart.
fn conditions(policy: &Policy) -> Option<Vec<Value>> {
    let json = policy.to_json().ok()?;
    let mut found = Vec::new();
    for condition in json.get("conditions")?.as_array()? {
        let body = condition.get("body")?;
        match condition.get("kind")?.as_str()? {
            "when" => conjuncts(body, &mut found),
            _ => found.push(json!({ "!": { "arg": body } })),
        }
    }
    Some(found)
}

fn conjuncts(body: &Value, found: &mut Vec<Value>) {
    match body.get("&&").and_then(|and| Some((and.get("left")?, and.get("right")?))) {
        Some((left, right)) => {
            conjuncts(left, found);
            conjuncts(right, found);
        }
        None if body.get("Value") == Some(&Value::Bool(true)) => {}
        None => found.push(body.clone()),
    }
}

fn principals(wide: &PrincipalConstraint, narrow: &PrincipalConstraint) -> bool {
    use PrincipalConstraint::{Any, Eq, In, Is, IsIn};
    match (wide, narrow) {
        (Any, _) => true,
        (Is(ty), Is(other) | IsIn(other, _)) => ty == other,
        (Is(ty), Eq(entity)) => ty == entity.type_name(),
        (In(group), In(other) | IsIn(_, other) | Eq(other)) => group == other,
        (IsIn(ty, group), IsIn(other_ty, other)) => ty == other_ty && group == other,
        (Eq(entity), Eq(other)) => entity == other,
        _ => false,
    }
}

fn resources(wide: &ResourceConstraint, narrow: &ResourceConstraint) -> bool {
    use ResourceConstraint::{Any, Eq, In, Is, IsIn};
    match (wide, narrow) {
        (Any, _) => true,
        (Is(ty), Is(other) | IsIn(other, _)) => ty == other,
        (Is(ty), Eq(entity)) => ty == entity.type_name(),
        (In(parent), Eq(entity) | In(entity) | IsIn(_, entity)) => within(entity, parent),
        (IsIn(ty, parent), IsIn(other, entity)) => ty == other && within(entity, parent),
        (IsIn(ty, parent), Eq(entity)) => ty == entity.type_name() && within(entity, parent),
        (Eq(entity), Eq(other)) => entity == other,
        _ => false,
    }
}

/// Whether `entity` is `parent`, or a tool, prompt or resource of it.
fn within(entity: &EntityUid, parent: &EntityUid) -> bool {
    let members = [&TYPES.tool, &TYPES.prompt, &TYPES.resource];
    let id = entity.id().unescaped();
    let server = id.split_once('/').map_or(id, |(server, _)| server);
    let member = members.contains(&entity.type_name()) && *parent.type_name() == TYPES.server;
    entity == parent || (member && parent.id().unescaped() == server)
}

fn actions(wide: &ActionConstraint, narrow: &ActionConstraint) -> bool {
    let covered = |entity: &EntityUid, of_groups: bool| match wide {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => !of_groups && action == entity,
        ActionConstraint::In(list) => list.iter().any(|action| {
            action == entity
                || groups(entity.id().unescaped()).iter().any(|group| group == action.id().unescaped())
        }),
    };
    match narrow {
        ActionConstraint::Any => matches!(wide, ActionConstraint::Any),
        ActionConstraint::Eq(entity) => covered(entity, false),
        ActionConstraint::In(list) => list.iter().all(|entity| {
            let group = ["tools/call", "list"].contains(&entity.id().unescaped())
                || entity.id().unescaped().ends_with("/*");
            covered(entity, group)
        }),
    }
}

/// The groups that an action is in.
fn groups(action: &str) -> Vec<String> {
    if let Some(method) = METHODS.iter().find(|method| method.name == action) {
        return method.group.iter().map(|group| (*group).to_owned()).collect();
    }
    match action.split_once('/') {
        Some(("session", "open") | ("tools", "call")) | None => Vec::new(),
        Some((_, "*")) => vec!["tools/call".to_owned()],
        Some((server, _)) => vec![format!("{server}/*"), "tools/call".to_owned()],
    }
}
