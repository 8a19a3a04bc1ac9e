//! `chancery serve`: streamable HTTP on both sides.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult,
    ElicitationAction, Implementation, JsonObject, ProgressNotificationParam,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt as _};
use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE, demo_server, wait_for};
use crate::puppet::{POLICIES, gateway, puppet_gateway, script};
use crate::raw::{Client, call, read_head, send, tcp};

/// A client that answers questions and notes progress.
#[derive(Clone, Default)]
struct Person {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("person", "1"))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "answer": "forty-two" })))
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.lock().unwrap().push(progress.progress);
    }
}

async fn connect(gateway: &Gateway, path: &str) -> (RunningService<RoleClient, Person>, Person) {
    // Whoever was first installed it already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let bearer = gateway.bearer();
    let config =
        StreamableHttpClientTransportConfig::with_uri(format!("http://{}{path}", gateway.authority()))
            .auth_header(bearer.strip_prefix("Bearer ").unwrap());
    let transport = StreamableHttpClientTransport::from_config(config);
    let person = Person::default();
    (person.clone().serve(transport).await.unwrap(), person)
}

fn tool(name: &'static str, arguments: Value) -> CallToolRequestParams {
    let arguments: JsonObject = serde_json::from_value(arguments).unwrap();
    CallToolRequestParams::new(name).with_arguments(arguments)
}

async fn an_unmodified_client_works(gateway: &Gateway, path: &str) {
    let (client, person) = connect(gateway, path).await;
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "add"));
    assert!(tools.iter().all(|tool| tool.name != "delete_everything"));

    let sum = client.call_tool(tool("add", json!({ "a": 2, "b": 3 }))).await.unwrap();
    assert_eq!(serde_json::to_value(&sum).unwrap()["content"][0]["text"], "5");

    let slow = client.call_tool(tool("slow", json!({ "steps": 3, "step_ms": 20 }))).await.unwrap();
    assert_eq!(serde_json::to_value(&slow).unwrap()["content"][0]["text"], "done after 3 steps");
    // The library tells of progress on tasks of its own, which may come after the answer.
    let progress = || Some(person.progress.lock().unwrap().clone()).filter(|steps| steps.len() == 3);
    let mut progress = wait_for("three steps", progress);
    progress.sort_by(f64::total_cmp);
    assert_eq!(progress, [1.0, 2.0, 3.0]);

    let asked = client.call_tool(tool("ask_user", json!({ "question": "what?" }))).await.unwrap();
    let asked = serde_json::to_value(&asked).unwrap();
    assert_eq!(asked["content"][0]["text"], r#"{"answer":"forty-two"}"#, "{asked}");

    let large = "x".repeat(1 << 20);
    let echoed = client.call_tool(tool("echo", json!({ "message": large }))).await.unwrap();
    assert_eq!(echoed.structured_content.unwrap()["message"], large);

    let denied = client.call_tool(tool("delete_everything", json!({}))).await.unwrap_err();
    assert!(denied.to_string().contains("Nothing is deleted here."), "{denied}");
    client.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmodified_client_works_over_http_with_a_child() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    an_unmodified_client_works(&gateway, "/mcp").await;
    an_unmodified_client_works(&gateway, "/mcp/demo").await;
    let closed = || {
        let records = gateway.records();
        let kinds = records.iter().filter_map(|record| record["predicateType"].as_str());
        (kinds.filter(|kind| kind.contains("session-close")).count() == 2).then_some(())
    };
    wait_for("both sessions' close", closed);
}

/// The demo server on HTTP.
pub(crate) struct Remote {
    child: Child,
    pub(crate) url: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Remote {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.args(["demo-server", "--http"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the demo server ended");
            if let Some(at) = line.find("http://") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, url, stderr }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmodified_client_works_over_http_with_a_server_at_a_url() {
    let remote = Remote::start();
    let gateway = gateway(&format!("  demo: {{ url: \"{}\" }}", remote.url), POLICIES, "");
    an_unmodified_client_works(&gateway, "/mcp/demo").await;
}

#[test]
fn a_servers_own_session_id_stays_with_the_gateway() {
    let remote = Remote::start();
    let gateway = gateway(&format!("  demo: {{ url: \"{}\" }}", remote.url), POLICIES, "");
    let client = Client::open(&gateway, "/mcp/demo", "2025-06-18");
    assert_eq!(client.session.split('.').count(), 3, "the handle is the session's token");
    let answer = client.call(1, "add", r#"{"a":1,"b":2}"#);
    assert_eq!(answer.header("mcp-session-id"), None);
    assert_eq!(answer.message()["result"]["content"][0]["text"], "3");
}

#[test]
fn a_server_at_a_url_that_is_gone_is_an_error_at_http_200_and_never_a_404() {
    let remote = Remote::start();
    let gateway = gateway(&format!("  demo: {{ url: \"{}\" }}", remote.url), POLICIES, "");
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    drop(remote);
    let answer = client.call(1, "add", r#"{"a":1,"b":2}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.message()["error"]["code"], 503, "{answer:?}");
}

#[test]
fn an_answer_that_comes_first_is_json_and_one_after_progress_is_a_stream() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let plain = client.call(1, "add", r#"{"a":1,"b":2}"#);
    assert_eq!((plain.status, plain.header("content-type")), (200, Some("application/json")), "{plain:?}");
    let with_progress = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "slow", "arguments": { "steps": 2, "step_ms": 10 }, "_meta": { "progressToken": "p" },
    }});
    let streamed = client.post(with_progress.to_string().as_bytes());
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"), "{streamed:?}");
    assert_eq!(streamed.body.matches("notifications/progress").count(), 2, "{streamed:?}");
    assert_eq!(streamed.message()["id"], 2, "{streamed:?}");
    assert!(streamed.header("mcp-session-id").is_none());
}

#[test]
fn a_session_has_one_get_stream_and_ends_by_delete_with_all_its_streams() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let (first, mut stream) = client.listen();
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(client.listen().0.status, 409);
    drop(client.listen());
    assert!(client.delete().status < 300);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(client.call(1, "add", r#"{"a":1,"b":2}"#).status, 404);
    assert_eq!(client.listen().0.status, 404);
    assert_eq!(client.delete().status, 404);
}

#[test]
fn a_get_stream_that_its_client_closed_can_be_opened_again() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let (first, stream) = client.listen();
    assert_eq!(first.status, 200);
    drop(stream);
    wait_for("a second stream", || (client.listen().0.status == 200).then_some(()));
}

/// Posts a call, waits until it is decided, and reads nothing of its answer.
fn decided(gateway: &Gateway, client: &Client<'_>, body: &str) -> TcpStream {
    let mut wire = tcp(gateway);
    let head = client.headers().iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
    let text = format!("POST /mcp HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
    wire.write_all(text.as_bytes()).unwrap();
    wait_for("the decision", || {
        gateway.records().iter().any(|r| r["predicate"]["method"] == "tools/call").then_some(())
    });
    wire
}

#[test]
fn a_client_that_goes_away_cancels_nothing() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    // It is decided before the connection is closed.
    drop(decided(&gateway, &client, &call(1, "slow", r#"{"steps":1,"step_ms":300}"#)));
    // The id is free again once the call has been answered, to nobody.
    wait_for("the end of the call", || {
        let again = client.call(1, "add", r#"{"a":1,"b":2}"#);
        (again.message()["result"]["content"][0]["text"] == "3").then_some(())
    });
}

#[test]
fn a_dead_child_ends_the_session() {
    let gateway = puppet_gateway(&script(""), "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let read = |uri: &str| {
        let params = json!({ "uri": uri });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params }).to_string()
    };
    assert_eq!(client.post(read("puppet:hello").as_bytes()).message()["result"]["contents"], json!([]));
    let answer = client.post(read("puppet:die").as_bytes());
    assert_eq!((answer.status, &answer.message()["error"]["code"]), (200, &json!(503)), "{answer:?}");
    wait_for("the session's end", || {
        (client.post(read("puppet:hello").as_bytes()).status == 404).then_some(())
    });
}

#[test]
fn a_server_that_floods_a_client_that_does_not_read_is_bounded_and_goes_on() {
    let gateway = puppet_gateway(&script(""), "limits: { message_bytes: 64KiB }");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let (listening, unread) = client.listen();
    assert_eq!(listening.status, 200);
    let before = gateway.memory();
    for (id, uri) in [(1, "puppet:flood"), (2, "puppet:endless"), (3, "puppet:hello")] {
        let params = json!({ "uri": uri });
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "resources/read", "params": params });
        let answer = client.post(body.to_string().as_bytes());
        assert_eq!(answer.message()["result"]["contents"], json!([]), "{uri}");
    }
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 50 * 1024, "{grown} KiB for 100 MB of messages and 200 MB without a line's end");
    drop(unread);
}

#[test]
fn batches_are_taken_apart_where_the_revision_has_them_and_refused_elsewhere() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let batch = format!("[{},{}]", call(1, "add", r#"{"a":1,"b":1}"#), call(2, "delete_everything", "{}"));
    let client = Client::open(&gateway, "/mcp", "2025-03-26");
    let answer = client.post(batch.as_bytes());
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{answer:?}");
    let mut messages: Vec<Value> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|text| serde_json::from_str(text.trim()).unwrap())
        .collect();
    messages.sort_by_key(|message| message["id"].as_u64());
    assert_eq!(messages[0]["result"]["content"][0]["text"], "2", "{answer:?}");
    assert_eq!(messages[1]["error"]["code"], 403, "{answer:?}");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_eq!(client.post(batch.as_bytes()).message()["error"]["code"], -32600);
}

#[test]
fn a_probe_for_the_next_revision_makes_clients_fall_back() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let bearer = gateway.bearer();
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    let probe = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}"#;
    let answer = send(tcp(&gateway), "POST /mcp", &headers, probe);
    assert_eq!((answer.status, &answer.message()["error"]["code"]), (200, &json!(-32601)), "{answer:?}");
}

#[test]
fn anyone_may_ask_for_health_and_keys_and_nothing_else() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let get = |path: &str| send(tcp(&gateway), &format!("GET {path}"), &[("host", "localhost")], b"");
    assert_eq!(get("/healthz").status, 200);
    assert_eq!(get("/readyz").status, 200);
    let jwks = get("/.well-known/jwks.json");
    assert!(jwks.header("cache-control").unwrap().contains("max-age="), "{jwks:?}");
    let jwks: Value = serde_json::from_str(&jwks.body).unwrap();
    assert!(!jwks["keys"].as_array().unwrap().is_empty());
    for (path, status) in
        [("/", 404), ("/mcp", 401), ("/mcp/demo", 401), ("/mcp/none", 401), ("/metrics", 404)]
    {
        assert_eq!(get(path).status, status, "{path}");
    }
}

#[test]
fn a_shutdown_finishes_what_is_under_way() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let wire = decided(&gateway, &client, &call(1, "slow", r#"{"steps":1,"step_ms":700}"#));
    drop(client);
    let stopping = std::thread::spawn(move || gateway.stop());
    let (answer, mut reader) = read_head(BufReader::new(wire));
    assert_eq!(answer.status, 200);
    let length = answer.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["result"]["content"][0]["text"], "done after 1 steps", "{body}");
    let (code, said, _dir) = stopping.join().unwrap();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_client_whose_secret_opened_another_session_is_told_so_and_so_is_the_operator() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, "");
    let first = Client::open(&gateway, "/mcp", "2025-11-25");
    let second = Client::open(&gateway, "/mcp", "2025-11-25");
    let refused = first.call(1, "add", r#"{"a":1,"b":2}"#);
    assert_eq!(refused.status, 404);
    assert!(refused.body.contains("one secret holds one session"), "{refused:?}");
    assert_eq!(second.call(1, "add", r#"{"a":1,"b":2}"#).status, 200);
    let (_, said, _dir) = gateway.stop();
    assert_eq!(said.matches("chancery bootstrap new FILE").count(), 1, "{said}");
}

#[test]
fn a_refused_request_whose_body_comes_after_its_head_is_answered_and_the_connection_goes_on() {
    let gateway = puppet_gateway(&script(""), "");
    let body = call(1, "add", r#"{"a":1,"b":1}"#);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut wire = tcp(&gateway);
    wire.set_nodelay(true).unwrap();
    for round in 0..3 {
        wire.write_all(head.as_bytes()).unwrap();
        // Nothing is answered, nor the connection closed, before the body is there too.
        wire.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let early = wire.read(&mut [0; 1]);
        assert!(early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{round}");
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        wire.write_all(body.as_bytes()).unwrap();
        let (answer, mut rest) = read_head(BufReader::new(wire));
        assert_eq!(answer.status, 401, "{round}");
        let length: u64 = answer.header("content-length").unwrap().parse().unwrap();
        std::io::copy(&mut rest.by_ref().take(length), &mut std::io::sink()).unwrap();
        wire = rest.into_inner();
    }
}
