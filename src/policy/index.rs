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
use parking_lot::RwLock;

use super::engine::Compiled;
use super::observed::Observed;

/// Policies in all the slices that are kept ready, each as often as it is in one; beyond that all are built anew.
const MAX_KEPT: usize = 65_536;

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

/// What a request's resource is.
pub(super) enum Resources<'a> {
    /// This one.
    One(&'a Dimension<'a>),
    /// One that is not known yet, of this type; the closure tells of an entity whether it could be it, or one of its
    /// ancestors.
    Unknown(&'a EntityTypeName, &'a dyn Fn(&EntityUid) -> bool),
}

type ByResource = HashMap<Key, Vec<u32>>;

/// The policies by what their scopes ask for.
#[derive(Debug, Default)]
pub(super) struct Index {
    entities: HashMap<EntityUid, u32>,
    types: HashMap<EntityTypeName, u32>,
    /// The entities by their numbers.
    numbered: Vec<EntityUid>,
    /// By action, then principal, then resource.
    policies: HashMap<Key, HashMap<Key, ByResource>>,
    slices: RwLock<Slices>,
}

/// The slices that are kept ready.
#[derive(Debug, Default)]
struct Slices {
    by_positions: HashMap<Box<[u32]>, Arc<Slice>>,
    /// The policies in them.
    kept: usize,
}

/// The policies that can apply to a request.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Those that count.
    pub(super) enforced: PolicySet,
    /// Those that are only recorded, permits and forbids apart: a forbid must not hide what a permit would do.
    pub(super) shadow: [PolicySet; 2],
    /// Whether a permit is among those that count.
    pub(super) permits: bool,
    /// What any of them can observe.
    pub(super) observed: Observed,
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
            let by_resource = self.policies.entry(action).or_default().entry(principal).or_default();
            let list = by_resource.entry(resource).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
    }

    fn entity_key(&mut self, entity: EntityUid) -> Key {
        if let Some(known) = self.entities.get(&entity) {
            return Key::Entity(*known);
        }
        let next = u32::try_from(self.numbered.len()).unwrap_or(u32::MAX);
        self.numbered.push(entity.clone());
        self.entities.insert(entity, next);
        Key::Entity(next)
    }

    fn type_key(&mut self, ty: EntityTypeName) -> Key {
        let next = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        Key::Type(*self.types.entry(ty).or_insert(next))
    }

    /// What scopes can name this by; names that no scope has are left out.
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
        resource: &Resources<'_>,
    ) -> Vec<u32> {
        let principals = self.keys(principal);
        let resources = match resource {
            Resources::One(dimension) => Some(self.keys(dimension)),
            Resources::Unknown(..) => None,
        };
        let mut found = Vec::new();
        for by_principal in self.keys(action).iter().filter_map(|key| self.policies.get(key)) {
            for by_resource in principals.iter().filter_map(|key| by_principal.get(key)) {
                match &resources {
                    Some(keys) => {
                        keys.iter()
                            .filter_map(|k| by_resource.get(k))
                            .for_each(|l| found.extend_from_slice(l));
                    }
                    None => self.collect(by_resource, resource, &mut found),
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The positions for every resource that the unknown one could be.
    fn collect(&self, by_resource: &ByResource, resource: &Resources<'_>, found: &mut Vec<u32>) {
        let Resources::Unknown(ty, could_be) = resource else { return };
        let own_type = self.types.get(*ty).map(|at| Key::Type(*at));
        for (key, list) in by_resource {
            let fits = match key {
                Key::Any => true,
                Key::Type(_) => Some(*key) == own_type,
                Key::Entity(at) => {
                    usize::try_from(*at).ok().and_then(|at| self.numbered.get(at)).is_none_or(could_be)
                }
            };
            if fits {
                found.extend_from_slice(list);
            }
        }
    }

    /// The policies at `positions`, as sets that Cedar evaluates; kept for the next request that needs the same.
    pub(super) fn slice(&self, positions: Vec<u32>, policies: &[Compiled]) -> Arc<Slice> {
        if let Some(slice) = self.slices.read().by_positions.get(positions.as_slice()) {
            return Arc::clone(slice);
        }
        let slice = Arc::new(Slice::of(&positions, policies));
        let mut slices = self.slices.write();
        if slices.kept.saturating_add(positions.len()) > MAX_KEPT {
            // Which ones are still of use is not known; those that are come back.
            *slices = Slices::default();
        }
        if positions.len() <= MAX_KEPT {
            slices.kept += positions.len();
            slices.by_positions.insert(positions.into_boxed_slice(), Arc::clone(&slice));
        }
        slice
    }
}

#[cfg(test)]
impl Index {
    /// The policies in the slices that are kept.
    pub(super) fn kept(&self) -> usize {
        self.slices.read().kept
    }
}

impl Slice {
    fn of(positions: &[u32], policies: &[Compiled]) -> Self {
        let chosen = || positions.iter().filter_map(|at| policies.get(usize::try_from(*at).ok()?));
        let set = |which: &dyn Fn(&Compiled) -> bool| {
            let members = chosen().filter(|compiled| which(compiled)).map(|c| c.policy.clone());
            // Ids are positions and distinct, and there are no templates, so this can't fail.
            PolicySet::from_policies(members).ok()
        };
        let sets = (set(&|c| !c.shadow), set(&|c| c.shadow && !c.forbid), set(&|c| c.shadow && c.forbid));
        match sets {
            (Some(enforced), Some(permits), Some(forbids)) => Self {
                enforced,
                shadow: [permits, forbids],
                permits: chosen().any(|compiled| !compiled.shadow && !compiled.forbid),
                observed: Observed::by(chosen().map(|compiled| &compiled.reads)),
            },
            // Denies everything.
            _ => Self::default(),
        }
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
