//! What `chancery policy` tells authors of mistakes: what is wrong, where, and what was probably meant.

use std::fs;

use serde_json::Value;

use crate::policy_authors::{Desk, json};

fn condition(condition: &str) -> String {
    format!("permit (principal, action == Mcp::Action::\"files/read\", resource) when {{ {condition} }};\n")
}

#[test]
fn a_misspelt_name_of_any_kind_is_told_with_the_one_that_was_meant() {
    let desk = Desk::new();
    let scope = |scope: &str| format!("permit ({scope});\n");
    for (policy, code, parts) in [
        (condition("context.input.pth == \"a\""), 1, ["1:74", "did you mean `path`?"]),
        (condition("context.inptu.path == \"a\""), 1, ["1:74", "did you mean `input`?"]),
        (condition("contxt.input.path == \"a\""), 1, ["1:74", "did you mean `context`?"]),
        (condition("principal.session.cals > 1"), 1, ["1:74", "did you mean `calls`?"]),
        (condition("resource.annotations has readonlyHint"), 1, ["1:95", "did you mean `readOnlyHint`?"]),
        (condition("context.input has hed && context.input.hed < 1"), 1, ["1:88", "did you mean `head`?"]),
        (condition("context.input.path.startsWith(\"a\")"), 1, ["1:74", "like \"prefix*\""]),
        (condition("context.input.path.normal like \"/a*\""), 1, ["1:74", "--input path=path"]),
        (condition("context.time > datetme(\"2026-01-01\")"), 1, ["1:89", "did you mean `datetime(…)`?"]),
        (condition("context.source == \"stdin\""), 0, ["1:92", "did you mean \"stdio\"?"]),
        (condition("context.local.weekday == 0"), 0, ["1:74", "1 is Monday"]),
        (scope("principal, action == Mcp::Action::\"files/raed\", resource"), 0, ["1:43", "`files/read`?"]),
        (scope("principal, action == Mcp::Action::\"fles/read\", resource"), 0, ["1:43", "`files/read`?"]),
        (scope("principal, action in Mcp::Action::\"fles/*\", resource"), 0, ["1:44", "`files`?"]),
        (scope("principal, action == Mcp::Action::\"tool/list\", resource"), 1, ["1:43", "\"tools/list\"`?"]),
        (scope("principal, action in Mcp::Action::\"tools/cal\", resource"), 1, ["1:43", "\"tools/call\"`?"]),
        (
            scope("principal, action == Mcp::Acton::\"tools/list\", resource"),
            1,
            ["1:30", "Mcp::Action::\"tools/list\""],
        ),
        (
            scope("principal, action == Action::\"tools/list\", resource"),
            1,
            ["1:30", "Mcp::Action::\"tools/list\""],
        ),
        (scope("principal in Mcp::Grop::\"uid:0\", action, resource"), 1, ["1:22", "`Mcp::Group`?"]),
        (scope("principal is Mcp::Agnt, action, resource"), 1, ["1:22", "`Mcp::Agent`?"]),
        (scope("principal, action, resource == Mcp::Tool::\"files/raed\""), 0, ["1:51", "`files/read`?"]),
        (scope("principal, action, resource in Mcp::Server::\"fles\""), 0, ["1:53", "`files`?"]),
        ("@reson(\"x\") permit (principal, action, resource);\n".to_owned(), 0, ["1:1", "`@reason`?"]),
    ] {
        desk.write("policies/p.cedar", &policy);
        let (exit, out, err) = desk.policy(&["check"]);
        assert_eq!(exit, code, "{policy}{out}{err}");
        assert!(err.contains(&format!("p.cedar:{}]", parts[0])), "{policy}{err}");
        assert!(err.contains(parts[1]) && !err.contains("__cedar"), "{policy}{err}");
        // A warning fails the check where that is asked for.
        assert_eq!(desk.policy(&["check", "--deny-warnings"]).0, 1, "{policy}");
    }
}

#[test]
fn a_refused_set_ends_with_the_number_of_its_mistakes() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        &format!("{}@reson(\"x\") {}", condition("context.input.pth == 1"), condition("true")),
    );
    let (code, out, err) = desk.policy(&["check"]);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(err.ends_with("1 error and 1 warning: a gateway would not take these policies over\n"), "{err}");
    let report = json(&desk.policy(&["check", "--json"]).1);
    assert_eq!(
        (&report["valid"], &report["errors"], &report["warnings"]),
        (&false.into(), &1.into(), &1.into())
    );
}

#[test]
fn tools_that_nobody_may_call_are_counted_and_named_on_demand() {
    let desk = Desk::new();
    let (_, out, _) = desk.policy(&["check"]);
    assert!(out.contains("no policy permits 1 of 2 tools of `files` (--verbose names them)\n"), "{out}");
    let (_, out, _) = desk.policy(&["check", "--verbose"]);
    assert!(out.contains("no policy permits 1 of 2 tools of `files`: write\n"), "{out}");
    assert_eq!(json(&desk.policy(&["check", "--json"]).1)["unpermitted"], serde_json::json!(["files/write"]));
}

#[test]
fn names_in_cases_and_requests_that_nothing_has_are_told_with_the_ones_that_were_meant() {
    let desk = Desk::new();
    let cases = "server: files\nprincipal: { uid: 1000 }\ncases:\n";
    let run = |case: &str| {
        desk.write("policies/p.cases.yaml", &format!("{cases}  - {{ name: a, {case} }}\n"));
        let (code, out, err) = desk.policy(&["test"]);
        (code, format!("{out}{err}"))
    };
    for (case, code, parts) in [
        ("tool: raed, expect: allow", 1, ["`files` has no tool `raed`", "did you mean `read`?"]),
        ("tool: fles/read, expect: allow", 1, ["no tools of a server `fles`", "did you mean `files`?"]),
        ("tool: read, expect: alow", 2, ["`alow` can't be expected", "did you mean `allow`?"]),
        ("tool: read, expect: not_permited", 2, ["p.cases.yaml:4:", "did you mean `not_permitted`?"]),
        (
            "tool: read, arguments: { path: /public/a }, expect: allow, by: [publik]",
            1,
            ["there is no policy `publik`", "did you mean `public`?"],
        ),
        // As `other` it is denied, as expected, and not for what was meant.
        ("method: tools/lst, expect: deny", 1, ["counts as `other`", "did you mean `tools/list`?"]),
        (
            "tool: read, sesion: { calls: 1 }, expect: allow",
            2,
            ["unknown key `sesion`", "did you mean `session`?"],
        ),
    ] {
        let (exit, said) = run(case);
        assert!(exit == code && parts.iter().all(|part| said.contains(part)), "{case}: {exit} {said}");
    }
    let explain = |args: &[&str]| {
        let (code, out, err) = desk.policy(&["explain"].iter().chain(args).copied().collect::<Vec<_>>());
        (code, format!("{out}{err}"))
    };
    let (code, said) = explain(&["--tool", "files/raed"]);
    assert!(
        code == 1 && said.contains("did you mean `read`?") && said.contains("no policy was asked"),
        "{said}"
    );
    let (code, said) = explain(&["--tool", "read", "--principal", "alice"]);
    assert!(
        code == 2 && said.contains("no admission gives the name `alice`") && !said.contains("command line"),
        "{said}"
    );
    run("tool: read, expect: deny");
    let (code, said) = explain(&["--case", "aa"]);
    assert!(code == 2 && said.contains("did you mean `a`?"), "{said}");
}

#[test]
fn a_tool_with_slashes_in_its_name_is_named_after_its_server() {
    let desk = Desk::new();
    let raw = r#"{"name":"deep/er/read","inputSchema":{"type":"object"}}"#;
    let tool = chancery::policy::ToolDefinition::from_list_entry(raw.as_bytes()).unwrap();
    let lock = chancery::app::lock::LockFile { servers: [("files".parse().unwrap(), vec![tool])].into() };
    desk.write("policies/tools.json", &lock.text());
    desk.write(
        "policies/p.cedar",
        "@id(\"x\") permit (principal, action == Mcp::Action::\"files/deep/er/read\", resource);\n",
    );
    desk.write(
        "policies/p.cases.yaml",
        "cases:\n  - { name: whole, tool: files/deep/er/read, expect: allow, by: [x] }\n  \
         - { name: with its server, server: files, tool: deep/er/read, expect: allow }\n",
    );
    let (code, out, err) = desk.policy(&["test", "--require-coverage"]);
    assert_eq!(code, 0, "{out}{err}");
    for args in [&["--tool", "files/deep/er/read"][..], &["--server", "files", "--tool", "deep/er/read"]] {
        let (_, out, _) = desk.policy(&["explain"].iter().chain(args).copied().collect::<Vec<_>>());
        assert!(out.contains(": allow, by `x`"), "{out}");
    }
    let (_, out, _) = desk.policy(&["explain", "--tool", "deep/er/read"]);
    assert!(out.contains("`files` has the tool `deep/er/read`: write `files/deep/er/read`"), "{out}");
}

#[test]
fn an_excerpt_has_whole_lines_and_exact_places() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        "@id(\"a\")\npermit (principal, action == Mcp::Action::\"files/read\", resource)\nwhen {\n  context.source == \"stdio\" &&\n  \
         !(context.input.path like \"*..*\")\n}\nunless { context.input has head && context.input.head > 10 };\n",
    );
    let (code, out, err) = desk.policy(&[
        "explain",
        "--tool",
        "files/read",
        "--args",
        r#"{"path":"/a/../b","head":11}"#,
        "--principal",
        "peer:7:-",
        "--now",
        "2026-01-05T12:00:00Z",
    ]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!(out);
}

#[test]
fn comparisons_that_another_spelling_passes_are_warned_of_and_an_unguarded_attribute_is_refused() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        &format!(
            "{}@id(\"secret\") forbid (principal, action == Mcp::Action::\"files/read\", resource)\n  \
             when {{ context.input.path == \"/secret\" }};\n",
            condition("context.input.path like \"/public/*\"")
        ),
    );
    let (code, _, err) = desk.policy(&["check"]);
    assert_eq!((code, desk.policy(&["check", "--deny-warnings"]).0), (0, 1));
    insta::assert_snapshot!("like", err);
    // Said to be a path, only its raw text can be spelt in several ways.
    desk.write("policies/p.cedar", &condition("context.input.path.raw like \"/public/*\""));
    let (code, _, err) = desk.policy(&["check", "--input", "path=path"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("raw", err);
    desk.write("policies/p.cedar", &condition("context.input.path.normal like \"/public/*\""));
    assert_eq!(desk.policy(&["check", "--input", "path=path", "--deny-warnings"]).0, 0);
    let (code, _, err) = desk.policy(&["check", "--input", "path=pth"]);
    assert!(
        code == 1 && err.contains("no tool has the argument `pth`") && err.contains("did you mean `path`?"),
        "{err}"
    );
    desk.write("policies/p.cedar", &condition("context.input.head < 10"));
    let (code, _, err) = desk.policy(&["check"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("unguarded", err);
}

/// All keys of a document, sorted, each once: arrays and maps of the author's own names count as what is in them.
fn keys(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_command_prints_one_json_document_whose_keys_are_documented() {
    let desk = Desk::new();
    fs::create_dir(desk.path("new")).unwrap();
    desk.write("new/p.cedar", &desk.read("policies/p.cedar").replace("10", "20"));
    desk.write("new/tools.json", &desk.read("policies/tools.json").replace("\"files\"", "\"other\""));
    let binary = env!("CARGO_BIN_EXE_chancery");
    let server = ["--server", "demo", "--", binary, "demo-server"];
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy-json.md")).unwrap();
    for (args, asks) in [
        (&["check", "--json"][..], false),
        (&["test", "--json"], false),
        (&["explain", "--json", "--tool", "files/read", "--args", r#"{"path":"/x"}"#], false),
        (&["diff", "--json", "policies", "new"], false),
        (&["format", "--json", "--check"], false),
        (&["init", "--json", "--yes", "--dir", "made"], true),
        (&["lock", "--json"], true),
        (&["approve", "--json", "--yes"], true),
        (&["schema", "--json"], true),
    ] {
        let more = if asks { &server[..] } else { &[] };
        let (_, out, err) = desk.policy(&args.iter().chain(more).copied().collect::<Vec<_>>());
        let document: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"));
        assert!(out.ends_with("}\n"), "{args:?}");
        let section = docs.split(&format!("## `policy {}`", args[0])).nth(1);
        let section = section.unwrap_or_else(|| panic!("docs/policy-json.md has nothing on {args:?}"));
        if args[0] == "schema" {
            assert!(document["Mcp"]["actions"]["demo/echo"].is_object(), "{out}");
            continue;
        }
        let mut found = std::collections::BTreeSet::new();
        keys(&document, &mut found);
        // Names of servers and attributes are the author's.
        found.retain(|key| !["files", "other", "demo"].contains(&key.as_str()) && !key.contains('.'));
        for key in found {
            assert!(
                docs.contains(&format!("`{key}`")),
                "{args:?}: `{key}` is not in docs/policy-json.md: {section}"
            );
        }
    }
}

#[test]
fn policies_in_a_subdirectory_or_under_another_ending_are_told_to_be_out_of_force() {
    let desk = Desk::new();
    desk.write(
        "policies/p.cedar",
        "permit (principal, action == Mcp::Action::\"session/open\", resource);\n",
    );
    assert_eq!(desk.policy(&["check", "--deny-warnings"]).0, 0, "nothing is overlooked");
    std::fs::create_dir(desk.path("policies/sub")).unwrap();
    desk.write("policies/sub/f.cedar", "forbid (principal, action, resource);\n");
    desk.write("policies/g.cedr", "forbid (principal, action, resource);\n");
    let (code, out, err) = desk.policy(&["check"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("2 warnings"), "{out}");
    for part in
        ["policies/sub/f.cedar is not in force", "policies/g.cedr is not in force", "name it `g.cedar`"]
    {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(desk.policy(&["check", "--deny-warnings"]).0, 1);
    let named =
        ["check", "--policies", "policies", "--policies", "policies/sub", "--policies", "policies/g.cedr"];
    assert!(!desk.policy(&named).2.contains("not in force"), "they are named");
}

#[test]
fn a_set_without_policies_is_a_warning() {
    let desk = Desk::new();
    std::fs::remove_file(desk.path("policies/p.cedar")).unwrap();
    desk.write("policies/policies.txt", "permit (principal, action, resource);\n");
    let (code, out, err) = desk.policy(&["check"]);
    assert!(code == 0 && out.starts_with("there are no policies"), "{out}");
    assert!(err.contains("there is no policy in policies, so every call is refused"), "{err}");
    assert_eq!(desk.policy(&["check", "--deny-warnings"]).0, 1);
}
