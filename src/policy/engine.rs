//! An immutable snapshot of policies, schema and tools.

use std::collections::HashMap;

use cedar_policy::{Entities, EntityUid, Policy};

use crate::domain::clock::Timestamp;
use crate::domain::decision::{PolicyRef, PolicySetDigest, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;

use super::catalogue::{Catalogue, ToolDefinition};
use super::compile;
use super::decide;
use super::diagnostic::{PolicyDiagnostic, Warning};
use super::entities::{SessionEntities, SessionFacts};
use super::index::Index;
use super::query::{Listed, Query};
use super::reachable::Provable;
use super::reads::Reads;
use super::sources::PolicySources;
use super::types::Record;
use super::visible;

/// A policy, ready for use.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Its Cedar id is its position.
    pub(super) policy: Policy,
    pub(super) reference: PolicyRef,
    /// `@shadow`: recorded, never enforced.
    pub(super) shadow: bool,
    pub(super) forbid: bool,
    /// What it can observe of a call's arguments.
    pub(super) reads: Reads,
}

/// A tool that decisions know.
#[derive(Debug)]
pub struct ToolEntry {
    pub(super) definition: ToolDefinition,
    pub(super) input: Record,
    pub(super) action: EntityUid,
    pub(super) action_groups: [EntityUid; 2],
    pub(super) resource: EntityUid,
    /// Action, tool and server.
    pub(super) entities: Entities,
}

impl ToolEntry {
    /// The definition that its schema was generated from.
    pub fn definition(&self) -> &ToolDefinition {
        &self.definition
    }

    /// Digest of the definition.
    pub fn digest(&self) -> Sha256Digest {
        self.definition.digest
    }
}

/// Policies, schema and tools, compiled.
#[derive(Debug)]
pub struct Engine {
    pub(super) sources: PolicySources,
    pub(super) catalogue: Catalogue,
    pub(super) digest: PolicySetDigest,
    pub(super) schema_digest: Sha256Digest,
    pub(super) schema_text: String,
    pub(super) policies: Vec<Compiled>,
    pub(super) index: Index,
    pub(super) tools: HashMap<ServerName, HashMap<String, ToolEntry>>,
}

impl Engine {
    /// Parses, validates strictly and indexes. Policies that name unknown tools are dormant, with a warning.
    ///
    /// # Errors
    /// Every error of every file, at once, and the warnings with them.
    pub fn compile(
        sources: &PolicySources,
        catalogue: &Catalogue,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyDiagnostic>> {
        compile::compile(sources, catalogue)
    }

    /// The same policies for other tools. A changed or new definition that would make the policies invalid is left
    /// out, and the tool so denied, with a warning; it never invalidates the set.
    ///
    /// # Errors
    /// If even without the definitions that are new the set does not compile; then keep the engine in force.
    pub fn with_catalogue(
        &self,
        catalogue: &Catalogue,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyDiagnostic>> {
        compile::recompile(self, catalogue)
    }

    /// The policy set's digest, see [`PolicySources::digest`].
    pub fn digest(&self) -> PolicySetDigest {
        self.digest
    }

    /// SHA-256 of [`Engine::schema_text`].
    pub fn schema_digest(&self) -> Sha256Digest {
        self.schema_digest
    }

    /// The Cedar schema, base and generated.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// The sources that it was compiled from.
    pub fn sources(&self) -> &PolicySources {
        &self.sources
    }

    /// The tools that it was compiled for.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Whether there is no policy at all; then everything is denied.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// How many policies there are, shadow and dormant ones included.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// A tool of the catalogue.
    pub fn tool(&self, server: &ServerName, name: &str) -> Option<&ToolEntry> {
        self.tools.get(server)?.get(name)
    }

    /// Warns of the claims, groups and agents that policies name and that no evidence makes: a `forbid` on one
    /// protects nothing.
    pub fn unprovable(&self, provable: &Provable) -> Vec<Warning> {
        provable.missed_by(self)
    }

    /// What decisions need of a session, built once.
    pub fn session_principal(&self, facts: &SessionFacts) -> SessionEntities {
        SessionEntities::new(facts)
    }

    /// Decides one message.
    pub fn decide(&self, query: &Query<'_>) -> Ruling {
        decide::decide(self, query)
    }

    /// Whether some arguments of this entry could be permitted to this session now; false hides it. It never hides
    /// what some arguments could be permitted, and may show what none could.
    pub fn could_be_permitted(
        &self,
        session: &SessionEntities,
        entry: Listed<'_>,
        now: Timestamp,
        calls: u64,
    ) -> bool {
        visible::could_be_permitted(self, session, entry, now, calls)
    }
}
