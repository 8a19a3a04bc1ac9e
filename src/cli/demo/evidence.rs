//! What the log says of each call: read from disk, after the gateway is gone.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DemoError;
use super::play::Scene;
use crate::attest::{Layout, dsse};
use crate::domain::digest::Sha256Digest;

/// A record of the log, as far as the demonstration shows it. Nothing of it is verified here; `proof` does that.
#[derive(Debug)]
pub(super) struct Record {
    /// The file that it stands in.
    pub(super) file: PathBuf,
    /// Its line there, from 1.
    pub(super) line: u64,
    /// The decided action; none in records of other kinds.
    pub(super) action: Option<String>,
    pub(super) allowed: bool,
    pub(super) policies: Vec<String>,
    pub(super) reason: Option<String>,
    /// Digest of its payload.
    pub(super) digest: Sha256Digest,
}

#[derive(Deserialize)]
struct Statement {
    predicate: Predicate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    action: Option<String>,
    effect: Option<String>,
    deny_reason: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    id: String,
    reason: Option<String>,
}

/// Every record, in order.
pub(super) fn read(log: &Path) -> Result<Vec<Record>, DemoError> {
    let mut records = Vec::new();
    let segments = Layout::at(log).segments().map_err(|e| DemoError::Said(e.to_string()))?;
    for (_, file) in segments {
        let text = std::fs::read(&file)?;
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty())
        {
            let envelope =
                dsse::read(line).map_err(|e| DemoError::Said(format!("{}: {e}", file.display())))?;
            let statement: Statement = serde_json::from_slice(&envelope.payload)
                .map_err(|e| DemoError::Said(format!("{}: {e}", file.display())))?;
            let Predicate { action, effect, deny_reason, policies } = statement.predicate;
            let told = policies.iter().find_map(|policy| policy.reason.clone());
            records.push(Record {
                file: file.clone(),
                line: number,
                action,
                allowed: effect.as_deref() == Some("allow"),
                reason: told.or(deny_reason),
                policies: policies.into_iter().map(|policy| policy.id).collect(),
                digest: Sha256Digest::of(&envelope.payload),
            });
        }
    }
    Ok(records)
}

/// The record of each scene, in the order of both; what does not fit goes to `wrong`.
pub(super) fn matched<'a>(
    scenes: &[Scene],
    records: &'a [Record],
    wrong: &mut Vec<String>,
) -> Vec<Option<&'a Record>> {
    let mut rest = records.iter();
    let mut rows = Vec::new();
    for scene in scenes {
        let row =
            rest.by_ref().find(|record| record.action.as_deref().is_some_and(|a| names(a, scene.action)));
        match row {
            None => wrong.push(format!("{}: the log has no record of it", scene.call)),
            Some(record) => {
                if record.allowed != scene.permitted || scene.served != scene.permitted {
                    wrong.push(format!("{}: the policies say otherwise", scene.call));
                }
                let named =
                    scene.attestation.as_ref().is_none_or(|named| *named == record.digest.to_string());
                if !named || (!scene.permitted && scene.attestation.is_none()) {
                    wrong.push(format!("{}: the denial does not name its record", scene.call));
                }
            }
        }
        wrong.extend(scene.wrong.iter().map(|what| format!("{}: {what}", scene.call)));
        rows.push(row);
    }
    rows
}

/// Whether a Cedar action, `Mcp::Action::"a/b"` or plain, is `action`.
fn names(recorded: &str, action: &str) -> bool {
    recorded == action || recorded.strip_suffix('"').is_some_and(|r| r.ends_with(&format!("\"{action}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str, allowed: bool) -> Record {
        Record {
            file: PathBuf::from("records/00000000.intoto.jsonl"),
            line: 1,
            action: Some(action.to_owned()),
            allowed,
            policies: Vec::new(),
            reason: None,
            digest: Sha256Digest::of(b"record"),
        }
    }

    fn scene(permitted: bool, served: bool, attestation: Option<Sha256Digest>) -> Scene {
        Scene {
            call: "write_file".to_owned(),
            action: "files/write_file",
            permitted,
            served,
            wrong: None,
            attestation: attestation.map(|digest| digest.to_string()),
        }
    }

    #[test]
    fn whatever_contradicts_the_policies_is_told() {
        let digest = Sha256Digest::of(b"record");
        let complaints = |scene, recorded: &str, allowed| {
            let mut wrong = Vec::new();
            matched(&[scene], &[record(recorded, allowed)], &mut wrong);
            wrong.len()
        };
        assert_eq!(complaints(scene(true, true, None), "files/write_file", true), 0);
        assert_eq!(
            complaints(scene(false, false, Some(digest)), "Mcp::Action::\"files/write_file\"", false),
            0
        );
        // Served although forbidden; recorded as allowed although forbidden; not recorded; another record named.
        assert_eq!(complaints(scene(false, true, Some(digest)), "files/write_file", false), 1);
        assert_eq!(complaints(scene(false, false, Some(digest)), "files/write_file", true), 1);
        assert_eq!(complaints(scene(true, true, None), "files/read_file", true), 1);
        let other = Sha256Digest::of(b"another");
        assert_eq!(complaints(scene(false, false, Some(other)), "files/write_file", false), 1);
        assert_eq!(complaints(scene(false, false, None), "files/write_file", false), 1);
    }
}
