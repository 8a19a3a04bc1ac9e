//! The one thread that writes: takes what is queued, signs each record, writes all with one write and one sync,
//! then hands out the receipts. A batch that fails is undone whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::archive::TrustArchive;
use super::chain::Position;
use super::config::Durability;
use super::directory::{Layout, Lock};
use super::draft::{Draft, Signing};
use super::error::{AppendError, LogError};
use super::gateway::{GatewayStart, GatewayStop, KeyChange, LogGap, TornTail};
use super::labels::GapCause;
use super::log::Shared;
use super::predicate::{Predicate, clip};
use super::queue::{Job, Queued, Record};
use super::receipt::Receipt;
use super::segment::{Open, Segments};
use super::statement::GatewayInfo;
use super::tail;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::recorder::SharedRecorder;
use crate::keys::{PublicSvid, Signer};

/// Most records, and most bytes of payload, that share one write.
const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// After a failure: when to try again, doubled up to the longest wait.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// What the writer works with.
pub(super) struct Parts {
    pub(super) layout: Layout,
    #[expect(dead_code, reason = "held until the writer ends")]
    pub(super) lock: Lock,
    pub(super) durability: Durability,
    pub(super) segment_bytes: u64,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) clock: Clock,
    pub(super) recorder: SharedRecorder,
    pub(super) gateway: GatewayInfo,
    pub(super) shared: Arc<Shared>,
    pub(super) open: Open,
}

pub(super) struct Writer {
    parts: Parts,
    segments: Segments,
    after: Option<Sha256Digest>,
    torn: Option<TornTail>,
    /// The gateway's own chain.
    position: Position,
    key: Option<Signing>,
    archive: TrustArchive,
    /// Records of this run.
    records: u64,
    gap: Option<Gap>,
    /// The end of the last gap: refusals that were counted while its record was being written belong to it.
    ended: Option<(Timestamp, GapCause)>,
}

/// While records can't be written.
struct Gap {
    since: Timestamp,
    cause: GapCause,
    detail: String,
    refused: u64,
    lost: u64,
    wait: Duration,
    next: Instant,
}

/// Where a record stands, or why it doesn't.
type Placed = Result<(Sha256Digest, u64), AppendError>;

impl Writer {
    pub(super) fn new(parts: Parts) -> Result<Self, LogError> {
        let end = tail::recover(&parts.layout)?;
        let segments =
            Segments::open(&parts.layout, end.index, end.good, parts.segment_bytes, parts.open.clone())?;
        let archive = TrustArchive::new(parts.layout.clone());
        Ok(Self {
            parts,
            segments,
            after: end.last,
            torn: end.torn,
            position: Position::default(),
            key: None,
            archive,
            records: 0,
            gap: None,
            ended: None,
        })
    }

    /// Writes the first record of the run.
    pub(super) fn start(&mut self) -> Result<(), AppendError> {
        let key = self.current()?;
        let mut draft = self.draft(key.clone());
        draft.own(Predicate::GatewayStart(GatewayStart {
            key: key.reference.clone(),
            durability: self.parts.durability,
            after: self.after,
            torn_tail: self.torn.take(),
        }))?;
        self.write(draft)
    }

    /// Serves the queue until the log is closed or dropped.
    pub(super) fn run(mut self, receiver: &Receiver<Job>) {
        let closed = self.serve(receiver);
        self.stop();
        // The lock is free before anyone hears that the log is closed.
        drop(self);
        if let Some(done) = closed {
            let _nobody_waits = done.send(());
        }
    }

    fn serve(&mut self, receiver: &Receiver<Job>) -> Option<oneshot::Sender<()>> {
        loop {
            let job = match &self.gap {
                None => receiver.recv().map_err(RecvTimeoutError::from),
                Some(gap) => receiver.recv_timeout(gap.next.saturating_duration_since(Instant::now())),
            };
            match job {
                Ok(Job::Append(first)) => {
                    let (batch, closed) = self.drain(*first, receiver);
                    if let Some(cause) =
                        self.gap.as_ref().and_then(|_| self.parts.shared.cause.lock().clone())
                    {
                        self.refuse(batch, &cause);
                    } else {
                        self.commit(batch);
                    }
                    if closed.is_some() {
                        return closed;
                    }
                }
                Ok(Job::Close(done)) => return Some(done),
                Err(RecvTimeoutError::Timeout) => self.recover(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// What is there now, up to a batch's size.
    fn drain(&self, first: Queued, receiver: &Receiver<Job>) -> (Vec<Queued>, Option<oneshot::Sender<()>>) {
        let mut bytes = first.size();
        let mut batch = vec![first];
        let mut closed = None;
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match receiver.try_recv() {
                Ok(Job::Append(next)) => {
                    bytes += next.size();
                    batch.push(*next);
                }
                Ok(Job::Close(done)) => {
                    closed = Some(done);
                    break;
                }
                Err(_empty_or_dropped) => break,
            }
        }
        self.parts.shared.depth.fetch_sub(batch.len(), Ordering::Relaxed);
        (batch, closed)
    }

    fn commit(&mut self, batch: Vec<Queued>) {
        match self.sign_and_write(&batch) {
            Ok(placed) => {
                for (queued, placed) in batch.into_iter().zip(placed) {
                    self.complete(queued, placed);
                }
            }
            Err(error) => self.fail(batch, &error),
        }
    }

    fn sign_and_write(&mut self, batch: &[Queued]) -> Result<Vec<Placed>, AppendError> {
        let shared = self.parts.shared.clone();
        let key = self.current()?;
        let mut draft = self.draft(key.clone());
        if let Some(change) = self.key_change(&key) {
            draft.own(change)?;
        }
        let overload = shared.overload.load(Ordering::Relaxed);
        let late = shared.refused.load(Ordering::Relaxed);
        let now = self.parts.clock.now();
        let counted = |since, refused, cause| {
            let detail = "counted while the writer was busy".to_owned();
            Predicate::Gap(LogGap { since, until: now, refused, lost: 0, cause, detail })
        };
        if overload > 0 {
            draft.own(counted(now, overload, GapCause::Overload))?;
        }
        if let (1.., Some((since, cause))) = (late, self.ended) {
            draft.own(counted(since, late, cause))?;
        }
        let mut placed = Vec::with_capacity(batch.len());
        for queued in batch {
            placed.push(match queued {
                Queued::Record(record) if !record.chain.accepts(record.generation) => {
                    Err(AppendError::RolledBack)
                }
                Queued::Record(record) => {
                    if let Some(key) = &record.key {
                        self.archive.keep(key)?;
                    }
                    draft.sign(record.time, &record.payload)?;
                    Ok((record.digest, record.link.seq))
                }
                Queued::Gateway { predicate, .. } => match draft.own((**predicate).clone()) {
                    Err(error @ (AppendError::TooLarge(_) | AppendError::Encoding(_))) => Err(error),
                    other => Ok(other?),
                },
            });
        }
        self.write(draft)?;
        shared.overload.fetch_sub(overload, Ordering::Relaxed);
        shared.refused.fetch_sub(late, Ordering::Relaxed);
        Ok(placed)
    }

    fn complete(&self, queued: Queued, placed: Placed) {
        let durability = self.parts.durability;
        match (queued, placed) {
            (Queued::Record(record), Ok((digest, seq))) => {
                record.chain.confirm(record.link, digest);
                self.parts.recorder.append(record.since.elapsed());
                if let Some(reply) = record.reply {
                    let _caller_gone = reply.send(Ok(Receipt::new(digest, seq, durability, record.decision)));
                }
            }
            (Queued::Record(Record { reply: Some(reply), .. }), Err(error)) => {
                let _caller_gone = reply.send(Err(error));
            }
            (Queued::Record(_), Err(_)) => {}
            (Queued::Gateway { reply, .. }, placed) => {
                let receipt = placed.map(|(digest, seq)| Receipt::new(digest, seq, durability, None));
                let _caller_gone = reply.send(receipt);
            }
        }
    }

    /// Begins a gap: nothing of the batch is in the log.
    fn fail(&mut self, batch: Vec<Queued>, error: &AppendError) {
        *self.parts.shared.cause.lock() = Some(error.clone());
        self.parts.shared.failing.store(true, Ordering::Release);
        tracing::error!(error = %error, "attestation log: records can't be written, calls are refused");
        self.gap = Some(Gap {
            since: self.parts.clock.now(),
            cause: error.cause(),
            // Others' words may be in it, of any length.
            detail: clip(&error.to_string()),
            refused: 0,
            lost: 0,
            wait: FIRST_RETRY,
            next: Instant::now() + FIRST_RETRY,
        });
        self.refuse(batch, error);
    }

    fn refuse(&mut self, batch: Vec<Queued>, error: &AppendError) {
        for queued in batch {
            if let Queued::Record(record) = &queued {
                record.chain.roll_back(record.generation);
            }
            let lost = matches!(&queued, Queued::Record(Record { reply: None, .. }));
            if let Some(gap) = &mut self.gap {
                gap.lost += u64::from(lost);
                gap.refused += u64::from(!lost);
            }
            self.complete(queued, Err(error.clone()));
        }
    }

    /// Tries to end the gap, with the record that tells of it.
    fn recover(&mut self) {
        let Some(mut gap) = self.gap.take() else { return };
        let late = self.parts.shared.refused.load(Ordering::Relaxed);
        match self.write_gap(&gap, late) {
            Ok(until) => {
                self.parts.shared.refused.fetch_sub(late, Ordering::Relaxed);
                self.ended = Some((until, gap.cause));
                *self.parts.shared.cause.lock() = None;
                self.parts.shared.failing.store(false, Ordering::Release);
                tracing::info!(refused = gap.refused + late, "attestation log: records can be written again");
            }
            Err(error) => {
                *self.parts.shared.cause.lock() = Some(error);
                gap.wait = (gap.wait * 2).min(LONGEST_RETRY);
                gap.next = Instant::now() + gap.wait;
                self.gap = Some(gap);
            }
        }
    }

    fn write_gap(&mut self, gap: &Gap, late: u64) -> Result<Timestamp, AppendError> {
        self.segments.restore()?;
        let key = self.current()?;
        let until = self.parts.clock.now();
        let mut draft = self.draft(key.clone());
        draft.own(Predicate::Gap(LogGap {
            since: gap.since,
            until,
            refused: gap.refused + late,
            lost: gap.lost,
            cause: gap.cause,
            detail: gap.detail.clone(),
        }))?;
        if let Some(change) = self.key_change(&key) {
            draft.own(change)?;
        }
        self.write(draft)?;
        Ok(until)
    }

    /// Writes the last record of the run, if the log can be written at all.
    fn stop(&mut self) {
        if self.gap.is_some() {
            self.recover();
        }
        let stopped = self.current().and_then(|key| {
            let mut draft = self.draft(key.clone());
            if let Some(change) = self.key_change(&key) {
                draft.own(change)?;
            }
            let records = self.records + draft.records() + 1;
            draft.own(Predicate::GatewayStop(GatewayStop { records }))?;
            self.write(draft)
        });
        let finished = stopped.and_then(|()| self.segments.finish().map_err(AppendError::from));
        if let Err(error) = finished {
            tracing::error!(%error, "attestation log: the record of the stop could not be written");
        }
    }

    /// The key that signs now, archived if it is new.
    fn current(&mut self) -> Result<Signing, AppendError> {
        let key = self.parts.signer.current()?;
        if let Some(known) = self.key.as_ref().filter(|known| known.is(&key)) {
            return Ok(known.clone());
        }
        if key.spiffe_id() != &self.parts.gateway.spiffe_id {
            return Err(AppendError::Identity(key.spiffe_id().clone()));
        }
        let reference = self.archive.keep(&PublicSvid::from(&*key))?;
        Ok(Signing { key, reference })
    }

    /// What to say if `key` is not the one that signed the record before.
    fn key_change(&self, key: &Signing) -> Option<Predicate> {
        let known = self.key.as_ref().filter(|known| known.reference != key.reference)?;
        let previous_key = known.reference.kid.clone();
        Some(Predicate::KeyChange(KeyChange { previous_key, key: key.reference.clone() }))
    }

    fn draft(&self, key: Signing) -> Draft {
        Draft::new(key, self.position, self.parts.gateway.clone(), self.parts.clock.clone())
    }

    fn write(&mut self, draft: Draft) -> Result<(), AppendError> {
        if draft.records() == 0 {
            return Ok(());
        }
        self.segments.append(draft.bytes(), self.parts.durability == Durability::Fsync)?;
        *self.parts.shared.end.lock() = self.segments.place();
        self.records += draft.records();
        self.position = draft.position();
        self.key = Some(draft.into_key());
        Ok(())
    }
}
