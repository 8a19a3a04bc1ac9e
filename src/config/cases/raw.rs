//! The shapes of a case file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::located::At;

/// Cases for policies, and what they have in common.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The tool server of cases that name none.
    pub(super) server: Option<At<String>>,
    /// The time of cases that name none, RFC 3339; by default 2026-01-05T12:00:00Z, a Monday.
    pub(super) now: Option<At<String>>,
    /// The time zone of `context.local`, such as `Europe/Berlin`; by default UTC.
    pub(super) time_zone: Option<At<String>>,
    /// Who asks in cases that say nothing of it; by default user 1000.
    pub(super) principal: Option<At<Principal>>,
    /// The session of cases that say nothing of it.
    pub(super) session: Option<Session>,
    /// What the principal did before, in cases that say nothing of it.
    pub(super) usage: Option<Usage>,
    /// The principal's labels, in cases that say nothing of it.
    pub(super) labels: Option<Vec<String>>,
    /// The cases.
    pub(super) cases: Vec<Case>,
}

/// One request and what is expected of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows, in words; no two cases of a file share one.
    pub(super) name: At<String>,
    /// The tool server.
    pub(super) server: Option<At<String>>,
    /// The tool that is called: its name, or `<server>/<tool>`.
    pub(super) tool: Option<At<String>>,
    /// The arguments of the call; as a text they are JSON, for numbers that YAML would change.
    pub(super) arguments: Option<serde_json::Value>,
    /// In place of a tool: an MCP method, or `session/open`.
    pub(super) method: Option<At<String>>,
    /// The prompt's name or the resource's URI, where the method has one.
    pub(super) target: Option<String>,
    /// Who sends it: `client`, or `server`.
    pub(super) from: Option<At<String>>,
    /// Who asks.
    pub(super) principal: Option<At<Principal>>,
    /// The session.
    pub(super) session: Option<Session>,
    /// What the principal did before.
    pub(super) usage: Option<Usage>,
    /// The principal's labels.
    pub(super) labels: Option<Vec<String>>,
    /// When, RFC 3339.
    pub(super) now: Option<At<String>>,
    /// `allow`; `deny`, or why it is denied: `not_permitted`, `forbidden`, `forbid_error`, `invalid_input`,
    /// `unknown_tool`, `no_policy`; or whether lists show it: `listed`, `hidden`.
    pub(super) expect: At<String>,
    /// The ids of the policies that decide, all of them.
    pub(super) by: Option<At<Vec<String>>>,
}

/// Who asks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Principal {
    /// The name: `peer:<uid>:<SHA-256 of the executable, or ->`, `bootstrap:<uid>`, `oidc:<iss>#<sub>`, a SPIFFE ID,
    /// `anonymous`.
    pub(super) id: Option<String>,
    /// The user id; by default what the name tells.
    pub(super) uid: Option<u32>,
    /// Groups, beside those that follow from the name.
    pub(super) groups: Option<Vec<String>>,
    /// Claims of its bearer token that configuration lets through, each a list of texts.
    pub(super) claims: Option<BTreeMap<String, Vec<String>>>,
    /// The executable's path.
    pub(super) executable: Option<String>,
    /// What the client says of itself.
    pub(super) client: Option<Client>,
}

/// What a client says of itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    /// Its name.
    pub(super) name: Option<String>,
    /// Its version.
    pub(super) version: Option<String>,
}

/// A session.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    /// Seconds since it opened.
    pub(super) age: Option<u32>,
    /// Tool calls permitted in it.
    pub(super) calls: Option<u64>,
    /// Of these, those of the tool that is asked for.
    pub(super) tool_calls: Option<u64>,
    /// Its labels.
    pub(super) labels: Option<Vec<String>>,
    /// `stdio` (the default), `unix`, `tcp` or `tls`.
    pub(super) transport: Option<At<String>>,
    /// The protocol revision.
    pub(super) protocol: Option<At<String>>,
}

/// Calls of the principal over all its sessions.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    /// All that are remembered.
    pub(super) calls: Option<u64>,
    /// Those of the last minute.
    pub(super) minute: Option<u64>,
    /// Those of the last hour.
    pub(super) hour: Option<u64>,
    /// Those of the last day.
    pub(super) day: Option<u64>,
    /// Those of the server.
    pub(super) server: Option<Calls>,
    /// Those of the tool.
    pub(super) tool: Option<Calls>,
}

/// Counted calls.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Calls {
    /// All that are remembered.
    pub(super) calls: u64,
    /// Those of the last minute.
    pub(super) minute: u64,
    /// Those of the last hour.
    pub(super) hour: u64,
    /// Those of the last day.
    pub(super) day: u64,
}
