//! What of a request some policies can observe: what none of them can is not put together for a decision.
//!
//! An attribute of an entity, or of `context`, can't be read without its name, and entities are equal by their ids
//! alone: what stands nowhere in the conditions of the policies that can apply can't change what they come to. That does not go
//! for the members of records, which are compared whole (`principal.usage.server == principal.usage.tool`).

use super::reads::Reads;

/// The attributes of an agent and of the context, and the operators that read an agent's tags.
const NAMES: [&str; 11] = [
    "session",
    "usage",
    "labels",
    "evidence",
    "uid",
    "executable",
    "client",
    "hasTag",
    "getTag",
    "time",
    "local",
];

/// A set of [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Observed(u16);

impl Observed {
    /// Everything.
    pub(super) const ALL: Self = Self(u16::MAX);

    /// By policies that read this.
    pub(super) fn by<'a>(policies: impl IntoIterator<Item = &'a Reads>) -> Self {
        let mut all = 0;
        for reads in policies {
            for (at, name) in NAMES.iter().enumerate() {
                let of_context = matches!(*name, "time" | "local");
                if reads.mentions(name) || (of_context && reads.whole()) {
                    all |= 1 << at;
                }
            }
        }
        Self(all)
    }

    /// Whether the attribute `name` is among them; one that is not known here is.
    pub(super) fn has(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_none_or(|at| self.0 >> at & 1 == 1)
    }

    /// Whether an agent's tags are.
    pub(super) fn tags(self) -> bool {
        self.has("hasTag") || self.has("getTag")
    }
}
