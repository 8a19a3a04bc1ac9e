//! Properties that hold for all tools that a generator can think of, and what lists show.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

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
