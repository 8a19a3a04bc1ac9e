//! The tool server's messages, through the gate, to the client's streams, in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::routes::Address;
use super::{PIECE, Parcel, Relay, budget, unavailable};
use crate::attest::CloseReason;
use crate::domain::revision::Revision;
use crate::gate::{Outgoing, Permit, ServerVerdict, ToClient, ToServer};
use crate::proxy::upstream::{EventMeta, Exit, Failure, Incoming, LinkEvent, StreamKey};
use crate::wire::{Frame, RequestId, WireError, batch};

/// Messages of one server that may be in the gate at once; their order is kept.
const WINDOW: usize = 16;

/// What is to be done once the gate has spoken.
#[derive(Debug)]
enum Step {
    Deliver(Permit<ToClient>, StreamKey, Option<EventMeta>),
    Answer(Permit<ToServer>),
    Event(StreamKey, EventMeta),
    Fail(RequestId, Failure),
    StreamEnded(StreamKey),
    Closed(Option<Exit>),
}

impl Relay {
    /// Runs until the session or the link ends, then ends the other.
    pub(super) async fn pump(self: Arc<Self>, mut events: mpsc::Receiver<LinkEvent>, handshake: RequestId) {
        let mut steps = FuturesOrdered::new();
        let ended = self.session.ended();
        let mut shaking = Some(handshake);
        let deadline = tokio::time::sleep(self.limits.handshake);
        tokio::pin!(deadline);
        let session = Arc::clone(&self.session);
        let changes = session.list_changes();
        tokio::pin!(changes);
        let reason = loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => break None,
                () = &mut deadline, if shaking.is_some() => {
                    if let Some(id) = &shaking {
                        self.fail(id, "the tool server did not answer `initialize` in time");
                    }
                    break Some(CloseReason::Server);
                }
                Some(done) = steps.next(), if !steps.is_empty() => {
                    if let Some(reason) = self.carry_out(done, &mut shaking).await {
                        break Some(reason);
                    }
                    self.ask_for_ourselves();
                }
                event = events.recv(), if steps.len() < WINDOW => match event {
                    Some(event) => steps.push_back(Arc::clone(&self).step(event)),
                    None => break Some(CloseReason::Server),
                },
                permits = &mut changes => {
                    for permit in permits {
                        self.deliver(permit, &StreamKey::Pipe, None).await;
                    }
                    changes.set(session.list_changes());
                }
            }
        };
        drop(steps);
        self.end(reason, events).await;
    }

    /// Answers what is under way, closes the session, stops the link.
    async fn end(&self, reason: Option<CloseReason>, mut events: mpsc::Receiver<LinkEvent>) {
        let why = match reason {
            Some(_) => "the tool server is gone",
            None => "the session is over",
        };
        let under_way = self.routes.lock().end();
        for (id, stream) in under_way {
            drop(self.session.fail_request(&id));
            if let Some(stream) = stream {
                // A client that is gone misses nothing.
                stream.send(Parcel::answer(unavailable(&id, why)));
            }
        }
        self.answered.notify_waiters();
        if let Some(reason) = reason {
            self.session.close(reason).await;
        }
        // A link must not wait for us to take its last events.
        let drain = async {
            while events.recv().await.is_some() {}
            std::future::pending::<()>().await;
        };
        // A signal to us must also reach a child that is being given its time to leave.
        let hurry = async {
            self.terminate.cancelled().await;
            self.link.stop(true).await
        };
        let exit = tokio::select! {
            exit = self.link.stop(self.terminate.is_cancelled()) => exit,
            exit = hurry => exit,
            () = drain => None,
        };
        if let Some(exit) = exit {
            self.exit.set(exit).ok();
        }
        let garbage = self.garbage.load(Ordering::Relaxed);
        tracing::debug!(server = self.session.server().as_str(), garbage, "a session's link is closed");
        self.over.cancel();
    }

    /// Takes one event to the gate.
    async fn step(self: Arc<Self>, event: LinkEvent) -> Vec<Step> {
        match event {
            LinkEvent::Message(message) => self.message(message).await,
            LinkEvent::Garbage(what) => {
                self.garbage(what);
                Vec::new()
            }
            LinkEvent::Failed { request, why } => vec![Step::Fail(request, why)],
            LinkEvent::StreamEnded(key) => vec![Step::StreamEnded(key)],
            LinkEvent::Closed(exit) => vec![Step::Closed(exit)],
        }
    }

    async fn message(&self, message: Incoming) -> Vec<Step> {
        let Incoming { stream, event, bytes } = message;
        if bytes.is_empty() {
            return event.into_iter().map(|event| Step::Event(stream.clone(), event)).collect();
        }
        if batch::is_batch(&bytes) && self.session.revision().is_some_and(Revision::has_batches) {
            return match batch::split(bytes, &self.limits) {
                Ok(frames) => {
                    let mut steps = Vec::with_capacity(frames.len());
                    for frame in frames {
                        steps.extend(self.frame(frame, &stream, None).await);
                    }
                    // The event's id stands behind all that came in it.
                    steps.extend(event.map(|event| Step::Event(stream, event)));
                    steps
                }
                Err(error) => self.unreadable(&error),
            };
        }
        let frame = Frame::parse(bytes, &self.limits);
        self.frame(frame, &stream, event).await.into_iter().collect()
    }

    async fn frame(
        &self,
        frame: Result<Frame, WireError>,
        stream: &StreamKey,
        event: Option<EventMeta>,
    ) -> Option<Step> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return self.unreadable(&error).pop(),
        };
        match self.session.from_server(frame).await {
            ServerVerdict::Deliver(permit) => Some(Step::Deliver(permit, stream.clone(), event)),
            ServerVerdict::Answer(permit) => Some(Step::Answer(permit)),
            ServerVerdict::Drop(reason) => {
                let server = self.session.server().as_str();
                tracing::debug!(server, reason = reason.as_str(), "a tool server's message was dropped");
                None
            }
        }
    }

    /// What can't be read is never forwarded; if it was meant to answer a request, that is answered by an error.
    fn unreadable(&self, error: &WireError) -> Vec<Step> {
        self.garbage(error.reason.as_str());
        let Some(id) = error.id.clone().filter(|id| self.routes.lock().pending(id).is_some()) else {
            return Vec::new();
        };
        let why = format!("the tool server's answer can't be read: {}", error.message);
        vec![Step::Fail(id, Failure::Upstream(why))]
    }

    /// Does what the gate said. Returns why the session ends, if it does.
    async fn carry_out(
        self: &Arc<Self>,
        steps: Vec<Step>,
        shaking: &mut Option<RequestId>,
    ) -> Option<CloseReason> {
        for step in steps {
            match step {
                Step::Deliver(permit, from, event) => {
                    if let Some(answered) = self.deliver(permit, &from, event).await
                        && shaking.as_ref() == Some(&answered)
                    {
                        *shaking = None;
                        if self.session.revision().is_none() {
                            return Some(CloseReason::Handshake);
                        }
                    }
                }
                Step::Answer(permit) => self.send_apart(permit),
                Step::Event(from, event) => self.pass_event(&from, event),
                Step::Fail(id, why) => {
                    match why {
                        Failure::Upstream(why) => self.fail(&id, &why),
                        Failure::Withdrawn(reply) => {
                            // What the gate does not know any more may still hold a place here.
                            self.answer(&id, reply.unwrap_or_else(|| unavailable(&id, "it was not sent")));
                        }
                    }
                    if shaking.as_ref() == Some(&id) {
                        return Some(CloseReason::Handshake);
                    }
                }
                Step::StreamEnded(key) => self.stream_ended(key),
                Step::Closed(exit) => {
                    if let Some(exit) = exit {
                        self.exit.set(exit).ok();
                    }
                    return Some(CloseReason::Server);
                }
            }
        }
        None
    }

    /// Sends what a permit holds to the client. Returns the request that it answers.
    async fn deliver(
        self: &Arc<Self>,
        permit: Permit<ToClient>,
        from: &StreamKey,
        event: Option<EventMeta>,
    ) -> Option<RequestId> {
        let outgoing = self.redeem(permit).await?;
        let held = self.room_for(outgoing.bytes.len()).await?;
        let answered = outgoing.in_reply_to.clone();
        let address = Address { in_reply_to: outgoing.in_reply_to, related: outgoing.related };
        let answer = answered.is_some();
        let parcel = Parcel { bytes: outgoing.bytes, event: event.clone(), answer, held: Some(held) };
        let mut routes = self.routes.lock();
        if let Some(event) = event {
            routes.saw(from, &event);
        }
        if !routes.route(parcel, from, &address) {
            tracing::debug!("a tool server's message found no stream of the client's");
        }
        drop(routes);
        self.answered.notify_waiters();
        answered
    }

    /// What to send now; a request of the tool server that outlived its policies is decided anew here.
    async fn redeem(self: &Arc<Self>, mut permit: Permit<ToClient>) -> Option<Outgoing> {
        loop {
            let withdrawn = match permit.redeem() {
                Ok(outgoing) => return Some(outgoing),
                Err(withdrawn) => withdrawn,
            };
            let answer = match withdrawn.outdated {
                None => withdrawn.answer.map(|answer| *answer),
                Some(outdated) => {
                    let ended = self.session.ended();
                    let verdict = tokio::select! {
                        verdict = outdated.decide_again() => verdict,
                        () = ended.cancelled() => return None,
                    };
                    match verdict {
                        ServerVerdict::Deliver(again) => {
                            permit = again;
                            continue;
                        }
                        ServerVerdict::Answer(answer) => Some(answer),
                        ServerVerdict::Drop(_) => None,
                    }
                }
            };
            if let Some(answer) = answer {
                self.send_apart(answer);
            }
            return None;
        }
    }

    /// A share of what may wait for this client. When there is none, its GET streams, which it does not read, are
    /// cut; then the tool server waits; and when that takes too long, the other streams are cut too.
    async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let pieces = (bytes / PIECE + 1).min(budget(&self.limits));
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        if let Ok(held) = Arc::clone(&self.budget).try_acquire_many_owned(pieces) {
            return Some(held);
        }
        let patience = async {
            // A pipe has one stream: its reader's pace is the server's.
            if self.pipe.is_some() {
                return std::future::pending().await;
            }
            self.routes.lock().shed();
            tokio::time::sleep(self.limits.request_read).await;
            self.routes.lock().shed_all();
            std::future::pending().await
        };
        let ended = self.session.ended();
        tokio::select! {
            held = Arc::clone(&self.budget).acquire_many_owned(pieces) => held.ok(),
            () = ended.cancelled() => None,
            () = patience => None,
        }
    }

    /// An SSE event without data: it only says where its stream can be resumed.
    fn pass_event(&self, from: &StreamKey, event: EventMeta) {
        let mut routes = self.routes.lock();
        routes.saw(from, &event);
        if self.pipe.is_some() {
            return;
        }
        // Without room it is left out: the next event with an id stands for it.
        if let Ok(held) = Arc::clone(&self.budget).try_acquire_owned() {
            let parcel = Parcel { bytes: Bytes::new(), event: Some(event), answer: false, held: Some(held) };
            routes.route(parcel, from, &Address::default());
        }
    }

    /// An upstream stream is over.
    fn stream_ended(self: &Arc<Self>, key: StreamKey) {
        let id = match &key {
            StreamKey::Post(id) => id,
            StreamKey::Pipe | StreamKey::Get(_) => {
                self.routes.lock().close(&key);
                return;
            }
        };
        let Some(last_event) = self.routes.lock().pending(id).map(|pending| pending.last_event.clone())
        else {
            // It was answered; unless it was a request of the gateway's own.
            drop(self.session.fail_request(id));
            return;
        };
        match last_event {
            None => self.fail(id, "the tool server ended its answer before the result"),
            // The client has the event's id as well and resumes by itself.
            Some(_) if self.pipe.is_none() => self.routes.lock().forget(id),
            Some(event) => self.resume(id.clone(), event),
        }
    }
}
