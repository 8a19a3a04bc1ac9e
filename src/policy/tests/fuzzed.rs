//! What holds for any schema and any arguments; the fuzz target `arguments` runs it too.

use super::{
    Action, ArgumentRules, Breaches, Catalogue, Engine, InputRule, Listed, Meaning, PolicySources, Query,
    Salt, SessionFacts, State, Timestamp, ToolDefinition,
};

const NOW: Timestamp = Timestamp::from_secs(1_767_323_045);
/// Reads no argument.
const BLIND: &str = "permit (principal, action, resource);";
/// Reads all of them.
const READER: &str =
    r#"permit (principal, action == Mcp::Action::"t/t", resource) when { context.input == context.input };"#;
/// Never applies to the call.
const BESIDE: &str = r#"forbid (principal, action == Mcp::Action::"prompts/get", resource);
    forbid (principal, action, resource == Mcp::Server::"t");
    forbid (principal == Mcp::Agent::"nobody", action, resource) when { context.time < context.time };"#;

/// Takes `schema` for a tool's, and calls the tool with `arguments`: nothing panics, a permit without conditions either
/// lets the call through or it was refused for its arguments, and
/// - what a configuration lets through is at least as much, and what a policy that reads all lets through no more,
/// - other escapes of the same arguments, and policies that don't apply, change nothing,
/// - what is let through is a call of a tool that lists show.
///
/// Whether the call was let through; `None` where there is no such tool.
pub(super) fn judged(facts: &SessionFacts, schema: &[u8], arguments: &[u8]) -> Option<bool> {
    let entry = [br#"{"name":"t","inputSchema":"#.as_slice(), schema, b"}"].concat();
    let definition = ToolDefinition::from_list_entry(&entry).ok()?;
    let engine = |breaches, policies: &str| {
        let rule = |meaning, text| InputRule::new(meaning, text).expect("a name");
        let inputs = vec![rule(Meaning::Path, "p*"), rule(Meaning::Uri, "u*"), rule(Meaning::Host, "*")];
        let mut catalogue = Catalogue::of(facts.server.clone(), vec![definition.clone()]);
        catalogue.rules.insert(facts.server.clone(), ArgumentRules { breaches, inputs });
        let sources = PolicySources::single("p.cedar", policies);
        Engine::compile(&sources, &catalogue).expect("every schema has a type").0
    };
    let allows = |engine: &Engine, arguments: &[u8]| {
        let session = engine.session_principal(facts);
        let salt = Salt::from_bytes([0; 16]);
        let action = Action::ToolCall { name: "t", arguments: Some(arguments) };
        let state = State::default();
        let ruling =
            engine.decide(&Query { session: &session, action, now: NOW, state: &state, salt: &salt });
        let denied = ruling.deny.map(|reason| reason.as_str());
        assert!(matches!(denied, None | Some("invalid_input")), "{denied:?}");
        let shown = engine.could_be_permitted(&session, Listed::Tool("t"), NOW, &state);
        assert!(shown || denied.is_some(), "a call of a hidden tool");
        denied.is_none()
    };
    let blind = engine(Breaches::Refuse, &format!("{BLIND}{BESIDE}"));
    let recording = engine(Breaches::Record, BLIND);
    let reader = engine(Breaches::Refuse, READER);
    let found = [&blind, &recording, &reader].map(|engine| allows(engine, arguments));
    let [let_through, recorded, read] = found;
    assert!(recorded || !let_through, "a configuration lets less through");
    assert!(let_through || !read, "a policy that reads lets more through");
    if let Some(same) = escaped(arguments) {
        assert_eq!(found, [&blind, &recording, &reader].map(|engine| allows(engine, &same)), "other escapes");
    }
    Some(let_through)
}

/// The same JSON with every plain character of its texts and names as an escape; `None` if it is no UTF-8.
fn escaped(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = String::new();
    let mut chars = std::str::from_utf8(json).ok()?.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                out.push(c);
            }
            '\\' if quoted => {
                let kind = chars.next()?;
                out.extend([c, kind]);
                if kind == 'u' {
                    out.extend(chars.by_ref().take(4));
                }
            }
            // A control character may not stand in a text, and does not become right by an escape.
            c if quoted && !c.is_ascii_control() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    Some(out.into_bytes())
}
