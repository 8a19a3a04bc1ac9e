//! What one policy set has that another has not, for the record of a change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::digest::Sha256Digest;

use super::engine::{Compiled, Engine};

/// The difference between two policy sets, by the policies' ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetChanges {
    /// Policies that are new.
    pub added: Vec<Arc<str>>,
    /// Policies that are gone.
    pub removed: Vec<Arc<str>>,
    /// Policies with another text under the same id.
    pub changed: Vec<Arc<str>>,
}

impl SetChanges {
    /// From `before` to `now`. A policy without an `@id` is named by its place, so it counts as the same wherever its
    /// text has moved to.
    pub(super) fn between(before: Option<&Engine>, now: &Engine) -> Self {
        let old: &[Compiled] = before.map(|engine| engine.policies.as_slice()).unwrap_or_default();
        let mut moved: HashMap<Sha256Digest, usize> = HashMap::new();
        for policy in old.iter().filter(|policy| !named(policy)) {
            *moved.entry(policy.reference.digest).or_default() += 1;
        }
        let mut new = Vec::new();
        for policy in &now.policies {
            match moved.get_mut(&policy.reference.digest) {
                Some(count) if *count > 0 && !named(policy) => *count -= 1,
                _ => new.push(policy),
            }
        }
        let mut gone = Vec::new();
        for policy in old {
            match moved.get_mut(&policy.reference.digest) {
                // Those that are left were not found among the new ones.
                Some(count) if !named(policy) && *count == 0 => {}
                Some(count) if !named(policy) => {
                    *count -= 1;
                    gone.push(policy);
                }
                _ => gone.push(policy),
            }
        }
        let was: HashMap<&str, Sha256Digest> =
            gone.iter().map(|policy| (&*policy.reference.id, policy.reference.digest)).collect();
        let is: HashSet<&str> = new.iter().map(|policy| &*policy.reference.id).collect();
        let id = |policy: &&Compiled| Arc::clone(&policy.reference.id);
        Self {
            added: new.iter().filter(|p| !was.contains_key(&*p.reference.id)).map(id).collect(),
            removed: gone.iter().filter(|p| !is.contains(&*p.reference.id)).map(id).collect(),
            changed: new
                .iter()
                .filter(|p| was.get(&*p.reference.id).is_some_and(|digest| *digest != p.reference.digest))
                .map(id)
                .collect(),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// See [`Engine::lifted_since`]. One whose text stands there still, or another forbid under its id, is not gone.
pub(super) fn lifted(before: &Engine, now: &Engine) -> Vec<Arc<str>> {
    let enforced = |policy: &&Compiled| policy.forbid && !policy.shadow;
    let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
    for policy in now.policies.iter().filter(enforced) {
        texts.insert(policy.reference.digest);
        if named(policy) {
            ids.insert(&*policy.reference.id);
        }
    }
    let gone = before.policies.iter().filter(enforced).filter(|policy| {
        let (text, id) = (&policy.reference.digest, &*policy.reference.id);
        !(texts.contains(text) || (named(policy) && ids.contains(id)))
    });
    gone.map(|policy| Arc::clone(&policy.reference.id)).collect()
}

/// Whether it has an `@id` of its own.
fn named(policy: &Compiled) -> bool {
    policy.policy.annotation("id").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Catalogue, PolicySources};

    fn engine(text: &str) -> Engine {
        let compiled = Engine::compile(&PolicySources::single("p.cedar", text), &Catalogue::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap().0
    }

    #[test]
    fn added_removed_and_changed_policies_are_told_apart_and_moved_ones_are_none_of_them() {
        let before = engine(
            "@id(\"a\") permit (principal, action, resource);\n@id(\"b\") permit (principal, action, resource);\n\
             forbid (principal, action == Mcp::Action::\"prompts/get\", resource);\n\
             forbid (principal, action == Mcp::Action::\"resources/read\", resource);",
        );
        let now = engine(
            "// a comment\n\n@id(\"b\") permit (principal, action == Mcp::Action::\"tools/list\", resource);\n\
             forbid (principal, action == Mcp::Action::\"prompts/get\", resource);\n@id(\"c\") permit (principal, action, resource);",
        );
        let changes = now.changes_since(Some(&before));
        assert_eq!(changes.added, ["c".into()]);
        assert_eq!(changes.removed, ["a".into(), "p.cedar:4".into()]);
        assert_eq!(changes.changed, ["b".into()]);
        assert!(now.changes_since(Some(&now)).is_empty());
        assert_eq!(now.changes_since(None).added.len(), 3);
    }

    #[test]
    fn forbids_that_are_gone_or_only_tried_out_are_named_and_moved_or_changed_ones_are_not() {
        let before = engine(
            "@id(\"a\") forbid (principal, action, resource) when { true };\n@id(\"b\") forbid (principal, action, resource);\n\
             @id(\"c\") forbid (principal, action == Mcp::Action::\"prompts/get\", resource);\n\
             forbid (principal, action == Mcp::Action::\"tools/list\", resource);\n\
             forbid (principal, action == Mcp::Action::\"resources/read\", resource);\n\
             @id(\"p\") permit (principal, action, resource); @id(\"s\") @shadow forbid (principal, action == Mcp::Action::\"prompts/list\", resource);",
        );
        let now = engine(
            "forbid (principal, action == Mcp::Action::\"resources/read\", resource);\n\
             @id(\"b\") @shadow forbid (principal, action, resource);\n\
             @id(\"c\") forbid (principal, action == Mcp::Action::\"tools/list\", resource);",
        );
        assert_eq!(now.lifted_since(&before), ["a".into(), "b".into(), "p.cedar:4".into()]);
        assert!(before.lifted_since(&now).is_empty());
    }
}
