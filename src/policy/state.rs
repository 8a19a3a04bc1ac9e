//! What a principal did before, as policies see it: counted calls, and labels of what it was let to see.

use std::sync::Arc;

use cedar_policy::RestrictedExpression as Expr;

use crate::domain::clock::Timestamp;
use crate::domain::zone::LocalTime;

use super::reads::Reads;

/// Permitted tool calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// All that are remembered.
    pub calls: u64,
    /// Those of the last minute, hour and day.
    pub minute: u64,
    /// See `minute`.
    pub hour: u64,
    /// See `minute`.
    pub day: u64,
}

impl Calls {
    /// Name and value of each, as policies see them.
    pub const fn each(&self) -> [(&'static str, u64); 4] {
        [("calls", self.calls), ("minute", self.minute), ("hour", self.hour), ("day", self.day)]
    }
}

/// What one decision rests on beside the request. That of a tool is the one that is asked for, and zero elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Tool calls permitted in the session.
    pub session_calls: u64,
    /// Those of the tool.
    pub session_tool: u64,
    /// What the session was labelled with, sorted.
    pub session_labels: Vec<Arc<str>>,
    /// Calls of the principal over all its sessions and servers.
    pub all: Calls,
    /// Those of the session's server.
    pub server: Calls,
    /// Those of the tool.
    pub tool: Calls,
    /// What the principal is labelled with, by any session, sorted.
    pub labels: Vec<Arc<str>>,
    /// Seconds that the clocks of the configured time zone are ahead of UTC.
    pub utc_offset: i32,
}

/// Which parts of the state some policy of a set can observe; what none can is not put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateReads {
    /// `principal.session`, whole or in part.
    pub session: bool,
    /// `principal.usage`.
    pub usage: bool,
    /// `principal.labels`, or a session's.
    pub labels: bool,
}

impl StateReads {
    /// Of the policies that read this. An attribute can't be read without its name, so a set that nowhere has the name
    /// does not.
    pub(super) fn of<'a>(policies: impl IntoIterator<Item = &'a Reads>) -> Self {
        policies.into_iter().fold(Self::default(), |all, reads| {
            all.or(Self {
                session: reads.mentions("session"),
                usage: reads.mentions("usage"),
                labels: reads.mentions("labels"),
            })
        })
    }

    /// Whether a decision can depend on what is kept of the principal beyond the session.
    pub const fn lasting(self) -> bool {
        self.usage || self.labels
    }

    /// What either can observe.
    #[must_use]
    pub(super) const fn or(self, other: Self) -> Self {
        Self {
            session: self.session || other.session,
            usage: self.usage || other.usage,
            labels: self.labels || other.labels,
        }
    }

    /// Whether a decision can depend on any of it.
    pub const fn any(self) -> bool {
        self.session || self.usage || self.labels
    }
}

/// What the digest of a decision's input calls the counters, in the order of [`Calls::each`]: of all, of the server, of
/// the tool.
const USAGE: [[&str; 4]; 3] = [
    ["usage.calls", "usage.minute", "usage.hour", "usage.day"],
    ["usage.server.calls", "usage.server.minute", "usage.server.hour", "usage.server.day"],
    ["usage.tool.calls", "usage.tool.minute", "usage.tool.hour", "usage.tool.day"],
];

impl State {
    /// The members of `principal.session` that change. `None` can't happen.
    pub(super) fn session(&self, age: i64) -> Option<[(String, Expr); 4]> {
        let tool = Expr::new_record([("calls".to_owned(), long(self.session_tool))]).ok()?;
        Some([
            ("age".to_owned(), Expr::new_long(age)),
            ("calls".to_owned(), long(self.session_calls)),
            ("tool".to_owned(), tool),
            ("labels".to_owned(), texts(&self.session_labels)),
        ])
    }

    /// `principal.usage`.
    pub(super) fn usage(&self) -> Option<Expr> {
        let record = |calls: &Calls| calls.each().map(|(key, value)| (key.to_owned(), long(value)));
        let of = |calls: &Calls| Expr::new_record(record(calls)).ok();
        let parts = [("server".to_owned(), of(&self.server)?), ("tool".to_owned(), of(&self.tool)?)];
        Expr::new_record(record(&self.all).into_iter().chain(parts)).ok()
    }

    /// `principal.labels`.
    pub(super) fn labels(&self) -> Expr {
        texts(&self.labels)
    }

    /// `context.local`. `None` can't happen.
    pub(super) fn local(&self, now: Timestamp) -> Option<Expr> {
        let LocalTime { weekday, hour, minute } = LocalTime::at(now, self.utc_offset);
        let members = [("weekday", weekday), ("hour", hour), ("minute", minute)];
        Expr::new_record(members.map(|(key, value)| (key.to_owned(), long(value.into())))).ok()
    }

    /// Name and text of each part, for the digest of a decision's input.
    pub(super) fn members(&self, mut member: impl FnMut(&str, &str)) {
        member("session.calls", &self.session_calls.to_string());
        member("session.tool.calls", &self.session_tool.to_string());
        let all = USAGE.iter().zip([&self.all, &self.server, &self.tool]);
        for (name, (_, value)) in all.flat_map(|(names, calls)| names.iter().zip(calls.each())) {
            member(name, &value.to_string());
        }
        member("utcOffset", &self.utc_offset.to_string());
        for label in &self.session_labels {
            member("session.label", label);
        }
        for label in &self.labels {
            member("label", label);
        }
    }
}

fn long(value: u64) -> Expr {
    Expr::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

fn texts(labels: &[Arc<str>]) -> Expr {
    Expr::new_set(labels.iter().map(|label| Expr::new_string(label.to_string())))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn what_a_set_can_observe_is_found_by_name_however_it_is_written() {
        let reads = |condition: &str| {
            let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
            let json = Policy::parse(None, text).unwrap().to_json().unwrap();
            let reads = StateReads::of([&Reads::of(json.get("conditions"))]);
            (reads.session, reads.usage, reads.labels)
        };
        assert_eq!(reads("principal.usage.calls > 3"), (false, true, false));
        assert_eq!(reads("principal[\"usage\"][\"calls\"] > 3"), (false, true, false));
        assert_eq!(reads("principal has usage"), (false, true, false));
        assert_eq!(reads("(if true then principal else principal).usage.calls > 3"), (false, true, false));
        assert_eq!(reads("{a: principal}.a.labels.contains(\"x\")"), (false, false, true));
        assert_eq!(reads("principal.session.labels.contains(\"x\")"), (true, false, true));
        assert_eq!(reads("principal.session == principal.session"), (true, false, false));
        assert_eq!(reads("resource.name == \"a\""), (false, false, false));
    }
}
