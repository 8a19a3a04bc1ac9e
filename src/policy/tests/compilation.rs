//! What authors are told.

use super::*;

fn findings(policies: &str) -> String {
    match Engine::compile(&PolicySources::single("p.cedar", policies), &reference()) {
        Ok((_, warnings)) => lines(&warnings),
        Err(errors) => lines(&errors),
    }
}

#[test]
fn mistakes_are_reported_all_at_once_with_place_and_help() {
    insta::assert_snapshot!(findings(
        r#"permit (principal, action == Mcp::Action::"filesystem/read_file", resource)
  when { context.input.pth == "/a" };
permit (principal, action == Mcp::Action::"tools/lst", resource);
permit (principal, action == Mcp::Action::"tools/call", resource);
permit (principal is Mcp::Agnt, action, resource);
permit (principal, action == Mcp::Action::"filesystem/read_file", resource == Mcp::Server::"filesystem");
permit (principal, action == Mcp::Action::"filesystem/read_file", resource) when { context.input.tail.lessThan(decimal("1.0")) };
@id("a") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@id("a") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@reson("x") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
@id("") permit (principal, action == Mcp::Action::"logging/setLevel", resource);
permit (principal, action == Mcp::Action::"Bad Server/x", resource);
permit (principal, action == Mcp::Action::"logging/setLevel", resource == ?resource);
permit (principal action, resource);
permit (principal, action == Mcp::Action::"nonsense", resource);
permit (principal, action == Mcp::Action::"ping", resource);
permit (principal, action in Mcp::Action::"everything/*", resource) when { context.input.pth == "/a" };
"#
    ));
}

#[test]
fn names_that_no_server_has_yet_are_warned_of_and_do_not_break_the_set() {
    insta::assert_snapshot!(findings(
        r#"permit (principal, action == Mcp::Action::"filesystem/raed_file", resource) when { context.input.path == "x" };
permit (principal, action == Mcp::Action::"github/create_issue", resource);
permit (principal, action in Mcp::Action::"github/*", resource);
permit (principal, action in [Mcp::Action::"filesystem/read_file", Mcp::Action::"filesystem/gone"], resource);
permit (principal, action, resource == Mcp::Tool::"filesystem/reed_file");
permit (principal, action in Mcp::Action::"tools/call", resource in Mcp::Server::"filesytem");
"#
    ));
}

#[test]
fn a_forbid_that_also_names_an_unknown_tool_stays_in_force_for_the_known_ones() {
    let policies = r#"permit (principal, action in Mcp::Action::"tools/call", resource);
        forbid (principal, action in [Mcp::Action::"filesystem/gone", Mcp::Action::"filesystem/write_file"], resource);"#;
    let (engine, warnings) =
        Engine::compile(&PolicySources::single("p.cedar", policies), &reference()).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        effect(&call(&engine, "filesystem", "write_file", r#"{"path":"","content":""}"#)),
        "forbidden"
    );
    assert_eq!(effect(&call(&engine, "filesystem", "gone", "{}")), "unknown_tool");
}

#[test]
fn a_forbid_on_nothing_but_missing_tools_of_a_known_server_is_said_to_protect_nothing() {
    let nothing = "this forbid protects nothing";
    for (scope, loud) in [
        (r#"action == Mcp::Action::"filesystem/write_fil", resource"#, true),
        (r#"action in [Mcp::Action::"filesystem/gone", Mcp::Action::"github/*"], resource"#, true),
        (r#"action, resource == Mcp::Tool::"filesystem/gone""#, true),
        (r#"action in [Mcp::Action::"filesystem/gone", Mcp::Action::"filesystem/*"], resource"#, false),
        (r#"action == Mcp::Action::"github/create_issue", resource"#, false),
    ] {
        for effect in ["forbid", "permit"] {
            let told = findings(&format!("{effect} (principal, {scope});"));
            assert!(told.starts_with("warning: "), "{told}");
            assert_eq!(told.contains(nothing), loud && effect == "forbid", "{scope}: {told}");
        }
    }
    let unseen = r#"forbid (principal, action == Mcp::Action::"t/gone", resource);"#;
    let silent = Catalogue::of(name("t"), Vec::new());
    let (_, warnings) = Engine::compile(&PolicySources::single("p.cedar", unseen), &silent).unwrap();
    assert!(!lines(&warnings).contains(nothing), "a server that has not listed its tools yet");
}

#[test]
fn policies_without_known_tools_are_dormant_until_the_tools_are_known() {
    let policies = r#"permit (principal, action == Mcp::Action::"session/open", resource);
        permit (principal, action in Mcp::Action::"tools/call", resource);
        permit (principal, action == Mcp::Action::"filesystem/read_file", resource) when { context.input.path == "/a" };"#;
    let sources = PolicySources::single("p.cedar", policies);
    let (before, warnings) = Engine::compile(&sources, &Catalogue::default()).unwrap();
    assert!(!warnings.is_empty());
    assert_eq!(effect(&call(&before, "filesystem", "read_file", r#"{"path":"/a"}"#)), "unknown_tool");
    assert_eq!(effect(&ask(&before, "filesystem", Action::SessionOpen)), "allow");
    let (after, warnings) = before.with_catalogue(&reference()).unwrap();
    assert_eq!(lines(&warnings), "");
    assert_eq!((before.digest(), sources.digest()), (after.digest(), after.digest()));
    assert_eq!(effect(&call(&after, "filesystem", "read_file", r#"{"path":"/a"}"#)), "allow");
}

#[test]
fn a_definition_that_would_break_the_policies_quarantines_its_tool_and_not_the_set() {
    let policies = r#"permit (principal, action in Mcp::Action::"tools/call", resource);
        permit (principal, action == Mcp::Action::"t/a", resource) when { context.input.path == "/a" };"#;
    let list = |a: &str| {
        let tool = |name: &str, property: &str| {
            format!(
                r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"{property}":{{"type":"string"}}}},"required":["{property}"]}}}}"#
            )
        };
        Catalogue::of(name("t"), tools(&format!("[{},{}]", tool("a", a), tool("b", a))))
    };
    let engine = engine(policies, &list("path"));
    let (after, warnings) = engine.with_catalogue(&list("file")).unwrap();
    assert!(lines(&warnings).contains("`t/a` is denied"), "{}", lines(&warnings));
    assert_eq!(effect(&call(&after, "t", "a", r#"{"file":"x"}"#)), "unknown_tool");
    assert_eq!(effect(&call(&after, "t", "b", r#"{"file":"x"}"#)), "allow");
}

#[test]
fn a_tool_that_its_server_defines_in_two_ways_is_unknown() {
    let list = r#"[{"name":"a","inputSchema":{}},{"name":"a","inputSchema":{"type":"object"}},{"name":"b","inputSchema":{}},{"name":"b","inputSchema":{}}]"#;
    let sources = PolicySources::single("p.cedar", "permit (principal, action, resource);");
    let (engine, warnings) = Engine::compile(&sources, &Catalogue::of(name("t"), tools(list))).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(effect(&call(&engine, "t", "a", "{}")), "unknown_tool");
    assert_eq!(effect(&call(&engine, "t", "b", "{}")), "allow");
}

#[test]
fn the_method_table_and_the_schema_name_the_same_actions() {
    use crate::policy::methods::{GROUPS, METHODS, OTHER, SESSION_OPEN};
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(crate::policy::schema::BASE).unwrap();
    let mut declared: Vec<String> =
        schema.actions().map(|action| action.id().unescaped().to_owned()).collect();
    let methods = METHODS.iter().chain([&OTHER, &SESSION_OPEN]).map(|method| method.name);
    let mut known: Vec<String> = methods.chain(GROUPS).map(str::to_owned).collect();
    declared.sort();
    known.sort();
    assert_eq!(declared, known);
}

#[test]
fn a_policy_without_an_id_is_named_by_file_and_line_and_each_has_its_own_digest() {
    let engine = engine(
        "\n\n@reason(\"closed\")\nforbid (principal, action, resource);\npermit (principal, action, resource);",
        &reference(),
    );
    let ruling = ask(&engine, "filesystem", Action::SessionOpen);
    assert_eq!(ids(&ruling), ["p.cedar:3".into()]);
    let text = "@reason(\"closed\")\nforbid (principal, action, resource);";
    assert_eq!(ruling.determining[0].digest, crate::domain::digest::Sha256Digest::of(text.as_bytes()));
}

#[test]
fn a_server_that_did_not_answer_is_not_called_unknown_and_is_named_once() {
    let catalogue = Catalogue { unanswered: [name("files")].into(), ..reference() };
    let text = r#"permit (principal, action == Mcp::Action::"files/read", resource);
        permit (principal, action in Mcp::Action::"files/*", resource);
        permit (principal, action, resource == Mcp::Server::"nowhere");"#;
    let (_, warnings) = Engine::compile(&PolicySources::single("p.cedar", text), &catalogue).unwrap();
    let said = lines(&warnings);
    assert_eq!(said.matches("`files` is configured but did not answer").count(), 1, "{said}");
    assert!(said.contains("no server `nowhere` is known"), "{said}");
    assert_eq!(warnings.len(), 2, "{said}");
}

#[test]
fn slips_of_those_who_know_other_languages_are_told_with_what_to_write() {
    let one = r#"action == Mcp::Action::"filesystem/read_text_file""#;
    let when = |condition: &str| format!("permit (principal, {one}, resource) when {{ {condition} }};");
    let mut out = String::new();
    for policy in [
        format!("{}\n{}", when("true").trim_end_matches(';'), when("true")),
        format!("{}\n@id(\"b\") {}", when("true").trim_end_matches(';'), when("true")),
        when("true").trim_end_matches(';').to_owned(),
        when("context.input has head && context.input.head < 10"),
        when("context.input has head && context.input.head >= 10"),
        when(r#"context.time > "2026-01-01""#),
        when(r#"context.input.path.startsWith("/a")"#),
        when(r#"context.input.path == "a" and true"#),
        when(r#"context.input.path == "a" or true"#),
        when(r#"not (context.input.path == "a")"#),
        when(r#"args.path == "a""#),
        when("session.calls > 1"),
        when("context.input.path"),
        when("context.input.path == 1"),
        when("context.input.path has extension"),
        when("!context.input.path.has_parent_steps"),
        r#"permit (principal, action == Mcp::Action::"read_text_file", resource);"#.to_owned(),
        r#"permit (principal, action, resource == Mcp::Tool::"read_text_file");"#.to_owned(),
        r#"permit (principal, action, resource == Mcp::Tool::"nonsense");"#.to_owned(),
        r#"permit (principal, action in Mcp::Action::"filesystem/read_*", resource);"#.to_owned(),
        r#"forbid (principal, action, resource) when { context.input.path == "a" };"#.to_owned(),
        r#"@lable("x") @ID("x") permit (principal, action, resource);"#.to_owned(),
        r#"permit (principal, action == Mcp::Action::"filesystem/read_multiple_files", resource)
           when { context.input.paths__within.contains("/a") };"#
            .to_owned(),
    ] {
        out.push_str(&format!("{policy}\n{}\n\n", findings(&policy)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_advised_for_an_argument_that_not_all_have_is_in_order() {
    let text = r#"forbid (principal, action, resource) when { context has input.path && context.input.path == "a" };"#;
    assert_eq!(findings(text), "");
}

#[test]
fn a_path_that_is_compared_as_a_text_is_told_to_be_one() {
    let mut catalogue = reference();
    let inputs = vec![InputRule::new(Meaning::Path, "path").unwrap()];
    catalogue.rules.insert(name("filesystem"), ArgumentRules { inputs, ..ArgumentRules::default() });
    for condition in [r#"path like "/a/*""#, r#"path == "/a""#] {
        let text = format!(
            "permit (principal, action == Mcp::Action::\"filesystem/read_text_file\", resource) when {{ context.input.{condition} }};"
        );
        let told = lines(&Engine::compile(&PolicySources::single("p.cedar", &text), &catalogue).unwrap_err());
        assert!(
            told.contains("a path") && told.contains("`context.input.path.normal`"),
            "{condition}: {told}"
        );
        assert!(!told.contains("has_parent_steps"), "{condition}: {told}");
    }
}

#[test]
fn a_server_under_another_name_than_the_policies_call_it_is_told_once() {
    let text = r#"permit (principal, action == Mcp::Action::"session/open", resource == Mcp::Server::"filesystem");
        permit (principal, action == Mcp::Action::"filesystem/read_file", resource);
        permit (principal, action in Mcp::Action::"filesystem/*", resource);"#;
    let tools = reference().servers.remove(&name("filesystem")).unwrap();
    let told = |server: &str, text: &str| {
        let catalogue = Catalogue::of(name(server), tools.clone());
        let (engine, warnings) =
            Engine::compile(&PolicySources::single("p.cedar", text), &catalogue).unwrap();
        lines(&engine.readdressed(warnings))
    };
    assert_eq!(
        told("index", text),
        "warning: policies: this server is called `index`, and the policies speak of `filesystem` only (if it is that \
         one, call it so: `--server filesystem`, or under `servers` in the configuration)"
    );
    assert_eq!(told("filesystem", text), "");
    assert!(!told("filesystm", text).contains("speak of"), "a slip of the pen");
    let of_both = format!("{text} permit (principal, action in Mcp::Action::\"index/*\", resource);");
    assert!(told("index", &of_both).lines().count() > 1 && !told("index", &of_both).contains("speak of"));
}

#[test]
fn a_tool_that_is_not_approved_is_told_so_and_how_it_is_approved() {
    let text = r#"permit (principal, action == Mcp::Action::"filesystem/raed_file", resource);
        permit (principal, action == Mcp::Action::"filesystem/anything_else", resource);"#;
    let told = |catalogue: &Catalogue| {
        lines(&Engine::compile(&PolicySources::single("p.cedar", text), catalogue).unwrap().1)
    };
    let pinned = told(&Catalogue { pinned: [name("filesystem")].into(), ..reference() });
    assert_eq!(pinned.matches("none of the approved tools of `filesystem`").count(), 2, "{pinned}");
    assert!(pinned.contains("did you mean `filesystem/read_file`? it is none"), "{pinned}");
    assert!(pinned.contains("`chancery policy lock --update`"), "{pinned}");
    assert!(!told(&reference()).contains("approved"));
}
