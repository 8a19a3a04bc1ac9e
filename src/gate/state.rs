//! The state that a decision rests on, and what an allowed message changes in it: counters and labels of the session
//! and of its principal.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::attest::clip;
use crate::attest::predicate::{AddedLabel, CallsRef, SessionStateRef, StateRef, UsageRef};
use crate::domain::clock::Timestamp;
use crate::domain::decision::Ruling;
use crate::policy::{Action, Calls, Direction, State, StateReads};

use super::ledger::Account;
use super::matter::Matter;
use super::session::Shared;

/// What happened in a session, as far as policies can see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Did {
    /// Tool calls permitted.
    pub(super) calls: u64,
    tools: HashMap<Box<str>, u64>,
    pub(super) labels: BTreeSet<Arc<str>>,
}

impl Did {
    fn count(&mut self, tool: &str) {
        self.calls += 1;
        match self.tools.get_mut(tool) {
            Some(count) => *count += 1,
            None => drop(self.tools.insert(tool.into(), 1)),
        }
    }

    fn undo(&mut self, tool: &str) {
        self.calls = self.calls.saturating_sub(1);
        if let Some(count) = self.tools.get_mut(tool) {
            *count = count.saturating_sub(1);
        }
    }
}

/// What a decision counted, to be given back where its message did not go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    at: Timestamp,
    /// Whether there was room for it in the principal's account.
    lasting: bool,
}

impl Counted {
    /// Nothing yet.
    pub(super) const fn nothing(at: Timestamp) -> Self {
        Self { at, lasting: false }
    }
}

impl Shared {
    /// What policies see at `now` when this tool, or none, is asked for. Takes the principal's lock where it is
    /// needed and not given.
    pub(super) fn state(
        &self,
        did: &Did,
        account: Option<&Account>,
        tool: Option<&str>,
        (now, reads): (Timestamp, StateReads),
    ) -> State {
        let utc_offset = self.house.parts.config.zone.offset(now);
        let mut state = State { session_calls: did.calls, utc_offset, ..State::default() };
        if reads.session {
            state.session_tool = tool.and_then(|tool| did.tools.get(tool)).copied().unwrap_or_default();
            state.session_labels = did.labels.iter().map(Arc::clone).collect();
        }
        if reads.lasting() {
            let tool = tool.map(|tool| self.tool_key(tool));
            let (server, tool) = (self.route.server.as_str(), tool.as_deref());
            match account {
                Some(account) => account.tell(server, tool, now, &mut state),
                None => self.account.lock().tell(server, tool, now, &mut state),
            }
        }
        state
    }

    /// The labels that an allowed message of the client brings.
    pub(super) fn added(
        &self,
        matter: &Matter<'_>,
        ruling: Option<&Ruling>,
        now: Timestamp,
    ) -> Vec<AddedLabel> {
        let of_client = !matches!(matter.action, Action::Method { from: Direction::Server, .. });
        let labels = ruling.filter(|_| of_client).map(|ruling| &*ruling.labels).unwrap_or_default();
        let added = |label: &crate::domain::decision::Label| AddedLabel {
            label: Arc::clone(&label.name),
            until: label.keeps.map(|keeps| now.plus(keeps)),
        };
        labels.iter().map(added).collect()
    }

    /// Counts an allowed message and applies its labels, under the same lock under which it was decided.
    pub(super) fn charge(
        &self,
        (did, account): (&mut Did, &mut Account),
        matter: &Matter<'_>,
        added: &[AddedLabel],
        now: Timestamp,
    ) -> Counted {
        let mut counted = Counted::nothing(now);
        let ledger = &self.house.ledger;
        let mut entries = 0;
        if let Action::ToolCall { name, .. } = matter.action {
            did.count(name);
            let (server, tool) = (self.route.server.as_str(), self.tool_key(name));
            // Where there is no room and no policy asks, nobody is held up for it.
            if account.knows(server, &tool) || !ledger.is_full() {
                entries += account.count(server, &tool, now);
                counted.lasting = true;
            }
        }
        for added in added {
            did.labels.insert(Arc::clone(&added.label));
            if let Some(until) = added.until {
                entries += account.label(&added.label, until);
            }
        }
        ledger.added(entries);
        counted
    }

    /// Takes back what was counted for a message that did not go on after all. Its labels stay: one too many errs on
    /// the safe side, and another call may have brought the same.
    pub(super) fn discharge(&self, did: &mut Did, matter: &Matter<'_>, counted: Counted) {
        if let Action::ToolCall { name, .. } = matter.action {
            did.undo(name);
            if counted.lasting {
                self.account.lock().undo(self.route.server.as_str(), &self.tool_key(name), counted.at);
            }
        }
    }

    /// Whether counting the call needs room that is not there. A policy that reads the count could not rely on it.
    pub(super) fn is_uncountable(&self, account: &Account, matter: &Matter<'_>) -> bool {
        let Action::ToolCall { name, .. } = matter.action else { return false };
        self.house.ledger.is_full() && !account.knows(self.route.server.as_str(), &self.tool_key(name))
    }

    /// A tool's name in the ledger: its action in the record.
    fn tool_key(&self, name: &str) -> String {
        clip(&format!("{}/{name}", self.route.server))
    }
}

/// The state as it stands in records.
pub(super) fn recorded(state: &State, age: u64) -> StateRef {
    let calls = |of: &Calls| CallsRef { calls: of.calls, minute: of.minute, hour: of.hour, day: of.day };
    StateRef {
        session: SessionStateRef {
            age,
            calls: state.session_calls,
            tool: state.session_tool,
            labels: state.session_labels.clone(),
        },
        usage: UsageRef { all: calls(&state.all), server: calls(&state.server), tool: calls(&state.tool) },
        labels: state.labels.clone(),
    }
}
