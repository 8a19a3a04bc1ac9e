//! A light MCP client: one pinned HTTP/1.1 connection, one session, one call at a time.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

/// Where a server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// Path of the endpoint.
    pub(crate) path: String,
    /// The `Authorization` header, where evidence is a secret.
    pub(crate) authorization: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An open session.
pub(crate) struct Client {
    connection: SendRequest<Full<Bytes>>,
    target: Target,
    session: Option<String>,
    next_id: u64,
}

impl Client {
    /// Connects and shakes hands.
    pub(crate) async fn open(target: &Target) -> Self {
        let connection = match &target.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                connect(stream).await
            }
            Address::Unix(path) => connect(UnixStream::connect(path).await.unwrap()).await,
        };
        let mut client = Self { connection, target: target.clone(), session: None, next_id: 1 };
        let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
        let answer = client.send(Method::POST, initialize.to_owned()).await;
        let session = answer.headers().get("mcp-session-id").expect("a session").to_str().unwrap().to_owned();
        let body = text(answer).await;
        assert!(body.contains("\"serverInfo\""), "initialize failed: {body}");
        client.session = Some(session);
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let answer = client.send(Method::POST, initialized.to_owned()).await;
        assert!(answer.status().is_success(), "initialized failed: {}", answer.status());
        text(answer).await;
        client
    }

    /// Calls the tool `add` and checks the sum that comes back.
    pub(crate) async fn add(&mut self, a: i64, b: i64) {
        let id = self.next_id;
        self.next_id += 1;
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"add","arguments":{{"a":{a},"b":{b}}}}}}}"#
        );
        let answer = self.send(Method::POST, call).await;
        let (status, body) = (answer.status(), text(answer).await);
        let (own, sum) = (format!("\"id\":{id}"), format!("\"text\":\"{}\"", a + b));
        assert!(
            status.is_success() && body.contains(&own) && body.contains(&sum),
            "call failed: {status} {body}"
        );
    }

    /// Ends the session.
    pub(crate) async fn close(mut self) {
        let answer = self.send(Method::DELETE, String::new()).await;
        assert!(answer.status().is_success(), "DELETE failed: {}", answer.status());
    }

    async fn send(&mut self, method: Method, body: String) -> Response<hyper::body::Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.target.path)
            .header("host", "localhost")
            .header("accept", "application/json, text/event-stream");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(authorization) = &self.target.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.connection.ready().await.unwrap();
        self.connection.send_request(request).await.unwrap()
    }
}

async fn connect<S>(stream: S) -> SendRequest<Full<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn text(answer: Response<hyper::body::Incoming>) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
