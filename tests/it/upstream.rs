//! What a tool server at a URL sees of us, and streams that break off: the server is written by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::gateway::wait_for;
use crate::puppet::{PERMIT_ALL, gateway};
use crate::raw::{Client, begin, send, tcp};
use crate::stdio::Pipe;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    head: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, method: &str, contains: &str) -> bool {
        self.line.starts_with(method) && self.body.contains(contains)
    }
}

/// A server that breaks the stream of every tool call off after a first event, and answers on resumption.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

const SESSION: &str = "the-upstreams-own-session";

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/endpoint?key=1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || serve(&stream.unwrap(), &noted));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, noted: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        noted.lock().unwrap().push(request.clone());
        let message: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let id = &message["id"];
        let method = message["method"].as_str().unwrap_or_default();
        let answer = match (request.line.split(' ').next().unwrap(), method) {
            ("POST", "initialize") => json(
                id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "by-hand", "version": "1" },
                }),
            ),
            ("POST", "tools/list") => json(
                id,
                &json!({ "tools": [
                    { "name": "broken", "inputSchema": { "type": "object" } },
                    { "name": "elsewhere", "inputSchema": { "type": "object" } },
                    { "name": "refused", "inputSchema": { "type": "object" } },
                    { "name": "plain", "inputSchema": { "type": "object" } },
                ]}),
            ),
            ("POST", "tools/call") if message["params"]["name"] == "elsewhere" => {
                let port = message["params"]["arguments"]["port"].as_u64();
                let to = port.map_or("/other".to_owned(), |port| format!("http://127.0.0.1:{port}/mcp"));
                format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            ("POST", "tools/call") if message["params"]["name"] == "refused" => {
                refusal(id, request.header("authorization").unwrap_or_default())
            }
            ("POST", "tools/call") if message["params"]["name"] == "plain" => {
                json(id, &json!({ "content": [] }))
            }
            ("POST", "tools/call") => events(&format!("id: call-{id}\nretry: 10\ndata: \n\n")),
            ("POST", _) => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ("GET", _) => match request.header("last-event-id").and_then(|last| last.strip_prefix("call-")) {
                Some(id) => events(&format!(
                    "id: end-{id}\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[]}}}}\n\n"
                )),
                None => "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_owned(),
            },
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn json(id: &Value, result: &Value) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {SESSION}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A refusal that repeats what it was shown.
fn refusal(id: &Value, shown: &str) -> String {
    let error = json!({ "code": -32001, "message": format!("REFLECTED {shown}") });
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
    format!(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"REFLECTED {shown}\"\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn events(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}")
}

pub(crate) fn read(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut head = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => head.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length =
        head.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { line, head, body: String::from_utf8(body).unwrap() })
}

fn call(id: u32, tool: &str) -> String {
    crate::raw::call(id, tool, "{}")
}

#[test]
fn a_broken_stream_is_resumed_by_the_client_from_the_servers_own_event_id() {
    let upstream = Upstream::start();
    let gateway = gateway(&format!("  demo: {{ url: \"{}\" }}", upstream.url), PERMIT_ALL, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let broken = client.post(call(7, "broken").as_bytes());
    assert_eq!(broken.header("content-type"), Some("text/event-stream"), "{broken:?}");
    assert!(broken.body.contains("id: call-7") && !broken.body.contains("result"), "{broken:?}");
    let mut headers = client.headers();
    headers.push(("last-event-id", "call-7"));
    let resumed = send(tcp(&gateway), "GET /mcp", &headers, b"");
    assert!(resumed.body.contains("id: end-7"), "{resumed:?}");
    assert_eq!(resumed.message(), json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } }));
    // The server has no stream for messages of its own, and so the client is told.
    let (none, _) = begin(tcp(&gateway), "GET /mcp", &client.headers(), b"");
    assert_eq!(none.status, 405);
}

#[test]
fn a_broken_stream_is_resumed_for_a_client_on_a_pipe() {
    let upstream = Upstream::start();
    let servers = format!("servers: {{ demo: {{ url: \"{}\" }} }}", upstream.url);
    let mut pipe = Pipe::start(PERMIT_ALL, &servers, &[]);
    pipe.handshake("2025-11-25");
    pipe.send(&call(7, "broken"));
    assert_eq!(pipe.receive(), json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } }));
}

#[test]
fn a_server_at_a_url_sees_its_own_headers_and_nothing_of_the_clients() {
    let upstream = Upstream::start();
    let server = format!("  demo: {{ url: \"{}\", headers: {{ X-Key: configured }} }}", upstream.url);
    let gateway = gateway(&server, PERMIT_ALL, "");
    let client = Client::open(&gateway, "/mcp", "2025-06-18");
    let mut headers = client.headers();
    headers.extend([
        ("cookie", "a=b"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-secret", "client"),
        ("user-agent", "me"),
    ]);
    let body = call(1, "elsewhere");
    let redirected = send(tcp(&gateway), "POST /mcp", &headers, body.as_bytes());
    assert_eq!(redirected.status, 200, "{redirected:?}");
    assert_eq!(redirected.message()["error"]["code"], 503, "a redirect is not followed: {redirected:?}");
    assert!(client.delete().status < 300);
    wait_for("the end of the server's session", || {
        upstream
            .seen()
            .iter()
            .any(|r| r.is("DELETE", "") && r.header("mcp-session-id") == Some(SESSION))
            .then_some(())
    });

    let seen = upstream.seen();
    assert!(seen.iter().all(|r| r.line.contains(" /endpoint?key=1 ")), "{seen:#?}");
    let sent = seen.iter().find(|r| r.is("POST", "elsewhere")).unwrap();
    assert_eq!(sent.header("mcp-session-id"), Some(SESSION));
    assert_eq!(sent.header("mcp-protocol-version"), Some("2025-06-18"));
    assert_eq!(sent.header("x-key"), Some("configured"));
    assert_eq!(sent.body, body);
    let bearer = gateway.bearer();
    let secret = bearer.strip_prefix("Bearer ").unwrap();
    let allowed = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "mcp-protocol-version",
        "mcp-session-id",
        // The exporter is on in every test.
        "traceparent",
        "x-key",
    ];
    for request in &seen {
        for (name, value) in &request.head {
            assert!(allowed.contains(&name.as_str()), "{name}: {value}");
            assert!(!value.contains(secret) && !value.contains(&client.session), "{name}: {value}");
        }
    }
}
