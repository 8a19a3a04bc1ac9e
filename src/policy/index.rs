//! Finds the policies that can apply to a request without looking at the others.
//!
//! Cedar evaluates every policy of a set. A policy whose scope doesn't match is false and never an error, so leaving
//! it out changes nothing; the index returns every policy whose scope can match, and perhaps some more (a property
//! test compares with the whole set).

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use dashmap::DashMap;

use super::engine::Compiled;

/// Slices that are kept ready; beyond that they are built anew at each request.
const MAX_SLICES: usize = 4_096;

/// One dimension of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Any,
    Type(u32),
    Entity(u32),
}

/// One dimension of a request: an entity, its ancestors and its type.
#[derive(Debug)]
pub(super) struct Dimension<'a> {
    pub(super) entity: &'a EntityUid,
    pub(super) ancestors: &'a [EntityUid],
}

/// The policies by what their scopes ask for.
#[derive(Debug, Default)]
pub(super) struct Index {
    entities: HashMap<EntityUid, u32>,
    types: HashMap<EntityTypeName, u32>,
    policies: HashMap<(Key, Key, Key), Vec<u32>>,
    slices: DashMap<Box<[u32]>, Arc<Slice>>,
}

/// The policies that can apply to a request.
#[derive(Debug)]
pub(super) struct Slice {
    /// Those that count.
    pub(super) enforced: PolicySet,
    /// Those that are only recorded.
    pub(super) shadow: PolicySet,
}

impl Index {
    /// Indexes `policies`; their Cedar ids are their positions.
    pub(super) fn new(policies: &[Compiled]) -> Self {
        let mut index = Self::default();
        for (position, compiled) in (0_u32..).zip(policies) {
            index.insert(position, &compiled.policy);
        }
        index
    }

    fn insert(&mut self, position: u32, policy: &Policy) {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Key::Any,
            PrincipalConstraint::Is(ty) => self.type_key(ty),
            PrincipalConstraint::In(entity)
            | PrincipalConstraint::Eq(entity)
            | PrincipalConstraint::IsIn(_, entity) => self.entity_key(entity),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Key::Any,
            ResourceConstraint::Is(ty) => self.type_key(ty),
            ResourceConstraint::In(entity)
            | ResourceConstraint::Eq(entity)
            | ResourceConstraint::IsIn(_, entity) => self.entity_key(entity),
        };
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => vec![Key::Any],
            ActionConstraint::Eq(action) => vec![self.entity_key(action)],
            ActionConstraint::In(actions) => actions.into_iter().map(|a| self.entity_key(a)).collect(),
        };
        for action in actions {
            let list = self.policies.entry((action, principal, resource)).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
    }

    fn entity_key(&mut self, entity: EntityUid) -> Key {
        let next = u32::try_from(self.entities.len()).unwrap_or(u32::MAX);
        Key::Entity(*self.entities.entry(entity).or_insert(next))
    }

    fn type_key(&mut self, ty: EntityTypeName) -> Key {
        let next = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        Key::Type(*self.types.entry(ty).or_insert(next))
    }

    fn keys(&self, dimension: &Dimension<'_>) -> Vec<Key> {
        let own = std::iter::once(dimension.entity).chain(dimension.ancestors);
        let entities = own.filter_map(|entity| self.entities.get(entity)).map(|at| Key::Entity(*at));
        let ty = self.types.get(dimension.entity.type_name()).map(|at| Key::Type(*at));
        entities.chain(ty).chain([Key::Any]).collect()
    }

    /// The positions of the policies that can apply, in order.
    pub(super) fn positions(
        &self,
        action: &Dimension<'_>,
        principal: &Dimension<'_>,
        resource: &Dimension<'_>,
    ) -> Vec<u32> {
        let (principals, resources) = (self.keys(principal), self.keys(resource));
        let mut found = Vec::new();
        for action in self.keys(action) {
            for principal in &principals {
                for resource in &resources {
                    if let Some(list) = self.policies.get(&(action, *principal, *resource)) {
                        found.extend_from_slice(list);
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The policies at `positions`, as sets that Cedar evaluates; kept for the next request that needs the same.
    pub(super) fn slice(&self, positions: Vec<u32>, policies: &[Compiled]) -> Arc<Slice> {
        if let Some(slice) = self.slices.get(positions.as_slice()) {
            return Arc::clone(&slice);
        }
        let chosen = || positions.iter().filter_map(|at| policies.get(usize::try_from(*at).ok()?));
        let set = |shadow: bool| {
            let members = chosen().filter(|compiled| compiled.shadow == shadow).map(|c| c.policy.clone());
            // Ids are positions and distinct, and there are no templates, so this can't fail.
            PolicySet::from_policies(members).ok()
        };
        let slice = match (set(false), set(true)) {
            (Some(enforced), Some(shadow)) => Arc::new(Slice { enforced, shadow }),
            // Denies everything.
            _ => Arc::new(Slice { enforced: PolicySet::new(), shadow: PolicySet::new() }),
        };
        if self.slices.len() < MAX_SLICES {
            self.slices.insert(positions.into_boxed_slice(), Arc::clone(&slice));
        }
        slice
    }
}

/// The Cedar id of the policy at `position`.
pub(super) fn id_of(position: usize) -> PolicyId {
    PolicyId::new(position.to_string())
}

/// The position that the Cedar id names.
pub(super) fn position_of(id: &PolicyId) -> Option<usize> {
    id.to_string().parse().ok()
}
