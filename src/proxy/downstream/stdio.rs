//! `run`: one client on our stdin and stdout, one child server, one session.
//!
//! Nothing but the protocol is ever written to stdout. Messages are decided side by side and sent in the order in
//! which they came. The process ends with the child, and with its exit code.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pipe;
use crate::admission::{Admission, Origin};
use crate::attest::CloseReason;
use crate::domain::digest::Sha256Digest;
use crate::domain::limits::Limits;
use crate::gate::{Arrival, Gate, Route, Verdict, discover_reply, no_session_reply};
use crate::proxy::relay::{Client, Outcome, Parcel, Relay, Sender, request_id, unavailable};
use crate::proxy::upstream::Connector;
use crate::wire::error::INVALID_REQUEST;
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, Kind, Malformed, RequestId, WireError, batch, replies};

/// Messages of the client that may be in the gate at once.
const WINDOW: usize = 64;

/// Exit code of a command that can't be started, as shells have it.
const NOT_STARTED: i32 = 127;

/// What `run` needs.
#[derive(Debug)]
pub struct RunParts {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Knows our parent.
    pub admission: Arc<Admission>,
    /// The one tool server.
    pub connector: Connector,
    /// Where the session runs.
    pub route: Route,
    /// Bounds.
    pub limits: Limits,
}

/// A client's message after the gate has spoken.
enum Decided {
    Verdict(Verdict, Option<RequestId>, bool),
    Reply(Bytes),
    Nothing,
}

/// Tool calls that wait for the tool server's list of tools.
type Held = FuturesOrdered<BoxFuture<'static, Frame>>;

fn is_initialized(frame: &Frame) -> bool {
    frame.kind() == Kind::Notification && frame.method() == Some(methods::NOTIFICATIONS_INITIALIZED)
}

/// Serves the client on stdin and stdout until either side ends or `shutdown` is cancelled (SIGTERM, SIGINT).
/// Returns the code to exit with: the child's, or 128 and its signal.
pub async fn run(parts: RunParts, shutdown: CancellationToken) -> i32 {
    let (out, written) = pipe::write_stdout();
    let lines = pipe::read_stdin(parts.limits.message_bytes);
    let code =
        Runner { parts, out, relay: None, initialized: false }.run(lines, &shutdown, &written.failed).await;
    // Dropping the runner ended the writer's stream; what is queued is written, if the client still reads.
    written.finished.await;
    code
}

struct Runner {
    parts: RunParts,
    out: Sender,
    relay: Option<Arc<Relay>>,
    /// The client's `initialized` has come.
    initialized: bool,
}

impl Runner {
    async fn run(
        mut self,
        mut lines: mpsc::Receiver<pipe::Line>,
        shutdown: &CancellationToken,
        unread: &CancellationToken,
    ) -> i32 {
        let mut decided: FuturesOrdered<BoxFuture<'static, Decided>> = FuturesOrdered::new();
        let mut held: Held = FuturesOrdered::new();
        let mut open = true;
        let reason = loop {
            let over = ends(self.relay.as_ref().map(|relay| relay.over().clone()));
            tokio::select! {
                () = shutdown.cancelled() => break Some((CloseReason::Shutdown, true)),
                () = unread.cancelled() => break Some((CloseReason::Client, false)),
                () = over => break None,
                Some(done) = decided.next(), if !decided.is_empty() => {
                    let ended = self.relay.as_ref().map(|relay| relay.over().clone());
                    let carried = self.carry_out(done);
                    tokio::select! {
                        () = carried => {}
                        () = ends(ended) => break None,
                        () = shutdown.cancelled() => break Some((CloseReason::Shutdown, true)),
                    }
                }
                Some(frame) = held.next(), if !held.is_empty() => {
                    if let Some(relay) = self.relay.clone() {
                        decided.push_back(self.ask(&relay, frame));
                    }
                }
                line = lines.recv(), if open && decided.len() + held.len() < WINDOW => match line {
                    None => open = false,
                    Some(line) => match self.relay.clone() {
                        Some(relay) => self.decide(&relay, line, &mut decided, &mut held),
                        None => {
                            let connected = tokio::select! {
                                connected = self.before_session(line) => connected,
                                () = shutdown.cancelled() => break Some((CloseReason::Shutdown, true)),
                            };
                            if !connected {
                                return NOT_STARTED;
                            }
                        }
                    },
                },
            }
            if !open && decided.is_empty() && held.is_empty() {
                break Some((CloseReason::Client, false));
            }
        };
        if reason.is_none() {
            // The session is over: what was being decided is answered by that.
            while let (Some(frame), Some(relay)) = (held.next().await, self.relay.clone()) {
                decided.push_back(self.ask(&relay, frame));
            }
            while let Some(done) = decided.next().await {
                self.carry_out(done).await;
            }
        }
        let Some(relay) = self.relay.take() else { return 0 };
        match reason {
            Some((reason @ CloseReason::Client, terminate)) => {
                // What was asked before the end of stdin is still answered.
                tokio::select! {
                    () = relay.settled() => {}
                    () = tokio::time::sleep(self.parts.limits.grace) => {}
                    () = shutdown.cancelled() => {}
                }
                tokio::select! {
                    () = relay.stop(reason, terminate) => {}
                    () = shutdown.cancelled() => relay.stop(CloseReason::Shutdown, true).await,
                }
            }
            Some((reason, terminate)) => relay.stop(reason, terminate).await,
            None => {}
        }
        relay.exit().map_or(0, |exit| exit.code)
    }

    /// A message before there is a session. False if the tool server can't be started.
    async fn before_session(&mut self, line: pipe::Line) -> bool {
        let frame = match line {
            Ok(bytes) if batch::is_batch(&bytes) => {
                self.reply(
                    WireError::new(Malformed::Batch, "no batch may come before the handshake").reply(),
                );
                return true;
            }
            Ok(bytes) => Frame::parse(bytes, &self.parts.limits),
            Err(too_long) => Err(WireError::new(Malformed::TooLarge, too_long.to_string())),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.reply(error.reply());
                return true;
            }
        };
        let Some(id) = request_id(&frame) else { return true };
        match frame.method().map(methods::classify) {
            Some(Class::Initialize) => return self.initialize(frame, id).await,
            Some(Class::Discover) => self.reply(discover_reply(Some(&id))),
            Some(Class::Ping) => self.reply(replies::result(&id, &serde_json::json!({}))),
            _ => self.reply(no_session_reply(Some(&id))),
        }
        true
    }

    async fn initialize(&mut self, frame: Frame, id: RequestId) -> bool {
        let admitted = match self.parts.admission.admit(&Origin::Parent, None).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                let message = format!("this process is not admitted: {refused}");
                self.reply(replies::error(Some(&id), 401, &message, None::<&()>));
                return true;
            }
        };
        let opened = self.parts.gate.open(&admitted, &self.parts.route, frame, &Arrival::default()).await;
        let (session, permit) = match opened {
            Ok(opened) => opened,
            Err(refused) => {
                self.reply(refused.reply);
                return true;
            }
        };
        let client = Client::Pipe(self.out.clone(), Box::new(admitted));
        let limits = &self.parts.limits;
        let started = Relay::start(Arc::clone(&session), &self.parts.connector, limits, id.clone(), client);
        match started {
            Ok(relay) => {
                self.relay = Some(Arc::clone(&relay));
                self.told(relay.forward(permit, Some(id), &self.out).await);
                true
            }
            Err(error) => {
                drop(permit);
                tracing::error!(error = &error as &dyn std::error::Error, "no tool server");
                session.close(CloseReason::Handshake).await;
                self.reply(unavailable(&id, &error.to_string()));
                false
            }
        }
    }

    /// Has the gate decide a message of a session; a batch is decided message by message.
    fn decide(
        &mut self,
        relay: &Arc<Relay>,
        line: pipe::Line,
        decided: &mut FuturesOrdered<BoxFuture<'static, Decided>>,
        held: &mut Held,
    ) {
        let limits = &self.parts.limits;
        let malformed = |error: WireError, received: Sha256Digest| -> BoxFuture<'static, Decided> {
            let relay = Arc::clone(relay);
            Box::pin(async move { Decided::Reply(relay.malformed(&error, received).await) })
        };
        let bytes = match line {
            Ok(bytes) => bytes,
            Err(too_long) => {
                let error = WireError::new(Malformed::TooLarge, too_long.to_string());
                // Its bytes were dropped as they came.
                decided.push_back(malformed(error, Sha256Digest::of(b"")));
                return;
            }
        };
        let received = Sha256Digest::of(&bytes);
        let frames = match batch::is_batch(&bytes) {
            true if relay.session().revision().is_some_and(|revision| revision.has_batches()) => {
                match batch::split(bytes, limits) {
                    Ok(frames) => frames,
                    Err(error) => vec![Err(error)],
                }
            }
            true => vec![Err(WireError::new(Malformed::Batch, "this revision has no batches"))],
            false => vec![Frame::parse(bytes, limits)],
        };
        for frame in frames {
            match frame {
                Ok(frame) => match self.awaited(relay, &frame) {
                    Some(listed) => held.push_back(Box::pin(async move {
                        listed.await;
                        frame
                    })),
                    None => decided.push_back(self.ask(relay, frame)),
                },
                Err(error) => decided.push_back(malformed(error, received)),
            }
        }
    }

    /// What a tool call waits for before it is decided. The tool server may want the client's next message for that, so
    /// that must pass meanwhile.
    fn awaited(
        &mut self,
        relay: &Arc<Relay>,
        frame: &Frame,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.initialized |= is_initialized(frame);
        relay.prepare_call(frame, self.initialized);
        if frame.method() == Some(methods::TOOLS_CALL) { relay.session().awaited_tools() } else { None }
    }

    fn ask(&self, relay: &Arc<Relay>, frame: Frame) -> BoxFuture<'static, Decided> {
        let initialized = is_initialized(&frame);
        let (relay, admission) = (Arc::clone(relay), Arc::clone(&self.parts.admission));
        Box::pin(async move {
            let request = request_id(&frame);
            // Evidence is collected anew for every message: the parent may have changed.
            let admitted = match admission.admit(&Origin::Parent, None).await {
                Ok(admitted) => admitted,
                Err(refused) => {
                    let message = format!("this process is not admitted: {refused}");
                    let reply = request.map(|id| replies::error(Some(&id), 401, &message, None::<&()>));
                    return reply.map_or(Decided::Nothing, Decided::Reply);
                }
            };
            let is_initialize = frame.method() == Some(methods::INITIALIZE);
            if let (true, Some(id)) = (is_initialize, &request) {
                let message = "this session is initialized already";
                return Decided::Reply(replies::error(Some(id), INVALID_REQUEST, message, None::<&()>));
            }
            let verdict = relay.session().from_client(&admitted, frame, &Arrival::default()).await;
            Decided::Verdict(verdict, request, initialized)
        })
    }

    async fn carry_out(&self, decided: Decided) {
        match (decided, &self.relay) {
            (Decided::Verdict(verdict, request, initialized), Some(relay)) => {
                self.told(relay.dispatch(verdict, request, &self.out).await);
                if initialized {
                    relay.keep_listening();
                }
                relay.ask_for_ourselves();
            }
            (Decided::Reply(bytes), _) => self.reply(bytes),
            (Decided::Verdict(..), None) | (Decided::Nothing, _) => {}
        }
    }

    fn told(&self, outcome: Outcome) {
        match outcome {
            Outcome::Reply(bytes) => self.reply(bytes),
            Outcome::Unreachable => tracing::debug!("a notification did not reach the tool server"),
            Outcome::Taken | Outcome::Dropped => {}
        }
    }

    fn reply(&self, bytes: Bytes) {
        // The writer ends only when the client no longer reads, which ends the loop too.
        self.out.send(Parcel::answer(bytes));
    }
}

/// Ready when the session is over; never while there is none.
async fn ends(over: Option<CancellationToken>) {
    match over {
        Some(over) => over.cancelled_owned().await,
        None => std::future::pending().await,
    }
}
