//! An immutable snapshot of policies, schema and tools.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Entities, EntityUid, Policy};

use crate::domain::clock::Timestamp;
use crate::domain::decision::{Label, PolicyRef, PolicySetDigest, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;

use super::catalogue::{Catalogue, ToolDefinition};
use super::changes::{self, SetChanges};
use super::compile;
use super::decide;
use super::diagnostic::{PolicyDiagnostic, Warning};
use super::entities::{SessionEntities, SessionFacts};
use super::explain::{self, Explanation, PolicyPlace};
use super::hindsight::{self, Hindsight, Recorded};
use super::index::Index;
use super::query::{Listed, Query};
use super::reachable::Provable;
use super::reads::Reads;
use super::recompile;
use super::redundant;
use super::rules::Breaches;
use super::shadow;
use super::sources::PolicySources;
use super::state::{State, StateReads};
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
    /// `@label`: what it says of what it lets in.
    pub(super) labels: Vec<Label>,
    /// What it can observe of a call's arguments.
    pub(super) reads: Reads,
}

/// A tool that decisions know.
#[derive(Debug)]
pub struct ToolEntry {
    pub(super) definition: ToolDefinition,
    pub(super) input: Record,
    /// What becomes of a call whose arguments don't fit.
    pub(super) breaches: Breaches,
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
    pub(super) state_reads: StateReads,
    /// Those of its enforced policies.
    pub(super) enforced_reads: StateReads,
    /// A candidate set, evaluated beside this one and never enforced.
    pub(super) candidate: Option<Box<Self>>,
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
        recompile::recompile(self, catalogue)
    }

    /// The same with a candidate set beside it, or without one: it is asked at every decision what it would have said,
    /// and never enforced.
    #[must_use]
    pub fn with_shadow(mut self, candidate: Option<Self>) -> Self {
        self.candidate = candidate.map(Box::new);
        self
    }

    /// The candidate set that is evaluated beside this one.
    pub fn shadow(&self) -> Option<&Self> {
        self.candidate.as_deref()
    }

    /// What this set has that `before` has not; all of it where there was none.
    pub fn changes_since(&self, before: Option<&Self>) -> SetChanges {
        SetChanges::between(before, self)
    }

    /// The enforced forbids of `before` that are gone from this set, or are only tried out in it.
    pub fn lifted_since(&self, before: &Self) -> Vec<Arc<str>> {
        changes::lifted(before, self)
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

    /// What an author should know of policies that are valid: tests of text that can be spelt in several ways, and of
    /// what is never there.
    pub fn lint(&self) -> Vec<Warning> {
        let mut found = super::lint::lint(self);
        found.extend(super::never::never(self));
        found.extend(super::unmet::unmet(self));
        found
    }

    /// `warnings` of its compilation, with one in place of all those on unknown names where the only server there is has
    /// another name than the policies call it.
    pub fn readdressed(&self, warnings: Vec<Warning>) -> Vec<Warning> {
        super::addressed::readdressed(self, warnings)
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

    /// Which parts of the state its decisions can depend on.
    pub fn state_reads(&self) -> StateReads {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.state_reads).unwrap_or_default();
        self.state_reads.or(candidate)
    }

    /// Which parts of the state what is enforced can depend on: nothing of a set or a policy in shadow.
    pub fn enforced_reads(&self) -> StateReads {
        self.enforced_reads
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
        let mut ruling = decide::decide(self, query);
        shadow::foresee(self, query, &mut ruling);
        ruling
    }

    /// As [`Engine::decide`], with what each policy made of it: for authors, slower, and with values of arguments in it.
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        explain::explain(self, query)
    }

    /// Every policy with its place, in order.
    pub fn places(&self) -> Vec<PolicyPlace> {
        explain::places(self)
    }

    /// Policies that change nothing, or can't let anything in, because of another.
    pub fn pointless(&self) -> Vec<Warning> {
        redundant::pointless(self)
    }

    /// The tools, as `<server>/<tool>`, that no policy could permit to anyone, whatever the arguments.
    pub fn unpermitted(&self) -> Vec<String> {
        redundant::unpermitted(self)
    }

    /// The ids of the policies whose scope has room for calls of the tool `<server>/<tool>`, known or not.
    pub fn about_tool(&self, tool: &str) -> Vec<std::sync::Arc<str>> {
        redundant::about_tool(self, tool)
    }

    /// What this set would have said of a request that another set decided, as far as that can be known.
    pub fn hindsight(&self, recorded: &Recorded<'_>) -> Hindsight {
        hindsight::hindsight(self, recorded)
    }

    /// Whether some arguments of this entry could be permitted to this session now; false hides it. It never hides
    /// what some arguments could be permitted, and may show what none could.
    pub fn could_be_permitted(
        &self,
        session: &SessionEntities,
        entry: Listed<'_>,
        now: Timestamp,
        state: &State,
    ) -> bool {
        visible::could_be_permitted(self, session, entry, now, state)
    }
}
