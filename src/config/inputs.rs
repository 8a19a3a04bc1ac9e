//! What the file says of a server's arguments: what they mean, and what becomes of those that don't fit.

use schemars::JsonSchema;
use serde::Deserialize;

use super::texts::Texts;

/// What becomes of a tool call whose arguments don't fit the tool's own JSON Schema.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Breaches {
    /// It is refused (the default).
    Refuse,
    /// It goes on if the policies permit it, and its record says what did not fit.
    Record,
}

/// Arguments by what they mean: each `<argument>`, for every tool, or `<tool>:<argument>`. `*` stands for any text; an
/// argument within an object is named with it, as in `target.path`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inputs {
    /// Paths of a file system, seen as `Mcp::Path`.
    #[serde(default)]
    pub(super) path: Texts,
    /// URIs, seen as `Mcp::Uri`. Arguments whose schema says `format: uri` are so anyway.
    #[serde(default)]
    pub(super) uri: Texts,
    /// Hosts, with or without a port, seen as `Mcp::Host`.
    #[serde(default)]
    pub(super) host: Texts,
}
