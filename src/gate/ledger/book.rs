//! Accounts as the log's records tell them, and the file that says so up to a record.
//!
//! `ledger.json` stands in the log's directory: one line with the digest of the rest, then the accounts and the
//! place of the last record that they hold. It is made of records alone, so that it can be lost at any time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::counter::KEPT;
use crate::attest::{Log, Place, ReadError, StorageError};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;

/// The file's name in the log's directory.
const FILE: &str = "ledger.json";
/// Its format.
const FORMAT: u32 = 1;

/// Why nobody knows what principals did.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file can't be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log's records can't be read.
    #[error(
        "what principals did before can't be read from the log: {0}; limits and labels rest on it, so nothing is \
         served. Restore the log, or begin a new one (`log.dir`), with which every counter begins at zero and no label is set"
    )]
    Records(#[from] ReadError),
    /// There is neither the file nor the beginning of the log.
    #[error(
        "the log begins with segment {first:08}, and no ledger.json says what the ones before it count; limits and labels \
         rest on it, so nothing is served. Put those segments back until it is made anew, or begin a new log (`log.dir`), \
         with which every counter begins at zero and no label is set"
    )]
    Beginning {
        /// The first segment that there is.
        first: u32,
    },
    /// The file is damaged, or not of this log.
    #[error("{} {why}: delete it, and it is made anew from the whole log", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// Of the second line.
    sha256: String,
}

/// The second line, read.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    /// After the last record that is counted.
    after: Place,
    /// That record: where it begins, and its payload's digest.
    last: Option<Last>,
    accounts: HashMap<Arc<str>, Account>,
    /// When that record was made, if it was read just now.
    #[serde(skip)]
    time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    at: Place,
    sha256: String,
}

/// What a record says, as far as it matters here.
#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(rename = "predicateType", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    predicate: Predicate<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    effect: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    principal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    server: Option<Cow<'a, str>>,
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    replaces: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    added_labels: Vec<Added<'a>>,
    #[serde(borrow, default)]
    lifted_labels: Vec<Lifted<'a>>,
    reset_calls: Option<u64>,
}

#[derive(Deserialize)]
struct Added<'a> {
    #[serde(borrow)]
    label: Cow<'a, str>,
    #[serde(borrow)]
    until: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Lifted<'a> {
    #[serde(borrow)]
    label: Cow<'a, str>,
}

/// The kinds of records that count.
const STATE_CHANGE: &str = "urn:chancery:attestation:state-change:v1";
const DECISION: &str = "urn:chancery:attestation:decision:v1";

/// When a decision was made, by its id, a UUIDv7 (RFC 9562 §5.7).
fn made(decision: &str) -> Option<Timestamp> {
    let (secs, nanos) = uuid::Uuid::parse_str(decision).ok()?.get_timestamp()?.to_unix();
    Some(Timestamp::from_millis(i64::try_from(secs).ok()?.checked_mul(1000)? + i64::from(nanos / 1_000_000)))
}

impl Book {
    /// What the file beside `log` says; nothing if there is none.
    pub(super) fn load(log: &Log) -> Result<Self, LedgerError> {
        match log.read_beside(FILE)? {
            Some(bytes) => {
                Self::read(&bytes).map_err(|why| LedgerError::File { path: log.dir().join(FILE), why })
            }
            None => match log.begin()? {
                // They were moved away, and with the file it is gone what they count.
                Place { segment: first @ 1.., .. } => Err(LedgerError::Beginning { first }),
                after => Ok(Self { after, ..Self::default() }),
            },
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let (head, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let head: Head = serde_json::from_slice(head).map_err(|error| format!("can't be read ({error})"))?;
        if head.format != FORMAT {
            return Err(format!("has format {}, this version writes {FORMAT}", head.format));
        }
        if head.sha256 != Sha256Digest::of(body).to_string() {
            return Err("is damaged".to_owned());
        }
        serde_json::from_slice(body).map_err(|error| format!("can't be read ({error})"))
    }

    /// Counts what the log has more than the file.
    pub(super) fn catch_up(&mut self, log: &Log) -> Result<(), LedgerError> {
        let end = log.end();
        let misfit = || LedgerError::File {
            path: log.dir().join(FILE),
            why: "does not fit the records beside it".to_owned(),
        };
        let from = self.last.as_ref().map_or(self.after, |last| last.at);
        let mut records = match log.read(from, end) {
            // Of a segment that is not there, or a place behind the end.
            Err(ReadError::Place(_)) if self.last.is_some() => return Err(misfit()),
            other => other?,
        };
        if let Some(last) = &self.last {
            let first = records.next().ok_or_else(misfit)?;
            let fits = first.is_ok_and(|record| {
                Sha256Digest::of(&record.payload).to_string() == last.sha256 && record.after == self.after
            });
            if !fits {
                return Err(misfit());
            }
        }
        for record in records {
            let record = record?;
            self.count(&record.payload)
                .map_err(|error| ReadError::Statement(record.at, error.to_string()))?;
            self.after = record.after;
            self.last = Some(Last { at: record.at, sha256: Sha256Digest::of(&record.payload).to_string() });
        }
        self.prune();
        Ok(())
    }

    /// Lets go of what has had no effect for as long as counters last, or names without end would fill the file: by the
    /// records' own time, so that a clock that goes wrong for less than that loses nothing.
    pub(super) fn prune(&mut self) {
        let Some(time) = self.time else { return };
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(time.as_millis().saturating_sub(kept));
        self.accounts.retain(|_, account| account.prune(since));
    }

    /// Counts one record, as the gate did when it made it.
    pub(super) fn count(&mut self, payload: &[u8]) -> Result<(), serde_json::Error> {
        let Statement { kind, predicate } = serde_json::from_slice(payload)?;
        if kind == STATE_CHANGE {
            if let Some(account) = predicate.principal.and_then(|of| self.accounts.get_mut(of.as_ref())) {
                for lifted in &predicate.lifted_labels {
                    account.lift(&lifted.label);
                }
                if predicate.reset_calls.is_some() {
                    account.reset();
                }
            }
            return Ok(());
        }
        let is = |field: &Option<Cow<'_, str>>, text| field.as_deref() == Some(text);
        if kind != DECISION || !is(&predicate.from, "client") {
            return Ok(());
        }
        let time = |text: &str| {
            Timestamp::parse_rfc3339(text)
                .ok_or_else(|| serde::de::Error::custom("a time is no RFC 3339 text"))
        };
        let at = time(&predicate.time)?;
        self.time = Some(at);
        let principal = predicate.principal.unwrap_or_default();
        let (allowed, calls) = (is(&predicate.effect, "allow"), is(&predicate.method, "tools/call"));
        if !(calls && (allowed || predicate.replaces.is_some()) || !predicate.added_labels.is_empty()) {
            return Ok(());
        }
        let account = self.accounts.entry(principal.as_ref().into()).or_default();
        if calls {
            let (server, tool) = (predicate.server.unwrap_or_default(), predicate.action.unwrap_or_default());
            if let Some(decision) = &predicate.replaces {
                // Its time is in its id.
                account.undo(&server, &tool, made(decision).unwrap_or(at));
            }
            if allowed {
                account.count(&server, &tool, at);
            }
        }
        for added in &predicate.added_labels {
            if let Some(until) = &added.until {
                account.label(&added.label.as_ref().into(), time(until)?);
            }
        }
        Ok(())
    }

    /// Writes the file. What it counts is on disk before it is.
    pub(super) fn save(&self, log: &Log) -> Result<(), LedgerError> {
        let failed = |error: serde_json::Error| LedgerError::File {
            path: log.dir().join(FILE),
            why: format!("can't be written ({error})"),
        };
        let body = serde_json::to_vec(self).map_err(failed)?;
        let head = Head { format: FORMAT, sha256: Sha256Digest::of(&body).to_string() };
        let mut bytes = serde_json::to_vec(&head).map_err(failed)?;
        bytes.push(b'\n');
        bytes.extend(body);
        bytes.push(b'\n');
        Ok(log.write_beside(FILE, &bytes, self.after)?)
    }

    /// After the last record that is counted.
    pub(super) const fn place(&self) -> Place {
        self.after
    }

    pub(super) fn into_accounts(self) -> HashMap<Arc<str>, Account> {
        self.accounts
    }
}
