//! The side of the tool servers: a [`Link`] is one session's connection to its server.
//!
//! A link sends what a [`Permit`] holds and nothing else; the permit is redeemed at the moment of sending. What
//! the server says comes as [`LinkEvent`]s, in order, and is not yet decided on.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::domain::limits::Limits;
use crate::domain::secret::Secret;
use crate::gate::{Delivery, Outgoing, Permit, Session, ToServer, Verdict};
use crate::identity::SpiffeTls;
use crate::proxy::config::{ChildConfig, ServerConfig, ServerKind};
use crate::wire::RequestId;

mod child;
mod credential;
mod endpoint;
mod http;
mod probe;

pub use child::Exit;
pub use probe::{ProbeError, Probed, probe};

/// Events that may wait for the relay; each holds one message at most.
const EVENTS: usize = 8;

/// Why there is no connection to a tool server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The command can't be started.
    #[error("can't start the tool server `{server}`: `{command}` {what}; {fix}")]
    Start {
        /// Which server.
        server: String,
        /// Its command.
        command: String,
        /// What is wrong with it.
        what: &'static str,
        /// What to do.
        fix: &'static str,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The client for a URL can't be set up.
    #[error("can't set up the connection to the tool server `{server}`: {why}")]
    Setup {
        /// Which server.
        server: String,
        /// What is wrong.
        why: String,
    },
}

impl ConnectError {
    fn start(server: &str, config: &ChildConfig, source: std::io::Error) -> Self {
        let cwd_missing = config.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir());
        let (what, fix) = match source.kind() {
            std::io::ErrorKind::NotFound if cwd_missing => {
                ("can't run in its `cwd`, which is no directory", "correct the server's `cwd`")
            }
            std::io::ErrorKind::NotFound => {
                ("was not found", "install it, or give its full path as the server's command")
            }
            std::io::ErrorKind::PermissionDenied => {
                ("may not be executed", "make it executable (`chmod +x`), or name another command")
            }
            _ => ("could not be started", "see the system's error"),
        };
        Self::Start { server: server.to_owned(), command: config.command.clone(), what, fix, source }
    }
}

/// What comes from a tool server.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// A message, or an SSE event without one.
    Message(Incoming),
    /// Something that is no message; it was dropped.
    Garbage(&'static str),
    /// This request got no answer and will get none.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        why: Failure,
    },
    /// An answer stream is over; a request that was to be answered on it may be resumed on another.
    StreamEnded(StreamKey),
    /// The server is gone; the last event.
    Closed(Option<Exit>),
}

/// Why a request gets no answer from the tool server.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was sent, or could not be; this is for the caller.
    Upstream(String),
    /// Its permit was withdrawn before it was sent; the gate wrote this answer, or knows of none that waits.
    Withdrawn(Option<Bytes>),
}

/// One message of the server.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The stream on which it came.
    pub(super) stream: StreamKey,
    /// Its SSE event's fields, where it had any.
    pub(super) event: Option<EventMeta>,
    /// The message as it came; empty for an event without data.
    pub(super) bytes: Vec<u8>,
}

/// The fields of an SSE event that are passed on with its message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct EventMeta {
    /// The event's id, by which a stream is resumed.
    pub(super) id: Option<String>,
    /// Milliseconds to wait before a reconnection.
    pub(super) retry: Option<u64>,
}

/// The streams of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum StreamKey {
    /// A child's stdout, on which everything comes.
    Pipe,
    /// The answer to the POST of this request.
    Post(RequestId),
    /// A stream opened by GET; the number tells them apart.
    Get(u64),
}

/// What a link sends.
#[derive(Debug)]
enum ToSend {
    /// What a session's permit holds. The id is the client's request's, if it is one: whom to tell of a withdrawal.
    Permitted(Permit<ToServer>, Option<RequestId>),
    /// The probe's own message.
    Own(Outgoing),
}

impl ToSend {
    /// What to send now; else the event that tells of it, if there is a request to fail. Where only the policies changed,
    /// it is decided anew here, so that what is to be sent after it still is.
    async fn redeem(self) -> Result<Outgoing, Option<LinkEvent>> {
        let (mut permit, request) = match self {
            Self::Own(outgoing) => return Ok(outgoing),
            Self::Permitted(permit, request) => (permit, request),
        };
        loop {
            let withdrawn = match permit.redeem() {
                Ok(outgoing) => return Ok(outgoing),
                Err(withdrawn) => withdrawn,
            };
            let reply = match withdrawn.outdated {
                None => withdrawn.reply,
                Some(outdated) => match outdated.decide_again().await {
                    Verdict::Forward(again) => {
                        permit = again;
                        continue;
                    }
                    Verdict::Reply(reply) => Some(reply),
                    Verdict::Drop(_) => None,
                },
            };
            let failed = |request, reply| LinkEvent::Failed { request, why: Failure::Withdrawn(reply) };
            return Err(request.map(|request| failed(request, reply)));
        }
    }
}

/// The upstream does not take this message or stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    /// It is gone.
    #[error("the tool server is gone")]
    Gone,
    /// It answered with an HTTP status that is no success.
    #[error("the tool server answered HTTP {0}")]
    Status(u16),
    /// It does not take what the gateway shows it.
    #[error("the tool server refused the gateway's credentials (HTTP 401)")]
    Refused,
    /// It can't be reached.
    #[error("the tool server can't be reached")]
    Unreachable,
    /// There is nothing to show it; nothing was sent.
    #[error("the gateway has no credentials for the tool server now")]
    Credentials,
}

/// For whom a link speaks, where its server is told.
#[derive(Debug, Clone)]
pub(super) enum Speaker {
    /// Nobody: the server is not told.
    Nobody,
    /// A session's principal.
    Session(Arc<Session>),
    /// The gateway, by this `Authorization`.
    Gateway(Arc<Secret>),
}

/// Makes the links to one configured server.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ServerConfig>,
    limits: Limits,
    endpoint: Option<Arc<endpoint::Endpoint>>,
}

impl Connector {
    /// Prepares for `config`. Nothing is started or contacted yet. `tls` is the gateway's own, for servers that must
    /// prove a SPIFFE ID.
    ///
    /// # Errors
    /// When TLS or a configured header can't be set up.
    pub fn new(config: ServerConfig, limits: Limits, tls: Option<&SpiffeTls>) -> Result<Self, ConnectError> {
        let endpoint = match &config.kind {
            ServerKind::Child(_) => None,
            ServerKind::Http(http) => {
                let setup = |why| ConnectError::Setup { server: config.name.to_string(), why };
                Some(Arc::new(endpoint::Endpoint::new(http, tls).map_err(setup)?))
            }
        };
        Ok(Self { config: Arc::new(config), limits, endpoint })
    }

    /// Starts the child, or prepares an upstream session over HTTP.
    pub(super) fn connect(
        &self,
        speaker: Speaker,
    ) -> Result<(Link, mpsc::Receiver<LinkEvent>), ConnectError> {
        let (events, incoming) = mpsc::channel(EVENTS);
        let inner = match (&self.config.kind, &self.endpoint) {
            (ServerKind::Child(child), _) => {
                let name = self.config.name.as_str();
                Inner::Child(child::ChildLink::start(name, child, &self.limits, events)?)
            }
            (ServerKind::Http(_), Some(endpoint)) => {
                Inner::Http(http::HttpLink::new(Arc::clone(endpoint), speaker, &self.limits, events))
            }
            (ServerKind::Http(_), None) => {
                let server = self.config.name.to_string();
                return Err(ConnectError::Setup { server, why: "it has no endpoint".to_owned() });
            }
        };
        Ok((Link { inner }, incoming))
    }
}

/// One session's connection to its tool server.
#[derive(Debug)]
pub(super) struct Link {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Child(child::ChildLink),
    Http(http::HttpLink),
}

impl Link {
    /// Sends what `permit` holds. `request` is the id if it is a client's request; a withdrawal then comes as an event.
    /// Anything else has reached the server, or the queue to it, when this returns.
    pub(super) async fn send(
        &self,
        permit: Permit<ToServer>,
        request: Option<RequestId>,
    ) -> Result<(), LinkError> {
        self.dispatch(ToSend::Permitted(permit, request)).await
    }

    async fn dispatch(&self, message: ToSend) -> Result<(), LinkError> {
        match &self.inner {
            Inner::Child(child) => child.send(message).await.then_some(()).ok_or(LinkError::Gone),
            Inner::Http(http) => http.send(message).await,
        }
    }

    /// Whether the server's messages come on several streams, each answer on its request's.
    pub(super) fn has_streams(&self) -> bool {
        matches!(self.inner, Inner::Http(_))
    }

    /// Opens the GET stream that `permit` names; `opened` is told its key before anything can come on it. A child
    /// has one stream only, which is always open.
    pub(super) async fn listen(
        &self,
        permit: Permit<ToServer>,
        opened: impl FnOnce(&StreamKey) + Send,
    ) -> Result<(), LinkError> {
        // Asked for before the permit is redeemed: it may have to be recorded first.
        let authorization = match &self.inner {
            Inner::Http(http) => http.authorization().await?,
            Inner::Child(_) => None,
        };
        let Ok(outgoing) = permit.redeem() else { return Err(LinkError::Gone) };
        match (&self.inner, &outgoing.delivery) {
            (Inner::Http(http), Delivery::OpenStream { last_event_id }) => {
                http.listen(&outgoing, authorization, last_event_id.as_deref(), opened).await
            }
            (Inner::Child(_), Delivery::OpenStream { .. }) => {
                opened(&StreamKey::Pipe);
                Ok(())
            }
            (_, Delivery::Message | Delivery::EndSession) => Err(LinkError::Gone),
        }
    }

    /// Stops reading a stream whose client is gone, so that the server keeps its messages for a resumption.
    pub(super) fn abandon(&self, stream: &StreamKey) {
        if let Inner::Http(http) = &self.inner {
            http.abandon(stream);
        }
    }

    /// Ends the connection in order; `terminate` leaves out the wait for a child to leave by itself.
    pub(super) async fn stop(&self, terminate: bool) -> Option<Exit> {
        match &self.inner {
            Inner::Child(child) => child.stop(terminate).await,
            Inner::Http(http) => {
                http.stop().await;
                None
            }
        }
    }
}
