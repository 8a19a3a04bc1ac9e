//! A policy that is found valid with few actions is valid for all of them.

use std::sync::Arc;

use cedar_policy::{Policy, PolicySet, Schema, SchemaFragment, ValidationMode, Validator};
use proptest::prelude::*;

use super::*;
use crate::policy::compile::Parsed;
use crate::policy::index::id_of;
use crate::policy::narrow::Kinds;

/// Four tools whose inputs differ in names, types and what is required.
fn catalogue() -> Catalogue {
    let tool = |name: &str, properties: &str| {
        format!(
            r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{properties},"required":["path"]}}}}"#
        )
    };
    let one = [
        tool("a", r#"{"path":{"type":"string"},"n":{"type":"integer"}}"#),
        tool("b", r#"{"path":{"type":"integer"}}"#),
        tool("c", r#"{"path":{"type":"string"},"calls":{"type":"integer"}}"#),
    ];
    let mut catalogue = Catalogue::of(name("one"), tools(&format!("[{}]", one.join(","))));
    catalogue
        .servers
        .insert(name("two"), tools(&format!("[{}]", tool("a", r#"{"path":{"type":"string"}}"#))));
    catalogue
}

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is Mcp::Agent",
    "principal is Mcp::Agnt",
    r#"principal in Mcp::Group::"uid:1""#,
    r#"principal == Mcp::Server::"one""#,
    r#"principal in Mcp::Tool::"one/a""#,
];

const ACTIONS: &[&str] = &[
    "action",
    r#"action == Mcp::Action::"one/a""#,
    r#"action == Mcp::Action::"one/b""#,
    r#"action == Mcp::Action::"two/a""#,
    r#"action == Mcp::Action::"one/none""#,
    r#"action == Mcp::Action::"tools/call""#,
    r#"action in Mcp::Action::"tools/call""#,
    r#"action in Mcp::Action::"one/*""#,
    r#"action in [Mcp::Action::"one/a", Mcp::Action::"one/c"]"#,
    r#"action in [Mcp::Action::"one/a", Mcp::Action::"two/*", Mcp::Action::"prompts/get"]"#,
    r#"action in [Mcp::Action::"list", Mcp::Action::"sampling/createMessage"]"#,
    r#"action == Mcp::Action::"resources/read""#,
];

const RESOURCES: &[&str] = &[
    "resource",
    "resource is Mcp::Tool",
    "resource is Mcp::Resource",
    r#"resource == Mcp::Tool::"one/a""#,
    r#"resource in Mcp::Server::"two""#,
    r#"resource in Mcp::Group::"uid:1""#,
];

/// Right for all, for some, for none.
const CONDITIONS: &[&str] = &[
    "true",
    r#"context.source == "stdio""#,
    "context.source == 1",
    "context.sorce == \"stdio\"",
    r#"context.input.path == "/""#,
    "context.input.path == 1",
    "context.input.n > 1",
    "context.input has n && context.input.n > 1",
    "context has input && context.input has calls && context.input.calls > 1",
    "context has inputs",
    r#"context["input"]["path"] like "*""#,
    "context == context",
    r#"context == {source: "x"}"#,
    "[context].contains(context)",
    "{a: context}.a has source",
    "principal.session.calls > 1",
    "principal.session.cals > 1",
    "principal has uid && principal.uid == 1",
    "principal.uid == 1",
    "principal has name",
    r#"principal in Mcp::Group::"uid:1""#,
    r#"resource.name == "a""#,
    "resource.pinned",
    "resource has uri",
    r#"resource == Mcp::Tool::"one/a""#,
    r#"resource in Mcp::Server::"one""#,
    r#"action == Mcp::Action::"one/b""#,
    r#"action in Mcp::Action::"two/*""#,
    r#"action == Mcp::Action::"one/nothing""#,
    r#"if action == Mcp::Action::"one/b" then context.input.path == 1 else true"#,
    r#"if action in Mcp::Action::"one/*" then resource.pinned else true"#,
    "action == resource",
    "principal == resource",
    r#"resource.name == "rnicrosoft" || resource.name == "аpple""#,
];

fn any_policy() -> impl Strategy<Value = String> {
    let pick = prop::sample::select::<&'static str>;
    let conditions = prop::collection::vec((pick(CONDITIONS.to_vec()), 0..4_u8), 1..4);
    let scope = (pick(PRINCIPALS.to_vec()), pick(ACTIONS.to_vec()), pick(RESOURCES.to_vec()));
    (scope, conditions, any::<bool>()).prop_map(|((principal, action, resource), conditions, permit)| {
        let effect = if permit { "permit" } else { "forbid" };
        let joined = conditions.into_iter().fold(String::new(), |all, (condition, how)| match how {
            0 => format!("{all} when {{ {condition} }}"),
            1 => format!("{all} unless {{ {condition} }}"),
            2 => format!("{all} when {{ context.source == \"x\" && ({condition}) }}"),
            _ => format!("{all} when {{ context.source == \"x\" || ({condition}) }}"),
        });
        format!("{effect} ({principal}, {action}, {resource}){joined};\n")
    })
}

/// The positions of the policies that few actions are not enough for, and those with findings for all actions.
fn doubted_and_found(policies: &str) -> (Vec<usize>, Vec<usize>) {
    let (empty, _) = Engine::compile(&PolicySources::default(), &catalogue()).unwrap();
    let (fragment, _) = SchemaFragment::from_cedarschema_str(empty.schema_text()).unwrap();
    let schema = Schema::from_schema_fragments([fragment.clone()]).unwrap();
    let kinds = Kinds::of(fragment.to_json_value().unwrap()).unwrap();
    let sources = PolicySources::single("p.cedar", policies);
    let parsed: Vec<Parsed<'_>> = sources
        .statements()
        .enumerate()
        .map(|(at, statement)| {
            let policy = Policy::parse(Some(id_of(at)), statement.text).unwrap();
            Parsed::new(statement, policy, Arc::from(at.to_string()))
        })
        .collect();
    let position = |id: &cedar_policy::PolicyId| id.to_string().parse().unwrap();
    let doubted = kinds.in_doubt(&parsed).into_iter().map(|policy| position(policy.policy.id()));
    let mut doubted: Vec<usize> = doubted.collect();
    doubted.sort_unstable();
    let set = PolicySet::from_policies(parsed.iter().map(|policy| policy.policy.clone())).unwrap();
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| position(error.policy_id()));
    let mut found: Vec<usize> =
        errors.chain(result.validation_warnings().map(|warning| position(warning.policy_id()))).collect();
    found.sort_unstable();
    found.dedup();
    (doubted, found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_few_actions_find_nothing_wrong_with_all_find_nothing_wrong_with(
        policies in prop::collection::vec(any_policy(), 1..60),
    ) {
        let (doubted, found) = doubted_and_found(&policies.concat());
        for at in found {
            prop_assert!(doubted.contains(&at), "{}", policies[at]);
        }
    }
}

#[test]
fn few_actions_are_enough_for_policies_that_cannot_tell_the_others_apart() {
    for (policy, enough) in [
        (
            r#"permit (principal, action == Mcp::Action::"one/a", resource) when { context.input.path == "/" };"#,
            true,
        ),
        (r#"permit (principal, action, resource) when { context.source == "stdio" };"#, true),
        (
            r#"forbid (principal, action in Mcp::Action::"tools/call", resource) unless { resource.pinned };"#,
            true,
        ),
        (
            r#"permit (principal, action in [Mcp::Action::"one/a", Mcp::Action::"one/c"], resource) when { context.input.path == "/" };"#,
            true,
        ),
        // Right for every tool, but only by a look at every tool.
        (
            r#"permit (principal, action in Mcp::Action::"two/*", resource) when { context.input.path == "/" };"#,
            false,
        ),
        (
            r#"permit (principal, action == Mcp::Action::"one/b", resource) when { context.input.path == "/" };"#,
            false,
        ),
    ] {
        assert_eq!(doubted_and_found(policy).0.is_empty(), enough, "{policy}");
    }
}
