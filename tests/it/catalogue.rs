//! The tools that a server shows: kept between runs, and followed when they change.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::gateway::{chancery, is_kind, records, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chancery");

struct Run {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Run {
    /// `chancery run` on the demo server, past its handshake.
    fn start(home: &Path, log: &Path) -> Self {
        let mut command = chancery(home);
        command
            .args(["run", "--name", "demo", "-c"])
            .arg(home.join("chancery.yaml"))
            .arg("--policies")
            .arg(home.join("policies"))
            .arg("--log")
            .arg(log);
        command.args(["--", PROGRAM, "demo-server", "--root"]).arg(home.join("root"));
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut run = Self { child, input, output };
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        run.ask(1, "initialize", &hello);
        writeln!(run.input, r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#).unwrap();
        run
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        writeln!(self.input, "{}", json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .unwrap();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the gateway ended");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }

    fn finish(self) {
        let Self { mut child, input, output } = self;
        drop((input, output));
        assert!(wait_for("its end", || child.try_wait().unwrap()).success());
    }
}

fn policy_changes(log: &Path) -> usize {
    records(log).iter().filter(|record| is_kind(record, "policy-change")).count()
}

#[test]
fn definitions_are_kept_between_runs_and_changed_ones_are_followed_and_recorded() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir_all(home.join("root")).unwrap();
    fs::create_dir_all(home.join("policies")).unwrap();
    // Whatever the server shows counts.
    fs::write(home.join("chancery.yaml"), "pin: off\n").unwrap();
    fs::write(home.join("root/a.txt"), "content").unwrap();
    let policy = "@id(\"session\") permit (principal, action in [Mcp::Action::\"session/open\", Mcp::Action::\"tools/list\"], resource);\n\
                  @id(\"read\") permit (principal, action == Mcp::Action::\"demo/read_file\", resource)\n\
                  when { context.input.path like \"*.txt\" };\n";
    fs::write(home.join("policies/a.cedar"), policy).unwrap();
    let read = json!({ "name": "read_file", "arguments": { "path": "a.txt" } });

    let mut run = Run::start(home, &home.join("log1"));
    let answer = run.ask(2, "tools/call", &read);
    assert_eq!(answer["result"]["content"][0]["text"], "content", "{answer}");
    run.finish();
    assert_eq!(policy_changes(&home.join("log1")), 1);
    let kept = fs::read_dir(home.join("state/chancery/tools")).unwrap().next().unwrap().unwrap().path();
    let shown = fs::read_to_string(&kept).unwrap();

    // What was kept is not what the server shows now: another description, and one tool less.
    let mut tools: Vec<Value> = serde_json::from_str(&shown).unwrap();
    tools.retain(|tool| tool["name"] != "add");
    tools.iter_mut().find(|tool| tool["name"] == "read_file").unwrap()["description"] =
        json!("Something else");
    fs::write(&kept, serde_json::to_string(&tools).unwrap()).unwrap();
    let mut run = Run::start(home, &home.join("log2"));
    let listed = run.ask(2, "tools/list", &json!({}));
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["read_file"]);
    let answer = run.ask(3, "tools/call", &read);
    assert_eq!(answer["result"]["content"][0]["text"], "content", "{answer}");
    run.finish();
    assert_eq!(policy_changes(&home.join("log2")), 2);
    let entries = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    assert_eq!(entries(&fs::read_to_string(&kept).unwrap()), entries(&shown));
}
