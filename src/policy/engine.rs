//! An immutable snapshot of policies, schema and tools.

use crate::domain::clock::Timestamp;
use crate::domain::decision::{PolicySetDigest, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;

use super::catalogue::{Catalogue, ToolDefinition};
use super::diagnostic::{PolicyDiagnostic, Warning};
use super::entities::{SessionEntities, SessionFacts};
use super::query::{Listed, Query};
use super::sources::PolicySources;

/// A tool that decisions know.
#[derive(Debug)]
pub struct ToolEntry {
    definition: ToolDefinition,
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
    digest: PolicySetDigest,
    schema_digest: Sha256Digest,
    schema_text: String,
}

#[allow(clippy::todo, clippy::unused_self, reason = "the seam is pushed before its inside")]
impl Engine {
    /// Parses, validates strictly and indexes. Every error of every file is reported at once.
    pub fn compile(
        _sources: &PolicySources,
        _catalogue: &Catalogue,
    ) -> Result<(Self, Vec<Warning>), Vec<PolicyDiagnostic>> {
        todo!()
    }

    /// The policy set's digest.
    pub fn digest(&self) -> PolicySetDigest {
        self.digest
    }

    /// The schema's digest.
    pub fn schema_digest(&self) -> Sha256Digest {
        self.schema_digest
    }

    /// The Cedar schema, base and generated.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// Whether there is no policy at all; then everything is denied.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// A tool of the catalogue.
    pub fn tool(&self, _server: &ServerName, _name: &str) -> Option<&ToolEntry> {
        todo!()
    }

    /// What decisions need of a session, built once.
    pub fn session_principal(&self, facts: &SessionFacts) -> SessionEntities {
        SessionEntities::new(facts)
    }

    /// Decides one message.
    pub fn decide(&self, _query: &Query<'_>) -> Ruling {
        todo!()
    }

    /// Whether some arguments of this entry could be permitted to this session now; false hides it.
    pub fn could_be_permitted(
        &self,
        _session: &SessionEntities,
        _entry: Listed<'_>,
        _now: Timestamp,
        _calls: u64,
    ) -> bool {
        todo!()
    }
}
