//! The tools that servers have shown: the definitions that schemas and decisions rest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;

/// What a server claims of its own tool (MCP `ToolAnnotations`); nothing here is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// `readOnlyHint`.
    #[serde(default, rename = "readOnlyHint", skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    #[serde(default, rename = "destructiveHint", skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// `idempotentHint`.
    #[serde(default, rename = "idempotentHint", skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// `openWorldHint`.
    #[serde(default, rename = "openWorldHint", skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
    /// `title`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A tool as its server defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Its name at its server.
    pub name: String,
    /// Its title.
    pub title: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The raw JSON of `inputSchema`.
    pub input_schema: Arc<str>,
    /// Its annotations.
    pub annotations: Annotations,
    /// Digest of the whole definition.
    pub digest: Sha256Digest,
}

/// Why an entry of a tool list can't be used; the tool stays unknown, and so denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not a tool definition.
    #[error("not a tool definition: {0}")]
    Shape(String),
    /// Its name can't be used.
    #[error("the tool's name can't be used: {0}")]
    Name(&'static str),
    /// Larger than the gateway takes.
    #[error("the tool's definition is too large: {0}")]
    TooLarge(&'static str),
}

impl ToolDefinition {
    /// Reads one entry of a `tools/list` result.
    pub fn from_list_entry(raw: &[u8]) -> Result<Self, DefinitionError> {
        let _ = raw;
        Err(DefinitionError::Name("not built yet"))
    }
}

/// All known tools, by server. In a file it is an object of server names, each an array of the tools' own
/// definitions as the server sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The tools of each server, by name.
    pub servers: BTreeMap<ServerName, Vec<ToolDefinition>>,
}
