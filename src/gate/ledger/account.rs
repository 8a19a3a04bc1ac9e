//! What one principal did: its counted calls, and its labels until they expire.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counter::Counter;
use crate::domain::clock::Timestamp;
use crate::policy::{Calls, State};

/// What an operator is shown of a principal.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Its permitted tool calls.
    pub all: Calls,
    /// Those of each server, by name.
    pub servers: Vec<(String, Calls)>,
    /// Those of each tool, `<server>/<tool>`, by name.
    pub tools: Vec<(String, Calls)>,
    /// Its labels, each with its end.
    pub labels: Vec<(Arc<str>, Timestamp)>,
}

impl Past {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.all.calls == 0 && self.labels.is_empty()
    }
}

/// See the module. Servers and tools are named as in records: `files`, `files/read`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gate) struct Account {
    all: Counter,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    servers: BTreeMap<Box<str>, Counter>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tools: BTreeMap<Box<str>, Counter>,
    /// Each with its end, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<Arc<str>, i64>,
}

impl Account {
    /// Counts a call; returns how many counters that added.
    pub(in crate::gate) fn count(&mut self, server: &str, tool: &str, at: Timestamp) -> usize {
        let before = self.entries();
        self.all.add(at);
        of(&mut self.servers, server).add(at);
        of(&mut self.tools, tool).add(at);
        self.entries() - before
    }

    /// Takes a call back that was counted at `at`.
    pub(in crate::gate) fn undo(&mut self, server: &str, tool: &str, at: Timestamp) {
        // One for which there was no room was not counted either.
        if !self.knows(server, tool) {
            return;
        }
        self.all.undo(at);
        for counter in self.servers.get_mut(server).into_iter().chain(self.tools.get_mut(tool)) {
            counter.undo(at);
        }
    }

    /// Labels the principal until `until`, or later if it has the label for longer; returns how many that added.
    pub(in crate::gate) fn label(&mut self, label: &Arc<str>, until: Timestamp) -> usize {
        let before = self.labels.len();
        let end = self.labels.entry(Arc::clone(label)).or_insert(i64::MIN);
        *end = (*end).max(until.as_millis());
        self.labels.len() - before
    }

    /// Whether counting this call needs no room that is not there already.
    pub(in crate::gate) fn knows(&self, server: &str, tool: &str) -> bool {
        self.servers.contains_key(server) && self.tools.contains_key(tool)
    }

    /// Fills in what is kept of the principal.
    pub(in crate::gate) fn tell(&self, server: &str, tool: Option<&str>, now: Timestamp, state: &mut State) {
        state.all = self.all.read(now);
        state.server = self.servers.get(server).map(|counter| counter.read(now)).unwrap_or_default();
        let tool = tool.and_then(|tool| self.tools.get(tool));
        state.tool = tool.map(|counter| counter.read(now)).unwrap_or_default();
        let live = self.labels.iter().filter(|(_, end)| **end > now.as_millis());
        state.labels = live.map(|(label, _)| Arc::clone(label)).collect();
    }

    /// Takes a label away; gives the end that it had.
    pub(in crate::gate) fn lift(&mut self, label: &str) -> Option<Timestamp> {
        self.labels.remove(label).map(Timestamp::from_millis)
    }

    /// Begins all counters anew; gives what they were.
    pub(in crate::gate) fn reset(&mut self) -> Self {
        let labels = std::mem::take(&mut self.labels);
        std::mem::replace(self, Self { labels, ..Self::default() })
    }

    /// Counts, and has, what another one counted and had as well; returns how many counters and labels that added.
    pub(in crate::gate) fn absorb(&mut self, other: Self) -> usize {
        let before = self.entries();
        self.all.absorb(other.all);
        for (name, counter) in other.servers {
            self.servers.entry(name).or_default().absorb(counter);
        }
        for (name, counter) in other.tools {
            self.tools.entry(name).or_default().absorb(counter);
        }
        for (label, until) in other.labels {
            self.label(&label, Timestamp::from_millis(until));
        }
        self.entries() - before
    }

    /// What there is to show of it at `now`.
    pub(in crate::gate) fn past(&self, now: Timestamp) -> Past {
        let each = |counters: &BTreeMap<Box<str>, Counter>| {
            let read = counters.iter().map(|(name, counter)| (name.to_string(), counter.read(now)));
            read.filter(|(_, calls)| calls.calls > 0).collect()
        };
        let live = self.labels.iter().filter(|(_, end)| **end > now.as_millis());
        Past {
            all: self.all.read(now),
            servers: each(&self.servers),
            tools: each(&self.tools),
            labels: live.map(|(label, end)| (Arc::clone(label), Timestamp::from_millis(*end))).collect(),
        }
    }

    /// Lets go of what has no effect any more; returns whether anything is left.
    pub(super) fn prune(&mut self, now: Timestamp) -> bool {
        self.labels.retain(|_, end| *end > now.as_millis());
        for counters in [&mut self.servers, &mut self.tools] {
            counters.retain(|_, counter| {
                counter.prune(now);
                !counter.is_forgotten(now)
            });
        }
        self.all.prune(now);
        !(self.labels.is_empty() && self.all.is_forgotten(now))
    }

    /// How many counters and labels it holds.
    pub(in crate::gate) fn entries(&self) -> usize {
        self.servers.len() + self.tools.len() + self.labels.len()
    }
}

fn of<'a>(counters: &'a mut BTreeMap<Box<str>, Counter>, name: &str) -> &'a mut Counter {
    counters.entry(name.into()).or_default()
}
