//! Types from JSON Schemas and the values that policies see.

use super::*;

const ALL: &str = r##"{"type":"object","$defs":{"who":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},
    "loop":{"type":"object","properties":{"next":{"$ref":"#/$defs/loop"}}}},
  "properties":{
    "text":{"type":"string"}, "count":{"type":"integer"}, "ratio":{"type":"number"}, "on":{"type":"boolean"},
    "mode":{"type":"string","enum":["fast","slow"]}, "when":{"type":"string","format":"date-time"},
    "ip":{"type":"string","format":"ipv4"}, "tags":{"type":"array","items":{"type":"string"}},
    "maybe":{"type":["string","null"]}, "either":{"anyOf":[{"type":"integer"},{"type":"null"}]},
    "mixed":{"oneOf":[{"type":"string"},{"type":"integer"}]}, "who":{"$ref":"#/$defs/who"},
    "both":{"allOf":[{"$ref":"#/$defs/who"},{"properties":{"age":{"type":"integer"}}}]},
    "open":{"type":"object","additionalProperties":{"type":"string"}}, "any":{}, "far":{"$ref":"https://example.org/x"},
    "loop":{"$ref":"#/$defs/loop"}, "my-key":{"type":"string","default":"d"}, "in":{"type":"string"},
    "pairs":{"type":"array","items":{"type":"array","items":{"type":"integer"}}},
    "tuple":{"type":"array","prefixItems":[{"type":"string"}]}, "wrong":{"type":"integer","default":"x"},
    "n":{"enum":[1,2,3]}, "\"]};":{"type":"string"}},
  "required":["text"]}"##;

#[test]
fn every_kind_of_schema_has_a_type() {
    let engine = engine("", &with_schema(ALL));
    let generated =
        engine.schema_text().strip_prefix(crate::policy::schema::BASE.trim_end().strip_suffix('}').unwrap());
    insta::assert_snapshot!(generated.unwrap());
}

#[test]
fn policies_see_the_values() {
    let arguments = r#"{"text":"t","count":9007199254740993,"ratio":-0.25,"on":true,"mode":"fast",
        "when":"2026-01-02T05:00:00.5+02:00","ip":"10.0.0.1","tags":["b","a","b"],"maybe":null,"either":4,"mixed":1,
        "who":{"name":"x"},"both":{"name":"y","age":3},"open":{"z":"1","a":"x"},"any":1e2,"pairs":[[1,2],[3]],
        "tuple":["q"],"n":2,"extra":"unseen"}"#;
    for condition in [
        r#"context.input.text == "t""#,
        r#"context.input has count && context.input.count == 9007199254740993"#,
        r#"context.input has ratio && context.input.ratio.lessThan(decimal("0.0"))"#,
        r#"context.input has on && context.input.on"#,
        r#"context.input has mode && context.input.mode == "fast""#,
        r#"context.input has when && context.input.when == datetime("2026-01-02T03:00:00.500Z")"#,
        r#"context.input has ip && context.input.ip.isInRange(ip("10.0.0.0/8"))"#,
        r#"context.input has tags && context.input.tags.contains("a") && context.input.tags == ["a", "b"]"#,
        r#"context.input has tags__length && context.input.tags__length == 3"#,
        r#"context.input has tags__json && context.input.tags__json == "[\"b\",\"a\",\"b\"]""#,
        r#"context.input.maybe__null && !(context.input has maybe)"#,
        r#"!context.input.either__null && context.input has either && context.input.either == 4"#,
        r#"context.input has mixed && context.input.mixed == "1""#,
        r#"context.input has who && context.input.who.name == "x""#,
        r#"context.input has both.age && context.input.both.age == 3 && context.input.both.name == "y""#,
        r#"context.input has open && context.input.open == "{\"a\":\"x\",\"z\":\"1\"}""#,
        r#"context.input has any && context.input.any == "100""#,
        r#"context.input["my-key"] == "d""#,
        r#"!(context.input has wrong) && !(context.input has "in")"#,
        r#"context.input has pairs && context.input.pairs.contains([2, 1])"#,
        r#"context.input has tuple && context.input.tuple == "[\"q\"]""#,
        r#"context.input has n && context.input.n == 2"#,
    ] {
        let policy =
            format!(r#"permit (principal, action == Mcp::Action::"t/t", resource) when {{ {condition} }};"#);
        let ruling = call(&engine(&policy, &with_schema(ALL)), "t", "t", arguments);
        assert_eq!(effect(&ruling), "allow", "{condition} {ruling:?}");
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused_by_place_and_never_by_value() {
    let engine = engine("permit (principal, action, resource);", &with_schema(ALL));
    for (arguments, part) in [
        (r#"{}"#, "`/text` is missing"),
        (r#"{"text":4711}"#, "`/text` must be a string"),
        (r#"{"text":"t","count":4711.5}"#, "`/count` must be an integer"),
        (r#"{"text":"t","count":"4711"}"#, "`/count` must be an integer"),
        (r#"{"text":"t","ratio":"4711"}"#, "`/ratio` must be a number"),
        (r#"{"text":"t","on":"4711"}"#, "`/on` must be a boolean"),
        (r#"{"text":"t","mode":"4711"}"#, "`/mode` is not one of"),
        (r#"{"text":"t","tags":["a",4711]}"#, "`/tags/1` must be a string"),
        (r#"{"text":"t","tags":"4711"}"#, "`/tags` must be an array"),
        (r#"{"text":"t","who":{}}"#, "`/who/name` is missing"),
        (r#"{"text":null}"#, "`/text` must be a string"),
        (r#"["4711"]"#, "`` must be an object"),
        (r#"null"#, "`` must be an object"),
        (r#"{"text":"t","text":"4711"}"#, "duplicate key"),
        (r#"{"text":"t","Mode":"4711"}"#, "`/Mode` could be taken for another"),
        (r#"{"text":"t","tag\u017f":["4711"]}"#, "could be taken for another"),
        (r#"{"text":"t","on\u0000":4711}"#, "could be taken for another"),
        (r#"{"text":"t","who":{"name":"x","NAME":"4711"}}"#, "`/who/NAME` could be taken for another"),
        (r#"{"text":"4711"#, "does not end"),
    ] {
        let ruling = call(&engine, "t", "t", arguments);
        assert_eq!(effect(&ruling), "invalid_input", "{arguments}");
        assert!(ruling.failures[0].message.contains(part), "{arguments}: {}", ruling.failures[0].message);
        assert!(!format!("{ruling:?}").contains("4711"), "{ruling:?}");
    }
    let closed =
        with_schema(r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#);
    let engine = super::engine("permit (principal, action, resource);", &closed);
    let ruling = call(&engine, "t", "t", r#"{"b/c":1}"#);
    assert_eq!(ruling.failures[0].message, "the argument at `/b~1c` is not a property that the tool has");
}

#[test]
fn a_value_that_cedar_cannot_hold_exactly_is_refused_only_where_a_policy_reads_it() {
    let catalogue = with_schema(
        r#"{"type":"object","properties":{"n":{"type":"integer"},"x":{"type":"number"},"s":{"type":"string"},
            "d":{"type":"string","format":"date-time"},"l":{"type":"array","items":{"type":"number"}}},"required":["n","s"]}"#,
    );
    let inexact = [
        (r#"{"n":1e400,"s":"a"}"#, "`/n` must be an integer of 64 bits"),
        (r#"{"n":1234567890123456789012345678901234567890,"s":"a"}"#, "`/n` must be an integer of 64 bits"),
        (r#"{"n":1,"s":"a","x":0.12345}"#, "`/x` must be a number of at most four decimal places"),
        (r#"{"n":1,"s":"a","d":"tomorrow"}"#, "`/d` must be a time as in RFC 3339"),
        (r#"{"n":1,"s":"a","l":[1,0.00001]}"#, "`/l/1` must be a number of at most four"),
    ];
    let blind = engine(
        r#"permit (principal is Mcp::Agent, action, resource) when { principal.session.calls == 3 };"#,
        &catalogue,
    );
    let beside = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource) when { context.input.s == "a" };"#,
        &catalogue,
    );
    let reads = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource);
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.n == 7 };
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input has x && context.input.x == decimal("7.0") };
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input has d && context.input.d > datetime("2100-01-01") };
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input has l && context.input.l.contains(decimal("7.0")) };"#,
        &catalogue,
    );
    let denies = engine(
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.s == "a" };"#,
        &catalogue,
    );
    for (arguments, told) in inexact {
        assert_eq!(effect(&call(&blind, "t", "t", arguments)), "allow", "{arguments}");
        assert_eq!(effect(&call(&beside, "t", "t", arguments)), "allow", "{arguments}");
        let read = call(&reads, "t", "t", arguments);
        assert_eq!(effect(&read), "invalid_input", "{arguments}");
        let failures: Vec<_> = read.failures.iter().map(|failure| failure.message.as_str()).collect();
        assert!(failures.iter().any(|message| message.contains(told)), "{failures:?}");
        assert_eq!(effect(&call(&denies, "t", "t", arguments)), "forbidden", "{arguments}");
    }
    assert_eq!(effect(&call(&reads, "t", "t", r#"{"n":1,"s":"a","x":0.1234,"l":[1]}"#)), "allow");
}

#[test]
fn who_sends_a_path_that_can_be_read_in_two_ways_is_told_what_to_send() {
    let mut catalogue = with_schema(
        r#"{"type":"object","properties":{"path":{"type":"string"},"url":{"type":"string","format":"uri"}}}"#,
    );
    let inputs = vec![InputRule::new(Meaning::Path, "path").unwrap()];
    catalogue.rules.insert(name("t"), ArgumentRules { inputs, ..ArgumentRules::default() });
    let engine = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource) when {
             context.input has path && context.input.path.normal like "/srv/*" && !(context.input has url && context.input.url.has_userinfo) };"#,
        &catalogue,
    );
    let ruling = call(&engine, "t", "t", r#"{"path":"C:\\secret","url":"https:example.org"}"#);
    assert_eq!(effect(&ruling), "invalid_input");
    let message = &ruling.failures[0].message;
    assert!(message.contains("`/path` must be a path that can be read in one way only"), "{message}");
    assert!(message.contains("`/url` must be an absolute URI") && !message.contains("secret"), "{message}");
}

#[test]
fn all_tools_of_the_reference_servers_map_names_with_dashes_included() {
    let catalogue = reference();
    let engine = engine(r#"permit (principal, action in Mcp::Action::"tools/call", resource);"#, &catalogue);
    for (server, tools) in &catalogue.servers {
        for tool in tools {
            assert!(engine.tool(server, &tool.name).is_some(), "{server}/{}", tool.name);
        }
    }
    assert_eq!(effect(&call(&engine, "everything", "get-sum", r#"{"a":1.5,"b":2}"#)), "allow");
    assert_eq!(effect(&call(&engine, "everything", "get-env", "{}")), "allow");
    let edits = r#"{"path":"/a","edits":[{"oldText":"a","newText":"b"}]}"#;
    assert_eq!(effect(&call(&engine, "filesystem", "edit_file", edits)), "allow");
    assert_eq!(
        effect(&ask(&engine, "everything", Action::ToolCall { name: "get-env", arguments: None })),
        "allow"
    );
    let generated =
        engine.schema_text().strip_prefix(crate::policy::schema::BASE.trim_end().strip_suffix('}').unwrap());
    insta::assert_snapshot!("reference_schema", generated.unwrap());
}

#[test]
fn an_array_of_a_hundred_thousand_values_is_no_hundred_thousand_cedar_values() {
    let catalogue = with_schema(ALL);
    let items = vec![r#""a""#; 100_000].join(",");
    let arguments = format!(r#"{{"text":"t","tags":[{items}]}}"#);
    let ask = |condition: &str| {
        let policy =
            format!(r#"permit (principal, action == Mcp::Action::"t/t", resource) when {{ {condition} }};"#);
        effect(&call(&engine(&policy, &catalogue), "t", "t", &arguments))
    };
    assert_eq!(ask(r#"context.input has tags && context.input.tags.contains("a")"#), "invalid_input");
    assert_eq!(ask(r#"context.input.text == "t""#), "allow");
    assert_eq!(ask("context.input has tags__length && context.input.tags__length == 100000"), "allow");
}
