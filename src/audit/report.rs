//! What verification found.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use super::missing::Missing;
use crate::domain::ids::SessionId;

/// Findings and notes that are kept with their text; more are only counted.
const KEPT: usize = 100;

/// Keys, and missing roots, that are shown to people; machines get all.
const SHOWN: usize = 8;

/// What a finding is about; stable labels for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// `log.json`.
    LogFile,
    /// The files that hold the records.
    Segments,
    /// A line is no DSSE envelope.
    Envelope,
    /// A payload is no statement of this log.
    Statement,
    /// The key that signed is not the gateway's, or not archived, or its chain does not hold at the record's time.
    Key,
    /// What a record says is archived of its keys is missing or altered.
    Archive,
    /// The signature.
    Signature,
    /// The record is of another gateway or another run of it.
    Gateway,
    /// Keys change only by a record that says so.
    KeyChange,
    /// Sequence numbers of a chain.
    Sequence,
    /// Digest of the record before.
    BackLink,
    /// Order of a session's records: open, then decisions, then close.
    Session,
    /// Tokens and what carries them.
    Token,
    /// Archived policies.
    Policy,
    /// How many records a run has.
    Count,
}

impl Check {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogFile => "log_file",
            Self::Segments => "segments",
            Self::Envelope => "envelope",
            Self::Statement => "statement",
            Self::Key => "key",
            Self::Archive => "archive",
            Self::Signature => "signature",
            Self::Gateway => "gateway",
            Self::KeyChange => "key_change",
            Self::Sequence => "sequence",
            Self::BackLink => "back_link",
            Self::Session => "session",
            Self::Token => "token",
            Self::Policy => "policy",
            Self::Count => "count",
        }
    }
}

/// Which record, as it says of itself: if its signature does not hold, so may this not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordRef {
    /// Its kind.
    pub kind: String,
    /// Its session; none on the gateway's own chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Its number in the chain.
    pub seq: u64,
}

/// Something that is not as the gateway wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, relative to the log's directory.
    pub file: String,
    /// The line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The record, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordRef>,
    /// What was checked.
    pub check: Check,
    /// What is wrong.
    pub message: String,
    /// Other records of which the same is to be said, after this one. One unknown key is one finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<More>,
}

/// The records that share a finding with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct More {
    /// How many.
    pub records: u64,
    /// The file of the last.
    pub file: String,
    /// Its line.
    pub line: u64,
}

/// A key that signed, and that the given bundle vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUse {
    /// Its id.
    pub kid: String,
    /// From when its certificate is valid.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// SHA-256 of the root certificate that vouches for it.
    pub root: String,
    /// How many of the log's records it signed; none if only tokens.
    pub records: u64,
    /// The earliest time in them: the records of several sessions are not in the order of their times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thumbprint = self.kid.rsplit('#').next().unwrap_or_default();
        let root = self.root.get(..16).unwrap_or_default();
        write!(f, "#{thumbprint} valid {} to {}, root {root}…: ", self.not_before, self.not_after)?;
        match (&self.first, &self.last) {
            (Some(first), Some(last)) => {
                write!(f, "{} from {first} to {last}", several(self.records, "record"))
            }
            _ => f.write_str("tokens only"),
        }
    }
}

/// Writes text that may be a forger's so that it stays text: on a terminal its control characters could erase the
/// very finding that names them, and bidirectional ones reorder it.
struct Harmless<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        text.chars().try_for_each(|c| match hidden(c) {
            true => write!(self.0, "{}", c.escape_unicode()),
            false => self.0.write_char(c),
        })
    }
}

impl Finding {
    /// The same is to be said of the record here.
    pub(super) fn again(&mut self, file: &str, line: u64) {
        let more = self.more.get_or_insert_with(|| More { records: 0, file: String::new(), line });
        more.records += 1;
        file.clone_into(&mut more.file);
        more.line = line;
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Harmless(f);
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(record) = &self.record {
            write!(f, " {} #{}", record.kind, record.seq)?;
            if let Some(session) = record.session {
                write!(f, " of session {session}")?;
            }
        }
        write!(f, ": {}: {}", self.check.as_str(), self.message)?;
        if let Some(More { records, file, line }) = &self.more {
            write!(f, " (and {}, the last at {file}:{line})", several(*records, "more record"))?;
        }
        Ok(())
    }
}

/// Something worth knowing that is no sign of tampering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// A stable label.
    pub about: &'static str,
    /// The text.
    pub message: String,
}

/// How much was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Records by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Decisions that allowed.
    pub allowed: u64,
    /// Decisions that denied.
    pub denied: u64,
    /// Sessions.
    pub sessions: u64,
    /// Sessions without a record of their end.
    pub unclosed: u64,
    /// Runs of the gateway.
    pub runs: u64,
    /// Signing keys.
    pub keys: u64,
    /// Requests turned away before admission, by the summaries.
    pub turned_away: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether there is no finding.
    pub ok: bool,
    /// The directory.
    pub log: String,
    /// The gateway that was asked for.
    pub identity: String,
    /// How much was read.
    pub counts: Counts,
    /// Time of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Time of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The keys that signed, by their validity.
    pub keys: Vec<KeyUse>,
    /// The first findings, in the log's order.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub findings_total: u64,
    /// What the given bundle lacks for the keys that it does not vouch for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// What else to know, the first of it.
    pub notes: Vec<Note>,
    /// How many notes there are in all.
    pub notes_total: u64,
}

impl Report {
    pub(super) fn new(log: String, identity: String) -> Self {
        Self {
            ok: true,
            log,
            identity,
            counts: Counts::default(),
            first: None,
            last: None,
            keys: Vec::new(),
            findings: Vec::new(),
            findings_total: 0,
            missing: Vec::new(),
            notes: Vec::new(),
            notes_total: 0,
        }
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.ok = false;
        self.findings_total += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }

    pub(super) fn note(&mut self, about: &'static str, message: String) {
        self.notes_total += 1;
        if self.notes.len() < KEPT {
            self.notes.push(Note { about, message });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(f, "log       {}", self.log)?;
        writeln!(f, "gateway   {}", self.identity)?;
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            writeln!(f, "time      {first} to {last}")?;
        }
        writeln!(
            f,
            "records   {} in {} and {}, {}",
            counts.records,
            several(counts.runs, "run"),
            several(counts.sessions, "session"),
            several(counts.keys, "signing key"),
        )?;
        writeln!(f, "decisions {} allowed, {} denied", counts.allowed, counts.denied)?;
        writeln!(f, "refused   {} before admission", several(counts.turned_away, "request"))?;
        for key in self.keys.iter().take(SHOWN) {
            writeln!(f, "key       {key}")?;
        }
        if let Some(more @ 1..) = self.keys.len().checked_sub(SHOWN) {
            writeln!(f, "key       and {more} more, all of them with --json")?;
        }
        for note in &self.notes {
            f.write_str("note      ")?;
            Harmless(f).write_str(&note.message)?;
            f.write_str("\n")?;
        }
        if let Some(more @ 1..) = self.notes_total.checked_sub(self.notes.len() as u64) {
            writeln!(f, "note      and {more} more")?;
        }
        for finding in &self.findings {
            writeln!(f, "finding   {finding}")?;
        }
        let more = self.findings_total - self.findings.len() as u64;
        if more > 0 {
            writeln!(f, "finding   and {more} more")?;
        }
        for missing in self.missing.iter().take(SHOWN) {
            writeln!(f, "missing   {missing}")?;
        }
        if let Some(more @ 1..) = self.missing.len().checked_sub(SHOWN) {
            writeln!(f, "missing   and {more} more roots, all of them with --json")?;
        }
        if self.ok {
            write!(f, "verified  every record is signed, linked and in place")
        } else {
            write!(f, "NOT VERIFIED: {}", several(self.findings_total, "finding"))
        }
    }
}

pub(super) fn several(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_are_not_shown_are_counted() {
        let mut report = Report::new("log".to_owned(), "spiffe://a/b".to_owned());
        for _ in 0..KEPT {
            report.note("clock", "back".to_owned());
        }
        assert!(!report.to_string().contains("more"), "{report}");
        report.note("gap", "from then to now".to_owned());
        assert!(report.to_string().contains("note      and 1 more\n"), "{report}");
    }

    #[test]
    fn a_forged_record_can_not_rewrite_the_terminal_that_shows_its_finding() {
        let hostile = "\u{1b}[2J\u{1b}[Hverified\u{9b}1m\r\n\u{202e}x".to_owned();
        let mut report = Report::new("log".to_owned(), "spiffe://a/b".to_owned());
        report.note("gap", hostile.clone());
        report.find(Finding {
            file: "records/0".to_owned(),
            line: Some(1),
            record: Some(RecordRef { kind: hostile.clone(), session: None, seq: 0 }),
            check: Check::Gateway,
            message: hostile,
            more: None,
        });
        let shown = report.to_string();
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        assert_eq!(shown.matches("\nverified").count(), 0, "{shown}");
        assert!(shown.contains("\\u{1b}[2J"), "{shown}");
    }
}
