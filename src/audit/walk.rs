//! The walk over the log: one record after the other, the first thing that is wrong with each.

use std::collections::{HashMap, HashSet};

use super::read::{self, Record};
use super::report::{Check, Finding, RecordRef, Report};
use super::run::RunState;
use super::session::{self, SessionState, Wrong};
use super::trust::Trust;
use crate::attest::{Layout, dsse};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{GatewayRunId, KeyId, SessionId, SpiffeId};
use crate::keys::TrustBundle;

/// How far a chain's time may go back before it is noted: clocks are corrected.
const CLOCK_TOLERANCE_MS: u128 = 5_000;

/// See the module.
pub(super) struct Walk<'a> {
    layout: &'a Layout,
    identity: &'a SpiffeId,
    trust: Trust<'a>,
    report: Report,
    sessions: HashMap<SessionId, SessionState>,
    runs: HashSet<GatewayRunId>,
    run: Option<RunState>,
    /// Digest of the record before.
    last: Option<Sha256Digest>,
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
            last: None,
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
            run.records += 1;
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
        *self.report.counts.kinds.entry(record.kind.clone()).or_default() += 1;
        if let Err((check, message)) = self.believe(&envelope, &record) {
            self.doubt(&record);
            if check == Check::Key && self.is_of_another(&envelope.keyid) {
                return;
            }
            return self.find(check, message, Some(named));
        }
        self.report.first.get_or_insert_with(|| record.time_text.clone());
        self.report.last = Some(record.time_text.clone());
        let digest = Sha256Digest::of(&envelope.payload);
        let outcome = self.place(&envelope.keyid, &record, digest);
        self.last = Some(digest);
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
        let chain = match record.header.session {
            Some(session) => self.sessions.get_mut(&session).map(|state| &mut state.chain),
            None => self.run.as_mut().map(|run| &mut run.chain),
        };
        if let Some(chain) = chain {
            chain.doubt(record.header.seq);
        }
    }

    /// Whether a believed record stands where it should and says what it may.
    fn place(&mut self, kid: &str, record: &Record<'_>, digest: Sha256Digest) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let header = &record.header;
        if record.kind == "gateway-start" {
            return self.start(kid, record, digest);
        }
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
                let state = self.sessions.entry(session).or_insert_with(|| SessionState::new(number));
                let in_order = if state.run != number {
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
        let (mut run, linked) = RunState::begin(id, number, &start, self.last, self.doubt);
        run.records = 1;
        let follows = run.chain.follow(record.header.seq, record.header.previous, digest, record.time);
        self.run = Some(run);
        if start.key.kid != kid {
            return Err((Check::KeyChange, format!("it announces {} but is signed by {kid}", start.key.kid)));
        }
        follows?;
        linked
    }

    fn of_gateway(&mut self, record: &Record<'_>) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let Some(run) = &mut self.run else { return Ok(()) };
        match &*record.kind {
            "key-change" => {}
            "policy-change" => {
                let change: read::PolicyChange = record.body().map_err(unread)?;
                run.policies.announce(self.layout, &change).map_err(|why| (Check::Policy, why))?;
            }
            "refusal-summary" => {
                let summary: read::Refusals = record.body().map_err(unread)?;
                let counts = summary.refusals.iter().map(|refusal| refusal.count);
                self.report.counts.turned_away += counts.sum::<u64>();
            }
            "gap" => {
                let gap: read::Gap = record.body().map_err(unread)?;
                let (since, until) = (&gap.since, &gap.until);
                let mut message =
                    format!("from {since} to {until} {} records were refused ({})", gap.refused, gap.cause);
                if gap.lost > 0 {
                    message.push_str(&format!(" and {} promised ones lost", gap.lost));
                }
                self.report.note("gap", message);
            }
            "gateway-stop" => {
                let stop: read::Stop = record.body().map_err(unread)?;
                run.stopped = true;
                if stop.records != run.records {
                    let message = format!("the run wrote {} records, {} are here", stop.records, run.records);
                    return Err((Check::Count, message));
                }
            }
            other => {
                return Err((
                    Check::Statement,
                    format!("the gateway's chain has no records of kind {other}"),
                ));
            }
        }
        Ok(())
    }

    fn of_session(&mut self, session: SessionId, record: &Record<'_>) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let (Some(run), Some(state)) = (&mut self.run, self.sessions.get_mut(&session)) else {
            return Ok(());
        };
        let announced = |set, schema| run.policies.check(set, schema).map_err(|why| (Check::Policy, why));
        let (token, claims) = match &*record.kind {
            "decision" => {
                let decision: read::Decision = record.body().map_err(unread)?;
                match decision.effect {
                    read::Effect::Allow => self.report.counts.allowed += 1,
                    read::Effect::Deny => self.report.counts.denied += 1,
                }
                if record.subject != decision.request.forwarded.unwrap_or(decision.request.received) {
                    return Err((Check::Statement, "its subject is not its request".to_owned()));
                }
                let from_client = decision.from == "client";
                let allowed = from_client && decision.effect == read::Effect::Allow;
                state.carried(decision.token.as_ref(), from_client, allowed.then_some(record.time))?;
                return announced(decision.policy_set, decision.schema);
            }
            "session-close" => {
                state.close();
                return Ok(());
            }
            "session-open" => {
                let open: read::Open = record.body().map_err(unread)?;
                if state.is_open() {
                    return Err((Check::Session, "its session was opened before".to_owned()));
                }
                announced(open.policy_set, open.schema)?;
                (open.token, open.claims)
            }
            "session-renew" => {
                let renew: read::Renew = record.body().map_err(unread)?;
                if !state.is_open() {
                    return Err((Check::Session, "its session was not opened".to_owned()));
                }
                (renew.token, renew.claims)
            }
            other => return Err((Check::Statement, format!("a session has no records of kind {other}"))),
        };
        let checked = session::claims(&claims, session, self.identity);
        let kid = token.kid.clone();
        let same = record.subject == token.sha256;
        state.issued(token, Timestamp::from_secs(claims.exp));
        checked?;
        if !same {
            return Err((Check::Statement, "its subject is not its token".to_owned()));
        }
        let issued = Timestamp::from_secs(claims.iat);
        let leaf =
            self.trust.key(&kid, issued).map_err(|why| (Check::Token, format!("the token's key: {why}")))?;
        if claims.exp > leaf.not_after.as_secs() {
            return Err((
                Check::Token,
                "the token outlives the certificate of the key that signed it".to_owned(),
            ));
        }
        Ok(())
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
        self.report.counts.sessions = self.sessions.len() as u64;
        self.report.counts.keys = self.trust.len() as u64;
        let unclosed = self.sessions.values().filter(|session| !session.closed).count() as u64;
        self.report.counts.unclosed = unclosed;
        if unclosed > 0 {
            self.report.note("unclosed_sessions", format!("{unclosed} sessions have no record of their end"));
        }
        self.report
    }

    /// Something that can't be read: the record after it is not blamed for it.
    pub(super) fn unreadable(&mut self, check: Check, message: String) {
        self.doubt = true;
        self.find(check, message, None);
    }

    /// A finding here.
    pub(super) fn find(&mut self, check: Check, message: String, record: Option<RecordRef>) {
        let line = (self.line > 0).then_some(self.line);
        self.report.find(Finding { file: self.file.clone(), line, record, check, message });
    }
}
