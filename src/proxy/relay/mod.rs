//! Joins one session of the gate with one link to its tool server: it carries, the gate decides.
//!
//! Messages of the client go gate → link ([`Relay::from_client`]); messages of the server go gate → the client's
//! streams, in the order in which they came ([`pump`]). Whatever ends either side ends both, and every request
//! under way is answered, by an error if need be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::attest::CloseReason;
use crate::domain::admitted::Admitted;
use crate::domain::digest::Sha256Digest;
use crate::domain::limits::Limits;
use crate::gate::{Arrival, Permit, Session, ToServer, Verdict};
use crate::proxy::upstream::{ConnectError, Connector, Exit, Link, Speaker, StreamKey};
use crate::wire::{Frame, Kind, RequestId, WireError, methods, replies};

mod listen;
mod pump;
mod routes;
mod stream;

pub(in crate::proxy) use listen::{ListenError, Listening};
use routes::{Address, Routes, Unexpected};
pub(in crate::proxy) use stream::{Parcel, Reader, Sender, stream};

/// JSON-RPC error code of a tool server that is gone (DESIGN: policy, denials).
const UNAVAILABLE: i64 = 503;

/// The budget of what waits for a client is counted in pieces of this many bytes.
const PIECE: usize = 1024;

/// Messages of the gateway's own that may be on their way to the server: answers, and its `tools/list`.
const APART: usize = 64;

/// What became of a client's message.
#[derive(Debug)]
pub(in crate::proxy) enum Outcome {
    /// It was taken; if it is a request, its answer comes on the stream.
    Taken,
    /// It goes nowhere, and this is said.
    Reply(Bytes),
    /// It goes nowhere, silently.
    Dropped,
    /// The tool server did not take it.
    Unreachable,
}

/// What a client's side is like.
#[derive(Debug)]
pub(in crate::proxy) enum Client {
    /// One pipe for everything, of this caller; the upstream's streams are kept and resumed on its behalf.
    Pipe(Sender, Box<Admitted>),
    /// A stream for each request and one for the rest.
    Streams,
}

/// One session and its link.
#[derive(Debug)]
pub(in crate::proxy) struct Relay {
    session: Arc<Session>,
    link: Link,
    routes: Mutex<Routes>,
    limits: Limits,
    /// The caller on a pipe.
    pipe: Option<Box<Admitted>>,
    budget: Arc<Semaphore>,
    apart: Arc<Semaphore>,
    garbage: AtomicU64,
    exit: OnceLock<Exit>,
    answered: Notify,
    terminate: CancellationToken,
    over: CancellationToken,
}

impl Relay {
    /// Connects to the tool server for `session`, whose handshake will be the request `handshake`. The relay runs
    /// until either side ends; [`Relay::over`] tells.
    ///
    /// # Errors
    /// When the tool server can't be started. The session is the caller's to close then.
    pub(in crate::proxy) fn start(
        session: Arc<Session>,
        connector: &Connector,
        limits: &Limits,
        handshake: RequestId,
        client: Client,
    ) -> Result<Arc<Self>, ConnectError> {
        let (link, events) = connector.connect(Speaker::Session(Arc::clone(&session)))?;
        let (stream, pipe) = match client {
            Client::Pipe(stream, admitted) => (Some(stream), Some(admitted)),
            Client::Streams => (None, None),
        };
        let relay = Arc::new(Self {
            session,
            link,
            limits: limits.clone(),
            pipe,
            routes: Mutex::new(Routes::new(stream)),
            budget: Arc::new(Semaphore::new(budget(limits))),
            apart: Arc::new(Semaphore::new(APART)),
            garbage: AtomicU64::new(0),
            exit: OnceLock::new(),
            answered: Notify::new(),
            terminate: CancellationToken::new(),
            over: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&relay).pump(events, handshake));
        Ok(relay)
    }

    /// The session.
    pub(in crate::proxy) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Cancelled when both sides have ended.
    pub(in crate::proxy) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// How the child ended, once it has.
    pub(in crate::proxy) fn exit(&self) -> Option<Exit> {
        self.exit.get().copied()
    }

    /// Ready when no request of the client's is under way.
    pub(in crate::proxy) async fn settled(&self) {
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if self.routes.lock().is_idle() {
                return;
            }
            tokio::select! {
                () = answered => {}
                () = self.over.cancelled() => return,
            }
        }
    }

    /// Ends the session. With `terminate` a child gets SIGTERM at once.
    pub(in crate::proxy) async fn stop(&self, reason: CloseReason, terminate: bool) {
        if terminate {
            self.terminate.cancel();
        }
        self.session.close(reason).await;
        self.over.cancelled().await;
    }

    /// Has the gate decide a client's message and sends it on. What answers a request goes to `answers`.
    pub(in crate::proxy) async fn from_client(
        self: &Arc<Self>,
        admitted: &Admitted,
        frame: Frame,
        arrival: &Arrival,
        answers: &Sender,
    ) -> Outcome {
        let request = request_id(&frame);
        self.prepare_call(&frame, false);
        let verdict = self.session.from_client(admitted, frame, arrival).await;
        let outcome = self.dispatch(verdict, request, answers).await;
        self.ask_for_ourselves();
        outcome
    }

    /// Before a tool call: has the tool server say which tools it has, where that was not asked for. `announced`: the
    /// client's `initialized` is on its way.
    pub(in crate::proxy) fn prepare_call(self: &Arc<Self>, frame: &Frame, announced: bool) {
        if frame.method() == Some(methods::TOOLS_CALL) && self.session.want_tools(announced) {
            self.ask_for_ourselves();
        }
    }

    /// Refuses what a client sent and could not be read strictly. Returns the reply.
    pub(in crate::proxy) async fn malformed(&self, error: &WireError, received: Sha256Digest) -> Bytes {
        self.session.refuse_malformed(error, received).await
    }

    /// Ends the session at the client's word.
    pub(in crate::proxy) async fn delete(&self, admitted: &Admitted) -> bool {
        match self.session.delete(admitted) {
            // The link sends the DELETE when it stops.
            Ok(permit) => drop(permit.redeem()),
            Err(_) => return false,
        }
        self.session.close(CloseReason::Client).await;
        true
    }

    /// Sends what the gate itself wants to ask the server.
    pub(in crate::proxy) fn ask_for_ourselves(self: &Arc<Self>) {
        if let Some(permit) = self.session.own_request() {
            self.send_apart(permit);
        }
    }

    /// Sends on a task of its own: the server may be waiting for us to read.
    fn send_apart(self: &Arc<Self>, permit: Permit<ToServer>) {
        let Ok(slot) = Arc::clone(&self.apart).try_acquire_owned() else {
            tracing::debug!("a tool server asks faster than it reads the answers; one was dropped");
            return;
        };
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = relay.link.send(permit, None).await {
                tracing::debug!(%error, "a message of the gateway's did not reach the tool server");
            }
            drop(slot);
        });
    }

    /// Carries a verdict out; `request` is the id of the message if it is a request.
    pub(in crate::proxy) async fn dispatch(
        &self,
        verdict: Verdict,
        request: Option<RequestId>,
        answers: &Sender,
    ) -> Outcome {
        match verdict {
            Verdict::Forward(permit) => self.forward(permit, request, answers).await,
            Verdict::Reply(bytes) => Outcome::Reply(bytes),
            Verdict::Drop(reason) => {
                tracing::debug!(reason = reason.as_str(), "a client's message was dropped");
                Outcome::Dropped
            }
        }
    }

    /// Sends what `permit` holds.
    pub(in crate::proxy) async fn forward(
        &self,
        permit: Permit<ToServer>,
        request: Option<RequestId>,
        answers: &Sender,
    ) -> Outcome {
        if let Some(id) = &request {
            match self.routes.lock().expect(id.clone(), answers.clone()) {
                Ok(()) => {}
                Err(Unexpected::Duplicate) => {
                    return Outcome::Reply(unavailable(id, "a request with this id is under way"));
                }
                Err(Unexpected::Ended) => return Outcome::Reply(unavailable(id, "the session is over")),
            }
        }
        match self.link.send(permit, request.clone()).await {
            Ok(()) => Outcome::Taken,
            Err(error) => match request {
                Some(id) => {
                    self.fail(&id, &error.to_string());
                    Outcome::Taken
                }
                None => Outcome::Unreachable,
            },
        }
    }

    /// The client closed the stream on which these requests were to be answered. That cancels nothing (MCP
    /// 2025-11-25, Transports, "Sending Messages to the Server", 6).
    pub(in crate::proxy) fn client_left(&self, requests: &[RequestId]) {
        for id in requests {
            // The upstream keeps the rest for a resumption only if we stop reading it here.
            if self.routes.lock().left(id) {
                self.link.abandon(&StreamKey::Post(id.clone()));
            }
        }
    }

    /// Answers a request in the tool server's place.
    fn fail(&self, id: &RequestId, why: &str) {
        // The gate's own sentence says less than `why`; what counts is that it knows that the request is over.
        drop(self.session.fail_request(id));
        self.answer(id, unavailable(id, why));
    }

    /// Puts an answer of our own on a request's stream.
    fn answer(&self, id: &RequestId, reply: Bytes) {
        let address = Address { in_reply_to: Some(id.clone()), related: None };
        let from = StreamKey::Post(id.clone());
        let mut routes = self.routes.lock();
        if routes.pending(id).is_some() {
            routes.route(Parcel::answer(reply), &from, &address);
        }
        drop(routes);
        self.answered.notify_waiters();
    }

    /// Something of the server's was no message.
    fn garbage(&self, what: &str) {
        if self.garbage.fetch_add(1, Ordering::Relaxed) == 0 {
            let server = self.session.server().as_str();
            tracing::warn!(
                server,
                what,
                "the tool server sent something that is no MCP message; it was dropped, more of it is only counted"
            );
        }
    }
}

/// The id of a request; none for other messages.
pub(in crate::proxy) fn request_id(frame: &Frame) -> Option<RequestId> {
    frame.id().filter(|_| frame.kind() == Kind::Request).cloned()
}

/// A JSON-RPC error that says that the tool server gave no answer.
pub(in crate::proxy) fn unavailable(id: &RequestId, why: &str) -> Bytes {
    let data = serde_json::json!({ "reason": "upstream_unavailable" });
    replies::error(Some(id), UNAVAILABLE, why, Some(&data))
}

/// Four of the largest messages may wait for one client, in pieces of [`PIECE`].
fn budget(limits: &Limits) -> usize {
    (limits.message_bytes.saturating_mul(4) / PIECE).clamp(64, Semaphore::MAX_PERMITS)
}
