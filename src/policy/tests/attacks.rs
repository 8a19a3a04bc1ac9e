//! What a hostile client or tool server would send to get past a policy that its text forbids.

use super::*;

/// The tool `t/t` of this schema, its texts meant as `inputs` says, with `policies`.
fn guarded(schema: &str, inputs: &[(Meaning, &str)], breaches: Breaches, policies: &str) -> Engine {
    let mut catalogue = with_schema(schema);
    let inputs = inputs.iter().map(|(meaning, text)| InputRule::new(*meaning, text).unwrap()).collect();
    catalogue.rules.insert(name("t"), ArgumentRules { breaches, inputs });
    engine(policies, &catalogue)
}

fn asked(engine: &Engine, arguments: &str) -> &'static str {
    effect(&call(engine, "t", "t", arguments))
}

#[test]
fn so_many_urls_that_their_hosts_are_not_told_are_not_taken_for_none() {
    let schema = r#"{"type":"object","properties":{
        "urls":{"type":"array","items":{"type":"string","format":"uri"}},
        "hosts":{"type":"array","items":{"type":"string"}},
        "paths":{"type":"array","items":{"type":"string"}}}}"#;
    let inputs = [(Meaning::Host, "hosts"), (Meaning::Path, "paths")];
    let policies = r#"
        permit (principal, action == Mcp::Action::"t/t", resource)
          when { context.input has urls__hosts && ["good.example"].containsAll(context.input.urls__hosts) };
        permit (principal, action == Mcp::Action::"t/t", resource)
          when { context.input has hosts__hosts && ["good.example"].containsAll(context.input.hosts__hosts) };
        permit (principal, action == Mcp::Action::"t/t", resource)
          when { context.input has paths__within && !context.input.paths__within.contains("/secret") };"#;
    let engine = guarded(schema, &inputs, Breaches::Refuse, policies);
    for (property, good, evil) in [
        ("urls", "https://good.example/", "https://evil.example/"),
        ("hosts", "good.example", "evil.example"),
        ("paths", "/a", "/secret/a"),
    ] {
        let many = |item: &str, times: usize| {
            format!(r#"{{"{property}":[{}]}}"#, vec![format!("\"{item}\""); times].join(","))
        };
        assert_eq!(asked(&engine, &many(good, 20)), "allow", "{property}");
        assert_eq!(asked(&engine, &many(evil, 20)), "not_permitted", "{property}");
        for times in [7_000, 10_001, 15_000, 20_000, 20_001] {
            assert_ne!(asked(&engine, &many(evil, times)), "allow", "{property} {times}");
        }
        let told = call(&engine, "t", "t", &many(evil, 10_001)).failures.pop().unwrap().message;
        assert!(told.ends_with(" must be an array or object with fewer values"), "{told}");
    }
}

#[test]
fn what_is_no_array_has_no_length_to_be_short() {
    // To draft 7 a reference stands alone, so the validator takes anything where the type is an array.
    let beside = r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","definitions":{"any":{}},
        "properties":{"to":{"$ref":"#/definitions/any","type":"array","items":{"type":"string"}}}}"##;
    let plain = r#"{"type":"object","properties":{"to":{"type":"array","items":{"type":"string"}}}}"#;
    for policies in [
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has to__length && context.input.to__length > 1 };"#,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has to__json && context.input.to__json like "*evil*" };"#,
    ] {
        for (schema, breaches) in
            [(beside, Breaches::Refuse), (beside, Breaches::Record), (plain, Breaches::Record)]
        {
            let engine = guarded(schema, &[], breaches, policies);
            assert_eq!(asked(&engine, r#"{"to":["a"]}"#), "allow");
            assert_eq!(asked(&engine, r#"{"to":["a","evil"]}"#), "forbidden");
            assert_eq!(asked(&engine, r#"{"to":"a,evil"}"#), "invalid_input", "{schema}");
            assert_eq!(asked(&engine, r#"{"to":{"0":"a","1":"evil"}}"#), "invalid_input", "{schema}");
            assert_eq!(asked(&engine, "{}"), "allow");
        }
    }
}

#[test]
fn a_number_has_no_second_spelling_in_a_text() {
    let engine = guarded(
        r#"{"type":"object","properties":{"any":{},"list":{"type":"array","items":{}}}}"#,
        &[],
        Breaches::Refuse,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has any && ["0", "100"].contains(context.input.any) };"#,
    );
    let long = "0".repeat(30);
    for spelling in [
        "0",
        "-0",
        "0.0",
        "-0.00",
        "0e5",
        "0e-5",
        "0E99999999999999999999",
        "-0.0e-99999999999999999999",
        "100",
        "1e2",
        "100.0",
        "1.00E+2",
        "1000e-1",
        &format!("1e{long}2"),
        &format!("1e+{long}2"),
        &format!("1000e-{long}1"),
        &format!("0.{long}1e33"),
    ] {
        assert_eq!(asked(&engine, &format!(r#"{{"any":{spelling}}}"#)), "forbidden", "{spelling}");
    }
    assert_eq!(asked(&engine, r#"{"any":101}"#), "allow");
}

#[test]
fn a_uri_without_slashes_is_no_way_to_hide_a_host() {
    // Many readers put `https://` before what has no `//`, and curl guesses the scheme.
    let engine = guarded(
        r#"{"type":"object","properties":{"url":{"type":"string","format":"uri"}},"required":["url"]}"#,
        &[],
        Breaches::Refuse,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.url.host like "*metadata*" };"#,
    );
    for (url, expected) in [
        ("https://metadata/", "forbidden"),
        ("metadata:80/latest", "invalid_input"),
        ("metadata.google.internal:80/latest", "invalid_input"),
        ("metadata.google.internal:/latest", "invalid_input"),
        ("metadata:80", "invalid_input"),
        ("metadata:80?x", "invalid_input"),
        ("metadata:080#x", "invalid_input"),
        ("a:b@metadata/latest", "invalid_input"),
        ("a:b@metadata", "invalid_input"),
        ("a:@metadata:80/latest", "invalid_input"),
        ("mailto:me@metadata.example", "allow"),
        ("urn:isbn:123", "allow"),
        ("data:text/plain,80", "allow"),
        ("tel:+4930123", "allow"),
    ] {
        assert_eq!(asked(&engine, &format!(r#"{{"url":"{url}"}}"#)), expected, "{url}");
    }
}

#[test]
fn a_file_uri_has_no_second_spelling_of_its_path() {
    let engine = guarded(
        r#"{"type":"object","properties":{"url":{"type":"string","format":"uri"}},"required":["url"]}"#,
        &[],
        Breaches::Refuse,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.url.path like "/etc/*" };"#,
    );
    for (url, expected) in [
        ("file:///etc/passwd", "forbidden"),
        ("file:///srv/../etc/passwd", "forbidden"),
        ("file:///%65tc/passwd", "forbidden"),
        ("file:////etc/passwd", "invalid_input"),
        ("file://///etc/passwd", "invalid_input"),
        ("file:///srv/..//etc/passwd", "invalid_input"),
        ("file:///etc%2Fpasswd", "invalid_input"),
        ("file:///etc%252Fpasswd", "invalid_input"),
        ("file:///etc%5Cpasswd", "invalid_input"),
        ("file:///C%3A/secret", "invalid_input"),
        ("file:///C%7C/secret", "invalid_input"),
        ("file:///C|/secret", "invalid_input"),
        ("file:/etc/passwd", "invalid_input"),
        ("file:///srv/a", "allow"),
        ("https://a.example//etc/passwd", "allow"),
    ] {
        assert_eq!(asked(&engine, &format!(r#"{{"url":"{url}"}}"#)), expected, "{url}");
    }
}

#[test]
fn a_path_that_others_take_for_a_home_directory_or_a_drive_has_no_value() {
    let engine = guarded(
        r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#,
        &[(Meaning::Path, "path")],
        Breaches::Refuse,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.path.is_absolute };"#,
    );
    for (path, expected) in [
        ("a/b", "allow"),
        ("a/~b/c", "allow"),
        ("/srv/~b", "forbidden"),
        ("~/.ssh/id", "forbidden"),
        ("./~/.ssh/id", "invalid_input"),
        ("a/../~/.ssh/id", "invalid_input"),
        ("a/.././~root/.ssh/id", "invalid_input"),
        ("./C:/secret", "invalid_input"),
        ("a/../c:secret", "invalid_input"),
        ("/C:/secret", "invalid_input"),
        ("/srv/../C:/secret", "invalid_input"),
    ] {
        assert_eq!(asked(&engine, &format!(r#"{{"path":"{path}"}}"#)), expected, "{path}");
    }
}

#[test]
fn a_property_named_like_a_companion_is_the_tools_own() {
    // The tool's word for `x__null` and `__other` counts, whatever the gateway would have said beside them.
    let schema = r#"{"type":"object","additionalProperties":true,"properties":{"x":{"type":["array","null"],"items":{"type":"string"}},
        "x__null":{"type":"string"},"x__length":{"type":"string"},"x__json":{"type":"boolean"},"x__hosts":{"type":"integer"},
        "__other":{"type":"integer"},"__proto__":{"type":"string"},"constructor":{"type":"string"},"":{"type":"string"}}}"#;
    let holds = |condition: &str, arguments: &str| {
        let policies =
            format!(r#"permit (principal, action == Mcp::Action::"t/t", resource) when {{ {condition} }};"#);
        asked(&guarded(schema, &[], Breaches::Refuse, &policies), arguments)
    };
    let own = r#"{"x":null,"x__null":"no","x__length":"long","x__json":true,"x__hosts":3,"__other":7,"__proto__":"p",
        "constructor":"c","":"e","more":1}"#;
    for condition in [
        r#"context.input has x__null && context.input.x__null == "no""#,
        r#"context.input has x__length && context.input.x__length == "long""#,
        "context.input has x__json && context.input.x__json",
        "context.input has x__hosts && context.input.x__hosts == 3",
        r#"context.input has "__other" && context.input["__other"] == 7"#,
        r#"context.input has "__proto__" && context.input["__proto__"] == "p""#,
        r#"context.input has constructor && context.input.constructor == "c""#,
        r#"context.input has "" && context.input[""] == "e""#,
    ] {
        assert_eq!(holds(condition, own), "allow", "{condition}");
        assert_eq!(holds(condition, "{}"), "not_permitted", "{condition}");
    }
}

#[test]
fn a_key_is_the_same_however_it_is_escaped() {
    let engine = guarded(
        r#"{"type":"object","properties":{"path":{"type":"string"}}}"#,
        &[],
        Breaches::Record,
        r#"permit (principal, action, resource);
           forbid (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has path && context.input.path == "/etc" };"#,
    );
    for (arguments, expected) in [
        (r#"{"p\u0061th":"/etc"}"#, "forbidden"),
        (r#"{"\u0070\u0061\u0074\u0068":"\/\u0065tc"}"#, "forbidden"),
        (r#"{"path":"/a","p\u0061th":"/etc"}"#, "invalid_input"),
        (r#"{"PATH":"/etc"}"#, "invalid_input"),
        (r#"{"pa\u200dth":"/etc"}"#, "invalid_input"),
        (r#"{"path\u0000":"/etc"}"#, "invalid_input"),
        (r#"{"\ud835\udc29ath":"/etc"}"#, "invalid_input"),
        (r#"{"\uff50ath":"/etc"}"#, "invalid_input"),
        (r#"{"path":"/etc\ud800"}"#, "invalid_input"),
    ] {
        assert_eq!(asked(&engine, arguments), expected, "{arguments}");
    }
}

#[test]
fn a_server_with_tools_without_end_denies_its_own_and_no_others() {
    let of = |tool: usize, properties: usize| {
        let each: Vec<String> = (0..properties).map(|n| format!(r#""p{n}":{{"type":"string"}}"#)).collect();
        format!(
            r#"{{"name":"t{tool}","inputSchema":{{"type":"object","properties":{{{}}}}}}}"#,
            each.join(",")
        )
    };
    let list = |count, properties| {
        tools(&format!("[{}]", (0..count).map(|n| of(n, properties)).collect::<Vec<_>>().join(",")))
    };
    for (count, properties) in [(4_200, 0), (120, 900)] {
        let mut catalogue = Catalogue::of(name("a-hostile"), list(count, properties));
        catalogue.servers.insert(name("other"), list(50, 3));
        let mut findings = crate::policy::compile::Findings::default();
        let inputs = crate::policy::inputs::typed(&catalogue, &mut findings);
        assert_eq!(inputs[&name("other")].len(), 50);
        let left = inputs[&name("a-hostile")].len();
        assert!(left > 100 && left < count, "{left}");
        assert!(findings.0.iter().all(|finding| finding.message.contains("a-hostile/t")));
    }
}

#[test]
fn urls_of_a_corpus_have_the_host_that_every_other_reader_finds_or_none() {
    // What Node's `URL`, Python's `urllib`, `urllib3`, `requests` and `httpx`, Go's `net/url`, Java's `URI` and `URL` and
    // libcurl find, each URL with the hosts that they give it in one spelling.
    let corpus: Vec<(String, Vec<String>)> =
        serde_json::from_str(include_str!("../../../tests/vectors/spellings/hosts.json")).unwrap();
    let mut read = 0;
    for (raw, hosts) in &corpus {
        let Some(uri) = crate::policy::uri::Uri::read(raw) else { continue };
        read += 1;
        let host = uri.host_name();
        assert!(hosts.iter().all(|other| *other == host), "{raw:?}: {host:?}, others {hosts:?}");
    }
    assert!(read > 300 && read < corpus.len() / 2, "{read} of {}", corpus.len());
}

#[test]
fn paths_of_a_corpus_lead_where_every_other_reader_goes_or_nowhere() {
    // What Node's `path.posix` and `path.win32` and Python's `posixpath` resolve each to, from `/cwd/w`.
    let corpus: Vec<(String, Vec<String>)> =
        serde_json::from_str(include_str!("../../../tests/vectors/spellings/paths.json")).unwrap();
    let mut read = 0;
    for (raw, places) in &corpus {
        let Some(path) = crate::policy::path::Path::read(raw) else { continue };
        read += 1;
        let from = if path.is_absolute { path.normal.clone() } else { format!("/cwd/w/{}", path.normal) };
        // Above the folder that it is resolved from, it may become what has no value.
        let Some(place) = crate::policy::path::Path::read(&from).map(|path| path.normal) else { continue };
        assert!(places.iter().all(|other| *other == place), "{raw:?}: {place:?}, others {places:?}");
    }
    assert!(read > 200 && read < corpus.len(), "{read} of {}", corpus.len());
}

#[test]
fn a_resource_is_no_other_for_being_spelt_with_steps_or_escapes() {
    let policies = r#"
        permit (principal, action == Mcp::Action::"resources/read", resource)
          when { resource has parts && resource.parts.scheme == "file" && resource.parts.path like "/public/*" };
        forbid (principal, action == Mcp::Action::"resources/read", resource)
          unless { resource has parts && !(resource.parts.path like "*/private/*") };"#;
    let engine = engine(policies, &reference());
    for (uri, expected) in [
        ("file:///public/a", "allow"),
        ("FILE:///public/./a", "allow"),
        ("file:///public/../secret", "not_permitted"),
        ("file:///public/%2e%2e/secret", "not_permitted"),
        ("file:///public/private/a", "forbidden"),
        ("file:///public/%70rivate/a", "forbidden"),
        ("file:///public/..%2fsecret", "forbidden"),
        ("file:///public//private/a", "forbidden"),
        ("file:////public/a", "forbidden"),
        ("file://public/a", "not_permitted"),
        ("/public/a", "forbidden"),
        ("", "forbidden"),
    ] {
        assert_eq!(
            effect(&method(&engine, "resources/read", Some(uri), Direction::Client)),
            expected,
            "{uri}"
        );
    }
    let session = engine.session_principal(&facts("filesystem"));
    for template in ["file:///public/{name}", "file:///{path}", "file:///public/../{x}"] {
        let shown = engine.could_be_permitted(&session, Listed::Template(template), NOW, &State::default());
        assert!(shown, "{template}");
    }
    let raw = r#"permit (principal, action == Mcp::Action::"resources/read", resource)
          when { resource.uri like "file:///public/*" };
        forbid (principal, action == Mcp::Action::"resources/read", resource) when { resource.uri == "file:///x" };
        permit (principal, action == Mcp::Action::"resources/read", resource) when { resource.uri == "file:///x" };"#;
    let told = lines(&super::engine(raw, &reference()).lint());
    assert_eq!(told.matches("on the text of `resource.uri`").count(), 2, "{told}");
}
