//! A principal as it is shown to an operator.

use serde::{Deserialize, Serialize};

use super::printable;
use crate::domain::ids::SessionId;
use crate::gate::Acquaintance;
use crate::policy::Calls;

/// Most servers, tools, labels and sessions of one that are told, each.
const MOST: usize = 200;

/// A principal as it is shown; times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalRow {
    /// Its name, a token's `sub`.
    pub principal: String,
    /// Its permitted tool calls, over all sessions and servers.
    pub usage: Counts,
    /// Those of each server; the busiest first.
    pub servers: Vec<CallsRow>,
    /// Those of each tool; the busiest first.
    pub tools: Vec<CallsRow>,
    /// Its labels, by name.
    pub labels: Vec<LabelRow>,
    /// Its open sessions.
    pub sessions: Vec<SessionId>,
    /// Whether there is more than is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Permitted tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All that are remembered.
    pub calls: u64,
    /// Those of the last minute.
    pub minute: u64,
    /// Those of the last hour.
    pub hour: u64,
    /// Those of the last day.
    pub day: u64,
}

/// Calls of a server or of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsRow {
    /// `files`, or `files/read`.
    pub name: String,
    /// How many.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRow {
    /// Its name.
    pub label: String,
    /// When it ends; absent where it is a session's and ends with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The open sessions that were labelled with it themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionId>,
}

impl From<Calls> for Counts {
    fn from(calls: Calls) -> Self {
        let Calls { calls, minute, hour, day } = calls;
        Self { calls, minute, hour, day }
    }
}

impl PrincipalRow {
    /// One of whom nothing is known.
    pub(super) fn nothing(principal: &str) -> Self {
        Self {
            principal: principal.to_owned(),
            usage: Calls::default().into(),
            servers: Vec::new(),
            tools: Vec::new(),
            labels: Vec::new(),
            sessions: Vec::new(),
            cut: false,
        }
    }
}

impl From<Acquaintance> for PrincipalRow {
    fn from(seen: Acquaintance) -> Self {
        let Acquaintance { principal, past, sessions } = seen;
        let mut labels: Vec<LabelRow> = Vec::new();
        for (label, until) in &past.labels {
            let until = Some(until.to_rfc3339());
            labels.push(LabelRow { label: label.to_string(), until, sessions: Vec::new() });
        }
        for (sid, own) in &sessions {
            for label in own {
                match labels.iter_mut().find(|row| row.label == **label) {
                    Some(row) => row.sessions.push(*sid),
                    None => {
                        let label = label.to_string();
                        labels.push(LabelRow { label, until: None, sessions: vec![*sid] });
                    }
                }
            }
        }
        labels.sort_by(|a, b| a.label.cmp(&b.label));
        let sessions: Vec<SessionId> = sessions.into_keys().collect();
        let long = |length: usize| length > MOST;
        let cut =
            long(past.servers.len()) || long(past.tools.len()) || long(labels.len()) || long(sessions.len());
        labels.truncate(MOST);
        labels.iter_mut().for_each(|row| row.sessions.truncate(MOST / 10));
        Self {
            // Whole: it is what the operator names it by.
            principal: principal.to_string(),
            usage: past.all.into(),
            servers: busiest(past.servers),
            tools: busiest(past.tools),
            labels,
            sessions: sessions.into_iter().take(MOST).collect(),
            cut,
        }
    }
}

fn busiest(mut counters: Vec<(String, Calls)>) -> Vec<CallsRow> {
    counters.sort_by(|a, b| b.1.calls.cmp(&a.1.calls).then_with(|| a.0.cmp(&b.0)));
    let row = |(name, calls): (String, Calls)| CallsRow { name: printable(&name), counts: calls.into() };
    counters.into_iter().take(MOST).map(row).collect()
}
