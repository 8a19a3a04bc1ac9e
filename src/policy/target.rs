//! What a message is about, as Cedar sees it: action, principal, resource and their entities.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityTypeName, EntityUid, Policy, PrincipalConstraint,
    ResourceConstraint,
};

use crate::domain::clock::Timestamp;
use crate::domain::refusal::DenyReason;

use super::engine::{Engine, ToolEntry};
use super::entities::{SessionEntities, TYPES, member_entity, uid};
use super::index::{Dimension, Resources, Slice};
use super::methods::{About, Method, SESSION_OPEN, find};
use super::observed::Observed;
use super::query::{Action, Direction};
use super::state::State;

/// What a request is about.
#[derive(Debug)]
pub(super) struct Target<'e> {
    pub(super) action: EntityUid,
    pub(super) principal: EntityUid,
    pub(super) resource: EntityUid,
    /// The text before a method's or a prompt's or resource's own id in suggestions.
    pub(super) about: About,
    /// Where the message comes from.
    pub(super) from: Direction,
    /// The tool, if it is a call.
    pub(super) tool: Option<&'e ToolEntry>,
    session: &'e SessionEntities,
    /// The entities beside the agent, where they are not the tool's.
    others: Vec<Entity>,
    action_groups: Cow<'e, [EntityUid]>,
    resource_parents: &'e [EntityUid],
}

impl<'e> Target<'e> {
    /// Of `action` in `session`.
    pub(super) fn of(
        engine: &'e Engine,
        session: &'e SessionEntities,
        action: Action<'_>,
    ) -> Result<Self, DenyReason> {
        let (method, target, from) = match action {
            Action::ToolCall { name, .. } => {
                let tool = engine.tool(&session.facts().server, name).ok_or(DenyReason::UnknownTool)?;
                return Ok(Self::call(tool, session));
            }
            // A call goes by its tool's action or not at all.
            Action::Method { method: "tools/call", .. } => return Err(DenyReason::UnknownTool),
            Action::SessionOpen => (SESSION_OPEN, None, Direction::Client),
            Action::Method { method, target, from } => (find(method, from), target, from),
        };
        Self::method(session, method, target, from).ok_or(DenyReason::InvalidInput)
    }

    fn call(tool: &'e ToolEntry, session: &'e SessionEntities) -> Self {
        Self {
            action: tool.action.clone(),
            principal: session.agent.clone(),
            resource: tool.resource.clone(),
            about: About::Peer,
            from: Direction::Client,
            tool: Some(tool),
            session,
            others: Vec::new(),
            action_groups: Cow::Borrowed(&tool.action_groups),
            resource_parents: std::slice::from_ref(&session.server),
        }
    }

    fn method(
        session: &'e SessionEntities,
        method: Method,
        target: Option<&str>,
        from: Direction,
    ) -> Option<Self> {
        let server_name = session.facts().server.as_str();
        let member = match method.about {
            About::Peer => None,
            About::Prompt => Some(member_entity(&TYPES.prompt, server_name, "name", target?)?),
            About::Resource => Some(member_entity(&TYPES.resource, server_name, "uri", target?)?),
        };
        let action = uid(&TYPES.action, method.name);
        let action_groups: Vec<EntityUid> =
            method.group.iter().map(|group| uid(&TYPES.action, group)).collect();
        let groups: HashSet<EntityUid> = action_groups.iter().cloned().collect();
        let (agent, server) = (session.agent.clone(), session.server.clone());
        let (principal, resource) = match (from, &member) {
            (Direction::Client, Some(member)) => (agent, member.uid()),
            (Direction::Client, None) => (agent, server),
            (Direction::Server, _) => (server, agent),
        };
        let resource_parents =
            if member.is_some() { std::slice::from_ref(&session.server) } else { Default::default() };
        let own = [session.server_entity()?, Entity::new_no_attrs(action.clone(), groups)];
        Some(Self {
            action,
            principal,
            resource,
            about: method.about,
            from,
            tool: None,
            session,
            others: own.into_iter().chain(member).collect(),
            action_groups: Cow::Owned(action_groups),
            resource_parents,
        })
    }

    /// The request's entities, with what of the agent can be observed. `None` can't happen.
    pub(super) fn entities(&self, now: Timestamp, state: &State, observed: Observed) -> Option<Entities> {
        let agent = self.session.agent_entity(now, state, observed)?;
        match self.tool {
            Some(tool) => tool.entities.clone().add_entities([agent], None).ok(),
            None => Entities::from_entities(self.others.iter().cloned().chain([agent]), None).ok(),
        }
    }

    /// The ancestors of principal and resource.
    fn ancestors(&self) -> (&[EntityUid], &[EntityUid]) {
        match self.from {
            Direction::Client => (&self.session.group_list, self.resource_parents),
            Direction::Server => (self.resource_parents, &self.session.group_list),
        }
    }

    /// Whether the scope of `policy` matches, whatever its conditions say.
    pub(super) fn fits(&self, policy: &Policy) -> bool {
        self.fitting(policy) == [true; 3]
    }

    /// Whether each part of the scope of `policy` matches: principal, action, resource.
    pub(super) fn fitting(&self, policy: &Policy) -> [bool; 3] {
        let (principals, resources) = self.ancestors();
        let within =
            |own: &EntityUid, ancestors: &[EntityUid], of: &EntityUid| own == of || ancestors.contains(of);
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(ty) => self.principal.type_name() == &ty,
            PrincipalConstraint::Eq(entity) => self.principal == entity,
            PrincipalConstraint::In(entity) => within(&self.principal, principals, &entity),
            PrincipalConstraint::IsIn(ty, entity) => {
                self.principal.type_name() == &ty && within(&self.principal, principals, &entity)
            }
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Is(ty) => self.resource.type_name() == &ty,
            ResourceConstraint::Eq(entity) => self.resource == entity,
            ResourceConstraint::In(entity) => within(&self.resource, resources, &entity),
            ResourceConstraint::IsIn(ty, entity) => {
                self.resource.type_name() == &ty && within(&self.resource, resources, &entity)
            }
        };
        let action = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => self.action == action,
            ActionConstraint::In(actions) => {
                actions.iter().any(|action| within(&self.action, &self.action_groups, action))
            }
        };
        [principal, action, resource]
    }

    /// The policies whose scope can match.
    pub(super) fn slice(&self, engine: &Engine) -> Arc<Slice> {
        let (_, resources) = self.ancestors();
        let resource = Dimension { entity: &self.resource, ancestors: resources };
        self.slice_with(engine, &Resources::One(&resource))
    }

    /// As [`Target::slice`], for a resource of type `ty` of which only `could_be` is known.
    pub(super) fn slice_of_unknown(
        &self,
        engine: &Engine,
        ty: &EntityTypeName,
        could_be: &dyn Fn(&EntityUid) -> bool,
    ) -> Arc<Slice> {
        self.slice_with(engine, &Resources::Unknown(ty, could_be))
    }

    fn slice_with(&self, engine: &Engine, resource: &Resources<'_>) -> Arc<Slice> {
        let (principals, _) = self.ancestors();
        let positions = engine.index.positions(
            &Dimension { entity: &self.action, ancestors: &self.action_groups },
            &Dimension { entity: &self.principal, ancestors: principals },
            resource,
        );
        engine.index.slice(positions, &engine.policies)
    }
}
