//! POST: a client's messages, and the answer to them as JSON or as a stream.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::answer::{self, Body};
use super::checks::{self, Version};
use super::events::{self, KEEP_ALIVE};
use super::service::Call;
use crate::attest::CloseReason;
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::AdmissionRefusal;
use crate::gate::{discover_reply, no_session_reply};
use crate::proxy::relay::{self, Client, Outcome, Parcel, Reader, Relay, request_id, unavailable};
use crate::wire::error::{INVALID_REQUEST, PARSE_ERROR};
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, Malformed, RequestId, WireError, batch};

/// The answers to one POST's requests; dropping it tells the relay that its client is gone.
pub(super) struct Answers {
    relay: Arc<Relay>,
    requests: Vec<RequestId>,
    parcels: Reader,
    /// Counts the POST as under way.
    _token: TaskTrackerToken,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.parcels.close();
        self.relay.client_left(&self.requests);
    }
}

impl events::Source for Answers {
    fn parcels(&mut self) -> &mut Reader {
        &mut self.parcels
    }
}

impl Call<'_> {
    /// Takes a POST.
    pub(super) async fn post(mut self, body: &mut Incoming) -> Response<Body> {
        if !checks::brings_json(self.headers) {
            let message = "a POST must bring application/json, without a content coding";
            return answer::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        }
        let types = ["application/json", "text/event-stream"];
        if !types.iter().all(|wanted| checks::accepts(self.headers, wanted)) {
            let message = "a POST must accept application/json and text/event-stream";
            return answer::refused(StatusCode::NOT_ACCEPTABLE, message);
        }
        let relay = match self.session() {
            Ok(relay) => relay,
            Err(response) => return *response,
        };
        let begun = Instant::now();
        let bytes = match self.read(body).await {
            Ok(bytes) => bytes,
            Err(response) => return *response,
        };
        if let Err(response) = self.admit_late(begun.elapsed()).await {
            return *response;
        }
        match relay {
            Some(relay) => self.in_session(relay, bytes).await,
            None => self.before_session(bytes).await,
        }
    }

    async fn read(&self, body: &mut Incoming) -> Result<Vec<u8>, Box<Response<Body>>> {
        let limits = &self.server.limits;
        let limit = limits.message_bytes;
        let too_large = || {
            let error = WireError::new(Malformed::TooLarge, format!("a message of more than {limit} bytes"));
            Box::new(answer::json(StatusCode::PAYLOAD_TOO_LARGE, error.reply()))
        };
        if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let collected = tokio::time::timeout(limits.request_read, Limited::new(body, limit).collect()).await;
        match collected {
            Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_broken_off)) => {
                Err(Box::new(answer::refused(StatusCode::BAD_REQUEST, "the body broke off")))
            }
            Err(_too_slow) => {
                Err(Box::new(answer::refused(StatusCode::REQUEST_TIMEOUT, "the body took too long")))
            }
        }
    }

    /// Only `initialize` opens a session.
    async fn before_session(&self, bytes: Vec<u8>) -> Response<Body> {
        let frame = match batch::is_batch(&bytes) {
            true => Err(WireError::new(Malformed::Batch, "no batch may come before the handshake")),
            false => Frame::parse(bytes, &self.server.limits),
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.turn_away(AdmissionRefusal::NoSession);
                return malformed(&error, error.reply());
            }
        };
        let Some(id) = request_id(&frame) else {
            self.turn_away(AdmissionRefusal::NoSession);
            return answer::refused(StatusCode::BAD_REQUEST, "`Mcp-Session-Id` is missing");
        };
        match frame.method().map(methods::classify) {
            Some(Class::Initialize) => self.initialize(frame, id).await,
            // Today's clients take this as a server of the handshake era.
            Some(Class::Discover) => answer::json(StatusCode::OK, discover_reply(Some(&id))),
            _ => {
                self.turn_away(AdmissionRefusal::NoSession);
                answer::json(StatusCode::BAD_REQUEST, no_session_reply(Some(&id)))
            }
        }
    }

    async fn initialize(&self, frame: Frame, id: RequestId) -> Response<Body> {
        let server = Arc::clone(self.server);
        let (admitted, route, arrival) = (self.admitted.clone(), self.route.clone(), self.arrival);
        let connector = self.connector.clone();
        let (opened, opening) = oneshot::channel();
        let (stream, mut parcels) = relay::stream();
        let request = id.clone();
        let token = server.posts.token();
        // On a task of its own: what was decided is carried out, even if the client goes away meanwhile.
        tokio::spawn(async move {
            let id = request;
            let (session, permit) = match server.gate.open(&admitted, &route, frame, &arrival).await {
                Ok(opened) => opened,
                Err(refused) => {
                    opened.send(Err((refused.reply, refused.retry_after))).ok();
                    return;
                }
            };
            let limits = &server.limits;
            let client = Client::Streams;
            match Relay::start(Arc::clone(&session), &connector, limits, id.clone(), client) {
                Ok(relay) => {
                    server.enter(&relay);
                    let outcome = relay.forward(permit, Some(id), &stream).await;
                    if let Outcome::Reply(reply) = outcome {
                        stream.send(Parcel::answer(reply));
                    }
                    opened.send(Ok(session)).ok();
                }
                Err(error) => {
                    drop(permit);
                    tracing::error!(error = &error as &dyn std::error::Error, "no tool server");
                    session.close(CloseReason::Handshake).await;
                    // The command and what is wrong with it are the operator's to know.
                    opened.send(Err((unavailable(&id, "the tool server can't be started"), None))).ok();
                }
            }
        });
        let session = match opening.await {
            Ok(Ok(session)) => session,
            Ok(Err((reply, None))) => return answer::json(StatusCode::OK, reply),
            Ok(Err((reply, Some(wait)))) => return answer::later(reply, wait),
            Err(_task_died) => return answer::denied(&id, 503, "the session could not be opened"),
        };
        // The handle goes out with the head, and exists only once the handshake is answered: so all waits for that.
        let mut received = Vec::new();
        while let Some(parcel) = parcels.recv().await {
            let last = parcel.answer;
            received.push(parcel);
            if last {
                break;
            }
        }
        drop(token);
        let handle = session.token();
        match <[Parcel; 1]>::try_from(received) {
            Ok([parcel]) if parcel.answer => {
                answer::with_handle(answer::json(StatusCode::OK, parcel.bytes), handle.as_ref())
            }
            Ok([parcel]) => answer::with_handle(
                events::response(vec![parcel], Rest(parcels), self.ends()),
                handle.as_ref(),
            ),
            Err(received) if received.is_empty() => {
                answer::json(StatusCode::OK, unavailable(&id, "the tool server is gone"))
            }
            Err(received) => {
                answer::with_handle(events::response(received, Rest(parcels), self.ends()), handle.as_ref())
            }
        }
    }

    async fn in_session(&self, relay: Arc<Relay>, bytes: Vec<u8>) -> Response<Body> {
        if checks::version(self.headers) == Version::Unknown {
            return answer::refused(StatusCode::BAD_REQUEST, "unsupported `MCP-Protocol-Version`");
        }
        let received = Sha256Digest::of(&bytes);
        let limits = &self.server.limits;
        let may_batch = relay.session().revision().is_some_and(|revision| revision.has_batches());
        let frames = match batch::is_batch(&bytes) {
            true if may_batch => match batch::split(bytes, limits) {
                Ok(frames) => frames,
                Err(error) => vec![Err(error)],
            },
            true => vec![Err(WireError::new(Malformed::Batch, "this revision has no batches"))],
            false => vec![Frame::parse(bytes, limits)],
        };
        if let [Err(error)] = frames.as_slice() {
            let reply = relay.malformed(error, received).await;
            return malformed(error, reply);
        }
        self.exchange(relay, frames, received).await
    }

    /// Sends one message or the messages of a batch, and answers with what comes back.
    async fn exchange(
        &self,
        relay: Arc<Relay>,
        frames: Vec<Result<Frame, WireError>>,
        received: Sha256Digest,
    ) -> Response<Body> {
        let single = frames.len() == 1;
        let requests: Vec<_> = frames.iter().flatten().filter_map(request_id).collect();
        let answers = !requests.is_empty() || frames.iter().any(Result::is_err);
        let (stream, parcels) = relay::stream();
        let (told, outcome) = oneshot::channel();
        let (admitted, arrival, sender) = (self.admitted.clone(), self.arrival, Arc::clone(&relay));
        // On a task of its own: what was decided is carried out, even if the client goes away meanwhile.
        tokio::spawn(async move {
            let mut last = Outcome::Taken;
            for frame in frames {
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => {
                        let reply = sender.malformed(&error, received).await;
                        stream.send(Parcel::answer(reply));
                        continue;
                    }
                };
                let outcome = match (request_id(&frame), frame.method()) {
                    (Some(id), Some(methods::INITIALIZE)) => Outcome::Reply(initialized_already(&id)),
                    _ => sender.from_client(&admitted, frame, &arrival, &stream).await,
                };
                last = match outcome {
                    Outcome::Reply(reply) if answers => {
                        stream.send(Parcel::answer(reply));
                        Outcome::Taken
                    }
                    outcome => outcome,
                };
            }
            told.send(last).ok();
        });
        if !answers {
            return accepted(outcome.await.unwrap_or(Outcome::Unreachable));
        }
        let _token = self.server.posts.token();
        let mut answers = Answers { relay, requests, parcels, _token };
        let first = tokio::time::timeout(KEEP_ALIVE, answers.parcels.recv()).await;
        match first {
            Ok(Some(parcel)) if parcel.answer && single => answer::json(StatusCode::OK, parcel.bytes),
            Ok(Some(parcel)) => events::response(vec![parcel], answers, self.ends()),
            // Long calls get their head early, so that no client gives up on it.
            Err(_silent) => events::response(Vec::new(), answers, self.ends()),
            Ok(None) => match answers.requests.first() {
                Some(id) => answer::json(StatusCode::OK, unavailable(id, "the tool server gave no answer")),
                None => answer::no_such_session(),
            },
        }
    }
}

impl super::Server {
    /// Keeps a relay for as long as it runs.
    fn enter(self: &Arc<Self>, relay: &Arc<Relay>) {
        let id = relay.session().id();
        self.relays.insert(id, Arc::clone(relay));
        let (server, over) = (Arc::clone(self), relay.over().clone());
        tokio::spawn(async move {
            over.cancelled().await;
            server.relays.remove(&id);
        });
    }
}

/// What follows the handshake's answer on its stream.
struct Rest(Reader);

impl events::Source for Rest {
    fn parcels(&mut self) -> &mut Reader {
        &mut self.0
    }
}

/// The answer to notifications and to answers.
fn accepted(outcome: Outcome) -> Response<Body> {
    match outcome {
        Outcome::Taken | Outcome::Dropped => answer::empty(StatusCode::ACCEPTED),
        Outcome::Reply(reply) => answer::json(StatusCode::BAD_REQUEST, reply),
        Outcome::Unreachable => answer::refused(StatusCode::BAD_GATEWAY, "the tool server did not take it"),
    }
}

/// A message that can't be read: what is no JSON, or names no request, is HTTP 400.
fn malformed(error: &WireError, reply: Bytes) -> Response<Body> {
    let status = match (error.code, &error.id) {
        (PARSE_ERROR, _) | (_, None) => StatusCode::BAD_REQUEST,
        (_, Some(_)) => StatusCode::OK,
    };
    answer::json(status, reply)
}

fn initialized_already(id: &RequestId) -> Bytes {
    let message = "this session is initialized already";
    crate::wire::replies::error(Some(id), INVALID_REQUEST, message, None::<&()>)
}
