//! Which policies are valid can mostly be told from a few actions.
//!
//! Cedar validates a policy against every action of the schema, with every type of principal and resource that goes with
//! it: with a hundred tools more than a hundred times, though most policies are about one tool. Two actions that a policy
//! does not name look the same to the validator if they are in the same groups and have the same principals, resources
//! and context. Tools differ in the type of `context.input` alone, and a policy can't tell them apart by that either
//! if its conditions never say `input`, or if its scope admits no action that it does not name: where the scope is
//! false the conditions are not looked at. So a policy without findings for the actions that it names and one of each
//! kind is one without findings for all (a property test compares). Only policies with findings, and those that may look at the
//! input of any tool, are validated against the whole schema, and only what is found there is told.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{ActionConstraint, PolicySet, Schema, ValidationMode, Validator};
use serde_json::{Map, Value, json};

use super::compile::Parsed;
use super::entities::TYPES;

/// The namespace of the schema.
const NAMESPACE: &str = "Mcp";
/// About so many actions that policies name stand in one small schema: fewer cost more schemas, more cost each policy
/// more.
const NAMED: usize = 4;

/// A schema's parts, in Cedar's JSON format.
#[derive(Debug)]
pub(super) struct Kinds {
    /// All of the namespace but its actions.
    namespace: Map<String, Value>,
    actions: Map<String, Value>,
    /// The first action of each kind.
    kinds: BTreeSet<String>,
    /// Actions that others are in.
    groups: BTreeSet<String>,
}

impl Kinds {
    /// Of a schema with one namespace; `None` if it is none.
    pub(super) fn of(mut schema: Value) -> Option<Self> {
        let mut namespace = match schema.get_mut(NAMESPACE).map(Value::take)? {
            Value::Object(namespace) => namespace,
            _ => return None,
        };
        let Value::Object(actions) = namespace.remove("actions")? else { return None };
        let (mut kinds, mut groups) = (BTreeMap::new(), BTreeSet::new());
        for (id, action) in &actions {
            groups.extend(parents(action).map(str::to_owned));
            if action.get("appliesTo").is_some_and(|applies| !applies.is_null()) {
                kinds.entry(kind(action).to_string()).or_insert_with(|| id.clone());
            }
        }
        Some(Self { namespace, actions, kinds: kinds.into_values().collect(), groups })
    }

    /// Those of `policies` that these actions are not enough for.
    pub(super) fn in_doubt<'p, 'a>(&self, policies: &'p [Parsed<'a>]) -> Vec<&'p Parsed<'a>> {
        let mut doubtful = Vec::new();
        let mut by_names: BTreeMap<BTreeSet<&str>, Vec<&'p Parsed<'a>>> = BTreeMap::new();
        for policy in policies {
            match self.named(policy) {
                Some(names) => by_names.entry(names).or_default().push(policy),
                None => doubtful.push(policy),
            }
        }
        let (mut names, mut members) = (BTreeSet::new(), Vec::new());
        for (also, policies) in by_names {
            if !members.is_empty() && names.union(&also).count() > NAMED {
                self.validate(&names, &members, &mut doubtful);
                names.clear();
                members.clear();
            }
            names.extend(also);
            members.extend(policies);
        }
        self.validate(&names, &members, &mut doubtful);
        doubtful
    }

    /// The actions that the policy names, if it can't tell the others of one kind apart.
    fn named(&self, policy: &Parsed<'_>) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        for literal in policy.policy.entity_literals() {
            if *literal.type_name() == TYPES.action {
                // One that is not in the schema is an error, which the whole schema tells.
                names.insert(self.actions.get_key_value(literal.id().unescaped())?.0.as_str());
            }
        }
        let all_named = match policy.policy.action_constraint() {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(_) => true,
            ActionConstraint::In(actions) => {
                !actions.iter().any(|action| self.groups.contains(action.id().unescaped()))
            }
        };
        (all_named || !policy.reads.any()).then_some(names)
    }

    /// Adds to `doubtful` those of `policies` of which anything is found with only the actions `names` and one of each
    /// kind.
    fn validate<'p, 'a>(
        &self,
        names: &BTreeSet<&str>,
        policies: &[&'p Parsed<'a>],
        doubtful: &mut Vec<&'p Parsed<'a>>,
    ) {
        let set = PolicySet::from_policies(policies.iter().map(|policy| policy.policy.clone()));
        let (Some(schema), Ok(set)) = (self.schema(names), set) else {
            doubtful.extend(policies);
            return;
        };
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| error.policy_id());
        let found: BTreeSet<_> = errors.chain(result.validation_warnings().map(|w| w.policy_id())).collect();
        doubtful.extend(policies.iter().filter(|policy| found.contains(policy.policy.id())));
    }

    /// The schema with the actions `names`, one of each kind and the groups that they are in.
    fn schema(&self, names: &BTreeSet<&str>) -> Option<Schema> {
        let mut actions = Map::new();
        let mut open: Vec<&str> =
            names.iter().copied().chain(self.kinds.iter().map(String::as_str)).collect();
        while let Some(id) = open.pop() {
            if let (Some(action), false) = (self.actions.get(id), actions.contains_key(id)) {
                actions.insert(id.to_owned(), action.clone());
                open.extend(parents(action));
            }
        }
        let mut namespace = self.namespace.clone();
        namespace.insert("actions".to_owned(), Value::Object(actions));
        Schema::from_json_value(json!({ NAMESPACE: namespace })).ok()
    }
}

/// The actions that an action is in.
fn parents(action: &Value) -> impl Iterator<Item = &str> {
    let parents = action.get("memberOf").and_then(Value::as_array);
    parents.into_iter().flatten().filter_map(|parent| parent.get("id")?.as_str())
}

/// All that tells an action from others beside its name, save the type of its `context.input`.
fn kind(action: &Value) -> Value {
    let mut kind = action.clone();
    if let Some(input) = kind.pointer_mut("/appliesTo/context/attributes/input") {
        *input = input.get("required").cloned().unwrap_or_default();
    }
    if let Some(kind) = kind.as_object_mut() {
        kind.remove("annotations");
    }
    kind
}
