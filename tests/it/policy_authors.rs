//! `chancery policy test`, `explain`, `check`, `init`, `diff` and `format`, as their authors meet them: the real binary,
//! with captured tools or a real tool server.

use std::fs;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::raw::call;
use crate::stdio::Pipe;

/// A directory with policies for the server `files`, whose tools are captured.
pub(crate) struct Desk {
    dir: TempDir,
}

const POLICIES: &str = r#"@id("open")
permit (principal in Mcp::Group::"uid:1000", action == Mcp::Action::"session/open", resource);

@id("public")
permit (principal in Mcp::Group::"uid:1000", action == Mcp::Action::"files/read", resource)
when { context.input.path like "/public/*" && !(context.input.path like "*..*") }
unless { context.input has head && context.input.head > 100 };

@id("quiet") @reason("Ten calls are enough.")
forbid (principal, action in Mcp::Action::"tools/call", resource)
when { principal.session.calls >= 10 };
"#;

const CASES: &str = r#"server: files
principal: { uid: 1000 }
cases:
  - { name: opens, method: session/open, expect: allow, by: [open] }
  - { name: reads, tool: read, arguments: { path: /public/a }, expect: allow, by: [public] }
  - { name: no escape, tool: read, arguments: { path: /public/../a }, expect: not_permitted }
  - { name: is shown, tool: read, expect: listed }
  - { name: is hidden, tool: write, expect: hidden }
"#;

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(desk.dir.path().join("policies")).unwrap();
        let read = r#"{"name":"read","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object",
            "properties":{"path":{"type":"string"},"head":{"type":"integer"}},"required":["path"]}}"#;
        let write =
            r#"{"name":"write","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}"#;
        let lock = chancery::app::lock::LockFile {
            servers: [(
                "files".parse().unwrap(),
                [read, write]
                    .map(|raw| chancery::policy::ToolDefinition::from_list_entry(raw.as_bytes()).unwrap())
                    .to_vec(),
            )]
            .into(),
        };
        desk.write("policies/tools.json", &lock.text());
        desk.write("policies/p.cedar", POLICIES);
        desk.write("policies/p.cases.yaml", CASES);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    pub(crate) fn policy(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.current_dir(self.dir.path()).env("XDG_STATE_HOME", self.dir.path()).env("NO_COLOR", "1");
        command.env_remove("SPIFFE_ENDPOINT_SOCKET").arg("policy").args(args);
        let output = command.timeout(Duration::from_secs(60)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn cases_pass_offline_and_a_policy_that_none_decides_is_named() {
    let desk = Desk::new();
    let (code, out, err) = desk.policy(&["test"]);
    assert_eq!(code, 0, "{out}{err}");
    insta::assert_snapshot!(out);
    assert_eq!(desk.policy(&["test", "--require-coverage"]).0, 1);
    let more = format!(
        "{CASES}  - {{ name: enough, tool: read, arguments: {{ path: /public/a }}, session: {{ calls: 10 }}, expect: forbidden, by: [quiet] }}\n"
    );
    desk.write("policies/p.cases.yaml", &more);
    let (code, out, err) = desk.policy(&["test", "--require-coverage", "--json"]);
    let report = json(&out);
    assert_eq!(
        (code, &report["passed"], &report["coverage"]["undecided"]),
        (0, &true.into(), &Value::Array(vec![])),
        "{err}"
    );
}

#[test]
fn a_case_that_fails_is_shown_with_the_words_that_decided() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cases.yaml",
        "server: files\ncases:\n  - name: reads anything\n    tool: read\n    arguments: { path: /etc/passwd }\n    expect: allow\n  \
         - name: by another\n    tool: read\n    arguments: { path: /public/a }\n    expect: allow\n    by: [open]\n",
    );
    let (code, out, err) = desk.policy(&["test"]);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("2 cases, 0 passed, 2 failed"), "{out}");
    insta::assert_snapshot!(err);
    let report = json(&desk.policy(&["test", "--json"]).1);
    let first = &report["cases"][0];
    assert_eq!((&first["passed"], &first["line"]), (&false.into(), &6.into()));
    assert_eq!(first["decision"]["policies"][0]["clauses"][0]["parts"][0]["value"], "false");
}

#[test]
fn mistakes_in_cases_and_missing_cases_are_misuse_with_place_and_fix() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cases.yaml",
        "server: files\ncases:\n  - { name: a, tool: read, expct: allow, expect: allow }\n",
    );
    let (code, _, err) = desk.policy(&["test"]);
    for part in ["p.cases.yaml:3:", "unknown key `expct`", "did you mean `expect`?"] {
        assert!(code == 2 && err.contains(part), "{err}");
    }
    fs::remove_file(desk.dir.path().join("policies/p.cases.yaml")).unwrap();
    let (code, _, err) = desk.policy(&["test"]);
    assert!(code == 2 && err.contains("there are no cases"), "{err}");
    let (code, _, err) = desk.policy(&["test", "--cases", "nowhere.cases.yaml"]);
    assert!(code == 2 && err.contains("can't read the case file nowhere.cases.yaml"), "{err}");
    let schema = json(&desk.policy(&["test", "--schema"]).1);
    assert!(schema["properties"]["cases"].is_object());
}

#[test]
fn a_request_is_explained_policy_by_policy() {
    let desk = Desk::new();
    let read = |path: &str, more: &[&str]| {
        let arguments = format!(r#"{{"path":"{path}","head":200}}"#);
        let args = [
            "explain",
            "--tool",
            "files/read",
            "--args",
            &arguments,
            "--principal",
            "peer:1000:-",
            "--now",
            "2026-01-05T12:00:00Z",
        ];
        desk.policy(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let (code, out, err) = read("/public/../a", &["--calls", "3"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!(out);
    let (_, out, _) = read("/public/a", &["--json"]);
    let story = json(&out);
    assert_eq!((&story["effect"], &story["denyReason"]), (&"deny".into(), &"not_permitted".into()));
    let clauses = &story["policies"][0]["clauses"];
    assert_eq!((&clauses[0]["met"], &clauses[1]["met"]), (&true.into(), &false.into()), "{out}");
    assert_eq!(clauses[1]["parts"][1]["reads"]["context.input.head"], "200");
    let (_, out, _) = desk.policy(&["explain", "--case", "reads"]);
    assert!(out.starts_with("peer:1000:- calls files/read: allow, by `public`"), "{out}");
    let (code, _, err) = desk.policy(&["explain", "--case", "reeds"]);
    assert!(code == 2 && err.contains("no case `reeds`") && err.contains("opens, reads"), "{err}");
    let (code, _, err) = desk.policy(&["explain"]);
    assert!(code == 2 && err.contains("--tool, --method, --case or --decision"), "{err}");
}

#[test]
fn policies_that_another_makes_pointless_are_warned_of_and_unpermitted_tools_are_told() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        r#"@id("all-read") permit (principal, action in Mcp::Action::"files/*", resource) when { context.source == "stdio" };
@id("narrow") permit (principal is Mcp::Agent, action == Mcp::Action::"files/read", resource)
  when { context.input.path == "/a" && context.source == "stdio" };
@id("other") permit (principal, action == Mcp::Action::"files/read", resource) when { context.source == "unix" };
@id("no-write") forbid (principal, action == Mcp::Action::"files/write", resource);
@id("write") permit (principal, action == Mcp::Action::"files/write", resource) when { context.source == "unix" };
@id("again") forbid (principal, action == Mcp::Action::"files/write", resource) when { principal.session.calls > 3 };
"#,
    );
    let (code, out, err) = desk.policy(&["check"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!(format!("{}{err}", out.split("policy set").next().unwrap()));
    assert_eq!(desk.policy(&["check", "--deny-warnings"]).0, 1);
    let report = json(&desk.policy(&["check", "--json"]).1);
    assert_eq!(report["unpermitted"], serde_json::json!(["files/write"]));
}

#[test]
fn an_optional_attribute_without_a_test_for_it_fails_the_check_with_the_test_to_write() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        "permit (principal, action == Mcp::Action::\"files/read\", resource) when { context.input.head < 10 };\n",
    );
    let (code, _, err) = desk.policy(&["check"]);
    assert_eq!(code, 1);
    for part in ["p.cedar:1:", "optional attribute", "context.input has head &&"] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn what_init_writes_passes_its_own_cases_and_never_takes_their_place_unasked() {
    let desk = Desk::new();
    let binary = env!("CARGO_BIN_EXE_chancery");
    let server = ["--server", "files", "--", binary, "demo-server"];
    let init: Vec<&str> = ["init", "--yes", "--dir", "made"].into_iter().chain(server).collect();
    let (code, out, err) = desk.policy(&init);
    assert!(
        code == 0 && out.contains("chancery policy test --policies made --require-coverage\n"),
        "{out}{err}"
    );
    let (code, out, err) = desk.policy(&["test", "--policies", "made", "--require-coverage"]);
    assert_eq!(code, 0, "{out}{err}");
    let cases = desk.read("made/policies.cases.yaml");
    assert!(
        cases.contains("expect: hidden") && cases.contains("expect: allow") && out.contains("0 failed"),
        "{cases}{out}"
    );
    let (code, out, err) = desk.policy(&["format", "--check", "made"]);
    assert_eq!(code, 0, "{out}{err}");
    let others =
        ["init", "--yes", "--dir", "others", "--group", "oidc:a-group-with-a-name-that-takes-its-line"];
    let more = ["--principal", "oidc:https://login.example.org/realms/main#somebody-else"];
    let (code, out, err) = desk.policy(&others.into_iter().chain(more).chain(server).collect::<Vec<_>>());
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = desk.policy(&["format", "--check", "others"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = desk.policy(&["check", "--policies", "made", "--deny-warnings"]);
    assert!(
        code == 0 && out.contains("against ") && out.contains("no policy permits "),
        "the captured tools: {out}{err}"
    );
    desk.write("made/policies.cases.yaml", "# mine\n");
    fs::remove_file(desk.dir.path().join("made/policies.cedar")).unwrap();
    let (code, _, err) = desk.policy(&init);
    assert!(code == 2 && err.contains("is there already"), "{err}");
    assert_eq!(desk.read("made/policies.cases.yaml"), "# mine\n");
}

#[test]
fn formatting_keeps_comments_and_meaning_and_checks_without_writing() {
    let desk = Desk::new();
    let loose = "// first\n@id(\"a\")   permit(principal,action,resource)// why\nwhen{context.source==\"http://x\"};\n// last\n";
    desk.write("policies/p.cedar", loose);
    let (code, out, err) = desk.policy(&["format", "--check"]);
    assert_eq!((code, desk.read("policies/p.cedar").as_str()), (1, loose), "{out}{err}");
    let (code, _, err) = desk.policy(&["format"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!(desk.read("policies/p.cedar"));
    let (code, out, _) = desk.policy(&["format", "--check", "--json"]);
    assert_eq!((code, &json(&out)["changed"]), (0, &Value::Array(vec![])));
    desk.write("policies/p.cedar", "permit (");
    let (code, _, err) = desk.policy(&["format"]);
    assert!(code == 2 && err.contains("p.cedar can't be formatted") && err.contains("p.cedar:1:"), "{err}");
    assert_eq!(desk.read("policies/p.cedar"), "permit (");
}

#[test]
fn a_real_logs_decisions_are_explained_and_held_against_other_policies() {
    let binary = env!("CARGO_BIN_EXE_chancery");
    let all = "@id(\"all\") permit (principal, action, resource);\n";
    let forbid = "@id(\"no-write\") @reason(\"Nothing is written.\")\nforbid (principal, action == Mcp::Action::\"demo/write_file\", resource);\n";
    let mut pipe = Pipe::start(&format!("{all}{forbid}"), "", &[binary, "demo-server"]);
    pipe.handshake("2025-11-25");
    pipe.send(&call(2, "read_file", r#"{"path":"a.txt"}"#));
    pipe.receive();
    pipe.send(&call(3, "write_file", r#"{"path":"a","content":"x"}"#));
    let denied = pipe.receive();
    let id = denied["error"]["data"]["decisionId"].as_str().unwrap().to_owned();
    let log = pipe.dir().join("log").display().to_string();

    let desk = Desk::new();
    let server = ["--server", "demo", "--", binary, "demo-server"];
    let run = |args: &[&str]| desk.policy(&args.iter().copied().chain(server).collect::<Vec<_>>());
    let diff = |new: &str, more: &[&str]| {
        desk.write("old.cedar", &format!("{all}{forbid}"));
        fs::create_dir_all(desk.dir.path().join("new")).unwrap();
        desk.write("new/p.cedar", new);
        let args = ["diff", "old.cedar", "new", "--log", &log, "--json"];
        let (code, out, err) = run(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
        assert!(!out.is_empty(), "{err}");
        (code, json(&out))
    };
    let (code, same) = diff(&format!("// moved\n{forbid}{all}"), &[]);
    assert_eq!(
        (code, &same["log"]["wouldFlip"], &same["log"]["couldFlip"]),
        (0, &0.into(), &0.into()),
        "{same}"
    );
    assert!(same["log"]["same"].as_u64().unwrap() >= 3 && same["changed"] == serde_json::json!([]), "{same}");
    let (code, open) = diff(all, &[]);
    assert_eq!(
        (code, &open["removed"], &open["log"]["wouldFlip"]),
        (1, &serde_json::json!(["no-write"]), &1.into()),
        "{open}"
    );
    assert_eq!(
        (&open["log"]["flips"][0]["decision"], &open["log"]["flips"][0]["was"]),
        (&id.as_str().into(), &"deny".into())
    );
    let keys = "@id(\"keys\") forbid (principal, action == Mcp::Action::\"demo/read_file\", resource) when { context.input.path like \"*.key\" };\n";
    let (code, could) = diff(&format!("{all}{forbid}{keys}"), &[]);
    assert_eq!(
        (code, &could["log"]["wouldFlip"], &could["log"]["couldFlip"]),
        (0, &0.into(), &1.into()),
        "{could}"
    );
    assert_eq!(diff(&format!("{all}{forbid}{keys}"), &["--deny-possible"]).0, 1);

    let (code, out, err) = run(&["explain", "--log", &log, "--decision", &id]);
    assert_eq!(code, 0, "{err}");
    for part in
        ["deny (forbidden)", "forbid `no-write` holds", "test.cedar:3:1", "give them with", "--args JSON"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    let arguments = r#"{"path":"a","content":"x"}"#;
    let told = json(&run(&["explain", "--log", &log, "--decision", &id, "--json"]).1);
    assert_eq!((&told["decision"], &told["effect"]), (&id.as_str().into(), &"deny".into()), "{told}");
    assert_eq!(
        (&told["policies"][0]["id"], &told["policies"][0]["line"]),
        (&"no-write".into(), &2.into()),
        "{told}"
    );
    assert_eq!(
        (&told["again"]["asked"], &told["again"]["why"]),
        (&false.into(), &"no_arguments".into()),
        "{told}"
    );
    let told = json(&run(&["explain", "--log", &log, "--decision", &id, "--args", arguments, "--json"]).1);
    assert_eq!(
        (&told["again"]["arguments"], &told["again"]["story"]["denyReason"]),
        (&"given".into(), &"forbidden".into()),
        "{told}"
    );
    let (_, out, _) = run(&["explain", "--log", &log, "--decision", &id, "--args", arguments]);
    assert!(
        out.contains("can't be told") && out.contains("asked again: deny (forbidden), by `no-write`"),
        "{out}"
    );
    let (code, _, err) = run(&["explain", "--log", &log, "--decision", "none"]);
    assert!(code == 2 && err.contains("the log has no decision `none`"), "{err}");
}

#[test]
fn what_other_policies_change_is_told_by_ids_and_cases() {
    let desk = Desk::new();
    fs::create_dir(desk.dir.path().join("new")).unwrap();
    for name in ["tools.json", "p.cases.yaml"] {
        desk.write(&format!("new/{name}"), &desk.read(&format!("policies/{name}")));
    }
    desk.write("new/p.cedar", POLICIES);
    let (code, out, err) = desk.policy(&["diff", "policies", "new"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("the policies are the same\n") && out.contains("0 of 5 cases flip"), "{out}");
    let wider =
        POLICIES.replace(" && !(context.input.path like \"*..*\")", "").replace("\"open\"", "\"opens\"");
    desk.write("new/p.cedar", &wider);
    let (code, out, err) = desk.policy(&["diff", "policies", "new"]);
    assert_eq!(code, 1, "{err}");
    insta::assert_snapshot!(out);
    assert_eq!(desk.policy(&["diff", "policies", "nowhere"]).0, 2);
}
