//! What holds for any schema and any arguments; the fuzz target `arguments` runs it too.

use super::{
    Action, ArgumentRules, Breaches, Catalogue, Engine, InputRule, Meaning, PolicySources, Query, Salt,
    SessionFacts, State, Timestamp, ToolDefinition,
};

/// Takes `schema` for a tool's, and calls the tool with `arguments`: nothing panics, a permit without conditions either
/// lets the call through or it was refused for its arguments, and what a configuration lets through is at least as
/// much. Whether the call was let through; `None` where there is no such tool.
pub(super) fn judged(facts: &SessionFacts, schema: &[u8], arguments: &[u8]) -> Option<bool> {
    let entry = [br#"{"name":"t","inputSchema":"#.as_slice(), schema, b"}"].concat();
    let definition = ToolDefinition::from_list_entry(&entry).ok()?;
    let allowed = |breaches, policies: &str| {
        let rule = |meaning, text| InputRule::new(meaning, text).expect("a name");
        let inputs = vec![rule(Meaning::Path, "p*"), rule(Meaning::Uri, "u*"), rule(Meaning::Host, "*")];
        let mut catalogue = Catalogue::of(facts.server.clone(), vec![definition.clone()]);
        catalogue.rules.insert(facts.server.clone(), ArgumentRules { breaches, inputs });
        let sources = PolicySources::single("p.cedar", policies);
        let (engine, _) = Engine::compile(&sources, &catalogue).expect("every schema has a type");
        let session = engine.session_principal(facts);
        let salt = Salt::from_bytes([0; 16]);
        let action = Action::ToolCall { name: "t", arguments: Some(arguments) };
        let now = Timestamp::from_secs(1_767_323_045);
        let ruling =
            engine.decide(&Query { session: &session, action, now, state: &State::default(), salt: &salt });
        let denied = ruling.deny.map(|reason| reason.as_str());
        assert!(matches!(denied, None | Some("invalid_input")), "{denied:?}");
        denied.is_none()
    };
    let blind = "permit (principal, action, resource);";
    let refused = allowed(Breaches::Refuse, blind);
    assert!(!refused || allowed(Breaches::Record, blind));
    Some(refused)
}
