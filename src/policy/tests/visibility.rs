//! What lists show: nothing is hidden that could be permitted, and as far as can be told nothing else is shown.

use proptest::prelude::*;

use super::slices::{any_arguments, any_policy, catalogue, compiled};
use super::*;

fn shown(engine: &Engine, server: &str, entry: Listed<'_>, so_far: u64) -> bool {
    let session = engine.session_principal(&facts(server));
    engine.could_be_permitted(&session, entry, NOW, &calls(so_far))
}

fn read<'a>(uri: &'a str) -> Action<'a> {
    Action::Method { method: "resources/read", target: Some(uri), from: Direction::Client }
}

fn any_resource_policy() -> impl Strategy<Value = String> {
    let resource = prop::sample::select(vec![
        "resource",
        "resource is Mcp::Resource",
        r#"resource == Mcp::Resource::"one/file:///a/1""#,
        r#"resource in Mcp::Resource::"one/note://1""#,
        r#"resource in Mcp::Server::"one""#,
        r#"resource in Mcp::Server::"two""#,
    ]);
    let atom = prop::sample::select(vec![
        r#"resource.uri like "file:///a/*""#,
        r#"resource.uri like "*/1""#,
        r#"resource.uri like "note:*""#,
        r#"resource.uri == "note://1""#,
        r#"resource.uri != "file:///b/2""#,
        r#"resource == Mcp::Resource::"one/file:///b/2""#,
        r#"resource != Mcp::Resource::"two/note://1""#,
        r#"resource in [Mcp::Resource::"one/note://1", Mcp::Resource::"one/file:///a/1"]"#,
        r#"resource in Mcp::Server::"one""#,
        r#"resource has uri"#,
        r#"principal.session.calls * 4611686018427387904 > 0"#,
        r#"principal.session.calls < 3"#,
        r#"context.time > datetime("2027-01-01")"#,
    ]);
    let atoms = prop::collection::vec((any::<bool>(), atom, any::<bool>()), 0..4);
    (prop::bool::weighted(0.6), resource, atoms).prop_map(|(permit, resource, atoms)| {
        let condition = atoms.into_iter().fold("context.source != \"x\"".to_owned(), |all, (negated, atom, or)| {
            let atom = if negated { format!("!({atom})") } else { format!("({atom})") };
            if or { format!("(({all}) || {atom})") } else { format!("({atom}) && ({all})") }
        });
        let effect = if permit { "permit" } else { "forbid" };
        format!("{effect} (principal, action == Mcp::Action::\"resources/read\", {resource}) when {{ {condition} }};\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_tool_is_hidden_that_some_arguments_could_be_permitted(
        policies in prop::collection::vec(any_policy(), 1..12),
        arguments in prop::collection::vec(any_arguments(), 1..24),
    ) {
        let Some(engine) = compiled(&policies) else { return Ok(()) };
        for (server, tool) in [("one", "a"), ("one", "b"), ("two", "a")] {
            if shown(&engine, server, Listed::Tool(tool), 3) {
                continue;
            }
            for arguments in &arguments {
                let effect = effect(&call(&engine, server, tool, arguments));
                prop_assert!(effect != "allow", "{server}/{tool} {arguments}");
            }
        }
    }

    #[test]
    fn no_template_is_hidden_of_which_a_uri_could_be_permitted(
        policies in prop::collection::vec(any_resource_policy(), 1..8),
    ) {
        let Some(engine) = compiled(&policies) else { return Ok(()) };
        let uris = ["file:///a/1", "file:///a/2", "file:///b/1", "file:///b/2", "note://1", "note://2", "note://"];
        let expand = |template: &str, uri: &str| match template.split_once('{') {
            Some((before, after)) => {
                let after = after.split_once('}').map_or("", |(_, after)| after);
                uri.len() >= before.len() + after.len() && uri.starts_with(before) && uri.ends_with(after)
            }
            None => template == uri,
        };
        for template in ["file:///{+path}", "file:///a/{name}", "file:///{dir}/1", "note://{id}", "{+all}", "note://1"] {
            for server in ["one", "two"] {
                let is_shown = shown(&engine, server, Listed::Template(template), 3);
                for uri in uris.iter().filter(|uri| expand(template, uri)) {
                    let effect = effect(&ask(&engine, server, read(uri)));
                    prop_assert!(is_shown || effect != "allow", "{server} {template} {uri}");
                    // A template of a single URI is that resource; of a forbid that fails less is known of the template.
                    let listed = shown(&engine, server, Listed::Resource(uri), 3);
                    prop_assert!(template != *uri || is_shown || !listed, "{server} {uri}");
                }
            }
        }
    }
}

#[test]
fn a_tool_is_shown_only_where_a_permit_and_no_forbid_could_hold_together() {
    let scope = r#"(principal, action == Mcp::Action::"one/a", resource)"#;
    for (policies, expected) in [
        ("permit SCOPE when { context.input.n > 5 };", true),
        // What is known stands behind what is not.
        ("permit SCOPE when { context.input.n > 5 && principal.session.calls > 100 };", false),
        ("permit SCOPE when { context.input.n > 5 || principal.session.calls > 100 };", true),
        (
            "permit SCOPE when { if context.input.n > 5 then principal.session.calls > 100 else false };",
            false,
        ),
        // A forbid takes what the permit gives.
        ("permit SCOPE when { context.input.n > 5 }; forbid SCOPE when { context.input.n > 5 };", false),
        ("permit SCOPE when { context.input.n > 5 }; forbid SCOPE unless { context.input.n > 5 };", true),
        (
            "permit SCOPE; forbid SCOPE when { context.input.n > 5 }; forbid SCOPE unless { context.input.n > 5 };",
            false,
        ),
        (
            "permit SCOPE when { context.input.path != \"/\" }; forbid SCOPE unless { context.input.path == \"/\" };",
            false,
        ),
        ("permit SCOPE; forbid SCOPE when { context.input.n > 5 || principal.session.calls < 100 };", false),
        ("permit SCOPE; forbid SCOPE when { principal.session.calls < 100 || context.input.n > 5 };", false),
        // What fails in any case: a permit is not satisfied, a forbid denies.
        ("permit SCOPE when { principal.session.calls * 4611686018427387904 > context.input.n };", false),
        (
            "permit SCOPE; forbid SCOPE when { principal.session.calls * 4611686018427387904 > context.input.n };",
            false,
        ),
        (
            "permit SCOPE; forbid SCOPE when { context.input.n > 5 && principal.session.calls * 4611686018427387904 > 1 };",
            true,
        ),
        // The hour passes; the list stays.
        ("permit SCOPE when { context.time > datetime(\"2027-01-01\") };", true),
        ("permit SCOPE; @shadow forbid SCOPE;", true),
        ("@shadow permit SCOPE;", false),
    ] {
        let engine = compiled(&[policies.replace("SCOPE", scope)]).unwrap();
        assert_eq!(shown(&engine, "one", Listed::Tool("a"), 3), expected, "{policies}");
    }
}

#[test]
fn a_template_is_shown_if_some_uri_of_it_could_be_permitted() {
    let scope = r#"(principal, action == Mcp::Action::"resources/read", resource)"#;
    for (policies, template, expected) in [
        ("permit SCOPE when { resource.uri like \"file:///public/*\" };", "file:///{+path}", true),
        ("permit SCOPE when { resource.uri like \"file:///public/*\" };", "file:///public/{name}", true),
        ("permit SCOPE when { resource.uri like \"file:///public/*\" };", "file:///secret/{name}", false),
        (
            "permit SCOPE; forbid SCOPE when { resource.uri like \"file:///secret/*\" };",
            "file:///secret/{name}",
            false,
        ),
        (
            "permit SCOPE; forbid SCOPE when { resource.uri like \"file:///secret/*\" };",
            "file:///{+path}",
            true,
        ),
        ("permit SCOPE; forbid SCOPE unless { resource.uri like \"note:*\" };", "file:///{+path}", false),
        ("permit SCOPE when { resource == Mcp::Resource::\"one/note://1\" };", "note://{id}", true),
        ("permit SCOPE when { resource == Mcp::Resource::\"one/note://1\" };", "file:///{id}", false),
        ("permit SCOPE when { resource == Mcp::Resource::\"two/note://1\" };", "note://{id}", false),
        ("permit SCOPE when { resource in Mcp::Server::\"two\" };", "note://{id}", false),
        ("permit SCOPE when { resource in Mcp::Server::\"one\" };", "note://{id}", true),
        ("permit SCOPE when { principal.session.calls > 100 };", "note://{id}", false),
        (
            "permit (principal, action == Mcp::Action::\"resources/read\", resource == Mcp::Resource::\"one/note://1\");",
            "note://{id}",
            true,
        ),
        (
            "permit (principal, action == Mcp::Action::\"resources/read\", resource == Mcp::Resource::\"one/note://1\");",
            "file:///{id}",
            false,
        ),
        ("permit (principal, action == Mcp::Action::\"prompts/get\", resource);", "note://{id}", false),
    ] {
        let engine = compiled(&[policies.replace("SCOPE", scope)]).unwrap();
        assert_eq!(shown(&engine, "one", Listed::Template(template), 3), expected, "{policies} {template}");
    }
    let nothing = Engine::compile(&PolicySources::default(), &catalogue()).unwrap().0;
    assert!(!shown(&nothing, "one", Listed::Template("{+all}"), 3));
}
