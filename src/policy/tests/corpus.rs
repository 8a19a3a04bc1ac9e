//! Every tool of the corpus has a type and a judge: the real lists of the reference servers, and one tool for each
//! construct of JSON Schema.

use serde_json::Value;

use super::generate::{Random, mutant, value};
use super::*;
use crate::policy::input::convert;
use crate::policy::json::parse;

fn corpus() -> Catalogue {
    let mut catalogue = reference();
    for (server, list) in [
        ("memory", include_str!("../../../tests/vectors/tools/server-memory.json")),
        ("thinking", include_str!("../../../tests/vectors/tools/server-sequential-thinking.json")),
        ("sdk", include_str!("../../../tests/vectors/tools/typescript-sdk-examples.json")),
        ("constructed", include_str!("../../../tests/vectors/tools/constructed.json")),
    ] {
        catalogue.servers.insert(name(server), tools(list));
    }
    catalogue
}

/// The schema's own judge, by the validator's defaults: nothing is taken out of the schema.
fn judge_of(schema: &Value) -> Option<jsonschema::Validator> {
    jsonschema::options().offline().should_validate_formats(false).build(schema).ok()
}

#[test]
fn all_conforming_arguments_of_all_tools_map_and_what_does_not_conform_is_refused() {
    let catalogue = corpus();
    let engine = engine("permit (principal, action in Mcp::Action::\"tools/call\", resource);", &catalogue);
    let mut random = Random(0x5eed);
    let mut wrong = Vec::new();
    let (mut all, mut conforming, mut refused, mut unseen) = (0, 0, 0, 0);
    for (server, tools) in &catalogue.servers {
        for tool in tools {
            let schema: Value = serde_json::from_str(&tool.input_schema).unwrap();
            let entry = engine.tool(server, &tool.name).unwrap();
            let judge = judge_of(&schema);
            let whole = tool.checker().unchecked.is_empty();
            // Without a judge of its own, a tool's arguments are judged by what is left of its schema.
            let (mut own, rounds) = (0, if schema.to_string().len() > 10_000 { 10 } else { 40 });
            for round in 0..rounds {
                let mut arguments = value(&schema, &schema, &mut random, 0);
                if round % 2 == 1 {
                    arguments = mutant(&arguments, &mut random);
                }
                let text = arguments.to_string();
                let ruling = call(&engine, server.as_str(), &tool.name, &text);
                let fits = judge.as_ref().map(|judge| judge.is_valid(&arguments) && arguments.is_object());
                let told = || format!("{server}/{} {text} {:?}", tool.name, ruling.failures);
                match (fits, effect(&ruling)) {
                    (Some(true), "allow") => {
                        (own, conforming) = (own + 1, conforming + 1);
                        let parsed = parse(text.as_bytes()).unwrap();
                        let input = convert(&entry.input, &parsed).unwrap();
                        unseen += usize::from(!input.opaque.is_empty());
                    }
                    (Some(false), "invalid_input") => refused += 1,
                    // What can't be checked is not.
                    (Some(false), "allow") if !whole => {}
                    (None, "allow") => own += 1,
                    (None, "invalid_input") => {}
                    // OpenAPI's word, which the validator does not know.
                    (Some(false), "allow") if tool.input_schema.contains("\"nullable\":true") => {}
                    _ => wrong.push(told()),
                }
            }
            if own == 0 {
                wrong.push(format!("no conforming arguments were made for {server}/{}", tool.name));
            }
            all += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all >= 200, "{all} tools");
    assert!(conforming > 3_000 && refused > 1_000, "{conforming} {refused}");
    // Policies see nearly all of what conforms; what they can't see exactly is refused where they read it.
    assert!(unseen * 10 < conforming, "{unseen} of {conforming}");
}

#[test]
fn every_tool_of_the_corpus_gives_a_schema_that_a_policy_can_name_the_tool_in() {
    let catalogue = corpus();
    let all =
        catalogue.servers.iter().flat_map(|(server, tools)| tools.iter().map(move |tool| (server, tool)));
    let policies: Vec<String> = all
        .map(|(server, tool)| {
            let action = crate::policy::schema::quoted(&format!("{server}/{}", tool.name));
            format!("permit (principal, action == Mcp::Action::{action}, resource);")
        })
        .collect();
    let engine = engine(&policies.join("\n"), &catalogue);
    assert!(policies.len() >= 200 && engine.len() == policies.len());
    assert_eq!(engine.tools.values().map(|tools| tools.len()).sum::<usize>(), policies.len());
}

#[test]
fn what_of_a_schema_is_not_checked_is_told_where_a_policy_reads_it() {
    let mut told = Vec::new();
    for tool in &corpus().servers[&name("constructed")] {
        for part in &tool.checker().unchecked {
            told.push(format!("{}: `{}`: {}", tool.name, part.pointer, part.why));
        }
    }
    insta::assert_snapshot!(told.join("\n"));
    let catalogue = with_schema(
        r#"{"type":"object","properties":{"a":{"type":"string","pattern":"^(?!x)"},"b":{"type":"string"}},"required":["a","b"]}"#,
    );
    let warnings = |condition: &str| {
        let policy =
            format!(r#"permit (principal, action == Mcp::Action::"t/t", resource) when {{ {condition} }};"#);
        lines(&Engine::compile(&PolicySources::single("p.cedar", &policy), &catalogue).unwrap().1)
    };
    assert_eq!(warnings(r#"context.input.b == "x""#), "");
    let warned = warnings(r#"context.input.a == "x""#);
    assert!(warned.contains("`t/t` are not checked against `/properties/a/pattern`"), "{warned}");
}

#[test]
fn any_schema_and_any_arguments_are_typed_judged_and_decided() {
    let catalogue = corpus();
    let facts = facts("t");
    let schemas: Vec<&str> = catalogue
        .servers
        .values()
        .flatten()
        .map(|tool| &*tool.input_schema)
        .filter(|s| s.len() < 3_000)
        .collect();
    let mut random = Random(0xfade);
    let (mut taken, mut through) = (0, 0);
    for round in 0..80 {
        let schema: Value = serde_json::from_str(schemas[random.below(schemas.len())]).unwrap();
        let mut changed = schema.clone();
        for _ in 0..random.below(4) {
            changed = mutant(&changed, &mut random);
        }
        let arguments = value(&schema, &schema, &mut random, 0);
        let mut bytes = changed.to_string().into_bytes();
        let mut given = arguments.to_string().into_bytes();
        if round % 3 == 0 {
            for bytes in [&mut bytes, &mut given] {
                let at = random.below(bytes.len());
                bytes[at] = b"{}[]\":,0a\\$#"[random.below(12)];
            }
        }
        if let Some(allowed) = super::fuzzed::judged(&facts, &bytes, &given) {
            taken += 1;
            through += usize::from(allowed);
        }
    }
    assert!(taken > 30 && through > 5, "{taken} {through}");
}

#[test]
fn what_does_not_fit_goes_on_where_that_is_configured_and_is_recorded() {
    let mut catalogue = with_schema(
        r#"{"type":"object","properties":{"n":{"type":"integer","maximum":10},"s":{"type":"string"}},
            "required":["n"],"additionalProperties":false}"#,
    );
    let rules = ArgumentRules { breaches: Breaches::Record, ..ArgumentRules::default() };
    catalogue.rules.insert(name("t"), rules);
    let blind = engine(r#"permit (principal, action == Mcp::Action::"t/t", resource);"#, &catalogue);
    let reads = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource) when { context.input.n < 100 };"#,
        &catalogue,
    );
    for (arguments, part, read) in [
        (r#"{"n":4711}"#, "`/n` is larger than the tool allows", "not_permitted"),
        (r#"{"n":11}"#, "`/n` is larger than the tool allows", "allow"),
        (r#"{"n":"4711"}"#, "`/n` must be an integer", "invalid_input"),
        (r#"{}"#, "`/n` is missing", "invalid_input"),
        (r#"{"n":1,"other":4711}"#, "`/other` is not a property that the tool has", "allow"),
        (r#"{"n":1,"s":4711}"#, "`/s` must be a string", "allow"),
    ] {
        let ruling = call(&blind, "t", "t", arguments);
        assert_eq!(effect(&ruling), "allow", "{arguments} {ruling:?}");
        let said = &ruling.failures[0];
        assert!(said.message.contains(part) && !said.forbid, "{arguments}: {}", said.message);
        assert!(!format!("{ruling:?}").contains("4711"), "{ruling:?}");
        assert_eq!(effect(&call(&reads, "t", "t", arguments)), read, "{arguments}");
    }
    assert!(call(&blind, "t", "t", r#"{"n":1}"#).failures.is_empty());
    // What another reader could take for other arguments is refused all the same.
    assert_eq!(effect(&call(&blind, "t", "t", r#"{"n":1,"N":2}"#)), "invalid_input");
    assert_eq!(effect(&call(&blind, "t", "t", r#"[1]"#)), "invalid_input");
}

#[test]
fn a_breach_names_its_place_and_the_kind_of_it() {
    let catalogue = with_schema(
        r#"{"type":"object","properties":{"n":{"type":"integer","minimum":2},"s":{"type":"string","pattern":"^a+$"},
            "l":{"type":"array","items":{"type":"string","maxLength":2},"uniqueItems":true},
            "o":{"oneOf":[{"type":"string"},{"type":"integer"}]},"a":{"type":"string"}},
            "dependentRequired":{"a":["s"]},"minProperties":1}"#,
    );
    let engine = engine(r#"permit (principal, action == Mcp::Action::"t/t", resource);"#, &catalogue);
    let said: Vec<String> = [
        r#"{"n":1}"#,
        r#"{"s":"secret"}"#,
        r#"{"l":["secret"]}"#,
        r#"{"l":["a","a"]}"#,
        r#"{"o":true}"#,
        r#"{"a":"secret"}"#,
        "{}",
    ]
    .iter()
    .map(|arguments| {
        let ruling = call(&engine, "t", "t", arguments);
        assert_eq!(effect(&ruling), "invalid_input", "{arguments}");
        format!("{arguments}: {}", ruling.failures[0].message)
    })
    .collect();
    insta::assert_snapshot!(said.join("\n"));
}
