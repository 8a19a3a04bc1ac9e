//! The index never changes a decision: random sets, random requests, against Cedar over the whole set.

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Policy, PolicySet, Request,
    RestrictedExpression, Schema,
};
use proptest::prelude::*;

use super::*;
use crate::policy::index::position_of;
use crate::policy::observed::Observed;
use crate::policy::target::Target;

const SCHEMA: &str = r#"{"type":"object","properties":{"path":{"type":"string"},"n":{"type":"integer"},
    "x":{"type":"number"},"on":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}},
    "who":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},
    "maybe":{"type":["integer","null"],"default":2}},"required":["path","n"]}"#;

pub(super) fn catalogue() -> Catalogue {
    let entry = |name: &str| format!(r#"{{"name":"{name}","inputSchema":{SCHEMA}}}"#);
    let mut catalogue = Catalogue::of(name("one"), tools(&format!("[{},{}]", entry("a"), entry("b"))));
    catalogue.servers.insert(name("two"), tools(&format!("[{}]", entry("a"))));
    catalogue
}

/// What every request has; the literal entities are not in most requests' stores, so that reading them fails.
const ANYWHERE: &[&str] = &[
    "context.time > datetime(\"2026-01-01\")",
    "context.time > datetime(\"2027-01-01\")",
    "context.source == \"stdio\"",
    "context.local.hour == 3",
    "context == context",
    "Mcp::Tool::\"one/b\".pinned",
    "Mcp::Server::\"one\".name == \"one\"",
    "principal in Mcp::Group::\"uid:1000\"",
    "resource in Mcp::Server::\"one\"",
    "resource == Mcp::Tool::\"one/b\"",
];

/// What every request of an agent has, an overflow among it.
const OF_AGENTS: &[&str] = &[
    "principal.session.calls < 3",
    "principal.session.calls <= 3",
    "principal.session.calls * 4611686018427387904 > 0",
    "principal.usage.calls < 1",
    "principal.usage.tool.minute * 9223372036854775807 > principal.usage.server.day",
    "principal.labels.contains(\"pii\")",
    "principal.usage.server == principal.usage.tool",
    "principal.session.tool == {calls: 0}",
    "principal.client == {name: \"test-client\", version: \"1.2.3\"}",
    "principal.evidence == \"peer\"",
    "principal.hasTag(\"team\") && principal.getTag(\"team\").contains(\"red\")",
    "principal.hasTag(principal.session.transport)",
    "principal.session.labels.isEmpty()",
    "principal has uid && principal.uid == 1000",
    "principal has executable && principal.executable like \"*agent\"",
];

const OF_CALLS: &[&str] = &[
    r#"context.input.path like "/a*""#,
    "context.input.n > 5",
    "context.input.n * 4611686018427387904 > 0",
    "context.input has x && context.input.x.lessThan(decimal(\"1.5\"))",
    "context.input has on && context.input.on",
    "context.input has tags && context.input.tags.contains(\"t\")",
    "context.input has who && context.input.who.name == \"x\"",
    "context.input.maybe__null",
    "context.input has maybe && context.input.maybe == 2",
];

const AGENTS: &[&str] = &[
    "principal is Mcp::Agent",
    r#"principal in Mcp::Group::"uid:1000""#,
    r#"principal in Mcp::Group::"uid:7""#,
    r#"principal is Mcp::Agent in Mcp::Group::"peer""#,
    r#"principal == Mcp::Agent::"peer:7:-""#,
    r#"principal == Mcp::Agent::"peer:1000:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881""#,
];

/// Actions, the resources that go with them, and whether the principal is an agent, with arguments.
type Scope = (&'static [&'static str], &'static [&'static str], bool, bool);

const SCOPES: &[Scope] = &[
    (
        &[
            r#"action in Mcp::Action::"tools/call""#,
            r#"action == Mcp::Action::"one/a""#,
            r#"action in Mcp::Action::"one/*""#,
            r#"action in [Mcp::Action::"one/b", Mcp::Action::"two/a"]"#,
            r#"action in [Mcp::Action::"two/*", Mcp::Action::"one/a"]"#,
        ],
        &[
            "resource",
            "resource is Mcp::Tool",
            r#"resource in Mcp::Server::"one""#,
            r#"resource is Mcp::Tool in Mcp::Server::"two""#,
            r#"resource == Mcp::Tool::"one/a""#,
            r#"resource in Mcp::Tool::"one/b""#,
        ],
        true,
        true,
    ),
    (
        &[
            "action",
            r#"action in [Mcp::Action::"tools/call", Mcp::Action::"resources/read", Mcp::Action::"list"]"#,
        ],
        &["resource", r#"resource in Mcp::Server::"one""#, r#"resource == Mcp::Server::"one""#],
        true,
        false,
    ),
    (
        &[
            r#"action == Mcp::Action::"resources/read""#,
            r#"action in [Mcp::Action::"resources/read", Mcp::Action::"resources/subscribe"]"#,
        ],
        &[
            "resource",
            "resource is Mcp::Resource",
            r#"resource == Mcp::Resource::"one/file:///a""#,
            r#"resource in Mcp::Server::"two""#,
        ],
        true,
        false,
    ),
    (
        &[r#"action == Mcp::Action::"prompts/get""#],
        &["resource", r#"resource == Mcp::Prompt::"one/p""#, "resource is Mcp::Prompt"],
        true,
        false,
    ),
    (
        &[
            "action",
            r#"action == Mcp::Action::"sampling/createMessage""#,
            r#"action in [Mcp::Action::"roots/list", Mcp::Action::"other"]"#,
        ],
        &["resource", "resource is Mcp::Agent", r#"resource in Mcp::Group::"uid:1000""#],
        false,
        false,
    ),
];

pub(super) fn any_policy() -> impl Strategy<Value = String> {
    let scope = (
        prop::sample::select(SCOPES),
        any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index)>(),
    );
    let picks = prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<bool>()), 0..4);
    let kind = (prop::bool::weighted(0.65), prop::bool::weighted(0.15));
    (kind, scope, picks, 0..3_u8).prop_map(
        |((permit, shadow), ((actions, resources, agent, calls), at), picks, who)| {
            let principal = match (agent, who) {
                (false, 0) => "principal",
                (false, _) => r#"principal == Mcp::Server::"one""#,
                // Where only agents have the action, the scope need not say so.
                (true, 0) if actions.iter().all(|action| *action != "action") => "principal",
                (true, _) => AGENTS[at.0.index(AGENTS.len())],
            };
            let (action, resource) =
                (actions[at.1.index(actions.len())], resources[at.2.index(resources.len())]);
            let atoms: Vec<&str> = [(true, ANYWHERE), (agent, OF_AGENTS), (calls, OF_CALLS)]
                .into_iter()
                .filter(|(has, _)| *has)
                .flat_map(|(_, atoms)| atoms.iter().copied())
                .collect();
            let condition =
                picks.into_iter().fold("context.source != \"x\"".to_owned(), |all, (negated, at, or)| {
                    let atom = atoms[at.index(atoms.len())];
                    let atom = if negated { format!("!({atom})") } else { format!("({atom})") };
                    if or { format!("(({all}) || {atom})") } else { format!("({atom}) && ({all})") }
                });
            let (shadow, effect) =
                (if shadow { "@shadow " } else { "" }, if permit { "permit" } else { "forbid" });
            format!("{shadow}{effect} ({principal}, {action}, {resource}) when {{ {condition} }};\n")
        },
    )
}

pub(super) fn any_arguments() -> impl Strategy<Value = String> {
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

/// The generator makes only what the strict validator takes, save sets in which some policy can never apply.
pub(super) fn compiled(policies: &[String]) -> Option<Engine> {
    match Engine::compile(&PolicySources::single("p.cedar", &policies.concat()), &catalogue()) {
        Ok((engine, _)) => Some(engine),
        Err(errors) => {
            let told = lines(&errors);
            assert!(told.contains("never"), "{told}");
            None
        }
    }
}

/// What the whole set says, by Cedar itself.
#[derive(Debug, PartialEq)]
struct Said {
    effect: &'static str,
    determining: Vec<Arc<str>>,
    failed: Vec<Arc<str>>,
    shadow: Vec<Arc<str>>,
}

impl Said {
    fn by_the_engine(ruling: &Ruling) -> Self {
        let mut failed: Vec<_> = ruling.failures.iter().map(|failure| failure.policy.id.clone()).collect();
        failed.sort();
        let shadow = ruling.shadow.iter().map(|policy| policy.id.clone()).collect();
        Self { effect: effect(ruling), determining: ids(ruling), failed, shadow }
    }

    fn by_the_whole_set(engine: &Engine, request: &Request, entities: &Entities) -> Self {
        let set = |shadow: bool| {
            engine.policies.iter().filter(move |c| c.shadow == shadow).map(|c| c.policy.clone())
        };
        let evaluate = |policies: &mut dyn Iterator<Item = Policy>| {
            let policies = PolicySet::from_policies(policies).unwrap();
            Authorizer::new().is_authorized(request, &policies, entities)
        };
        let named = |ids: Vec<usize>| -> Vec<Arc<str>> {
            ids.into_iter().map(|at| engine.policies[at].reference.id.clone()).collect()
        };
        let response = evaluate(&mut set(false));
        let mut reasons: Vec<usize> = response.diagnostics().reason().filter_map(position_of).collect();
        reasons.sort_unstable();
        let errors = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| position_of(error.policy_id()).unwrap());
        let errors: Vec<usize> = errors.collect();
        let forbid_failed = errors.iter().any(|at| engine.policies[*at].forbid);
        let (effect, reasons) = match (response.decision(), reasons.is_empty(), forbid_failed) {
            (Decision::Deny, false, _) => ("forbidden", reasons),
            (_, _, true) => ("forbid_error", Vec::new()),
            (Decision::Allow, ..) => ("allow", reasons),
            (Decision::Deny, true, false) => ("not_permitted", Vec::new()),
        };
        let alone = set(true).filter(|policy| {
            let response = evaluate(&mut std::iter::once(policy.clone()));
            let fails = response.diagnostics().errors().next().is_some();
            response.diagnostics().reason().next().is_some() || fails && policy.effect() == Effect::Forbid
        });
        let shadow = named(alone.filter_map(|policy| position_of(policy.id())).collect());
        let mut failed = named(errors);
        failed.sort();
        Self { effect, determining: named(reasons), failed, shadow }
    }
}

/// Both answers to one question, and whether the request is one that the generated schema has.
fn both(engine: &Engine, schema: &Schema, server: &str, action: Action<'_>) -> Option<(Said, Said)> {
    let session = engine.session_principal(&facts(server));
    let target = Target::of(engine, &session, action).unwrap();
    let text = |text: &str| text.parse::<RestrictedExpression>().unwrap();
    let server_asks = matches!(action, Action::Method { from: Direction::Server, .. });
    let mut context = vec![
        ("time".to_owned(), text("datetime(\"2026-01-02T03:04:05.000Z\")")),
        ("local".to_owned(), text("{weekday: 5, hour: 3, minute: 4}")),
        ("source".to_owned(), text(if server_asks { "\"server\"" } else { "\"stdio\"" })),
    ];
    if let Action::ToolCall { arguments: Some(arguments), .. } = action {
        let json = crate::policy::json::parse(arguments).unwrap();
        let input = crate::policy::input::convert(&target.tool.unwrap().input, &json).unwrap();
        if !input.opaque.is_empty() {
            return None;
        }
        context.push(("input".to_owned(), input.value));
    }
    let (p, a, r) = (target.principal.clone(), target.action.clone(), target.resource.clone());
    let request = Request::new(p, a, r, Context::from_pairs(context).unwrap(), Some(schema)).unwrap();
    // The reference sees all of the agent, whatever the policies read of it.
    let entities = target.entities(NOW, &calls(3), Observed::ALL).unwrap();
    let whole = Said::by_the_whole_set(engine, &request, &entities);
    Some((Said::by_the_engine(&ask(engine, server, action)), whole))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_slice_decides_like_the_whole_set_errors_included(
        policies in prop::collection::vec(any_policy(), 1..32),
        arguments in prop::collection::vec(any_arguments(), 3),
    ) {
        let Some(engine) = compiled(&policies) else { return Ok(()) };
        let (schema, _) = Schema::from_cedarschema_str(engine.schema_text()).unwrap();
        for (server, tool) in [("one", "a"), ("one", "b"), ("two", "a")] {
            for arguments in &arguments {
                let action = Action::ToolCall { name: tool, arguments: Some(arguments.as_bytes()) };
                if let Some((slice, whole)) = both(&engine, &schema, server, action) {
                    prop_assert_eq!(slice, whole, "{}/{} {}", server, tool, arguments);
                }
            }
        }
        let (client, from_server) = (Direction::Client, Direction::Server);
        for (method, target, from) in [
            ("resources/read", Some("file:///a"), client),
            ("resources/read", Some("file:///b"), client),
            ("resources/subscribe", Some("file:///a"), client),
            ("prompts/get", Some("p"), client),
            ("tools/list", None, client),
            ("completion/complete", None, client),
            ("never/heard/of", None, client),
            ("sampling/createMessage", None, from_server),
            ("roots/list", None, from_server),
            ("never/heard/of", None, from_server),
        ] {
            for server in ["one", "two"] {
                let action = Action::Method { method, target, from };
                if let Some((slice, whole)) = both(&engine, &schema, server, action) {
                    prop_assert_eq!(slice, whole, "{} {:?} at {}", method, target, server);
                }
            }
        }
    }
}

#[test]
fn a_forbid_that_fails_denies_its_own_requests_and_no_others() {
    let engine = compiled(&[
        r#"@id("all") permit (principal, action in Mcp::Action::"tools/call", resource);"#.to_owned(),
        r#"@id("fails") forbid (principal, action == Mcp::Action::"one/a", resource)
           when { context.input.n * 4611686018427387904 > 0 };"#
            .to_owned(),
        r#"@id("also-fails") permit (principal, action == Mcp::Action::"one/b", resource)
           when { Mcp::Tool::"one/a".pinned };"#
            .to_owned(),
    ]);
    let engine = engine.unwrap();
    let asked = |server: &str, tool: &str, n: &str| {
        let ruling = call(&engine, server, tool, &format!(r#"{{"path":"/","n":{n}}}"#));
        let failed: Vec<String> =
            ruling.failures.iter().map(|failure| failure.policy.id.to_string()).collect();
        (effect(&ruling), failed)
    };
    assert_eq!(asked("one", "a", "6"), ("forbid_error", vec!["fails".to_owned()]));
    assert_eq!(asked("one", "a", "0"), ("allow", Vec::new()));
    assert_eq!(asked("one", "b", "6"), ("allow", vec!["also-fails".to_owned()]));
    assert_eq!(asked("two", "a", "6"), ("allow", Vec::new()));
}

#[test]
fn slices_that_are_kept_are_bounded() {
    let mut policies = vec!["permit (principal, action, resource);\n".to_owned(); 100];
    policies.extend((0..2_000).map(|n| {
        format!("permit (principal, action == Mcp::Action::\"resources/read\", resource == Mcp::Resource::\"one/{n}\");\n")
    }));
    let engine = compiled(&policies).unwrap();
    for n in 0..2_000 {
        let target = n.to_string();
        let action =
            Action::Method { method: "resources/read", target: Some(&target), from: Direction::Client };
        assert_eq!(ids(&ask(&engine, "one", action)).len(), 101);
    }
    assert!(engine.index.kept() <= 65_536, "{}", engine.index.kept());
}
