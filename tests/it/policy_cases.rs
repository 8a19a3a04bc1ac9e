//! Cases and requests of policy authors that ask for something else than was meant: none of them passes for safe.

use crate::policy_authors::{Desk, json};

#[test]
fn a_negative_case_about_what_there_is_not_proves_nothing_and_so_fails() {
    let desk = Desk::new();
    for (case, code, parts) in [
        ("tool: raed, expect: deny", 1, ["p.cases.yaml:4:22", "did you mean `read`?"]),
        ("tool: raed, expect: hidden", 1, ["`files` has no tool `raed`", "did you mean `read`?"]),
        ("tool: fles/read, expect: hidden", 1, ["p.cases.yaml:4:22", "did you mean `files`?"]),
        (
            "server: fles, method: session/open, expect: deny",
            1,
            ["p.cases.yaml:4:24", "did you mean `files`?"],
        ),
        ("server: fles, tool: read, expect: listed", 1, ["p.cases.yaml:4:24", "did you mean `files`?"]),
        ("method: resource/read, target: x, expect: deny", 1, ["`other`", "did you mean `resources/read`?"]),
        ("method: ping, expect: deny", 1, ["no policy decides it", "session/open"]),
        ("method: a/thing, expect: deny", 1, ["counts as `other`", "write `method: other`"]),
        ("tool: read, arguments: { pth: /x }, expect: deny", 1, ["invalid_input", "`expect: invalid_input`"]),
        ("tool: read, expect: hidden, by: [nobody]", 2, ["would not be looked at", "remove `by`"]),
        ("tool: read, expect: listed, by: [public]", 2, ["would not be looked at", "remove `by`"]),
        (
            "tool: read, arguments: { path: /x }, expect: deny, by: [nobody]",
            1,
            ["no policy `nobody`", "by no policy"],
        ),
        // What is written out is meant.
        ("tool: raed, expect: unknown_tool", 0, ["1 passed", "a"]),
        ("tool: read, arguments: { pth: /x }, expect: invalid_input", 0, ["1 passed", "a"]),
        ("tool: read, arguments: { path: /x }, expect: deny", 0, ["1 passed", "a"]),
        ("method: other, expect: deny", 0, ["1 passed", "a"]),
        ("method: sampling/createMessage, expect: deny", 0, ["1 passed", "a"]),
    ] {
        desk.write(
            "policies/p.cases.yaml",
            &format!("server: files\nprincipal: {{ uid: 1000 }}\ncases:\n  - {{ name: a, {case} }}\n"),
        );
        let (exit, out, err) = desk.policy(&["test"]);
        let said = format!("{out}{err}");
        assert!(exit == code && parts.iter().all(|part| said.contains(part)), "{case}: {exit} {said}");
    }
    let of_all = "server: fils\ncases:\n  - { name: a, tool: write, expect: hidden }\n";
    desk.write("policies/p.cases.yaml", of_all);
    let (exit, _, err) = desk.policy(&["test"]);
    assert!(exit == 1 && err.contains("p.cases.yaml:1:9") && err.contains("`files`?"), "{exit} {err}");
}

#[test]
fn a_case_that_only_another_principals_permit_is_about_is_shown_that_permit() {
    let desk = Desk::new();
    let case =
        "{ name: a, tool: read, arguments: { path: /public/a }, principal: { uid: 7 }, expect: allow }";
    desk.write("policies/p.cases.yaml", &format!("server: files\ncases:\n  - {case}\n"));
    desk.write(
        "policies/p.cedar",
        "@id(\"mine\") permit (principal in Mcp::Group::\"uid:1000\", action == Mcp::Action::\"files/read\", resource);\n",
    );
    let (code, _, err) = desk.policy(&["test"]);
    assert!(code == 1 && err.contains("permit `mine` is about another principal"), "{code} {err}");
}

#[test]
fn explain_counts_calls_everywhere_and_decides_as_of_now() {
    let desk = Desk::new();
    let permit = "@id(\"any\") permit (principal, action == Mcp::Action::\"files/read\", resource);\n";
    for counter in [
        "usage.calls",
        "usage.minute",
        "usage.hour",
        "usage.day",
        "usage.server.day",
        "usage.tool.calls",
        "usage.tool.minute",
        "session.calls",
    ] {
        let forbid = format!(
            "@id(\"enough\") forbid (principal, action in Mcp::Action::\"tools/call\", resource)\nwhen {{ principal.{counter} >= 5 }};\n"
        );
        desk.write("policies/p.cedar", &format!("{permit}{forbid}"));
        let ask = ["explain", "--tool", "read", "--args", r#"{"path":"/a"}"#, "--calls", "5"];
        let (_, out, err) = desk.policy(&ask);
        assert!(out.contains("deny (forbidden), by `enough`"), "{counter}: {out}{err}");
        // What made it hold is shown with its value.
        assert!(out.contains(&format!("true: principal.{counter} is 5")), "{counter}: {out}");
        assert!(out.contains("\nas of 20") && !out.contains("as of 2026-01-05T12:00"), "{out}");
    }
    let (_, out, _) = desk.policy(&["explain", "--method", "session/open", "--json"]);
    assert!(json(&out)["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{out}");
    let ask = ["explain", "--method", "session/open", "--now", "2026-01-05T12:00:00Z"];
    assert!(desk.policy(&ask).1.contains("\nas of 2026-01-05T12:00:00.000Z\n"));
}

#[test]
fn a_request_with_a_slip_in_it_is_no_decision_to_act_on() {
    let desk = Desk::new();
    let (code, out, _) = desk.policy(&["explain", "--method", "tools/lst"]);
    assert!(code == 1 && out.contains("did you mean `tools/list`?"), "{code} {out}");
    assert!(!out.contains("this would permit it") && !out.contains("Action::\"other\""), "{out}");
    for slip in ["{path: 1}", "{'path': '/a'}", ""] {
        let (code, out, err) = desk.policy(&["explain", "--tool", "read", "--args", slip]);
        assert!(code == 2 && out.is_empty() && err.contains("quote names and texts"), "{code} {out}{err}");
    }
    std::fs::remove_file(desk.path("policies/tools.json")).unwrap();
    let (code, _, err) = desk.policy(&["explain", "--tool", "read"]);
    assert!(code == 2 && err.contains("--server NAME") && !err.contains("top of the file"), "{code} {err}");
}
