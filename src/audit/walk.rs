//! The walk over the log: one record after the other, the first thing that is wrong with each.

use std::collections::{HashMap, HashSet};

use super::read::{self, Record};
use super::report::{Check, Finding, RecordRef, Report, several};
use super::run::RunState;
use super::session::{SessionState, Wrong};
use super::trust::Trust;
use crate::attest::{Layout, dsse};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{GatewayRunId, KeyId, SessionId, SpiffeId};
use crate::keys::TrustBundle;

/// How far a chain's time may go back before it is noted: clocks are corrected.
const CLOCK_TOLERANCE_MS: u128 = 5_000;

/// Most sessions of which nothing but records that can't be believed is remembered.
const MAX_DOUBTED_SESSIONS: usize = 1_000_000;

/// Most kinds that are counted apart.
const MAX_KINDS: usize = 64;

/// Most findings that are remembered so as not to be said again.
const MAX_SAID: usize = 1000;

/// See the module.
pub(super) struct Walk<'a> {
    pub(super) layout: &'a Layout,
    pub(super) identity: &'a SpiffeId,
    pub(super) trust: Trust<'a>,
    pub(super) report: Report,
    pub(super) sessions: HashMap<SessionId, SessionState>,
    runs: HashSet<GatewayRunId>,
    pub(super) run: Option<RunState>,
    /// The start of a run may be among the records that could not be read or believed.
    lost_start: bool,
    /// Findings about keys and what is archived of them, and where they stand: said once, however many records.
    said: HashMap<(Check, String), usize>,
    /// Digest of the record before.
    last: Option<Sha256Digest>,
    /// The latest time of a believed record, whoever's it is.
    latest: Option<Timestamp>,
    /// The record before could not be read.
    doubt: bool,
    /// Whose log it says it is, when that is another gateway: said once, and not again of every record.
    another: Option<String>,
    file: String,
    line: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(layout: &'a Layout, bundle: &'a TrustBundle, identity: &'a SpiffeId) -> Self {
        Self {
            layout,
            identity,
            trust: Trust::new(layout, bundle, identity),
            report: Report::new(layout.dir().display().to_string(), identity.to_string()),
            sessions: HashMap::new(),
            runs: HashSet::new(),
            run: None,
            lost_start: false,
            said: HashMap::new(),
            last: None,
            latest: None,
            doubt: false,
            another: None,
            file: "log.json".to_owned(),
            line: 0,
        }
    }

    /// The log is of this other gateway, which was found.
    pub(super) fn of_another(&mut self, gateway: String) {
        self.another = Some(gateway);
    }

    /// What follows stands in this file.
    pub(super) fn segment(&mut self, file: String) {
        self.file = file;
        self.line = 0;
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.report.counts.bytes += bytes;
    }

    /// The log ends within a record, as a crash leaves it.
    pub(super) fn torn(&mut self, bytes: usize) {
        let records = self.report.counts.records;
        self.report.note("torn_tail", format!("torn tail of {bytes} bytes after record {records}"));
    }

    /// A line that is no record at all.
    pub(super) fn broken(&mut self, message: &str) {
        self.count_line();
        self.unreadable(Check::Envelope, message.to_owned());
    }

    fn count_line(&mut self) {
        self.line += 1;
        self.report.counts.records += 1;
        if let Some(run) = &mut self.run {
            run.records = run.records.map(|records| records + 1);
        }
    }

    /// One line.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.count_line();
        let envelope = match dsse::read(line) {
            Ok(envelope) => envelope,
            Err(error) => return self.unreadable(Check::Envelope, error.to_string()),
        };
        let record = match Record::read(&envelope.payload) {
            Ok(record) => record,
            Err(why) => return self.unreadable(Check::Statement, why),
        };
        let named =
            RecordRef { kind: record.kind.clone(), session: record.header.session, seq: record.header.seq };
        let kinds = &mut self.report.counts.kinds;
        // A forger may make up any number of kinds.
        if kinds.len() < MAX_KINDS || kinds.contains_key(&record.kind) {
            *kinds.entry(record.kind.clone()).or_default() += 1;
        }
        if let Err((check, message)) = self.believe(&envelope, &record) {
            self.doubt(&record);
            if check == Check::Key && self.is_of_another(&envelope.keyid) {
                return;
            }
            return self.find(check, message, Some(named));
        }
        self.report.first.get_or_insert_with(|| record.time_text.clone());
        self.report.last = Some(record.time_text.clone());
        self.trust.signed(&envelope.keyid, record.time);
        let digest = Sha256Digest::of(&envelope.payload);
        let outcome = self.place(&envelope.keyid, &record, digest);
        self.last = Some(digest);
        self.latest = self.latest.max(Some(record.time));
        self.doubt = false;
        if let Err((check, message)) = outcome {
            self.find(check, message, Some(named));
        }
    }

    /// Whether the record is signed by the gateway.
    fn believe(&mut self, envelope: &dsse::Envelope, record: &Record<'_>) -> Result<(), Wrong> {
        let leaf = self.trust.key(&envelope.keyid, record.time).map_err(|why| (Check::Key, why))?;
        let verified = leaf.key.verify_der(&envelope.pae(), &envelope.signature);
        verified.map_err(|error| (Check::Signature, error.to_string()))?;
        if record.header.gateway.id != self.identity.as_str() {
            return Err((Check::Gateway, format!("it names the gateway {}", record.header.gateway.id)));
        }
        Ok(())
    }

    /// Whether the other gateway, whose log this says it is, signed with `kid`.
    fn is_of_another(&self, kid: &str) -> bool {
        let signer = kid.parse::<KeyId>().ok();
        signer.is_some_and(|id| self.another.as_deref() == Some(id.spiffe_id()))
    }

    /// A record that can't be believed: whatever chain it says it is of is not blamed for it again.
    fn doubt(&mut self, record: &Record<'_>) {
        self.doubt = true;
        let seq = record.header.seq;
        match (record.header.session, &mut self.run) {
            (Some(session), _) => {
                // A forger may make up any number of sessions.
                let known = self.sessions.contains_key(&session);
                if known || self.sessions.len() < MAX_DOUBTED_SESSIONS {
                    self.sessions.entry(session).or_insert_with(SessionState::new).doubt(seq);
                }
            }
            (None, Some(run)) if record.kind != "gateway-start" => run.doubt(seq),
            (None, _) => self.lost_start = true,
        }
    }

    /// The run that a believed record says it is of, when its start could not be read or believed. That was found
    /// already, so what followed on it is not.
    fn adopt(&mut self, id: GatewayRunId) {
        if self.run.as_ref().is_some_and(|run| run.id == id) {
            self.lost_start = false;
        } else if self.lost_start && self.runs.insert(id) {
            self.end_run();
            self.report.counts.runs += 1;
            self.run = Some(RunState::without_start(id, self.report.counts.runs));
            self.lost_start = false;
        }
    }

    /// Whether a believed record stands where it should and says what it may.
    fn place(&mut self, kid: &str, record: &Record<'_>, digest: Sha256Digest) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let header = &record.header;
        if record.kind == "gateway-start" {
            return self.start(kid, record, digest);
        }
        self.adopt(header.gateway.run);
        let Some(run) = &mut self.run else {
            return Err((Check::Gateway, "no run of the gateway has begun before it".to_owned()));
        };
        if header.gateway.run != run.id {
            return Err((Check::Gateway, format!("it is of run {}, not of {}", header.gateway.run, run.id)));
        }
        if run.stopped {
            return Err((Check::Gateway, "its run of the gateway had ended".to_owned()));
        }
        let change = match &*record.kind {
            "key-change" => Some(record.body::<read::KeyChange>().map_err(unread)?),
            _ => None,
        };
        let change = change.as_ref().map(|change| (&*change.previous_key, &change.key));
        run.signed_by(kid, &record.kind, change)?;
        let number = run.number;
        let (chain, in_order) = match header.session {
            None => (&mut run.chain, Ok(())),
            Some(session) => {
                let state = self.sessions.entry(session).or_insert_with(SessionState::new);
                let in_order = if *state.run.get_or_insert(number) != number {
                    Err((Check::Session, "its session is of an earlier run".to_owned()))
                } else if state.closed {
                    Err((Check::Session, "its session was closed before".to_owned()))
                } else {
                    Ok(())
                };
                (&mut state.chain, in_order)
            }
        };
        let behind = chain.behind(record.time);
        chain.follow(header.seq, header.previous, digest, record.time)?;
        in_order?;
        if behind > CLOCK_TOLERANCE_MS {
            let place = format!("{}:{}", self.file, self.line);
            self.report.note("clock", format!("{place}: the clock went back by {behind} ms"));
        }
        match header.session {
            Some(session) => self.of_session(session, record),
            None => self.of_gateway(record),
        }
    }

    fn start(&mut self, kid: &str, record: &Record<'_>, digest: Sha256Digest) -> Result<(), Wrong> {
        let start: read::Start = record.body().map_err(|why| (Check::Statement, why))?;
        let id = record.header.gateway.run;
        if !self.runs.insert(id) {
            return Err((Check::Gateway, "this run of the gateway began before".to_owned()));
        }
        self.end_run();
        self.report.counts.runs += 1;
        if let Some(torn) = &start.torn_tail {
            let message =
                format!("a crash left {} torn bytes in {}, cut and kept aside", torn.bytes, torn.segment);
            self.report.note("torn_tail_cut", message);
        }
        if start.durability == "queued" {
            let message = format!("run {id} promised records before they were written (queued)");
            self.report.note("queued", message);
        }
        let number = self.report.counts.runs;
        let behind = self.latest.map_or(0, |latest| latest.since(record.time).as_millis());
        if behind > CLOCK_TOLERANCE_MS {
            let place = format!("{}:{}", self.file, self.line);
            let message = format!(
                "{place}: run {id} says that it began {behind} ms before what it follows: the clock was set back, or \
                 whoever wrote it had a key of that time"
            );
            self.report.note("clock", message);
        }
        let (mut run, linked) = RunState::begin(id, number, &start, self.last, self.doubt);
        let follows = run.chain.follow(record.header.seq, record.header.previous, digest, record.time);
        self.run = Some(run);
        self.lost_start = false;
        if start.key.kid != kid {
            return Err((Check::KeyChange, format!("it announces {} but is signed by {kid}", start.key.kid)));
        }
        follows?;
        linked?;
        self.archived(&start.key)
    }

    /// Sessions that were not closed when their run ended stay so.
    fn end_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        if !run.stopped {
            let message = format!("run {} has no record of its end: it was killed, or still runs", run.id);
            self.report.note("unfinished_run", message);
        }
    }

    /// The outcome, when everything was read.
    pub(super) fn finish(mut self) -> Report {
        self.end_run();
        if self.report.counts.records == 0 {
            self.file = "records".to_owned();
            self.find(Check::Segments, "there are no records".to_owned(), None);
        }
        let believed = self.sessions.values().filter(|session| session.run.is_some());
        let (sessions, closed) =
            believed.fold((0, 0), |(all, closed), session| (all + 1, closed + u64::from(session.closed)));
        let unclosed = sessions - closed;
        self.report.counts.sessions = sessions;
        self.report.keys = self.trust.keys();
        self.report.missing = std::mem::take(&mut self.trust.missing);
        self.report.counts.keys = self.report.keys.len() as u64;
        self.report.counts.unclosed = unclosed;
        if unclosed > 0 {
            let rest = if unclosed == 1 { "has no record of its end" } else { "have no record of their end" };
            let message = format!("{} {rest}", several(unclosed, "session"));
            self.report.note("unclosed_sessions", message);
        }
        self.report
    }

    /// Something that can't be read: the record after it is not blamed for it.
    pub(super) fn unreadable(&mut self, check: Check, message: String) {
        self.doubt = true;
        self.lost_start = true;
        self.find(check, message, None);
    }

    /// A finding here, or one record more of a finding about a key that was said before.
    pub(super) fn find(&mut self, check: Check, message: String, record: Option<RecordRef>) {
        if matches!(check, Check::Key | Check::Archive) {
            let same = (check, message);
            if let Some(at) = self.said.get(&same) {
                if let Some(finding) = self.report.findings.get_mut(*at) {
                    finding.again(&self.file, self.line);
                }
                return;
            }
            if self.said.len() < MAX_SAID {
                self.said.insert(same.clone(), self.report.findings.len());
            }
            return self.tell(same.0, same.1, record);
        }
        self.tell(check, message, record);
    }

    fn tell(&mut self, check: Check, message: String, record: Option<RecordRef>) {
        let line = (self.line > 0).then_some(self.line);
        self.report.find(Finding { file: self.file.clone(), line, record, check, message, more: None });
    }
}
