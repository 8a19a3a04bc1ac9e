//! `chancery run` and its files: policies that are edited meanwhile, and what arguments mean.

use std::fs;

use serde_json::Value;

use crate::gateway::{records, wait_for};
use crate::raw::call;
use crate::stdio::Pipe;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";
const NO_ADD: &str = "@id(\"no-add\") forbid (principal, action == Mcp::Action::\"demo/add\", resource);\n";

fn demo() -> [&'static str; 2] {
    [env!("CARGO_BIN_EXE_chancery"), "demo-server"]
}

/// Puts the file whole in the place of the old one, as editors do.
fn save(pipe: &Pipe, text: &str) {
    let file = pipe.dir().join("policies/test.cedar");
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

/// Adds until it is permitted or not, as expected; each answer counts up `id`.
fn until(pipe: &mut Pipe, id: &mut u32, permitted: bool) {
    wait_for("the new policies", || {
        *id += 1;
        pipe.send(&call(*id, "add", r#"{"a":1,"b":2}"#));
        (pipe.receive()["error"].is_null() == permitted).then_some(())
    });
}

#[test]
fn a_policy_that_is_edited_during_a_run_is_in_force_and_a_broken_one_changes_nothing() {
    let (mut pipe, mut id) = (Pipe::start(ALL, "", &demo()), 0);
    pipe.handshake("2025-11-25");
    until(&mut pipe, &mut id, true);
    save(&pipe, &format!("{ALL}{NO_ADD}"));
    until(&mut pipe, &mut id, false);
    save(&pipe, "permit (");
    // It is asked to look: what it can't read changes nothing, and it does not end.
    pipe.signal("HUP");
    id += 1;
    pipe.send(&call(id, "add", r#"{"a":1,"b":2}"#));
    assert!(pipe.receive()["error"].is_object());
    save(&pipe, ALL);
    until(&mut pipe, &mut id, true);
    let changes = records(&pipe.dir().join("log"));
    let changes =
        changes.iter().filter(|record| record["predicateType"].as_str().unwrap().contains("policy-change"));
    assert_eq!(changes.count(), 3, "the start and two that were in order");
}

#[test]
fn hangup_has_the_files_of_a_run_read_anew_and_does_not_end_it() {
    let (mut pipe, mut id) = (Pipe::start(ALL, "", &demo()), 0);
    pipe.handshake("2025-11-25");
    save(&pipe, &format!("{ALL}{NO_ADD}"));
    pipe.signal("HUP");
    until(&mut pipe, &mut id, false);
}

#[test]
fn arguments_are_paths_where_the_command_line_or_a_configured_server_of_that_name_says_so() {
    let policy = format!(
        "{}@id(\"in\") permit (principal, action == Mcp::Action::\"demo/read_file\", resource)\n\
         when {{ context.input.path.normal like \"public/*\" }};\n",
        ALL.replace(
            "action, resource",
            "action in [Mcp::Action::\"session/open\", Mcp::Action::\"list\"], resource"
        )
    );
    let configured = "servers: { demo: { command: elsewhere, inputs: { path: path } } }";
    for (more, words) in [(configured, &[][..]), ("", &["--input", "path=path"])] {
        let mut pipe = Pipe::start_with(&policy, more, words, &demo());
        pipe.handshake("2025-11-25");
        pipe.send(&call(1, "read_file", r#"{"path":"public/../secret"}"#));
        let denied: Value = pipe.receive();
        assert_eq!(denied["error"]["code"], 403, "{more} {words:?}: {denied}");
        pipe.send(&call(2, "read_file", r#"{"path":"a/../public/x"}"#));
        let passed = pipe.receive();
        assert!(passed["result"].is_object(), "{more} {words:?}: {passed}");
    }
}
