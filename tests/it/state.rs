//! Limits and labels end to end: what reached the tool server, what was answered and what the log says agree, over
//! two routes, two sessions and a kill.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::gateway::{chancery, is_kind, records, wait_for};
use crate::puppet::gateway;
use crate::raw::{Answer, call, initialize, send, unix};

/// Ten calls for each principal.
const TEN: &str = r#"
permit (principal, action, resource);
@id("ten") @reason("Ten calls are enough.")
forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.usage.calls >= 10 };
"#;

fn decided(log: &Path, effect: &str) -> usize {
    let of = |record: &Value| {
        let predicate = &record["predicate"];
        is_kind(record, "decision") && predicate["method"] == "tools/call" && predicate["effect"] == effect
    };
    records(log).iter().filter(|record| of(record)).count()
}

/// Tool calls that a demonstration server saw.
fn seen(record: &Path) -> usize {
    std::fs::read_to_string(record).map_or(0, |text| text.matches(r#""method":"tools/call""#).count())
}

/// A gateway on a pipe whose log lasts.
struct Run {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Run {
    fn start(home: &Path) -> Self {
        std::fs::create_dir_all(home.join("policies")).unwrap();
        std::fs::write(home.join("policies/ten.cedar"), TEN).unwrap();
        std::fs::write(home.join("chancery.yaml"), "policies: policies\nlog: { dir: log }\n").unwrap();
        let mut command = chancery(home);
        command.args(["run", "--name", "demo", "-c"]).arg(home.join("chancery.yaml")).arg("--");
        command.arg(env!("CARGO_BIN_EXE_chancery")).args(["demo-server", "--record"]).arg(home.join("seen"));
        let stderr = std::fs::File::options().create(true).append(true).open(home.join("stderr")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut run = Self { child, answers };
        run.send(&initialize("2025-11-25").to_string());
        assert!(
            run.answer()["result"].is_object(),
            "{}",
            std::fs::read_to_string(home.join("stderr")).unwrap()
        );
        run.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        run
    }

    fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn call(&mut self, id: u32) {
        self.send(&call(id, "add", r#"{"a":1,"b":1}"#));
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Answers to calls: how many were let through, how many refused for the limit.
    fn outcomes(&mut self, count: usize) -> (usize, usize) {
        let (mut passed, mut refused) = (0, 0);
        while passed + refused < count {
            let answer = self.answer();
            if answer["method"].is_string() {
                continue;
            }
            if answer["result"].is_object() {
                passed += 1;
            } else {
                assert_eq!(answer["error"]["message"], "Ten calls are enough.", "{answer}");
                refused += 1;
            }
        }
        (passed, refused)
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        let child = &mut self.child;
        assert!(wait_for("its end", || child.try_wait().unwrap()).success());
    }
}

#[test]
fn of_sixty_four_calls_under_way_ten_pass_in_answers_upstream_and_log_alike() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut run = Run::start(home);
    for id in 1..=64 {
        run.call(id);
    }
    assert_eq!(run.outcomes(64), (10, 54));
    run.end();
    assert_eq!(seen(&home.join("seen")), 10);
    assert_eq!((decided(&home.join("log"), "allow"), decided(&home.join("log"), "deny")), (10, 54));

    // In order or not, the end of a gateway gives nothing back.
    let mut again = Run::start(home);
    again.call(1);
    assert_eq!(again.outcomes(1), (0, 1));
    again.end();
}

#[test]
fn a_kill_gives_no_call_back() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut run = Run::start(home);
    for id in 1..=4 {
        run.call(id);
    }
    assert_eq!(run.outcomes(4), (4, 0));
    for id in 5..=8 {
        run.call(id);
    }
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    let before = decided(&home.join("log"), "allow");
    assert!((4..=8).contains(&before), "{before}");

    let mut run = Run::start(home);
    for id in 1..=64 {
        run.call(id);
    }
    let left = 10 - before;
    assert_eq!(run.outcomes(64), (left, 64 - left));
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    assert_eq!(decided(&home.join("log"), "allow"), 10);
    let upstream = seen(&home.join("seen"));
    assert!((4 + left..=10).contains(&upstream), "{upstream}");
}

#[test]
fn a_damaged_summary_stops_the_start_and_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut run = Run::start(home);
    run.call(1);
    assert_eq!(run.outcomes(1), (1, 0));
    run.end();
    let path = home.join("log/ledger.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"calls\":1", "\"calls\":0", 1)).unwrap();
    let mut command = chancery(home);
    command.args(["run", "-c"]).arg(home.join("chancery.yaml")).arg("--");
    command.arg(env!("CARGO_BIN_EXE_chancery")).arg("demo-server");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("ledger.json") && told.contains("delete it"), "{told}");
    std::fs::remove_file(&path).unwrap();
    let mut run = Run::start(home);
    for id in 1..=10 {
        run.call(id);
    }
    assert_eq!(run.outcomes(10), (9, 1), "the whole log was read");
    run.end();
}

#[test]
fn a_run_with_a_log_of_its_own_says_that_limits_end_with_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::create_dir_all(home.join("policies")).unwrap();
    std::fs::write(home.join("policies/ten.cedar"), TEN).unwrap();
    let told = |log: &[&str]| {
        let mut command = chancery(home);
        command.arg("run").args(log).arg("--policies").arg(home.join("policies")).arg("--");
        command.arg(env!("CARGO_BIN_EXE_chancery")).arg("demo-server");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).contains("begins at zero and ends with the run")
    };
    assert!(told(&[]));
    let lasting = home.join("log");
    assert!(!told(&["--log", lasting.to_str().unwrap()]));
}

/// A session of this process over the Unix socket: all of them are one principal's.
struct Session {
    socket: std::path::PathBuf,
    line: String,
    id: String,
}

impl Session {
    fn open(socket: &Path, route: &str) -> Self {
        let mut session =
            Self { socket: socket.to_owned(), line: format!("POST {route}"), id: String::new() };
        let answer = session.post(&initialize("2025-11-25").to_string());
        session.id = answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        session
    }

    fn post(&self, body: &str) -> Answer {
        let mut headers = vec![
            ("host", "localhost"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        if !self.id.is_empty() {
            headers.push(("mcp-session-id", &self.id));
        }
        send(unix(&self.socket), &self.line, &headers, body.as_bytes())
    }

    fn passes(&self, id: u32, tool: &str, arguments: &str) -> bool {
        let message = self.post(&call(id, tool, arguments)).message();
        assert!(message["result"].is_object() || message["error"].is_object(), "{message}");
        message["result"].is_object()
    }
}

fn two_servers(dir: &Path) -> String {
    ["a", "b"]
        .map(|name| {
            format!(
                "  {name}: {{ command: \"{}\", args: [demo-server, --record, \"{}\"] }}",
                env!("CARGO_BIN_EXE_chancery"),
                dir.join(name).display()
            )
        })
        .join("\n")
}

#[test]
fn two_routes_and_four_sessions_of_a_principal_share_one_limit_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&two_servers(dir.path()), TEN, "");
    let socket = gateway.dir.path().join("mcp.sock");
    let sessions: Vec<Session> =
        ["/mcp/a", "/mcp/b", "/mcp/a", "/mcp/b"].iter().map(|route| Session::open(&socket, route)).collect();
    let passed: usize = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..64_u32)
            .map(|id| {
                let session = &sessions[usize::try_from(id).unwrap() % 4];
                scope.spawn(move || usize::from(session.passes(id + 1, "add", r#"{"a":1,"b":1}"#)))
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).sum()
    });
    assert_eq!(passed, 10);
    assert_eq!(seen(&dir.path().join("a")) + seen(&dir.path().join("b")), 10);
    let log = gateway.dir.path().join("log");
    assert_eq!((decided(&log, "allow"), decided(&log, "deny")), (10, 54));
}

#[test]
fn what_one_server_let_in_closes_another_even_after_a_kill() {
    const FLOW: &str = r#"
permit (principal, action in [Mcp::Action::"session/open", Mcp::Action::"list"], resource);
@label("pii") permit (principal, action == Mcp::Action::"a/add", resource);
permit (principal, action == Mcp::Action::"b/add", resource) unless { principal.labels.contains("pii") };
"#;
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&two_servers(dir.path()), FLOW, "");
    let socket = gateway.dir.path().join("mcp.sock");
    let (reader, mailer) = (Session::open(&socket, "/mcp/a"), Session::open(&socket, "/mcp/b"));
    let numbers = r#"{"a":1,"b":1}"#;
    assert!(mailer.passes(1, "add", numbers) && reader.passes(1, "add", numbers));
    assert!(!mailer.passes(2, "add", numbers));
    let listed = |session: &Session| {
        let list = session.post(r#"{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{}}"#).message();
        list["result"]["tools"].as_array().unwrap().len()
    };
    assert_eq!((listed(&reader), listed(&mailer)), (1, 0));
    let home = gateway.kill();
    let again = crate::gateway::Gateway::start_in(home);
    let socket = again.dir.path().join("mcp.sock");
    assert!(!Session::open(&socket, "/mcp/b").passes(1, "add", numbers));
    assert!(Session::open(&socket, "/mcp/a").passes(1, "add", numbers));
}
