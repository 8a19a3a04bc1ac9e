//! Schemas and arguments that are made to cost much.

use std::time::{Duration, Instant};

use crate::policy::checker::{Checker, Verdict};
use crate::policy::json::parse;

/// Generous for a debug build under load: what is bounded takes milliseconds, what is not takes minutes.
const SOON: Duration = Duration::from_secs(20);

fn quickly<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = f();
    let took = start.elapsed();
    if std::env::var_os("CHANCERY_TIMES").is_some() {
        eprintln!("{what}: {took:?}");
    }
    assert!(took < SOON, "{what}: {took:?}");
    result
}

fn checked(what: &str, schema: &str, arguments: &str) -> Verdict {
    let (schema, arguments) = (parse(schema.as_bytes()).unwrap(), parse(arguments.as_bytes()).unwrap());
    let record = quickly(&format!("{what}: typing"), || crate::policy::types::Record::of_input(&schema));
    assert!(record.size() <= 15_000, "{what}: {}", record.size());
    let checker = quickly(&format!("{what}: compiling"), || Checker::new(&schema));
    quickly(&format!("{what}: checking"), || checker.check(&arguments))
}

/// `levels` definitions, each of which is made by `body` from a reference to the next; the last is `last`.
fn chain(levels: usize, body: impl Fn(&str) -> String, last: &str) -> String {
    let mut definitions: Vec<String> = (0..levels)
        .map(|n| format!("\"d{n}\":{}", body(&format!(r##"{{"$ref":"#/$defs/d{}"}}"##, n + 1))))
        .collect();
    definitions.push(format!("\"d{levels}\":{last}"));
    format!(
        r##"{{"type":"object","$defs":{{{}}},"properties":{{"x":{{"$ref":"#/$defs/d0"}}}}}}"##,
        definitions.join(",")
    )
}

fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"x":"#.repeat(depth), "}".repeat(depth))
}

#[test]
fn references_that_double_at_every_step_are_counted_and_not_followed() {
    for (what, body) in [
        ("all of one value", r#"{"allOf":[R,R]}"#),
        ("any of one value", r#"{"anyOf":[{"not":R},R]}"#),
        ("properties", r#"{"anyOf":[{"properties":{"x":R},"required":["y"]},{"properties":{"x":R}}]}"#),
        ("two properties", r#"{"properties":{"x":R,"y":R}}"#),
        ("items", r#"{"items":{"allOf":[R,R]}}"#),
    ] {
        let schema = chain(40, |next| body.replace('R', next), r#"{"type":"integer"}"#);
        for arguments in [r#"{"x":1}"#, r#"{"x":"s"}"#, &nested(50), r#"{"x":[[[[[[[[[["s"]]]]]]]]]]}"#] {
            let _verdict = checked(what, &schema, arguments);
        }
    }
}

#[test]
fn references_that_lead_back_to_themselves_end() {
    for (what, definition) in [
        ("itself", r##"{"$ref":"#/$defs/a"}"##),
        ("all of itself", r##"{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}"##),
        ("not itself", r##"{"not":{"$ref":"#/$defs/a"}}"##),
        ("tree", r##"{"properties":{"x":{"$ref":"#/$defs/a"},"y":{"$ref":"#/$defs/a"}}}"##),
        (
            "doubling tree",
            r##"{"anyOf":[{"properties":{"x":{"$ref":"#/$defs/a"}},"required":["z"]},{"properties":{"x":{"$ref":"#/$defs/a"}}}]}"##,
        ),
        (
            "dynamic",
            r##"{"$dynamicAnchor":"n","properties":{"x":{"$dynamicRef":"#n"},"y":{"$dynamicRef":"#n"}}}"##,
        ),
        (
            "unevaluated",
            r##"{"properties":{"x":{"$ref":"#/$defs/a"}},"unevaluatedProperties":{"$ref":"#/$defs/a"}}"##,
        ),
    ] {
        let schema = format!(
            r##"{{"type":"object","$defs":{{"a":{definition}}},"properties":{{"x":{{"$ref":"#/$defs/a"}}}}}}"##
        );
        for arguments in [r#"{"x":1}"#, &nested(55)] {
            let _verdict = checked(what, &schema, arguments);
        }
    }
}

#[test]
fn a_long_chain_of_references_does_not_exhaust_the_stack() {
    for body in [r#"R"#, r#"{"properties":{"x":R}}"#, r#"{"allOf":[R]}"#, r#"{"properties":{"x":R,"y":R}}"#] {
        for length in [100, 500, 5_000] {
            let schema = chain(length, |next| body.replace('R', next), "true");
            let _verdict = checked(&format!("{length} {body}"), &schema, &nested(60));
        }
    }
}

#[test]
fn large_arguments_meet_large_schemas_in_bounded_time() {
    let names: Vec<String> = (0..900).map(|n| format!(r#""p{n}":{{"type":"string"}}"#)).collect();
    let choices: Vec<String> = (0..3_000).map(|n| format!(r#"{{"const":{n}}}"#)).collect();
    let array = |item: &str, times: usize| format!(r#"{{"x":[{}]}}"#, vec![item; times].join(","));
    let distinct: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\"")).collect();
    for (what, items, arguments) in [
        (
            "wide",
            format!(r#"{{"items":{{"type":"object","properties":{{{}}}}}}}"#, names.join(",")),
            array("{}", 200_000),
        ),
        ("choices", format!(r#"{{"items":{{"anyOf":[{}]}}}}"#, choices.join(",")), array("\"x\"", 200_000)),
        ("unique", r#"{"uniqueItems":true}"#.to_owned(), format!(r#"{{"x":[{}]}}"#, distinct.join(","))),
        (
            "unique objects",
            r#"{"uniqueItems":true}"#.to_owned(),
            format!(
                r#"{{"x":[{}]}}"#,
                distinct.iter().map(|k| format!("{{{k}:1}}")).collect::<Vec<_>>().join(",")
            ),
        ),
        (
            "pattern",
            r#"{"items":{"pattern":"^(a|a?b?)*c$"}}"#.to_owned(),
            array(&format!("\"{}\"", "a".repeat(1_000_000)), 1),
        ),
        (
            "nested counts",
            r#"{"items":{"pattern":"^((a{0,50}){0,50}){0,20}$"}}"#.to_owned(),
            array(&format!("\"{}\"", "a".repeat(1_000_000)), 1),
        ),
    ] {
        let schema = format!(r#"{{"type":"object","properties":{{"x":{items}}}}}"#);
        let _verdict = checked(what, &schema, &arguments);
    }
}

#[test]
fn patterns_are_few_and_look_at_so_many_bytes_and_no_more() {
    let text = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes));
    let of = |pattern: &str, times: usize| {
        let each: Vec<String> = (0..times)
            .map(|n| format!(r#"{{"pattern":"{}"}}"#, pattern.replace('N', &n.to_string())))
            .collect();
        format!(r#"{{"type":"object","properties":{{"x":{{"allOf":[{}]}}}}}}"#, each.join(","))
    };
    // Each is compiled, so those beyond the first are left out; that is told.
    let many = of("^[a-z]{N}", 6_000);
    let checker = quickly("compiling many", || Checker::new(&parse(many.as_bytes()).unwrap()));
    assert!(checker.unchecked.iter().any(|part| part.why == "it has too many patterns"));
    // A large one is not compiled.
    let large = of("^((a{0,60}){0,60}){0,3}$", 1);
    assert_eq!(checked("large", &large, &text(10)), Verdict::Fits);
    // One pattern that stands, or is referred to, at every step looks at a text that often.
    let referred = format!(
        r##"{{"type":"object","$defs":{{"p":{{"pattern":"a$"}}}},"properties":{{"x":{{"allOf":[{}]}}}}}}"##,
        vec![r##"{"$ref":"#/$defs/p"}"##; 4_000].join(",")
    );
    for (what, schema) in [("same", of("a$", 4_000)), ("referred", referred)] {
        assert!(matches!(checked(what, &schema, &text(4_000_000)), Verdict::Breach(_)), "{what}");
        assert_eq!(checked(what, &schema, &text(1_000)), Verdict::Fits, "{what}");
    }
    assert_eq!(checked("one", &of("a$", 1), &text(4_000_000)), Verdict::Fits);
}

#[test]
fn many_properties_beside_a_tools_own_cost_no_square() {
    let names: Vec<String> = (0..900).map(|n| format!(r#""property-{n:04}":{{"type":"string"}}"#)).collect();
    let schema =
        format!(r#"{{"type":"object","additionalProperties":true,"properties":{{{}}}}}"#, names.join(","));
    let schema = parse(schema.as_bytes()).unwrap();
    let record = crate::policy::types::Record::of_input(&schema);
    let members: Vec<String> = (0..150_000).map(|n| format!(r#""properly-{n:06}":1"#)).collect();
    let arguments = format!("{{{}}}", members.join(","));
    let arguments = parse(arguments.as_bytes()).unwrap();
    quickly("others", || crate::policy::input::convert(&record, &arguments).unwrap());
}

#[test]
fn a_misspelt_name_is_held_against_long_names_of_many_tools_quickly() {
    let known: Vec<String> = (0..4_000).map(|n| format!("server/{}{n}", "x".repeat(240))).collect();
    quickly("nearest", || {
        for n in 0..200 {
            let near =
                crate::policy::names::nearest(&format!("server/tool-{n}"), known.iter().map(String::as_str));
            assert_eq!(near, None);
        }
    });
}

#[test]
fn what_is_not_evaluated_yet_is_not_asked_for_at_every_level_anew() {
    for (what, body) in [
        ("any", r#"{"anyOf":[R],"unevaluatedProperties":false}"#),
        ("one", r#"{"oneOf":[R],"unevaluatedProperties":{"type":"string"}}"#),
        ("all", r#"{"allOf":[R],"unevaluatedProperties":false}"#),
        ("if", r#"{"if":R,"then":R,"unevaluatedProperties":false}"#),
        ("dependent", r#"{"dependentSchemas":{"x":R},"unevaluatedProperties":false}"#),
        ("items", r#"{"anyOf":[R],"unevaluatedItems":false}"#),
    ] {
        // The way is no longer than `MAX_IN_PLACE`, and without the keyword the cost is small.
        for levels in [10, 12, 20] {
            let schema =
                chain(levels, |next| body.replace('R', next), r#"{"properties":{"x":{"type":"integer"}}}"#);
            for arguments in [r#"{"x":{"x":1}}"#, r#"{"x":{"x":"s","y":1}}"#, r#"{"x":[1,2]}"#] {
                let _verdict = checked(&format!("{what} {levels}"), &schema, arguments);
            }
        }
    }
    // One at the top of many is what schemas have.
    let schema = r#"{"type":"object","properties":{"x":{"allOf":[{"properties":{"a":{"type":"integer"}}},
        {"anyOf":[{"properties":{"b":{"type":"integer"}}},{"properties":{"c":true}}]}],"unevaluatedProperties":false}}}"#;
    assert_eq!(checked("usual", schema, r#"{"x":{"a":1,"c":2}}"#), Verdict::Fits);
    assert!(matches!(checked("usual", schema, r#"{"x":{"a":1,"d":2}}"#), Verdict::Breach(_)));
}
