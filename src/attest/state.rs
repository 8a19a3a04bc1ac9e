//! What a decision's record says of what its principal did before, and of the labels that it adds.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::predicate::rfc3339;
use crate::domain::clock::Timestamp;

/// The state that a decision rested on: what policies could see of what the principal did before.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StateRef {
    /// Of the session.
    pub session: SessionStateRef,
    /// Of the principal over all its sessions and servers.
    pub usage: UsageRef,
    /// The principal's labels.
    pub labels: Vec<Arc<str>>,
}

/// The state of a session.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionStateRef {
    /// Seconds since it opened.
    pub age: u64,
    /// Tool calls that were permitted in it.
    pub calls: u64,
    /// Of these, those of the tool that was asked for.
    pub tool: u64,
    /// Its labels.
    pub labels: Vec<Arc<str>>,
}

/// Permitted tool calls of a principal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UsageRef {
    /// Of all servers.
    #[serde(flatten)]
    pub all: CallsRef,
    /// Of the session's server.
    pub server: CallsRef,
    /// Of the tool that was asked for.
    pub tool: CallsRef,
}

/// Permitted tool calls.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CallsRef {
    /// All that are remembered.
    pub calls: u64,
    /// Of the last minute.
    pub minute: u64,
    /// Of the last hour.
    pub hour: u64,
    /// Of the last day.
    pub day: u64,
}

/// A label that a permit put on what it let in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AddedLabel {
    /// The label.
    pub label: Arc<str>,
    /// Until when the principal has it, RFC 3339; absent where only the session has it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "moment")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// A label that an operator took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LiftedLabel {
    /// The label.
    pub label: Arc<str>,
    /// The end that it had for the principal, RFC 3339; absent where only sessions had it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "moment")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// An operator took away what policies see of a principal's past. Counters and labels are made of decisions and of
/// these records, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    /// Whose.
    pub principal: String,
    /// Labels that it no longer has, nor its sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub lifted_labels: Vec<LiftedLabel>,
    /// How many permitted calls no longer count; absent where counters stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_calls: Option<u64>,
    /// The operator's word on why.
    pub reason: String,
    /// The operator's user id, by the kernel's word.
    pub uid: u32,
}

fn moment<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
