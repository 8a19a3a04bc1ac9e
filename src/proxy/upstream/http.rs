//! One session with a tool server over streamable HTTP (MCP 2025-11-25, Transports).
//!
//! The server's own session id is kept here and goes nowhere else. No request is resent, no redirect followed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as Body;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::{EventMeta, Failure, Incoming, LinkError, LinkEvent, StreamKey, ToSend};
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
    pub(super) fn new(endpoint: Arc<Endpoint>, limits: &Limits, events: mpsc::Sender<LinkEvent>) -> Self {
        Self(Arc::new(Shared {
            endpoint,
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
        let outgoing = match message.redeem() {
            Ok(outgoing) => outgoing,
            Err(failed) => {
                if let Some(event) = failed {
                    shared.events.send(event).await.ok();
                }
                return Ok(());
            }
        };
        let Some(request) = outgoing.request.clone() else {
            let answered = tokio::time::timeout(HEAD, shared.post(outgoing)).await;
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
                () = shared.call(outgoing, request, &key) => {}
            }
            shared.streams.lock().remove(&key);
        });
        Ok(())
    }

    /// Opens a stream by GET; `last_event_id` names where one is to be resumed.
    pub(super) async fn listen(
        &self,
        outgoing: &Outgoing,
        last_event_id: Option<&str>,
        opened: impl FnOnce(&StreamKey),
    ) -> Result<(), LinkError> {
        let shared = &self.0;
        let mut headers = shared.headers(outgoing);
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT_ID, id);
        }
        let request = shared.endpoint.request(Method::GET, headers, Bytes::new());
        let response = match tokio::time::timeout(HEAD, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) | Err(_) => return Err(LinkError::Unreachable),
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
            let goodbye = shared.endpoint.request(Method::DELETE, shared.own_headers(), Bytes::new());
            // A server may refuse to end sessions (405) or be gone; there is nothing more to do then.
            tokio::time::timeout(GOODBYE, goodbye).await.ok();
        }
        shared.events.send(LinkEvent::Closed(None)).await.ok();
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

    fn own_headers(&self) -> HeaderMap {
        let own = [(SESSION_ID, self.session.get()), (PROTOCOL_VERSION, self.version.get())];
        own.into_iter().filter_map(|(name, value)| Some((name, value?.clone()))).collect()
    }

    /// Our own headers, and those that the gate lets go with the message.
    fn headers(&self, outgoing: &Outgoing) -> HeaderMap {
        let mut headers = self.own_headers();
        for (name, value) in &outgoing.headers {
            let Ok(value) = HeaderValue::from_str(value) else { continue };
            if *name == PROTOCOL_VERSION.as_str() {
                self.version.set(value.clone()).ok();
            }
            headers.insert(HeaderName::from_static(name), value);
        }
        headers
    }

    async fn post(&self, outgoing: Outgoing) -> Result<Response<Body>, LinkError> {
        let headers = self.headers(&outgoing);
        let response = self.endpoint.request(Method::POST, headers, outgoing.bytes).await;
        // hyper's error tells of addresses and certificates; that is for the operator, not for the caller.
        response.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "a tool server can't be reached");
            LinkError::Unreachable
        })
    }

    /// Judges the status of an answer. Our session being unknown ends the link.
    fn accepted(&self, response: &Response<Body>) -> Result<(), LinkError> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
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
    async fn call(&self, outgoing: Outgoing, request: RequestId, key: &StreamKey) {
        let event = match self.answer(outgoing, key).await {
            Ok(()) => LinkEvent::StreamEnded(key.clone()),
            Err(why) => LinkEvent::Failed { request, why: Failure::Upstream(why) },
        };
        self.events.send(event).await.ok();
    }

    async fn answer(&self, outgoing: Outgoing, key: &StreamKey) -> Result<(), String> {
        let response = self.post(outgoing).await.map_err(|error| error.to_string())?;
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
            Some(Kind::Json) if status != StatusCode::NOT_FOUND && !status.is_redirection() => {
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
