//! One session with a tool server over streamable HTTP (MCP 2025-11-25, Transports).
//!
//! The server's own session id is kept here and goes nowhere else. No request is resent, no redirect followed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as Body;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Endpoint, RequestError};
use super::{EventMeta, Failure, Incoming, LinkError, LinkEvent, Speaker, StreamKey, ToSend};
use crate::domain::limits::Limits;
use crate::gate::Outgoing;
use crate::wire::{RequestId, sse};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Sent with every request once the gate names it, DELETE included.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long the server may take to accept what needs no answer, and to begin a GET stream.
const HEAD: Duration = Duration::from_secs(30);
/// How long we wait for the server to end its session.
const GOODBYE: Duration = Duration::from_secs(2);
/// Longest upstream session id or event id that is taken, in bytes.
const LONGEST_ID: usize = 2048;

/// A session with a server at a URL.
#[derive(Debug)]
pub(super) struct HttpLink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: Arc<Endpoint>,
    speaker: Speaker,
    events: mpsc::Sender<LinkEvent>,
    session: OnceLock<HeaderValue>,
    version: OnceLock<HeaderValue>,
    streams: Mutex<HashMap<StreamKey, CancellationToken>>,
    next: AtomicU64,
    over: CancellationToken,
    message_bytes: usize,
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

impl HttpLink {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        speaker: Speaker,
        limits: &Limits,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        Self(Arc::new(Shared {
            endpoint,
            speaker,
            events,
            session: OnceLock::new(),
            version: OnceLock::new(),
            streams: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
            over: CancellationToken::new(),
            message_bytes: limits.message_bytes,
        }))
    }

    /// Sends a message. A request's answer and failure come as events; anything else has been accepted on return.
    pub(super) async fn send(&self, message: ToSend) -> Result<(), LinkError> {
        let shared = &self.0;
        if shared.over.is_cancelled() {
            return Err(LinkError::Gone);
        }
        // Asked for before the permit is redeemed: it may have to be recorded first.
        let authorization = self.authorization().await?;
        let outgoing = match message.redeem().await {
            Ok(outgoing) => outgoing,
            Err(failed) => {
                if let Some(event) = failed {
                    shared.events.send(event).await.ok();
                }
                return Ok(());
            }
        };
        let Some(request) = outgoing.request.clone() else {
            let answered = tokio::time::timeout(HEAD, shared.post(outgoing, authorization)).await;
            let Ok(response) = answered else { return Err(LinkError::Unreachable) };
            return shared.accepted(&response?);
        };
        let (shared, over) = (Arc::clone(shared), shared.over.clone());
        let key = StreamKey::Post(request.clone());
        let stopped = shared.register(&key);
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = stopped.cancelled() => {}
                () = shared.call(outgoing, authorization, request, &key) => {}
            }
            shared.streams.lock().remove(&key);
        });
        Ok(())
    }

    /// What the server is told of who calls, for one request.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, LinkError> {
        self.0.authorization().await
    }

    /// Opens a stream by GET; `last_event_id` names where one is to be resumed.
    pub(super) async fn listen(
        &self,
        outgoing: &Outgoing,
        authorization: Option<HeaderValue>,
        last_event_id: Option<&str>,
        opened: impl FnOnce(&StreamKey),
    ) -> Result<(), LinkError> {
        let shared = &self.0;
        let mut headers = shared.headers(outgoing, authorization);
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT_ID, id);
        }
        let request = shared.endpoint.request(Method::GET, headers, Bytes::new());
        let response = match tokio::time::timeout(HEAD, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(RequestError::Credential(_))) => return Err(LinkError::Credentials),
            Ok(Err(RequestError::Client(_))) | Err(_) => return Err(LinkError::Unreachable),
        };
        shared.accepted(&response)?;
        if kind(&response) != Some(Kind::Events) {
            return Err(LinkError::Status(StatusCode::METHOD_NOT_ALLOWED.as_u16()));
        }
        let key = StreamKey::Get(shared.next.fetch_add(1, Ordering::Relaxed));
        let (stopped, over) = (shared.register(&key), shared.over.clone());
        opened(&key);
        let (shared, stream) = (Arc::clone(shared), key);
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = stopped.cancelled() => {}
                _ = shared.read_events(response, &stream) => {
                    shared.events.send(LinkEvent::StreamEnded(stream.clone())).await.ok();
                }
            }
            shared.streams.lock().remove(&stream);
        });
        Ok(())
    }

    pub(super) fn abandon(&self, stream: &StreamKey) {
        if let Some(token) = self.0.streams.lock().remove(stream) {
            token.cancel();
        }
    }

    /// Ends the server's session by DELETE, if it gave one, and everything under way here.
    pub(super) async fn stop(&self) {
        let shared = &self.0;
        if shared.over.is_cancelled() {
            return;
        }
        shared.over.cancel();
        if shared.session.get().is_some() {
            let Ok(authorization) = shared.authorization().await else {
                tracing::debug!(
                    "a tool server's session is left to end by itself: there is nothing to show it"
                );
                return shared.closed().await;
            };
            let headers = shared.own_headers(authorization);
            let goodbye = shared.endpoint.request(Method::DELETE, headers, Bytes::new());
            // A server may refuse to end sessions (405) or be gone; there is nothing more to do then.
            tokio::time::timeout(GOODBYE, goodbye).await.ok();
        }
        shared.closed().await;
    }
}

/// What an answer holds.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Events,
}

fn kind(response: &Response<Body>) -> Option<Kind> {
    if response.headers().contains_key(CONTENT_ENCODING) {
        return None;
    }
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "application/json" => Some(Kind::Json),
        "text/event-stream" => Some(Kind::Events),
        _ => None,
    }
}

impl Shared {
    fn register(&self, key: &StreamKey) -> CancellationToken {
        let token = CancellationToken::new();
        self.streams.lock().insert(key.clone(), token.clone());
        token
    }

    async fn closed(&self) {
        self.events.send(LinkEvent::Closed(None)).await.ok();
    }

    /// Without it nothing may be sent to a server that is to be told who calls.
    async fn authorization(&self) -> Result<Option<HeaderValue>, LinkError> {
        let shown = match &self.speaker {
            Speaker::Nobody => None,
            Speaker::Gateway(shown) => Some(Arc::clone(shown)),
            // Why there is none was told already.
            Speaker::Session(session) => {
                session.identity_for_server().await.map_err(|_told| LinkError::Credentials)?
            }
        };
        let Some(shown) = shown else { return Ok(None) };
        // It goes to the one server that it names.
        let mut value = HeaderValue::from_str(shown.expose()).map_err(|_not_ours| LinkError::Credentials)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn own_headers(&self, authorization: Option<HeaderValue>) -> HeaderMap {
        let (session, version) = (self.session.get().cloned(), self.version.get().cloned());
        let own = [(SESSION_ID, session), (PROTOCOL_VERSION, version), (AUTHORIZATION, authorization)];
        own.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Our own headers, and those that the gate lets go with the message.
    fn headers(&self, outgoing: &Outgoing, authorization: Option<HeaderValue>) -> HeaderMap {
        let mut headers = self.own_headers(authorization);
        for (name, value) in &outgoing.headers {
            let Ok(value) = HeaderValue::from_str(value) else { continue };
            if *name == PROTOCOL_VERSION.as_str() {
                self.version.set(value.clone()).ok();
            }
            headers.insert(HeaderName::from_static(name), value);
        }
        headers
    }

    async fn post(
        &self,
        outgoing: Outgoing,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Body>, LinkError> {
        let headers = self.headers(&outgoing, authorization);
        let response = self.endpoint.request(Method::POST, headers, outgoing.bytes).await;
        // hyper's error tells of addresses and certificates; that is for the operator, not for the caller.
        response.map_err(|error| match error {
            RequestError::Credential(_) => LinkError::Credentials,
            RequestError::Client(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a tool server can't be reached");
                LinkError::Unreachable
            }
        })
    }

    /// Judges the status of an answer. Our session being unknown ends the link.
    fn accepted(&self, response: &Response<Body>) -> Result<(), LinkError> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if status == StatusCode::UNAUTHORIZED {
            // Its challenge is for us and not for the client, who has nothing to show it.
            let server = self.endpoint.authority();
            tracing::warn!(
                server,
                "a tool server refuses what the gateway shows it (HTTP 401): look at `forward_identity` and `headers`"
            );
            return Err(LinkError::Refused);
        }
        if status == StatusCode::NOT_FOUND && self.session.get().is_some() && !self.over.is_cancelled() {
            // On a task of its own: `over` ends the one that we may be running on.
            let events = self.events.clone();
            tokio::spawn(async move { events.send(LinkEvent::Closed(None)).await });
            self.over.cancel();
        }
        Err(LinkError::Status(status.as_u16()))
    }

    /// Makes one request and brings its answer as events.
    async fn call(
        &self,
        outgoing: Outgoing,
        authorization: Option<HeaderValue>,
        request: RequestId,
        key: &StreamKey,
    ) {
        let event = match self.answer(outgoing, authorization, key).await {
            Ok(()) => LinkEvent::StreamEnded(key.clone()),
            Err(why) => LinkEvent::Failed { request, why: Failure::Upstream(why) },
        };
        self.events.send(event).await.ok();
    }

    async fn answer(
        &self,
        outgoing: Outgoing,
        authorization: Option<HeaderValue>,
        key: &StreamKey,
    ) -> Result<(), String> {
        let response = self.post(outgoing, authorization).await.map_err(|error| error.to_string())?;
        if let Some(id) = response.headers().get(SESSION_ID).filter(|id| id.len() <= LONGEST_ID) {
            let mut id = id.clone();
            id.set_sensitive(true);
            // Only the handshake's answer gives one; a later one changes nothing.
            self.session.set(id).ok();
        }
        let status = response.status();
        match kind(&response) {
            Some(Kind::Events) if status.is_success() => {
                self.read_events(response, key).await.map_err(str::to_owned)
            }
            // A JSON-RPC error often comes with a 4xx; whether it answers this request is the relay's to see.
            Some(Kind::Json)
                if !matches!(status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED)
                    && !status.is_redirection() =>
            {
                let body = Limited::new(response.into_body(), self.message_bytes).collect().await;
                let body = body.map_err(|error| {
                    tracing::warn!(error = &*error, "a tool server's answer can't be read");
                    "the tool server's answer broke off or is larger than the limit for messages".to_owned()
                })?;
                let bytes = body.to_bytes().to_vec();
                self.deliver(key, None, bytes).await;
                if status.is_success() { Ok(()) } else { Err(LinkError::Status(status.as_u16()).to_string()) }
            }
            _ if status.is_success() => {
                Err("the tool server answered with an unexpected content type".to_owned())
            }
            _ => {
                let refused = self.accepted(&response);
                Err(refused.err().unwrap_or(LinkError::Gone).to_string())
            }
        }
    }

    async fn deliver(&self, stream: &StreamKey, event: Option<EventMeta>, bytes: Vec<u8>) {
        // The receiver is gone only when the session is.
        let message = Incoming { stream: stream.clone(), event, bytes };
        self.events.send(LinkEvent::Message(message)).await.ok();
    }

    async fn read_events(&self, response: Response<Body>, key: &StreamKey) -> Result<(), &'static str> {
        let mut decoder = sse::Decoder::new(self.message_bytes);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            // A stream that breaks off is the same as one that ends: it may be resumed.
            let Ok(frame) = frame else { return Ok(()) };
            let Some(chunk) = frame.data_ref() else { continue };
            let events = decoder.push(chunk);
            let events = events.map_err(|_too_long| "the tool server sent an event larger than the limit")?;
            for event in events {
                let message = event.is_message();
                let id = event.id.filter(|id| id.len() <= LONGEST_ID);
                let meta = EventMeta { id, retry: event.retry };
                let meta = (meta != EventMeta::default()).then_some(meta);
                let data = if message { event.data } else { Vec::new() };
                if meta.is_some() || !data.is_empty() {
                    self.deliver(key, meta, data).await;
                }
            }
        }
        Ok(())
    }
}
