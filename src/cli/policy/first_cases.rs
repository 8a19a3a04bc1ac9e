//! The first cases for new policies: what `policy init` permits and what it does not, in a file that passes at once.

use serde_json::{Map, Value};

use super::verdict::judge;
use crate::config::CaseFile;
use crate::domain::ids::ServerName;
use crate::policy::{ArgumentRules, Catalogue, Engine, PolicySources, ToolDefinition, remark};

/// How deep arguments are made up.
const MAX_DEPTH: usize = 4;

/// What the cases are about.
pub(super) struct First<'a> {
    pub(super) server: &'a ServerName,
    pub(super) tools: &'a [ToolDefinition],
    /// Somebody of each kind that the policies are about, as cases name them.
    pub(super) somebody: &'a [&'a str],
    /// What is configured of the tools' arguments.
    pub(super) rules: &'a ArgumentRules,
    /// The policies, as they are written.
    pub(super) policies: &'a str,
}

/// The text of the case file. Each case was asked of the policies; what they do not say is not written.
pub(super) fn text(of: &First<'_>) -> String {
    let mut catalogue = Catalogue::of(of.server.clone(), of.tools.to_vec());
    catalogue.rules.insert(of.server.clone(), of.rules.clone());
    let sources = PolicySources::single("policies.cedar", of.policies);
    let engine = Engine::compile(&sources, &catalogue).ok().map(|(engine, _)| engine);
    let server = of.server;
    let first = of.somebody.first().copied().unwrap_or("{ uid: 1000 }");
    let head = format!(
        "# What the policies beside this file should say. `chancery policy test` asks them; tools.json holds the tools.\n\
         server: {server}\nprincipal: {first}\n\ncases:\n"
    );
    let mut out = head.clone();
    let mut add = |candidates: &[String]| {
        let passes = |case: &&String| {
            let file = CaseFile::parse("policies.cases.yaml", &format!("{head}{case}"));
            match (file, &engine) {
                (Ok(file), Some(engine)) => {
                    file.cases.iter().all(|case| judge(engine, case).missed.is_none())
                }
                _ => false,
            }
        };
        if let Some(case) = candidates.iter().find(passes) {
            out.push_str(case);
        }
    };
    add(&[format!(
        "  - {{ name: a session is opened, method: session/open, expect: allow, by: [\"{server}:open\"] }}\n"
    )]);
    for (at, other) in of.somebody.iter().enumerate().skip(1) {
        add(&[format!(
            "  - {{ name: a session is opened ({}), principal: {other}, method: session/open, expect: allow, by: [\"{server}:open\"] }}\n",
            at + 1
        )]);
    }
    add(&[format!(
        "  - {{ name: the lists are seen, method: tools/list, expect: allow, by: [\"{server}:lists\"] }}\n"
    )]);
    add(&[format!(
        "  - {{ name: the log level is set, method: logging/setLevel, expect: allow, by: [\"{server}:comfort\"] }}\n"
    )]);
    let strangers =
        ["{ uid: 65534 }", "{ uid: 65533 }", "{ id: anonymous }", "{ id: \"spiffe://elsewhere.example/x\" }"];
    let stranger = |principal: &str| {
        format!(
            "  - {{ name: a stranger opens none, principal: {principal}, method: session/open, expect: not_permitted }}\n"
        )
    };
    add(&strangers.map(stranger));
    for tool in of.tools {
        let quoted = |text: &str| Value::from(text).to_string();
        let (name, shown) = (quoted(&tool.name), remark(&tool.name));
        let id = quoted(&format!("{server}/{}", tool.name));
        let case = |what: &str, rest: &str| format!("  - name: {}\n    tool: {name}\n{rest}", quoted(what));
        let schema: Value = serde_json::from_str(&tool.input_schema).unwrap_or_default();
        let arguments = made_up(&schema, &schema, 0).unwrap_or_else(|| Value::Object(Map::new()));
        add(&[
            case(
                &format!("{shown} may be called"),
                &format!("    arguments: {arguments}\n    expect: allow\n    by: [{id}]\n"),
            ),
            case(&format!("{shown} may be called with some arguments"), "    expect: listed\n"),
            case(&format!("{shown} may not be called"), "    expect: hidden\n"),
        ]);
    }
    out
}

/// A value of this JSON Schema with nothing but what is required; none where it is not plain to see. `whole` is the
/// document that references are about.
fn made_up(schema: &Value, whole: &Value, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return made_up(whole.pointer(target.strip_prefix('#')?)?, whole, depth + 1);
    }
    let given = schema.get("const").or_else(|| schema.get("default"));
    let listed = |key: &str| schema.get(key)?.get(0);
    if let Some(value) = given.or_else(|| listed("enum")).or_else(|| listed("examples")) {
        return Some(value.clone());
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(choices).and_then(Value::as_array) {
            return choices.iter().find_map(|choice| made_up(choice, whole, depth + 1));
        }
    }
    let ty = match schema.get("type") {
        Some(Value::Array(types)) => types.first()?.as_str()?,
        Some(ty) => ty.as_str()?,
        None if schema.get("properties").is_some() => "object",
        None => return None,
    };
    let least = |key: &str| schema.get(key).cloned();
    let count =
        |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    Some(match ty {
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => "2026-01-05T12:00:00Z".into(),
            Some("uri" | "url") => "https://example.com/".into(),
            Some("ipv4") => "192.0.2.1".into(),
            Some("ipv6") => "2001:db8::1".into(),
            _ => {
                let (least, most) = (count("minLength").unwrap_or(0), count("maxLength").unwrap_or(64));
                "example".chars().cycle().take(least.clamp(7, 256).min(most)).collect::<String>().into()
            }
        },
        "integer" | "number" => least("minimum").unwrap_or_else(|| 1.into()),
        "boolean" => true.into(),
        "null" => Value::Null,
        "array" => {
            let count = count("minItems").unwrap_or(1).clamp(1, 8);
            let item = schema.get("items").and_then(|items| made_up(items, whole, depth + 1));
            match item {
                Some(item) => (0..count).map(|_| item.clone()).collect(),
                None => Value::Array(Vec::new()),
            }
        }
        "object" => {
            let mut members = Map::new();
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                let name = name.as_str()?;
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                // What is asked for and not described may be anything.
                let value = property.map_or(Some("example".into()), |own| made_up(own, whole, depth + 1))?;
                members.insert(name.to_owned(), value);
            }
            Value::Object(members)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::policy::who::someone;
    use crate::policy::{Starter, starter};

    /// The tools of the reference servers, as they list them.
    const SERVERS: [(&str, &str); 4] = [
        ("everything", include_str!("../../../tests/vectors/tools/server-everything.json")),
        ("filesystem", include_str!("../../../tests/vectors/tools/server-filesystem.json")),
        ("memory", include_str!("../../../tests/vectors/tools/server-memory.json")),
        ("sequential-thinking", include_str!("../../../tests/vectors/tools/server-sequential-thinking.json")),
    ];

    #[test]
    fn the_first_files_for_each_reference_server_are_in_order_covered_and_without_warnings() {
        let everybody = [&["uid:7"][..], &["oidc"], &["mtls", "oidc:staff", "uid:0"], &["anonymous"]];
        for ((name, list), groups) in SERVERS.into_iter().zip(everybody) {
            let list: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(list).unwrap();
            let tools: Vec<ToolDefinition> = list
                .iter()
                .map(|raw| ToolDefinition::from_list_entry(raw.get().as_bytes()).unwrap())
                .collect();
            let server: ServerName = name.parse().unwrap();
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            let everybody = someone(&[], &groups, None).unwrap();
            let who: Vec<_> = everybody.iter().map(|someone| someone.who.clone()).collect();
            let somebody: Vec<&str> = everybody.iter().map(|someone| someone.example.as_str()).collect();
            for approved in [true, false] {
                let policies = starter(&Starter { server: &server, tools: &tools, who: &who, approved });
                let rules = ArgumentRules::default();
                let of = First {
                    server: &server,
                    tools: &tools,
                    somebody: &somebody,
                    rules: &rules,
                    policies: &policies,
                };
                let file = CaseFile::parse("x.cases.yaml", &text(&of)).unwrap();
                let catalogue = Catalogue::of(server.clone(), tools.clone());
                let sources = PolicySources::single("policies.cedar", &policies);
                let (engine, warnings) = Engine::compile(&sources, &catalogue).unwrap();
                assert_eq!(warnings, [], "{name}");
                assert_eq!((engine.lint(), engine.pointless()), (vec![], vec![]), "{name}");
                let mut left: Vec<String> =
                    engine.places().iter().map(|place| place.reference.id.to_string()).collect();
                for case in &file.cases {
                    let verdict = judge(&engine, case);
                    assert!(verdict.missed.is_none(), "{name}: {}", case.name);
                    let by = &verdict.explanation.ruling.determining;
                    left.retain(|id| by.iter().all(|policy| *policy.id != **id));
                }
                assert_eq!(left, Vec::<String>::new(), "{name}: no case decides them");
                assert!(file.cases.iter().any(|case| case.name == "a stranger opens none"), "{name}");
                assert!(file.cases.len() >= tools.len() + 4, "{name}");
            }
        }
    }
}
