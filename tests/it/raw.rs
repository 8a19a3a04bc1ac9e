//! HTTP written by hand, for what no client library would send.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE};
use crate::support::leaks;

/// Both directions of a connection.
pub(crate) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// An answer's head, and what of its body was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The message in the body, of a stream the last one.
    pub(crate) fn message(&self) -> Value {
        let text = match self.header("content-type") {
            Some("text/event-stream") => {
                self.body.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap()
            }
            _ => &self.body,
        };
        serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A connection to the gateway's TCP listener.
pub(crate) fn tcp(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.authority()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection to the gateway's Unix socket.
pub(crate) fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request and reads its head.
pub(crate) fn begin<W: Wire>(
    mut wire: W,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (Answer, BufReader<W>) {
    let mut head = format!("{line} HTTP/1.1\r\n");
    leaks::arguments(body);
    for (name, value) in headers {
        note(name, value);
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    wire.write_all(head.as_bytes()).unwrap();
    // A body that is refused by its head may not be read any more.
    wire.write_all(body).ok();
    read_head(BufReader::new(wire))
}

/// What a header carries that nobody else may see.
fn note(name: &str, value: &str) {
    match name.to_ascii_lowercase().as_str() {
        "authorization" => leaks::authorization(value),
        "mcp-session-id" => leaks::credential(value),
        _ => {}
    }
}

/// Sends a head that promises a body, and waits until the gateway, which has admitted the request then, asks for it.
pub(crate) fn promise<W: Wire>(
    mut wire: W,
    line: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> BufReader<W> {
    let mut head = format!("{line} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        note(name, value);
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    wire.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let (answer, reader) = read_head(BufReader::new(wire));
    assert_eq!(answer.status, 100, "{answer:?}");
    reader
}

/// Reads an answer's head.
pub(crate) fn read_head<W: Read>(mut reader: BufReader<W>) -> (Answer, BufReader<W>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => {
                note(name, value);
                head.push((name.to_owned(), value.to_owned()));
            }
            None => break,
        }
    }
    (Answer { status, head, body: String::new() }, reader)
}

/// Sends a request and reads the whole answer.
pub(crate) fn send<W: Wire>(wire: W, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = headers.to_vec();
    all.push(("connection", "close"));
    let (mut answer, mut reader) = begin(wire, line, &all, body);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    if answer.header("transfer-encoding") == Some("chunked") {
        rest = dechunk(&rest);
    }
    answer.body = String::from_utf8(rest).unwrap();
    answer
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(at) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        out.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes = &bytes[at + 4 + size..];
    }
    out
}

/// A client of one session, over TCP with the bootstrap secret.
pub(crate) struct Client<'a> {
    gateway: &'a Gateway,
    path: &'a str,
    pub(crate) bearer: String,
    pub(crate) session: String,
}

impl<'a> Client<'a> {
    /// Opens a session at `path`.
    pub(crate) fn open(gateway: &'a Gateway, path: &'a str, revision: &str) -> Self {
        Self::open_as(gateway, path, revision, &gateway.bearer())
    }

    /// The same with a bearer of one's own.
    pub(crate) fn open_as(gateway: &'a Gateway, path: &'a str, revision: &str, bearer: &str) -> Self {
        let mut client = Self { gateway, path, bearer: bearer.to_owned(), session: String::new() };
        let answer = client.post(initialize(revision).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.message()["result"]["protocolVersion"], revision, "{answer:?}");
        client.session = answer.header("mcp-session-id").unwrap().to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(client.post(initialized.to_string().as_bytes()).status, 202);
        client
    }

    /// The headers of its requests.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![
            ("host", "localhost"),
            ("authorization", self.bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        if !self.session.is_empty() {
            headers.push(("mcp-session-id", self.session.as_str()));
        }
        headers
    }

    /// Posts a body as it is.
    pub(crate) fn post(&self, body: &[u8]) -> Answer {
        send(tcp(self.gateway), &format!("POST {}", self.path), &self.headers(), body)
    }

    /// Calls a tool with arguments as they are.
    pub(crate) fn call(&self, id: u32, tool: &str, arguments: &str) -> Answer {
        self.post(call(id, tool, arguments).as_bytes())
    }

    /// Opens a GET stream; only the head is read.
    pub(crate) fn listen(&self) -> (Answer, BufReader<TcpStream>) {
        let mut headers = self.headers();
        headers.push(("connection", "close"));
        begin(tcp(self.gateway), &format!("GET {}", self.path), &headers, b"")
    }

    /// Ends the session.
    pub(crate) fn delete(&self) -> Answer {
        send(tcp(self.gateway), &format!("DELETE {}", self.path), &self.headers(), b"")
    }
}

/// An `initialize` request.
pub(crate) fn initialize(revision: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision,
        "capabilities": {},
        "clientInfo": { "name": "by-hand", "version": "1" },
    }})
}

/// A `tools/call` request with arguments as they are.
pub(crate) fn call(id: u32, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}
