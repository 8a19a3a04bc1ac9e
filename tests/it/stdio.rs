//! `chancery run`: a drop-in for a tool server's command.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, ErrorCode};
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::{PATIENCE, chancery, records, wait_for};
use crate::puppet::{PERMIT_ALL, POLICIES, script};
use crate::raw::{call, initialize};
use crate::support::leaks::{self, Place};

/// `chancery run` in front of `server`, with everything below `dir`.
fn run(dir: &Path, policies: &str, more: &str, words: &[&str], server: &[&str]) -> Command {
    fs::create_dir_all(dir.join("policies")).unwrap();
    fs::write(dir.join("policies/test.cedar"), policies).unwrap();
    fs::write(dir.join("chancery.yaml"), format!("log: {{ dir: log }}\npolicies: policies\n{more}\n"))
        .unwrap();
    let mut command = chancery(dir);
    command.args(["run", "--name", "demo", "-c"]).arg(dir.join("chancery.yaml")).args(words);
    if !server.is_empty() {
        command.arg("--").args(server);
    }
    command
}

fn demo_server() -> [&'static str; 2] {
    [env!("CARGO_BIN_EXE_chancery"), "demo-server"]
}

/// A client that writes its own lines.
pub(crate) struct Pipe {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Option<std::thread::JoinHandle<Vec<u8>>>,
    dir: TempDir,
}

impl Pipe {
    pub(crate) fn start(policies: &str, more: &str, server: &[&str]) -> Self {
        Self::start_with(policies, more, &[], server)
    }

    /// With more words on the command line.
    pub(crate) fn start_with(policies: &str, more: &str, words: &[&str], server: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = run(dir.path(), policies, more, words, server);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said).unwrap();
            said
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: Some(said), dir }
    }

    /// Where its configuration, its policies and its log are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// In front of a shell script, with its handshake done.
    fn puppet(end: &str, more: &str) -> Self {
        let mut pipe = Self::start(PERMIT_ALL, more, &["sh", "-c", &script(end)]);
        pipe.handshake("2025-11-25");
        pipe
    }

    pub(crate) fn handshake(&mut self, revision: &str) -> Value {
        self.send(&initialize(revision).to_string());
        let answer = self.receive();
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    pub(crate) fn send(&mut self, line: &str) {
        leaks::arguments(line.as_bytes());
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).unwrap();
    }

    /// The next message; whatever is no message fails the test.
    pub(crate) fn receive(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("a message");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        if let Some(token) = message["result"]["_meta"]["chancery/session"]["token"].as_str() {
            leaks::credential(token);
        }
        message
    }

    /// What follows until the end of stdout.
    fn rest(&self) -> Vec<String> {
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return rest,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("stdout does not end; {rest:?}"),
            }
        }
    }

    fn read(&mut self, id: u32, uri: &str) {
        let params = json!({ "uri": uri });
        self.send(
            &json!({ "jsonrpc": "2.0", "id": id, "method": "resources/read", "params": params }).to_string(),
        );
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait(&mut self) -> ExitStatus {
        wait_for("the end of chancery", || self.child.try_wait().unwrap())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let said = self.said.take().unwrap().join().unwrap();
        if std::thread::panicking() {
            eprintln!("chancery said:\n{}", String::from_utf8_lossy(&said));
            return;
        }
        leaks::search_files(self.dir.path()).unwrap_or_else(|leak| panic!("{leak}"));
        assert_eq!(leaks::find(&said, Place::Trace), None, "in what chancery said");
    }
}

fn arguments(value: Value) -> rmcp::model::JsonObject {
    match value {
        Value::Object(object) => object,
        _ => panic!("arguments are an object"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmodified_client_works_through_run_and_what_is_forbidden_never_reaches_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("files");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.txt"), "hello").unwrap();
    let record = dir.path().join("record");
    let [program, demo] = demo_server();
    let (root_text, record_text) = (root.display().to_string(), record.display().to_string());
    let server = [program, demo, "--root", &root_text, "--record", &record_text];
    let command = run(dir.path(), POLICIES, "", &[], &server);
    let (transport, _stderr) = TokioChildProcess::builder(tokio::process::Command::from(command))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let client = ().serve(transport).await.unwrap();

    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert!(names.contains(&"read_file") && names.contains(&"echo"), "{names:?}");
    assert!(!names.contains(&"delete_everything"), "{names:?}");

    let read = CallToolRequestParams::new("read_file").with_arguments(arguments(json!({ "path": "a.txt" })));
    let read = client.call_tool(read).await.unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["content"][0]["text"], "hello");

    let denied = client.call_tool(CallToolRequestParams::new("delete_everything")).await.unwrap_err();
    let rmcp::ServiceError::McpError(error) = denied else { panic!("{denied:?}") };
    assert_eq!(error.code, ErrorCode(403));
    assert_eq!(error.message, "Nothing is deleted here.");
    assert!(root.join("a.txt").exists());

    client.cancel().await.unwrap();
    let seen = fs::read_to_string(&record).unwrap();
    assert!(seen.contains("read_file") && !seen.contains("delete_everything"), "{seen}");
    let records = records(&dir.path().join("log"));
    let effects: Vec<_> = records
        .iter()
        .filter(|record| record["predicate"]["method"] == "tools/call")
        .map(|record| record["predicate"]["effect"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(effects, ["allow", "deny"]);
}

#[test]
fn the_token_is_in_the_handshake_and_nowhere_at_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("record").display().to_string();
    let [program, demo] = demo_server();
    let mut pipe = Pipe::start(POLICIES, "", &[program, demo, "--record", &record]);
    let answer = pipe.handshake("2025-11-25");
    let token = answer["result"]["_meta"]["chancery/session"]["token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3);
    pipe.send(&call(1, "add", r#"{"a":2,"b":3}"#));
    assert_eq!(pipe.receive()["result"]["content"][0]["text"], "5");
    assert!(!fs::read_to_string(&record).unwrap().contains(&token));
}

#[test]
fn answers_come_before_the_end_when_stdin_ends_after_a_request() {
    let [program, demo] = demo_server();
    let mut pipe = Pipe::start(POLICIES, "", &[program, demo]);
    pipe.handshake("2025-06-18");
    pipe.send(&call(1, "slow", r#"{"steps":3,"step_ms":50}"#));
    drop(pipe.child.stdin.take());
    assert_eq!(pipe.receive()["result"]["content"][0]["text"], "done after 3 steps");
    assert_eq!(pipe.rest(), Vec::<String>::new());
    assert_eq!(pipe.wait().code(), Some(0));
}

#[test]
fn a_dead_child_answers_what_is_pending_with_an_error_and_hands_on_its_code() {
    let mut pipe = Pipe::puppet("", "");
    pipe.read(1, "puppet:silent");
    pipe.read(2, "puppet:die");
    let mut answers = [pipe.receive(), pipe.receive()];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    for (answer, id) in answers.iter().zip([1, 2]) {
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(503)), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("gone"), "{answer}");
    }
    assert_eq!(pipe.rest(), Vec::<String>::new());
    assert_eq!(pipe.wait().code(), Some(7));
}

#[test]
fn sigterm_goes_on_to_the_child_whose_code_is_ours() {
    let mut pipe = Pipe::puppet("sleep 60 & wait $!", "");
    pipe.signal("TERM");
    assert_eq!(pipe.wait().code(), Some(9));
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let deaf = script("sleep 60").replace("trap 'exit 9' TERM", "trap '' TERM");
    let mut pipe = Pipe::start(PERMIT_ALL, "limits: { grace: 1s }", &["sh", "-c", &deaf]);
    pipe.handshake("2025-11-25");
    pipe.signal("TERM");
    assert_eq!(pipe.wait().code(), Some(128 + 9));
}

#[test]
fn a_child_that_outlives_its_stdin_is_stopped() {
    let mut pipe = Pipe::puppet("sleep 60 & wait $!", "");
    drop(pipe.child.stdin.take());
    assert_eq!(pipe.wait().code(), Some(9));
}

#[test]
fn what_a_child_prints_beside_messages_is_dropped() {
    let mut pipe = Pipe::puppet("", "");
    pipe.read(1, "puppet:noise");
    assert_eq!(pipe.receive(), json!({ "jsonrpc": "2.0", "id": 1, "result": { "contents": [] } }));
    for (id, uri) in [(2, "puppet:same-keys"), (3, "puppet:hello")] {
        pipe.read(id, uri);
        let answer = pipe.receive();
        assert_eq!(answer["id"], json!(id), "{answer}");
        assert_eq!(answer["error"]["code"].as_i64(), (id == 2).then_some(503), "{answer}");
    }
}

#[test]
fn an_overlong_line_is_refused_and_the_next_is_served() {
    let mut pipe = Pipe::puppet("", "limits: { message_bytes: 64KiB }");
    pipe.read(1, &"x".repeat(70_000));
    let refused = pipe.receive();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)), "{refused}");
    pipe.read(2, "puppet:hello");
    assert_eq!(pipe.receive()["id"], json!(2));
}

#[test]
fn batches_are_taken_apart_where_the_revision_has_them_and_refused_elsewhere() {
    let [program, demo] = demo_server();
    let batch = format!("[{},{}]", call(1, "add", r#"{"a":1,"b":1}"#), call(2, "delete_everything", "{}"));
    let mut pipe = Pipe::start(POLICIES, "", &[program, demo]);
    pipe.handshake("2025-03-26");
    pipe.send(&batch);
    let mut answers = [pipe.receive(), pipe.receive()];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers[0]["result"]["content"][0]["text"], "2", "{answers:?}");
    assert_eq!(answers[1]["error"]["code"], 403, "{answers:?}");

    let mut pipe = Pipe::start(POLICIES, "", &[program, demo]);
    pipe.handshake("2025-06-18");
    pipe.send(&batch);
    let refused = pipe.receive();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    pipe.send(&call(3, "add", r#"{"a":1,"b":2}"#));
    assert_eq!(pipe.receive()["result"]["content"][0]["text"], "3");
}

#[test]
fn before_the_handshake_only_the_handshake_is_served() {
    let mut pipe = Pipe::start(PERMIT_ALL, "", &["sh", "-c", &script("")]);
    for (method, code) in [("server/discover", -32601), ("tools/list", -32600)] {
        pipe.send(&json!({ "jsonrpc": "2.0", "id": method, "method": method }).to_string());
        let answer = pipe.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(method), &json!(code)), "{answer}");
    }
    pipe.send("{not json");
    assert_eq!(pipe.receive()["error"]["code"], -32700);
    pipe.handshake("2025-11-25");
    pipe.send(&initialize("2025-11-25").to_string());
    assert_eq!(pipe.receive()["error"]["code"], -32600);
}
