//! Labels and counters: what a permit adds, what a set may ask for, and what authors are told.

use std::time::Duration;

use super::*;
use crate::domain::decision::Label;

fn findings(policies: &str) -> String {
    match Engine::compile(&PolicySources::single("p.cedar", policies), &reference()) {
        Ok((_, warnings)) => lines(&warnings),
        Err(errors) => lines(&errors),
    }
}

fn added(engine: &Engine, path: &str) -> Vec<(String, Option<u64>)> {
    let ruling = call(engine, "filesystem", "read_file", &format!(r#"{{"path":"{path}"}}"#));
    let of = |label: Label| (label.name.to_string(), label.keeps.map(|keeps| keeps.as_secs()));
    ruling.labels.into_iter().map(of).collect()
}

#[test]
fn a_permit_that_holds_or_fails_adds_its_labels_and_a_denial_adds_none() {
    let engine = engine(
        r#"@label("pii, finance") permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
          when { context.input.path like "/a*" };
        @label("pii") @label_for("2d") permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
          when { context.input.path like "/ab*" };
        @label("seen") @label_for("session") permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
          when { context.input.path like "*/c" };
        @label("failed") permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
          when { context.input.path == "/ad" && principal.session.calls + 9223372036854775807 > 0 };
        @label("never") @shadow permit (principal, action, resource);
        forbid (principal, action, resource) when { context.input.path == "/ax" };"#
            .replace("forbid (principal, action, resource)", r#"forbid (principal, action == Mcp::Action::"filesystem/read_file", resource)"#)
            .as_str(),
        &reference(),
    );
    let day = Some(86_400);
    let of = |labels: &[(&str, Option<u64>)]| {
        labels.iter().map(|(name, keeps)| ((*name).to_owned(), *keeps)).collect::<Vec<_>>()
    };
    assert_eq!(added(&engine, "/a"), of(&[("finance", day), ("pii", day)]));
    assert_eq!(added(&engine, "/ab"), of(&[("finance", day), ("pii", Some(172_800))]), "the longest");
    assert_eq!(added(&engine, "/x/c"), of(&[("seen", None)]));
    assert_eq!(added(&engine, "/ad"), of(&[("failed", day), ("finance", day), ("pii", day)]));
    assert_eq!(added(&engine, "/ax"), of(&[]));
    assert_eq!(added(&engine, "/x"), of(&[]));
}

#[test]
fn mistakes_in_labels_are_reported_with_place_and_help() {
    insta::assert_snapshot!(findings(
        r#"@label("pii") forbid (principal, action == Mcp::Action::"logging/setLevel", resource);
@label("") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@label("a b") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@label("a") @label_for("1w") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@label_for("1h") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@label("a,b,c,d,e,f,g,h,i") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@lable("a") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
"#
    ));
}

#[test]
fn a_label_that_nothing_adds_is_warned_of() {
    insta::assert_snapshot!(findings(
        r#"@label("pii") permit (principal, action == Mcp::Action::"filesystem/read_file", resource);
forbid (principal, action == Mcp::Action::"logging/setLevel", resource) when { principal.labels.contains("pi") };
forbid (principal, action == Mcp::Action::"logging/setLevel", resource)
  unless { principal.session.labels.containsAny(["pii", "secret-plans"]) };
"#
    ));
}

#[test]
fn each_attribute_of_the_state_is_seen_by_policies_and_covered_by_the_input_digest() {
    let calls = |from: u64| Calls { calls: from, minute: from + 1, hour: from + 2, day: from + 3 };
    let state = State {
        session_calls: 1,
        session_tool: 2,
        session_labels: vec!["s".into()],
        all: calls(10),
        server: calls(20),
        tool: calls(30),
        labels: vec!["l".into()],
        utc_offset: 3_600,
    };
    let decide = |condition: &str, state: &State| {
        let text = format!(
            "permit (principal, action in Mcp::Action::\"tools/call\", resource) when {{ {condition} }};"
        );
        let (engine, _) = Engine::compile(&PolicySources::single("p", &text), &reference()).unwrap();
        let session = engine.session_principal(&facts("filesystem"));
        let action = Action::ToolCall { name: "read_file", arguments: Some(br#"{"path":"/a"}"#) };
        let salt = Salt::from_bytes([0; 16]);
        let ruling = engine.decide(&Query { session: &session, action, now: NOW, state, salt: &salt });
        let shown = engine.could_be_permitted(&session, Listed::Tool("read_file"), NOW, state);
        assert_eq!(shown, effect(&ruling) == "allow", "{condition}");
        (effect(&ruling), ruling.input_digest)
    };
    let none = State::default();
    for condition in [
        "principal.session.calls == 1",
        "principal.session.tool.calls == 2",
        "principal.session.labels == [\"s\"]",
        "principal.usage.calls == 10 && principal.usage.minute == 11",
        "principal.usage.hour == 12 && principal.usage.day == 13",
        "principal.usage.server == {calls: 20, minute: 21, hour: 22, day: 23}",
        "principal.usage.tool == {calls: 30, minute: 31, hour: 32, day: 33}",
        "principal.labels == [\"l\"]",
    ] {
        assert_eq!(decide(condition, &state).0, "allow", "{condition}");
        assert_eq!(decide(condition, &none).0, "not_permitted", "{condition}");
    }
    let base = decide("true", &state).1;
    let mut others = Vec::new();
    for change in [
        |s: &mut State| s.session_tool += 1,
        |s: &mut State| s.session_labels.clear(),
        |s: &mut State| s.all.hour += 1,
        |s: &mut State| s.server.day += 1,
        |s: &mut State| s.tool.minute += 1,
        |s: &mut State| s.utc_offset = 0,
        |s: &mut State| s.labels.push("m".into()),
    ] {
        let mut other = state.clone();
        change(&mut other);
        others.push(decide("true", &other).1);
    }
    assert!(!others.contains(&base));
}

#[test]
fn a_shadow_policy_says_whether_it_would_flip_the_decision() {
    let flip = |policies: &str| {
        let ruling = call(&engine(policies, &reference()), "filesystem", "read_file", r#"{"path":"/a"}"#);
        (effect(&ruling), ruling.shadow.len(), ruling.would_flip)
    };
    let all = r#"permit (principal, action == Mcp::Action::"filesystem/read_file", resource)"#;
    let none = r#"forbid (principal, action == Mcp::Action::"filesystem/read_file", resource)"#;
    assert_eq!(flip(&format!("{all}; @shadow {none};")), ("allow", 1, true));
    assert_eq!(flip(&format!("{all}; @shadow {all};")), ("allow", 1, false));
    let fails = "when { principal.session.calls + 9223372036854775807 > 0 }";
    assert_eq!(flip(&format!("{all}; @shadow {none} {fails};")), ("allow", 1, true));
    assert_eq!(flip(&format!("{all}; @shadow {all} {fails};")), ("allow", 0, false));
    let other = r#"permit (principal, action == Mcp::Action::"filesystem/write_file", resource);"#;
    assert_eq!(flip(&format!("{other} @shadow {all};")), ("not_permitted", 1, true));
    assert_eq!(flip(&format!("{other} @shadow {all}; @shadow {none};")), ("not_permitted", 2, false));
    assert_eq!(flip(&format!("{none}; @shadow {all};")), ("forbidden", 1, false));
}

#[test]
fn an_id_stays_with_its_policy_and_so_does_its_digest_whatever_stands_around_it() {
    let all = r#"@id("all") permit (principal, action in Mcp::Action::"tools/call", resource);"#;
    let more = r#"permit (principal, action == Mcp::Action::"logging/setLevel", resource);"#;
    let named = |text: String| {
        let ruling = call(&engine(&text, &reference()), "filesystem", "read_file", r#"{"path":"/a"}"#);
        ruling
            .determining
            .into_iter()
            .map(|policy| (policy.id.to_string(), policy.digest))
            .collect::<Vec<_>>()
    };
    let alone = named(all.to_owned());
    assert_eq!(alone[0].0, "all");
    assert_eq!(alone, named(format!("{more}\n\n{more}\n{all}\n{more}")));
    let unnamed = all.replace("@id(\"all\") ", "");
    assert_eq!(named(format!("{more}\n{unnamed}"))[0].0, "p.cedar:2", "by its place, where it has no id");
}

#[test]
fn a_label_lasts_a_day_where_nothing_else_is_said() {
    let engine = engine(
        r#"@label("pii") permit (principal, action == Mcp::Action::"filesystem/read_file", resource);"#,
        &reference(),
    );
    let ruling = call(&engine, "filesystem", "read_file", r#"{"path":"/a"}"#);
    assert_eq!(ruling.labels, [Label { name: "pii".into(), keeps: Some(Duration::from_secs(86_400)) }]);
}

#[test]
fn working_hours_are_those_of_the_configured_time_zone() {
    let text = r#"permit (principal, action in Mcp::Action::"tools/call", resource)
        when { context.local.weekday <= 5 && context.local.hour >= 9 && context.local.hour < 17 };"#;
    let engine = engine(text, &reference());
    let session = engine.session_principal(&facts("filesystem"));
    let salt = Salt::from_bytes([0; 16]);
    let at = |text: &str, utc_offset| {
        let state = State { utc_offset, ..State::default() };
        let action = Action::ToolCall { name: "read_file", arguments: Some(br#"{"path":"/a"}"#) };
        let now = Timestamp::parse_rfc3339(text).unwrap();
        assert!(
            engine.could_be_permitted(&session, Listed::Tool("read_file"), now, &state),
            "at another time"
        );
        effect(&engine.decide(&Query { session: &session, action, now, state: &state, salt: &salt }))
    };
    assert_eq!(at("2026-01-02T09:00:00Z", 0), "allow");
    assert_eq!(at("2026-01-02T16:59:59Z", 0), "allow");
    assert_eq!(at("2026-01-02T17:00:00Z", 0), "not_permitted");
    assert_eq!(at("2026-01-02T16:00:00Z", 3600), "not_permitted");
    assert_eq!(at("2026-01-03T12:00:00Z", 0), "not_permitted", "a Saturday");
    assert_eq!(at("2026-01-04T23:30:00Z", 34_200), "allow", "Monday morning already");
}
