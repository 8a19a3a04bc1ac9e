//! Asks a tool server for its tools on the gateway's own account, before any session exists: the principal is the
//! gateway itself, and no client's message is involved.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{ConnectError, Connector, Failure, Link, LinkEvent, Speaker, StreamKey, ToSend};
use crate::domain::limits::Limits;
use crate::domain::revision::Revision;
use crate::domain::secret::Secret;
use crate::gate::{Delivery, Outgoing};
use crate::identity::SpiffeTls;
use crate::proxy::config::ServerConfig;
use crate::wire::error::METHOD_NOT_FOUND;
use crate::wire::{Frame, Kind, RequestId, lists, methods, replies};

/// Pages of `tools/list` that are read.
const PAGES: usize = 64;
/// Tools that are taken.
const TOOLS: usize = 4096;

/// What a tool server says of itself.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The entries of its `tools/list`, all pages, each as the server wrote it.
    pub tools: Vec<Vec<u8>>,
    /// The revision that it negotiated.
    pub revision: String,
    /// The result of its `initialize`, as it wrote it: `serverInfo`, `capabilities`, `instructions`.
    pub initialized: Vec<u8>,
}

/// Why a tool server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It can't be started or reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It did not speak MCP as it should.
    #[error("the tool server `{server}` {why}")]
    Protocol {
        /// Which.
        server: String,
        /// What it did.
        why: String,
    },
}

/// Starts or reaches `server`, does the handshake, reads its whole `tools/list` and shuts it down in order.
/// `tls` is the gateway's own, as [`Connector::new`] takes it; `authorization` is what it shows a server that is to be told
/// who calls. Each answer may take `limits.handshake`; at most 64 pages and 4096 tools are read.
///
/// # Errors
/// The command can't be started, the URL can't be reached, or the answers are not those of an MCP server.
pub async fn probe(
    server: &ServerConfig,
    limits: &Limits,
    tls: Option<&SpiffeTls>,
    authorization: Option<Secret>,
) -> Result<Probed, ProbeError> {
    let connector = Connector::new(server.clone(), limits.clone(), tls)?;
    let speaker = authorization.map_or(Speaker::Nobody, |shown| Speaker::Gateway(Arc::new(shown)));
    let (link, events) = connector.connect(speaker)?;
    let mut asker = Asker { link: &link, events, limits, headers: Vec::new(), next: 0 };
    let asked = asker.ask().await;
    // The link must not wait for us to take its last events.
    let mut events = asker.events;
    let drain = async {
        while events.recv().await.is_some() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = link.stop(false) => {}
        () = drain => {}
    }
    asked.map_err(|why| ProbeError::Protocol { server: server.name.to_string(), why })
}

struct Asker<'a> {
    link: &'a Link,
    events: mpsc::Receiver<LinkEvent>,
    limits: &'a Limits,
    headers: Vec<(&'static str, String)>,
    next: u32,
}

impl Asker<'_> {
    async fn ask(&mut self) -> Result<Probed, String> {
        let params = json!({
            "protocolVersion": Revision::LATEST.as_str(),
            "capabilities": {},
            "clientInfo": { "name": "chancery", "version": env!("CARGO_PKG_VERSION") },
        });
        let answer = self.call(methods::INITIALIZE, &params).await?;
        let initialized = answer.result().ok_or("refused `initialize`")?.to_vec();
        let revision = answer.protocol_version().ok_or("named no protocol version")?.to_owned();
        if revision.parse::<Revision>().is_err() {
            return Err("speaks no protocol version that is supported".to_owned());
        }
        self.headers = vec![("mcp-protocol-version", revision.clone())];
        self.send(replies::notification(methods::NOTIFICATIONS_INITIALIZED, None::<&()>), None).await?;
        let tools = self.tools().await?;
        Ok(Probed { tools, revision, initialized })
    }

    async fn tools(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut tools = Vec::new();
        let mut params = json!({});
        for _ in 0..PAGES {
            let page = self.call(methods::TOOLS_LIST, &params).await?;
            if let Some(error) = page.error() {
                // A server without tools does not know the method.
                return match error_code(error) {
                    Some(METHOD_NOT_FOUND) => Ok(tools),
                    _ => Err("refused `tools/list`".to_owned()),
                };
            }
            let entries =
                lists::entries(&page, "tools").map_err(|e| format!("listed its tools wrongly: {e}"))?;
            tools.extend(entries.into_iter().map(|(_, raw)| raw.to_vec()));
            if tools.len() > TOOLS {
                return Err(format!("has more than {TOOLS} tools"));
            }
            match lists::next_cursor(&page) {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(tools),
            }
        }
        Err(format!("lists its tools on more than {PAGES} pages"))
    }

    async fn send(&self, bytes: Bytes, request: Option<RequestId>) -> Result<(), String> {
        let outgoing = Outgoing {
            delivery: Delivery::Message,
            bytes,
            request,
            in_reply_to: None,
            related: None,
            headers: self.headers.clone(),
        };
        let deadline = Instant::now() + self.limits.handshake;
        let sent = timeout_at(deadline, self.link.dispatch(ToSend::Own(outgoing))).await;
        sent.map_err(|_elapsed| "does not read what it is sent".to_owned())?.map_err(|error| match error {
            super::LinkError::Gone => "ended during the handshake".to_owned(),
            error => format!("failed: {error}"),
        })
    }

    async fn call(&mut self, method: &str, params: &serde_json::Value) -> Result<Frame, String> {
        self.next += 1;
        let id = RequestId::from(&*format!("chancery:probe:{}", self.next));
        self.send(replies::request(&id, method, Some(params)), Some(id.clone())).await?;
        let deadline = Instant::now() + self.limits.handshake;
        loop {
            let event = timeout_at(deadline, self.events.recv()).await;
            let event = event.map_err(|_elapsed| format!("did not answer `{method}` in time"))?;
            match event {
                Some(LinkEvent::Message(message)) => {
                    let Ok(frame) = Frame::parse(message.bytes, self.limits) else { continue };
                    match frame.kind() {
                        Kind::Response | Kind::Error if frame.id() == Some(&id) => return Ok(frame),
                        Kind::Request => self.answer(&frame).await?,
                        Kind::Notification | Kind::Response | Kind::Error => {}
                    }
                }
                Some(LinkEvent::Failed { request, why: Failure::Upstream(why) }) if request == id => {
                    return Err(format!("did not answer `{method}`: {why}"));
                }
                Some(LinkEvent::StreamEnded(StreamKey::Post(request))) if request == id => {
                    return Err(format!("did not answer `{method}`"));
                }
                Some(LinkEvent::Closed(Some(exit))) => {
                    return Err(format!("ended with code {} before it answered `{method}`", exit.code));
                }
                Some(LinkEvent::Closed(None)) | None => {
                    return Err(format!("ended before it answered `{method}`"));
                }
                Some(LinkEvent::Garbage(_) | LinkEvent::Failed { .. } | LinkEvent::StreamEnded(_)) => {}
            }
        }
    }

    /// We offer a server nothing but `ping`.
    async fn answer(&self, frame: &Frame) -> Result<(), String> {
        let Some(id) = frame.id() else { return Ok(()) };
        let answer = match frame.method() {
            Some(methods::PING) => replies::result(id, &json!({})),
            _ => replies::error(Some(id), METHOD_NOT_FOUND, "Method not found", None::<&()>),
        };
        self.send(answer, None).await
    }
}

fn error_code(error: &[u8]) -> Option<i64> {
    serde_json::from_slice::<serde_json::Value>(error).ok()?.get("code")?.as_i64()
}
