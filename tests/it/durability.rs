//! Killed in the middle: what reached the tool server has its record, and the log verifies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::gateway::{chancery, is_kind, records, wait_for};

/// Calls of the client, and how many answers it waits for before the gateway is killed.
const CALLS: usize = 1_000;
const ANSWERED: usize = 300;
/// Calls under way at once.
const WINDOW: usize = 100;

fn start(home: &Path, durability: &str) -> Child {
    std::fs::create_dir_all(home.join("policies")).unwrap();
    std::fs::write(home.join("policies/all.cedar"), "permit (principal, action, resource);\n").unwrap();
    let config = format!("policies: policies\nlog: {{ dir: log, durability: {durability} }}\n");
    std::fs::write(home.join("chancery.yaml"), config).unwrap();
    let mut command = chancery(home);
    command.args(["run", "--name", "demo", "-c"]).arg(home.join("chancery.yaml")).arg("--");
    command.arg(env!("CARGO_BIN_EXE_chancery")).args(["demo-server", "--record"]).arg(home.join("seen"));
    let stderr = std::fs::File::options().create(true).append(true).open(home.join("stderr")).unwrap();
    command.stdin(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

fn shake_hands(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let stdin = child.stdin.as_mut().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let hello = r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    writeln!(stdin, "{hello}").unwrap();
    let mut answer = String::new();
    answers.read_line(&mut answer).unwrap();
    assert!(answer.contains("chancery/session"), "{answer}");
    writeln!(stdin, r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#).unwrap();
    answers
}

/// Makes calls until `ANSWERED` came back, then kills the gateway while others are under way.
fn crash(home: &Path, durability: &str) {
    let mut child = start(home, durability);
    let mut answers = shake_hands(&mut child);
    let mut call = |id: usize| {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"add","arguments":{{"a":{id},"b":1}}}}}}"#
        );
        writeln!(child.stdin.as_mut().unwrap(), "{line}").unwrap();
    };
    for id in 0..WINDOW {
        call(id);
    }
    let mut answer = String::new();
    for id in WINDOW..CALLS {
        answer.clear();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains(r#""result""#), "{answer}");
        call(id);
        if id == WINDOW + ANSWERED {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn seen(home: &Path) -> usize {
    let text = std::fs::read_to_string(home.join("seen")).unwrap();
    text.matches(r#""method":"tools/call""#).count()
}

/// Allowed calls of the demonstration's tool in whatever whole records there are.
fn recorded(home: &Path) -> usize {
    let records = records(&home.join("log"));
    let allowed = records.iter().filter(|record| {
        let predicate = &record["predicate"];
        is_kind(record, "decision") && predicate["method"] == "tools/call" && predicate["effect"] == "allow"
    });
    allowed.count()
}

pub(crate) fn verify(home: &Path) -> serde_json::Value {
    let bundle = chancery(home).args(["keys", "bundle"]).output().unwrap();
    assert!(bundle.status.success(), "{}", String::from_utf8_lossy(&bundle.stderr));
    std::fs::write(home.join("bundle.pem"), bundle.stdout).unwrap();
    let log: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("log/log.json")).unwrap()).unwrap();
    let mut command = chancery(home);
    command.arg("verify").arg(home.join("log")).arg("--trust-bundle").arg(home.join("bundle.pem"));
    let output = command.args(["--json", "--identity", log["gateway"].as_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn after_a_kill_every_call_that_the_server_saw_has_its_record() {
    for durability in ["fsync", "written"] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        crash(home, durability);
        // A kill can fall into a write: count whole records only.
        let segment = home.join("log/records/00000000.intoto.jsonl");
        let mut whole = std::fs::read(&segment).unwrap();
        whole.truncate(whole.iter().rposition(|byte| *byte == b'\n').unwrap() + 1);
        std::fs::write(&segment, whole).unwrap();
        let calls = recorded(home);
        assert!(calls >= ANSWERED, "{durability}: {calls}");
        let report = verify(home);
        assert_eq!(report["counts"]["unclosed"], 1);
        // The next run goes on in the same log, and what the server saw meanwhile is no more than was recorded.
        let mut child = start(home, durability);
        drop(shake_hands(&mut child));
        drop(child.stdin.take());
        let status = wait_for("its end", || child.try_wait().unwrap());
        assert!(status.success(), "{}", std::fs::read_to_string(home.join("stderr")).unwrap());
        assert!(
            seen(home) >= ANSWERED && seen(home) <= calls,
            "{durability}: saw {}, {calls} recorded",
            seen(home)
        );
        let report = verify(home);
        assert_eq!((&report["counts"]["runs"], &report["counts"]["sessions"]), (&2.into(), &2.into()));
    }
}

/// A torn tail as a crash of the machine leaves it is cut by the next run, which tells of it.
#[test]
fn a_torn_tail_is_cut_by_the_next_run_and_the_log_verifies() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    crash(home, "written");
    let segment = home.join("log/records/00000000.intoto.jsonl");
    let whole = std::fs::read(&segment).unwrap();
    let end = whole.iter().rposition(|byte| *byte == b'\n').unwrap();
    std::fs::write(&segment, &whole[..end - 40]).unwrap();
    assert!(verify(home)["notes"].to_string().contains("torn tail of"));
    let mut child = start(home, "written");
    drop(shake_hands(&mut child));
    drop(child.stdin.take());
    wait_for("its end", || child.try_wait().unwrap());
    let notes = verify(home)["notes"].to_string();
    assert!(notes.contains("torn_tail_cut"), "{notes}");
    assert_eq!(std::fs::read_dir(home.join("log/torn")).unwrap().count(), 1);
}
