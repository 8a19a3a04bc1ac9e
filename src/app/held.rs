//! Tools that are held back, as the operator's log tells of them, and lists of definitions put together.

use super::drift::Drifted;
use crate::attest::predicate::ToolDrift;
use crate::domain::ids::ServerName;
use crate::policy::{Pin, ToolDefinition};

/// Tools that one change names in the operator's log.
const MOST_TOLD: usize = 8;

/// What the operator reads of tools that are held back.
pub(super) fn tell(server: &ServerName, pin: Pin, drifted: &[Drifted]) {
    for tool in drifted.iter().take(MOST_TOLD) {
        let name = crate::policy::remark(&tool.tool);
        match tool.kind() {
            ToolDrift::New => tracing::warn!(%server, tool = name, "a tool that nobody has approved"),
            ToolDrift::Removed => tracing::warn!(%server, tool = name, "an approved tool is gone"),
            ToolDrift::Changed => {
                let places: Vec<String> =
                    tool.places().iter().take(4).map(|place| crate::policy::remark(&place.at)).collect();
                tracing::warn!(
                    %server,
                    tool = name,
                    at = places.join(", "),
                    "a tool is not the one that was approved"
                );
            }
        }
    }
    let how = match pin {
        Pin::Lock => "`chancery policy approve` shows what changed and takes it into the lock file",
        Pin::FirstUse | Pin::Off => "`chancery policy approve` shows what changed and approves it",
    };
    tracing::warn!(%server, tools = drifted.len(), "they are denied until they are approved: {how}");
}

/// A whole list replaces what is known; a page of one replaces the tools that it names.
pub(super) fn merged(
    known: &[ToolDefinition],
    shown: Vec<ToolDefinition>,
    complete: bool,
) -> Vec<ToolDefinition> {
    let keep = known.iter().filter(|tool| !complete && !shown.iter().any(|new| new.name == tool.name));
    let mut next: Vec<ToolDefinition> = keep.cloned().collect();
    next.extend(shown);
    next.sort_by(|a, b| a.name.cmp(&b.name));
    // Two that differ under one name both stay: the policies then know no such tool.
    next.dedup_by(|a, b| a.name == b.name && a.digest == b.digest);
    next
}
