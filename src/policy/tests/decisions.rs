//! What is allowed and what is not.

use super::*;

#[test]
fn without_policies_everything_is_denied() {
    let engine = engine("// nothing\n", &reference());
    assert!(engine.is_empty());
    for action in [
        Action::SessionOpen,
        Action::ToolCall { name: "read_file", arguments: Some(br#"{"path":"/a"}"#) },
        Action::ToolCall { name: "no_such_tool", arguments: None },
        Action::Method { method: "tools/list", target: None, from: Direction::Client },
    ] {
        assert_eq!(effect(&ask(&engine, "filesystem", action)), "no_policy");
    }
    let session = engine.session_principal(&facts("filesystem"));
    assert!(!engine.could_be_permitted(&session, Listed::Tool("read_file"), NOW, &calls(0)));
}

#[test]
fn a_permit_on_one_tool_permits_that_tool_with_those_arguments_only() {
    let engine = engine(
        r#"@id("read") permit (principal, action == Mcp::Action::"filesystem/read_text_file", resource)
           when { context.input.path like "/data/public/*" && !(context.input.path like "*..*") };"#,
        &reference(),
    );
    let read = |path: &str| call(&engine, "filesystem", "read_text_file", &format!(r#"{{"path":"{path}"}}"#));
    let allowed = read("/data/public/a");
    assert_eq!((effect(&allowed), ids(&allowed)), ("allow", vec!["read".into()]));
    assert_eq!(effect(&read("/data/public/../private/a")), "not_permitted");
    assert_eq!(effect(&read("/data/private/a")), "not_permitted");
    assert_eq!(effect(&read(r"/data/public/\u002e\u002e/a")), "not_permitted");
    assert_eq!(
        effect(&call(&engine, "filesystem", "write_file", r#"{"path":"/data/public/a","content":""}"#)),
        "not_permitted"
    );
    assert_eq!(
        effect(&call(&engine, "everything", "read_text_file", r#"{"path":"/data/public/a"}"#)),
        "unknown_tool"
    );
    assert_eq!(effect(&call(&engine, "filesystem", "nothing", "{}")), "unknown_tool");
}

#[test]
fn a_forbid_wins_and_its_reason_is_told() {
    let engine = engine(
        r#"permit (principal, action in Mcp::Action::"filesystem/*", resource);
           @id("no-write") @reason("this folder is read-only")
           forbid (principal, action == Mcp::Action::"filesystem/write_file", resource);"#,
        &reference(),
    );
    let ruling = call(&engine, "filesystem", "write_file", r#"{"path":"/a","content":"x"}"#);
    assert_eq!((effect(&ruling), ids(&ruling)), ("forbidden", vec!["no-write".into()]));
    assert_eq!(ruling.determining[0].reason.as_deref(), Some("this folder is read-only"));
    assert!(ruling.suggestion.is_none());
    assert_eq!(effect(&call(&engine, "filesystem", "read_file", r#"{"path":"/a"}"#)), "allow");
}

#[test]
fn a_forbid_that_fails_denies_its_request_and_no_other() {
    let engine = engine(
        r#"permit (principal, action in Mcp::Action::"tools/call", resource);
           @id("overflows") forbid (principal, action == Mcp::Action::"t/t", resource)
           when { context.input.n * 9223372036854775807 == 4 };"#,
        &with_schema(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#),
    );
    let ruling = call(&engine, "t", "t", r#"{"n":987654321}"#);
    assert_eq!(effect(&ruling), "forbid_error");
    assert_eq!((&*ruling.failures[0].policy.id, ruling.failures[0].forbid), ("overflows", true));
    assert!(!format!("{ruling:?}").contains("987654321"), "no argument's value may leave (I7)");
    assert_eq!(effect(&call(&engine, "t", "t", r#"{"n":1}"#)), "allow");
}

#[test]
fn a_permit_that_fails_is_not_satisfied_and_is_told() {
    let engine = engine(
        r#"@id("broken") permit (principal, action == Mcp::Action::"t/t", resource) when { context.input.n + 9223372036854775807 > 0 };"#,
        &with_schema(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#),
    );
    let ruling = call(&engine, "t", "t", r#"{"n":5}"#);
    assert_eq!(effect(&ruling), "not_permitted");
    assert_eq!((&*ruling.failures[0].policy.id, ruling.failures[0].forbid), ("broken", false));
    assert_eq!(effect(&call(&engine, "t", "t", r#"{"n":-5}"#)), "allow");
}

#[test]
fn shadow_policies_are_recorded_and_never_enforced() {
    let engine = engine(
        r#"permit (principal, action == Mcp::Action::"filesystem/read_file", resource);
           @id("later") @shadow forbid (principal, action in Mcp::Action::"tools/call", resource);
           @id("maybe") @shadow permit (principal, action == Mcp::Action::"filesystem/write_file", resource);"#,
        &reference(),
    );
    let shadow = |ruling: &Ruling| ruling.shadow.iter().map(|p| p.id.to_string()).collect::<Vec<_>>();
    let read = call(&engine, "filesystem", "read_file", r#"{"path":"/a"}"#);
    assert_eq!((effect(&read), shadow(&read)), ("allow", vec!["later".into()]));
    let write = call(&engine, "filesystem", "write_file", r#"{"path":"/a","content":""}"#);
    assert_eq!((effect(&write), shadow(&write)), ("not_permitted", vec!["later".into(), "maybe".into()]));
    let session = engine.session_principal(&facts("filesystem"));
    assert!(!engine.could_be_permitted(&session, Listed::Tool("write_file"), NOW, &calls(0)));
    assert!(engine.could_be_permitted(&session, Listed::Tool("read_file"), NOW, &calls(0)));
}

#[test]
fn every_method_is_its_own_action_and_no_permit_reaches_another() {
    let catalogue = reference();
    for (action, sent, target, from) in [
        ("tools/list", "tools/list", None, Direction::Client),
        ("prompts/get", "prompts/get", Some("greet"), Direction::Client),
        ("resources/read", "resources/read", Some("file:///a"), Direction::Client),
        ("completion/complete", "completion/complete", None, Direction::Client),
        ("sampling/createMessage", "sampling/createMessage", None, Direction::Server),
        ("elicitation/create", "elicitation/create", None, Direction::Server),
        ("roots/list", "roots/list", None, Direction::Server),
        ("tasks/get", "tasks/get", None, Direction::Server),
        ("tasks/get", "tasks/get", None, Direction::Client),
        ("notifications/roots/list_changed", "notifications/roots/list_changed", None, Direction::Client),
        ("other", "x/y", None, Direction::Client),
        ("other", "x/y", None, Direction::Server),
        // A client can't send what is a server's to send, nor open a session by a method of that name.
        ("other", "sampling/createMessage", None, Direction::Client),
        ("other", "session/open", None, Direction::Client),
        ("other", "filesystem/read_file", None, Direction::Client),
    ] {
        let only = engine(
            &format!(r#"permit (principal, action == Mcp::Action::"{action}", resource);"#),
            &catalogue,
        );
        assert_eq!(effect(&method(&only, sent, target, from)), "allow", "{action} {sent}");
        assert_eq!(effect(&ask(&only, "filesystem", Action::SessionOpen)), "not_permitted");
        for (other, from) in [("logging/setLevel", Direction::Client), ("tasks/list", Direction::Server)] {
            assert_eq!(effect(&method(&only, other, None, from)), "not_permitted", "{action} {other}");
        }
    }
    let all = engine("permit (principal, action, resource);", &catalogue);
    assert_eq!(effect(&method(&all, "tools/call", None, Direction::Client)), "unknown_tool");
    assert_eq!(effect(&method(&all, "prompts/get", None, Direction::Client)), "invalid_input");
}

#[test]
fn what_is_known_of_the_session_can_be_asked() {
    for (condition, expected) in [
        (r#"principal in Mcp::Group::"uid:1000""#, "allow"),
        (r#"principal in Mcp::Group::"uid:1001""#, "not_permitted"),
        (r#"principal in Mcp::Group::"peer""#, "allow"),
        (r#"principal has uid && principal.uid == 1000"#, "allow"),
        (r#"principal.client.name == "test-client""#, "allow"),
        (r#"principal has executable && principal.executable == "/usr/bin/agent""#, "allow"),
        (r#"principal.session.calls < 3"#, "not_permitted"),
        (r#"principal.session.calls <= 3 && principal.session.age == 45"#, "allow"),
        (r#"principal.session.transport == "stdio" && context.source == "stdio""#, "allow"),
        (r#"context.time < datetime("2026-01-02T03:04:06Z")"#, "allow"),
        (r#"resource.annotations has readOnlyHint && resource.annotations.readOnlyHint"#, "allow"),
        (
            r#"resource in Mcp::Server::"filesystem" && resource.name == "read_file" && !resource.pinned"#,
            "allow",
        ),
    ] {
        let policy = format!(
            r#"permit (principal, action == Mcp::Action::"filesystem/read_file", resource) when {{ {condition} }};"#
        );
        let engine = engine(&policy, &reference());
        assert_eq!(
            effect(&call(&engine, "filesystem", "read_file", r#"{"path":"/"}"#)),
            expected,
            "{condition}"
        );
    }
}

#[test]
fn the_suggestion_permits_the_denied_action_alone_and_holds_no_value() {
    let catalogue = reference();
    let nothing =
        engine(r#"permit (principal, action == Mcp::Action::"logging/setLevel", resource);"#, &catalogue);
    let secret = "file:///secret";
    let actions = [
        Action::SessionOpen,
        Action::ToolCall { name: "read_file", arguments: Some(br#"{"path":"file:///secret"}"#) },
        Action::Method { method: "resources/read", target: Some(secret), from: Direction::Client },
        Action::Method { method: "sampling/createMessage", target: None, from: Direction::Server },
    ];
    for action in actions {
        let denied = ask(&nothing, "filesystem", action);
        let suggestion = denied.suggestion.unwrap();
        assert!(!suggestion.contains(secret), "{suggestion}");
        let with = engine(&suggestion, &catalogue);
        for other in actions {
            let expected =
                if format!("{other:?}") == format!("{action:?}") { "allow" } else { "not_permitted" };
            assert_eq!(effect(&ask(&with, "filesystem", other)), expected, "{suggestion}");
        }
    }
    insta::assert_snapshot!(
        call(&nothing, "filesystem", "read_text_file", r#"{"path":"/x"}"#).suggestion.unwrap()
    );
}

#[test]
fn a_permit_that_fits_but_for_its_condition_is_named_and_no_other() {
    let engine = engine(
        r#"@id("public") permit (principal in Mcp::Group::"uid:1000", action == Mcp::Action::"filesystem/read_file", resource)
           when { context.input.path like "/public/*" };
           @id("all") permit (principal is Mcp::Agent, action in Mcp::Action::"tools/call", resource in Mcp::Server::"filesystem")
           unless { principal.session.calls > 1 };
           @id("other-user") permit (principal in Mcp::Group::"uid:7", action, resource) when { context.source == "unix" };
           @id("server") permit (principal, action, resource == Mcp::Server::"filesystem") when { context.source == "unix" };
           @id("overflows") permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
           when { principal.session.calls + 9223372036854775807 > 0 };
           @id("never") forbid (principal, action == Mcp::Action::"filesystem/read_file", resource)
           when { context.input.path == "/never" };"#,
        &reference(),
    );
    let unmet = |path: &str| {
        let ruling = call(&engine, "filesystem", "read_file", &format!(r#"{{"path":"{path}"}}"#));
        let ids: Vec<String> = ruling.unmet.iter().map(|policy| policy.id.to_string()).collect();
        (effect(&ruling), ids)
    };
    assert_eq!(unmet("/private/a"), ("not_permitted", vec!["public".into(), "all".into()]));
    assert_eq!(unmet("/public/a"), ("allow", Vec::new()));
    assert_eq!(unmet("/never"), ("forbidden", Vec::new()));
}

#[test]
fn the_input_digest_covers_arguments_counters_and_time_and_is_salted() {
    let engine = engine(r#"permit (principal, action, resource);"#, &reference());
    let session = engine.session_principal(&facts("filesystem"));
    let digest = |arguments: &str, count, now, salt| {
        let salt = Salt::from_bytes([salt; 16]);
        let action = Action::ToolCall { name: "read_file", arguments: Some(arguments.as_bytes()) };
        engine
            .decide(&Query { session: &session, action, now, state: &calls(count), salt: &salt })
            .input_digest
    };
    let base = digest(r#"{"path":"/a"}"#, 0, NOW, 1);
    assert_eq!(base, digest(r#" { "path" : "\/a" } "#, 0, NOW, 1));
    assert_ne!(base, digest(r#"{"path":"/b"}"#, 0, NOW, 1));
    assert_ne!(base, digest(r#"{"path":"/a"}"#, 1, NOW, 1));
    assert_ne!(base, digest(r#"{"path":"/a"}"#, 0, Timestamp::from_secs(1), 1));
    assert_ne!(base, digest(r#"{"path":"/a"}"#, 0, NOW, 2));
}

#[test]
fn a_new_set_takes_the_old_ones_place_and_raises_the_epoch() {
    let catalogue = reference();
    let store = EngineStore::new(engine("", &catalogue));
    let (before, epoch) = store.snapshot();
    let next = store.replace(engine("permit (principal, action, resource);", &catalogue));
    assert_eq!((epoch, next, store.epoch()), (1, 2, 2));
    assert_ne!(before.digest(), store.current().digest());
}
