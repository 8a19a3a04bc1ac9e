//! What an engine and a session keep ready is never older than the call that it decides.

use super::*;

const CALL: Action<'_> = Action::ToolCall { name: "a", arguments: Some(br#"{"path":"/"}"#) };

fn listed(extra: &str) -> Catalogue {
    let schema = r#"{"type":"object","properties":{"path":{"type":"string"}}}"#;
    Catalogue::of(name("t"), tools(&format!(r#"[{{"name":"a","inputSchema":{schema}{extra}}}]"#)))
}

fn decided(engine: &Engine, session: &SessionEntities, state: &State, now: Timestamp) -> &'static str {
    let salt = Salt::from_bytes([1; 16]);
    effect(&engine.decide(&Query { session, action: CALL, now, state: &state.clone(), salt: &salt }))
}

/// Whether `a` is shown and, by a call, allowed: a list must not be staler than a decision either.
fn allowed(engine: &Engine, facts: &SessionFacts, state: &State, now: Timestamp) -> bool {
    let session = engine.session_principal(facts);
    let called = decided(engine, &session, state, now) == "allow";
    let shown = engine.could_be_permitted(&session, Listed::Tool("a"), now, state);
    // The list leaves the time open.
    assert!(shown || !called);
    called
}

#[test]
fn a_changed_claim_group_fact_counter_label_or_hour_is_seen_by_the_very_next_call() {
    let claims = |value: &str| SessionFacts {
        claims: Arc::new([("team".to_owned(), vec![value.to_owned()])].into()),
        ..facts("t")
    };
    let groups = |group: &str| SessionFacts { groups: vec![group.to_owned()], ..facts("t") };
    let client = |name: &str| SessionFacts { client_name: Some(name.to_owned()), ..facts("t") };
    let counted = |calls: u64| State { session_calls: calls, ..State::default() };
    let minute = |calls: u64| State { all: Calls { minute: calls, ..Calls::default() }, ..State::default() };
    let tool = |calls: u64| State { tool: Calls { calls, ..Calls::default() }, ..State::default() };
    let labels = |labels: &[&str]| State {
        labels: labels.iter().map(|label| Arc::from(*label)).collect(),
        ..State::default()
    };
    let of_session = |labels: &[&str]| State {
        session_labels: labels.iter().map(|label| Arc::from(*label)).collect(),
        ..State::default()
    };
    let (none, later) = (State::default(), Timestamp::from_secs(1_767_323_045 + 3 * 3600));
    let own = || facts("t");
    for (forbidden, before, after) in [
        (
            r#"principal.hasTag("team") && principal.getTag("team").contains("red")"#,
            (claims("blue"), none.clone(), NOW),
            (claims("red"), none.clone(), NOW),
        ),
        (
            r#"principal in Mcp::Group::"oidc:barred""#,
            (groups("oidc:staff"), none.clone(), NOW),
            (groups("oidc:barred"), none.clone(), NOW),
        ),
        (
            r#"principal.client.name == "bad""#,
            (client("good"), none.clone(), NOW),
            (client("bad"), none.clone(), NOW),
        ),
        ("principal.session.calls >= 1", (own(), none.clone(), NOW), (own(), counted(1), NOW)),
        ("principal.usage.minute >= 1", (own(), none.clone(), NOW), (own(), minute(1), NOW)),
        // Compared whole: no member's name stands in it.
        ("principal.usage.tool != principal.usage.server", (own(), none.clone(), NOW), (own(), tool(1), NOW)),
        (r#"principal.labels.contains("pii")"#, (own(), labels(&[]), NOW), (own(), labels(&["pii"]), NOW)),
        (
            r#"principal.session.labels.contains("pii")"#,
            (own(), of_session(&[]), NOW),
            (own(), of_session(&["pii"]), NOW),
        ),
        ("principal.session.age > 3600", (own(), none.clone(), NOW), (own(), none.clone(), later)),
        ("context.local.hour > 5", (own(), none.clone(), NOW), (own(), none.clone(), later)),
        (
            r#"context.time > datetime("2026-01-02T05:00:00Z")"#,
            (own(), none.clone(), NOW),
            (own(), none, later),
        ),
    ] {
        let policies = format!(
            r#"@label("pii") permit (principal, action == Mcp::Action::"t/a", resource);
            forbid (principal, action == Mcp::Action::"t/a", resource) when {{ {forbidden} }};"#
        );
        let engine = engine(&policies, &listed(""));
        for _ in 0..2 {
            assert!(allowed(&engine, &before.0, &before.1, before.2), "{forbidden}");
            assert!(!allowed(&engine, &after.0, &after.1, after.2), "{forbidden}");
        }
    }
}

#[test]
fn a_session_that_outlives_its_engine_is_decided_by_the_definitions_and_policies_that_came_since() {
    let policies = r#"permit (principal, action == Mcp::Action::"t/a", resource);
        forbid (principal, action == Mcp::Action::"t/a", resource)
        when { resource.annotations has destructiveHint && resource.annotations.destructiveHint };"#;
    let first = engine(policies, &listed(""));
    let session = first.session_principal(&facts("t"));
    let state = State::default();
    assert_eq!(decided(&first, &session, &state, NOW), "allow");
    let (second, _) = first.with_catalogue(&listed(r#","annotations":{"destructiveHint":true}"#)).unwrap();
    assert_eq!(decided(&second, &session, &state, NOW), "forbidden");
    assert!(!second.could_be_permitted(&session, Listed::Tool("a"), NOW, &state));
    let pinned = Catalogue { pinned: [name("t")].into(), ..listed("") };
    let held = policies.replace(
        "resource.annotations has destructiveHint && resource.annotations.destructiveHint",
        "resource.pinned",
    );
    let (third, fourth) = (engine(&held, &listed("")), engine(&held, &pinned));
    assert_eq!(decided(&third, &session, &state, NOW), "allow");
    assert_eq!(decided(&fourth, &session, &state, NOW), "forbidden");
    assert_eq!(decided(&first, &session, &state, NOW), "allow");
}

#[test]
fn a_record_of_the_caller_s_own_making_cannot_stand_for_one_that_was_left_out() {
    let schema = r#"{"type":"object","properties":{"path":{"type":"string"},"s":{"type":"object",
        "properties":{"calls":{"type":"integer"}},"required":["calls"],"additionalProperties":false}},"required":["s"]}"#;
    let policies = r#"permit (principal, action == Mcp::Action::"t/t", resource);
        forbid (principal, action == Mcp::Action::"t/t", resource)
        unless { principal.session.tool == context.input.s };"#;
    let engine = engine(policies, &with_schema(schema));
    let session = engine.session_principal(&facts("t"));
    let salt = Salt::from_bytes([1; 16]);
    let state = State { session_tool: 2, ..State::default() };
    for (claimed, expected) in [(2, "allow"), (0, "forbidden"), (3, "forbidden")] {
        let arguments = format!(r#"{{"s":{{"calls":{claimed}}}}}"#);
        let action = Action::ToolCall { name: "t", arguments: Some(arguments.as_bytes()) };
        let query = Query { session: &session, action, now: NOW, state: &state, salt: &salt };
        assert_eq!(effect(&engine.decide(&query)), expected, "{arguments}");
    }
}
