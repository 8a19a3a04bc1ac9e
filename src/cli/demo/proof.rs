//! Verification of the log, and of a copy that someone has touched.

use std::fs;
use std::path::{Path, PathBuf};

use super::DemoError;
use super::evidence::Record;
use super::stage::Stage;
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
    /// Which record, for a person.
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

/// Copies the log and changes one bit in the payload of the last denied call's record.
pub(super) fn tamper(stage: &Stage, records: &[Record]) -> Result<Tampered, DemoError> {
    let victim = records.iter().rfind(|record| record.action.is_some() && !record.allowed);
    let victim = victim.ok_or(DemoError::Said("the log has no denied call to tamper with".into()))?;
    let dir = stage.dir().join("tampered");
    copy(&stage.log(), &dir)?;
    let relative = victim.file.strip_prefix(stage.log()).map_err(|e| DemoError::Said(e.to_string()))?;
    let file = dir.join(relative);
    let mut bytes = fs::read(&file)?;
    let nth = usize::try_from(victim.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = bytes.split_mut(|byte| *byte == b'\n').nth(nth).unwrap_or_default();
    let start = line.windows(11).position(|window| window == b"\"payload\":\"").map(|at| at + 11);
    // Far enough in to be in the middle of the statement; the lowest bit of a letter or digit of base64 gives
    // another one, except at the edges of the alphabet, which are passed over.
    let target = start.and_then(|start| line.get_mut(start + 400..)).and_then(|rest| {
        rest.iter_mut().find(|byte| byte.is_ascii_alphanumeric() && (**byte ^ 1).is_ascii_alphanumeric())
    });
    let target = target.ok_or(DemoError::Said("the record is too short to tamper with".into()))?;
    *target ^= 1;
    fs::write(&file, bytes)?;
    let file = relative.display().to_string();
    Ok(Tampered { dir, place: format!("{file}, line {}", victim.line), file, line: victim.line })
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
