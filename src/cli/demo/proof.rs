//! Verification of the log, and of a copy that someone has touched.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::DemoError;
use super::evidence::Record;
use super::stage::Stage;
use crate::attest::dsse;
use crate::audit::{self, Finding, Report};
use crate::config::{Config, Environment, Purpose};
use crate::domain::clock::Clock;
use crate::identity::Identity;

/// A verification and the command that repeats it.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) report: Report,
    pub(super) command: String,
}

/// Verifies `log` against the demonstration's identity, which is read from its own directory, not from the log.
pub(super) fn verify(stage: &Stage, log: &Path) -> Result<Proof, DemoError> {
    let said = |error: &dyn std::fmt::Display| DemoError::Said(error.to_string());
    let config = Config::load(&stage.configuration(), Purpose::Serve, &Environment::process());
    let config = config.map_err(|e| said(&e))?;
    let identity = Identity::inspect(&config.identity, Clock::system()).map_err(|e| said(&e))?;
    let bundle = identity.bundle();
    let file = stage.dir().join("bundle.pem");
    fs::write(&file, bundle.to_pem())?;
    let report = audit::verify(log, &bundle, identity.spiffe_id(), &mut ()).map_err(|e| said(&e))?;
    let command = [
        stage.program().display().to_string(),
        "verify".to_owned(),
        log.display().to_string(),
        "--trust-bundle".to_owned(),
        file.display().to_string(),
        "--identity".to_owned(),
        identity.spiffe_id().to_string(),
    ];
    Ok(Proof { report, command: command.map(|word| quoted(&word)).join(" ") })
}

/// A copy of the log with one bit changed.
#[derive(Debug)]
pub(super) struct Tampered {
    pub(super) dir: PathBuf,
    /// Which record and what of it, for a person.
    pub(super) place: String,
    file: String,
    line: u64,
}

impl Tampered {
    /// Whether a finding points at the changed record.
    pub(super) fn is_named_by(&self, finding: &Finding) -> bool {
        finding.line == Some(self.line) && finding.file == self.file
    }
}

/// Copies the log and changes one bit of it: the last letter of the last denied call's action becomes another one.
pub(super) fn tamper(stage: &Stage, records: &[Record]) -> Result<Tampered, DemoError> {
    let said = |what: &str| DemoError::Said(what.to_owned());
    let denied = records.iter().rev().find_map(|record| match &record.action {
        Some(action) if !record.allowed => Some((record, action)),
        _ => None,
    });
    let (victim, action) = denied.ok_or_else(|| said("the log has no denied call to tamper with"))?;
    let dir = stage.dir().join("tampered");
    copy(&stage.log(), &dir)?;
    let relative = victim.file.strip_prefix(stage.log()).map_err(|e| DemoError::Said(e.to_string()))?;
    let file = dir.join(relative);
    let text = fs::read_to_string(&file)?;

    let nth = usize::try_from(victim.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.lines().nth(nth).ok_or_else(|| said("the record is gone"))?;
    let mut payload = dsse::read(line.as_bytes()).map_err(|e| DemoError::Said(e.to_string()))?.payload;
    let whole = STANDARD.encode(&payload);
    let letter = action.trim_end_matches('"').len().saturating_sub(1);
    let at = payload.windows(action.len()).position(|window| window == action.as_bytes());
    let byte =
        at.and_then(|at| payload.get_mut(at + letter)).ok_or_else(|| said("the action is not there"))?;
    *byte ^= 1;
    let changed = char::from(*byte);
    fs::write(&file, text.replace(&whole, &STANDARD.encode(&payload)))?;

    let shown: String =
        action.chars().take(letter).chain([changed]).chain(action.chars().skip(letter + 1)).collect();
    let file = relative.display().to_string();
    let place = format!("{file}, line {}: `{action}` became `{shown}`", victim.line);
    Ok(Tampered { dir, place, file, line: victim.line })
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
    }
}
