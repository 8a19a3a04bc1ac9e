//! Properties that hold for all policies, tools and arguments that a generator can think of.

use cedar_policy::{Authorizer, Context, Decision, PolicySet, Request, Schema};
use proptest::prelude::*;

use super::*;
use crate::policy::target::Target;

const SCHEMA: &str = r#"{"type":"object","properties":{"path":{"type":"string"},"n":{"type":"integer"},
    "x":{"type":"number"},"on":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}},
    "who":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},
    "maybe":{"type":["integer","null"],"default":2}},"required":["path","n"]}"#;

fn catalogue() -> Catalogue {
    let entry = |name: &str| format!(r#"{{"name":"{name}","inputSchema":{SCHEMA}}}"#);
    let mut catalogue = Catalogue::of(name("one"), tools(&format!("[{},{}]", entry("a"), entry("b"))));
    catalogue.servers.insert(name("two"), tools(&format!("[{}]", entry("a"))));
    catalogue
}

fn any_policy() -> impl Strategy<Value = String> {
    let principal = prop::sample::select(vec![
        "principal",
        "principal is Mcp::Agent",
        r#"principal in Mcp::Group::"uid:1000""#,
        r#"principal in Mcp::Group::"uid:7""#,
        r#"principal is Mcp::Agent in Mcp::Group::"peer""#,
        r#"principal == Mcp::Agent::"peer:7:-""#,
        r#"principal == Mcp::Agent::"peer:1000:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881""#,
    ]);
    let action = prop::sample::select(vec![
        r#"action in Mcp::Action::"tools/call""#,
        r#"action == Mcp::Action::"one/a""#,
        r#"action in Mcp::Action::"one/*""#,
        r#"action in [Mcp::Action::"one/b", Mcp::Action::"two/a"]"#,
        r#"action in [Mcp::Action::"two/*", Mcp::Action::"one/a"]"#,
    ]);
    let resource = prop::sample::select(vec![
        "resource",
        "resource is Mcp::Tool",
        r#"resource in Mcp::Server::"one""#,
        r#"resource is Mcp::Tool in Mcp::Server::"two""#,
        r#"resource == Mcp::Tool::"one/a""#,
    ]);
    let atom = prop::sample::select(vec![
        r#"context.input.path like "/a*""#,
        "context.input.n > 5",
        "context.input.n * 4611686018427387904 > 0",
        "context.input has x && context.input.x.lessThan(decimal(\"1.5\"))",
        "context.input has on && context.input.on",
        "context.input has tags && context.input.tags.contains(\"t\")",
        "context.input has who && context.input.who.name == \"x\"",
        "context.input.maybe__null",
        "context.input has maybe && context.input.maybe == 2",
        "principal.session.calls < 3",
        "principal.session.calls <= 3",
        "principal has uid && principal.uid == 1000",
        "context.time > datetime(\"2026-01-01\")",
        "context.time > datetime(\"2027-01-01\")",
        "true",
    ]);
    let condition = prop::collection::vec((any::<bool>(), atom, any::<bool>()), 0..3).prop_map(|atoms| {
        atoms.into_iter().fold("true".to_owned(), |all, (negated, atom, or)| {
            let atom = if negated { format!("!({atom})") } else { format!("({atom})") };
            if or {
                format!("({all}) && (principal.session.age < 0 || {atom})")
            } else {
                format!("({all}) && {atom}")
            }
        })
    });
    (prop::bool::weighted(0.7), principal, action, resource, condition).prop_map(
        |(permit, p, a, r, condition)| {
            let effect = if permit { "permit" } else { "forbid" };
            format!("{effect} ({p}, {a}, {r}) when {{ {condition} }};\n")
        },
    )
}

fn any_arguments() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec!["/a/b", "/b", "..", ""]);
    let n = prop::sample::select(vec!["0", "6", "-9223372036854775808", "1e400", "7.0"]);
    let x = prop::option::of(prop::sample::select(vec!["1.25", "2", "0.123456"]));
    let maybe = prop::option::of(prop::sample::select(vec!["null", "2", "3"]));
    (path, n, x, any::<Option<bool>>(), any::<bool>(), any::<bool>(), maybe).prop_map(
        |(path, n, x, on, tags, who, maybe)| {
            let mut out = format!(r#"{{"path":"{path}","n":{n}"#);
            out += &x.map_or(String::new(), |x| format!(r#","x":{x}"#));
            out += &on.map_or(String::new(), |on| format!(r#","on":{on}"#));
            out += if tags { r#","tags":["s","t"]"# } else { "" };
            out += if who { r#","who":{"name":"x"}"# } else { "" };
            out += &maybe.map_or(String::new(), |maybe| format!(r#","maybe":{maybe}"#));
            out + "}"
        },
    )
}

/// Compiles what the strict validator lets through.
fn compiled(policies: &[String]) -> Option<Engine> {
    Engine::compile(&PolicySources::single("p.cedar", &policies.concat()), &catalogue())
        .ok()
        .map(|done| done.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_like_the_whole_set(
        policies in prop::collection::vec(any_policy(), 1..12),
        arguments in any_arguments(),
        (server, tool) in prop::sample::select(vec![("one", "a"), ("one", "b"), ("two", "a")]),
    ) {
        let Some(engine) = compiled(&policies) else { return Ok(()) };
        let ruling = call(&engine, server, tool, &arguments);
        let session = engine.session_principal(&facts(server));
        let action = Action::ToolCall { name: tool, arguments: Some(arguments.as_bytes()) };
        let target = Target::of(&engine, &session, action, NOW, &calls(3)).unwrap();
        let json = crate::policy::json::parse(arguments.as_bytes()).unwrap();
        let input = crate::policy::input::convert(&target.tool.unwrap().input, &json).unwrap();
        if !input.opaque.is_empty() {
            return Ok(());
        }
        let expression = |text: &str| text.parse::<cedar_policy::RestrictedExpression>().unwrap();
        let context = Context::from_pairs([
            ("input".to_owned(), input.value),
            ("time".to_owned(), expression("datetime(\"2026-01-02T03:04:05.000Z\")")),
            ("source".to_owned(), expression("\"stdio\"")),
        ]).unwrap();
        // The request conforms to the generated schema.
        let (schema, _) = Schema::from_cedarschema_str(engine.schema_text()).unwrap();
        let (p, a, r) = (target.principal.clone(), target.action.clone(), target.resource.clone());
        let request = Request::new(p, a, r, context, Some(&schema)).unwrap();
        cedar_policy::Entities::from_entities(target.entities.iter().cloned(), Some(&schema)).unwrap();
        let whole = PolicySet::from_policies(engine.policies.iter().map(|c| c.policy.clone())).unwrap();
        let response = Authorizer::new().is_authorized(&request, &whole, &target.entities);
        let failed = |forbid: bool| {
            let mut failed: Vec<String> = response.diagnostics().errors().filter_map(|error| {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                let compiled = &engine.policies[crate::policy::index::position_of(error.policy_id()).unwrap()];
                (compiled.forbid == forbid).then(|| compiled.reference.id.to_string())
            }).collect();
            failed.sort();
            failed
        };
        let mine = |forbid: bool| {
            let mine = ruling.failures.iter().filter(|f| f.forbid == forbid).map(|f| f.policy.id.to_string());
            let mut mine: Vec<String> = mine.collect();
            mine.sort();
            mine
        };
        prop_assert_eq!((mine(true), mine(false)), (failed(true), failed(false)));
        let forbidden = response.decision() == Decision::Deny && response.diagnostics().reason().next().is_some();
        let expected = match (forbidden, failed(true).is_empty(), response.decision()) {
            (true, ..) => "forbidden",
            (false, false, _) => "forbid_error",
            (false, true, Decision::Allow) => "allow",
            (false, true, Decision::Deny) => "not_permitted",
        };
        prop_assert_eq!(effect(&ruling), expected);
    }

    #[test]
    fn no_tool_is_hidden_that_some_arguments_could_be_permitted(
        policies in prop::collection::vec(any_policy(), 1..8),
        arguments in prop::collection::vec(any_arguments(), 1..8),
    ) {
        let Some(engine) = compiled(&policies) else { return Ok(()) };
        for (server, tool) in [("one", "a"), ("one", "b"), ("two", "a")] {
            let session = engine.session_principal(&facts(server));
            let shown = engine.could_be_permitted(&session, Listed::Tool(tool), NOW, &calls(3));
            for arguments in &arguments {
                if effect(&call(&engine, server, tool, arguments)) == "allow" {
                    prop_assert!(shown, "{server}/{tool} {arguments}");
                }
            }
        }
    }

    #[test]
    fn any_tool_name_and_any_property_name_gives_a_valid_schema(
        tool in "\\PC{1,20}", title in any::<String>(),
        names in prop::collection::btree_set(any::<String>(), 0..6),
        kinds in prop::collection::vec(prop::sample::select(vec![
            r#"{"type":"string"}"#, r#"{"type":"array","items":{"type":"integer"}}"#, r#"{"type":["boolean","null"]}"#,
            r#"{"type":"object","properties":{"\"}":{"type":"number"}}}"#, "{}", "true", r#"{"enum":["a",1]}"#,
        ]), 6),
    ) {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let properties: Vec<String> =
            names.iter().zip(kinds).map(|(name, kind)| format!("{}:{kind}", text(name))).collect();
        let entry = format!(
            r#"{{"name":{},"title":{},"inputSchema":{{"type":"object","properties":{{{}}}}}}}"#,
            text(&tool), text(&title), properties.join(",")
        );
        let Ok(definition) = ToolDefinition::from_list_entry(entry.as_bytes()) else { return Ok(()) };
        let catalogue = Catalogue::of(name("t"), vec![definition]);
        let sources = PolicySources::single("p.cedar", "permit (principal, action, resource);");
        let (engine, _) = Engine::compile(&sources, &catalogue).map_err(|e| TestCaseError::fail(lines(&e)))?;
        prop_assert_eq!(effect(&call(&engine, "t", &tool, "{}")), "allow");
    }
}

#[test]
fn hidden_are_the_tools_that_nothing_could_permit_and_those_that_are_always_forbidden() {
    let engine = engine(
        r#"permit (principal, action in Mcp::Action::"filesystem/*", resource)
             when { resource.annotations has readOnlyHint && resource.annotations.readOnlyHint };
           permit (principal, action == Mcp::Action::"filesystem/write_file", resource) when { context.input.path like "/tmp/*" };
           permit (principal, action == Mcp::Action::"filesystem/move_file", resource) when { principal.session.calls > 100 };
           forbid (principal, action == Mcp::Action::"filesystem/directory_tree", resource);
           forbid (principal, action == Mcp::Action::"filesystem/search_files", resource) when { context.input.path == "/" };
           permit (principal, action == Mcp::Action::"prompts/get", resource) when { resource.name == "greet" };"#,
        &reference(),
    );
    let session = engine.session_principal(&facts("filesystem"));
    for (tool, shown) in [
        ("read_file", true),
        ("write_file", true),
        ("edit_file", false),
        ("move_file", false),
        ("directory_tree", false),
        ("search_files", true),
        ("no_such_tool", false),
    ] {
        assert_eq!(engine.could_be_permitted(&session, Listed::Tool(tool), NOW, &calls(0)), shown, "{tool}");
    }
    assert!(engine.could_be_permitted(&session, Listed::Tool("move_file"), NOW, &calls(101)));
    assert!(engine.could_be_permitted(&session, Listed::Prompt("greet"), NOW, &calls(0)));
    assert!(!engine.could_be_permitted(&session, Listed::Prompt("other"), NOW, &calls(0)));
    assert!(!engine.could_be_permitted(&session, Listed::Resource("file:///a"), NOW, &calls(0)));
}
