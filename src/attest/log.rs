//! The log as the rest of the gateway sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::archive::{self, Announcement, PolicySource};
use super::chain::Chain;
use super::config::{Config, Durability};
use super::directory::{self, Layout};
use super::error::{AppendError, LogError, MAX_PAYLOAD};
use super::predicate::{PolicyChange, Predicate, ShadowSet};
use super::queue::{Job, Queued, Record};
use super::read::Place;
use super::receipt::{PendingReceipt, Receipt};
use super::segment::{Open, open_file};
use super::statement::{self, GatewayInfo, Link, Statement};
use super::writer::{Parts, Writer};
use crate::domain::clock::Clock;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;
use crate::domain::recorder::SharedRecorder;
use crate::keys::Signer;

/// An open log. Cloning shares it; when the last clone is gone, what is queued is written and the writer ends.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sender: SyncSender<Job>,
    shared: Arc<Shared>,
    layout: Layout,
    gateway: GatewayInfo,
    durability: Durability,
    clock: Clock,
    recorder: SharedRecorder,
}

/// What the callers and the writer both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Set while records can't be written; then `cause` says why.
    pub(super) failing: AtomicBool,
    pub(super) cause: Mutex<Option<AppendError>>,
    /// Records refused at once while `failing`.
    pub(super) refused: AtomicU64,
    /// Records refused because the queue was full.
    pub(super) overload: AtomicU64,
    /// Records in the queue.
    pub(super) depth: AtomicUsize,
    pub(super) closed: AtomicBool,
    /// Everything before this is as durable as configured.
    pub(super) end: Mutex<Place>,
}

impl Log {
    /// Opens the log at `config.dir`, or begins one: takes the lock, cuts a torn tail, archives the signing
    /// certificate and writes the record of the start.
    ///
    /// # Errors
    /// The directory is another gateway's or in use, a file can't be read or written, there is no signing key.
    pub fn open(
        config: Config,
        signer: Arc<dyn Signer>,
        clock: Clock,
        recorder: SharedRecorder,
        gateway: GatewayInfo,
    ) -> Result<Self, LogError> {
        Self::open_with(config, signer, clock, recorder, gateway, open_file())
    }

    pub(super) fn open_with(
        config: Config,
        signer: Arc<dyn Signer>,
        clock: Clock,
        recorder: SharedRecorder,
        gateway: GatewayInfo,
        open: Open,
    ) -> Result<Self, LogError> {
        let layout = Layout::at(&config.dir);
        let lock = directory::prepare(&layout, &gateway.spiffe_id, clock.now())?;
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = sync_channel(config.queue.max(1));
        let mut writer = Writer::new(Parts {
            layout: layout.clone(),
            lock,
            durability: config.durability,
            segment_bytes: config.segment_bytes,
            signer,
            clock: clock.clone(),
            recorder: recorder.clone(),
            gateway: gateway.clone(),
            shared: shared.clone(),
            open,
        })?;
        writer.start()?;
        let thread = std::thread::Builder::new().name("attest-writer".to_owned());
        thread.spawn(move || writer.run(&receiver)).map_err(LogError::Thread)?;
        let durability = config.durability;
        Ok(Self(Arc::new(Inner { sender, shared, layout, gateway, durability, clock, recorder })))
    }

    /// Gives the record that `build` makes its place in `chain` and queues it. Only the chain's own lock is held
    /// meanwhile; the receipt comes when the record is as durable as configured.
    ///
    /// # Errors
    /// The queue is full, the log is closed or can't be written at the moment, the record is too large. The
    /// chain is then as it was.
    pub fn append(
        &self,
        chain: &Chain,
        build: impl FnOnce(&Link) -> Statement,
    ) -> Result<PendingReceipt, AppendError> {
        self.check()?;
        let inner = &*self.0;
        let mut state = chain.lock();
        let link = state.next().link();
        let statement = build(&link);
        let decision = statement.predicate().decision_id();
        let key = statement.predicate().token_key().cloned();
        let time = inner.clock.now();
        let payload = statement::encode(&statement, chain.id(), &link, time, &inner.gateway)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(AppendError::TooLarge(payload.len()));
        }
        let digest = Sha256Digest::of(&payload);
        let (reply, pending) = self.reply(digest, link.seq, decision);
        self.enqueue(Queued::Record(Record {
            chain: chain.clone(),
            generation: state.generation(),
            link,
            time,
            payload,
            digest,
            decision,
            key,
            reply,
            since: Instant::now(),
        }))?;
        state.enqueued(digest);
        Ok(pending)
    }

    /// Queues a record on the gateway's own chain.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_gateway(&self, predicate: Predicate) -> Result<PendingReceipt, AppendError> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.enqueue(Queued::Gateway { predicate: Box::new(predicate), reply: sender })?;
        Ok(PendingReceipt::waiting(receiver))
    }

    /// Archives the sources of a policy set (its files, and the schema under a name of its own), and queues the record
    /// of a start with it.
    ///
    /// # Errors
    /// As [`Log::announce`].
    pub fn archive_policies(
        &self,
        policy_set: Sha256Digest,
        schema: Sha256Digest,
        sources: &[PolicySource],
    ) -> Result<PendingReceipt, AppendError> {
        self.announce(&Announcement { policy_set, schema, sources, ..Announcement::default() })
    }

    /// Archives the sources of a policy set and queues the record that names them. Every decision by the set must
    /// come after.
    ///
    /// # Errors
    /// The files can't be written, or as [`Log::append`].
    pub fn announce(&self, what: &Announcement<'_>) -> Result<PendingReceipt, AppendError> {
        let layout = &self.0.layout;
        let shadow = match what.shadow {
            Some((policy_set, sources)) => {
                Some(ShadowSet { policy_set, files: archive::policies(layout, &policy_set, sources)? })
            }
            None => None,
        };
        self.append_gateway(Predicate::PolicyChange(PolicyChange {
            cause: what.cause,
            replaces: what.replaces,
            policy_set: what.policy_set,
            schema: what.schema,
            files: archive::policies(layout, &what.policy_set, what.sources)?,
            summary: what.summary.clone(),
            shadow,
        }))
    }

    /// Writes what is queued and the record of the stop, and gives the directory free. Later appends are refused.
    pub async fn close(&self) {
        if self.0.shared.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let (done, finished) = oneshot::channel();
        let inner = self.0.clone();
        // The queue may be full for a moment: wait where waiting blocks nobody.
        let sent = tokio::task::spawn_blocking(move || inner.sender.send(Job::Close(done)).is_ok());
        if sent.await.unwrap_or(false) {
            let _writer_gone = finished.await;
        }
    }

    /// Why records can't be written at the moment, if so.
    pub fn failing(&self) -> Option<AppendError> {
        self.0.shared.failing.load(Ordering::Acquire).then(|| self.0.shared.cause.lock().clone()).flatten()
    }

    /// Everything before this is written, and as durable as configured.
    pub fn end(&self) -> Place {
        *self.0.shared.end.lock()
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.0.layout.dir()
    }

    /// Who keeps it.
    pub fn gateway(&self) -> &GatewayInfo {
        &self.0.gateway
    }

    /// What its receipts promise.
    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    fn check(&self) -> Result<(), AppendError> {
        let shared = &self.0.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        if shared.failing.load(Ordering::Acquire) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(shared.cause.lock().clone().unwrap_or(AppendError::RolledBack));
        }
        Ok(())
    }

    fn reply(
        &self,
        digest: Sha256Digest,
        seq: u64,
        decision: Option<DecisionId>,
    ) -> (Option<oneshot::Sender<Result<Receipt, AppendError>>>, PendingReceipt) {
        if self.0.durability == Durability::Queued {
            (None, PendingReceipt::ready(Receipt::new(digest, seq, Durability::Queued, decision)))
        } else {
            let (sender, receiver) = oneshot::channel();
            (Some(sender), PendingReceipt::waiting(receiver))
        }
    }

    fn enqueue(&self, record: Queued) -> Result<(), AppendError> {
        let shared = &self.0.shared;
        let depth = shared.depth.fetch_add(1, Ordering::Relaxed) + 1;
        match self.0.sender.try_send(Job::Append(Box::new(record))) {
            Ok(()) => {
                self.0.recorder.append_queue(depth);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                shared.depth.fetch_sub(1, Ordering::Relaxed);
                shared.overload.fetch_add(1, Ordering::Relaxed);
                Err(AppendError::Overload)
            }
            Err(TrySendError::Disconnected(_)) => {
                shared.depth.fetch_sub(1, Ordering::Relaxed);
                Err(AppendError::Closed)
            }
        }
    }
}
