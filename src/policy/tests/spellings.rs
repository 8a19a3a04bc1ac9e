//! Comparisons that never hold, or hold for more than they seem to.

use super::*;

/// A tool `t/t` with a path, paths, a URI, URIs and a host.
fn meant() -> Catalogue {
    let schema = r#"{"type":"object","required":["path","paths","url","urls","server"],"properties":{
        "path":{"type":"string"},"paths":{"type":"array","items":{"type":"string"}},"server":{"type":"string"},
        "url":{"type":"string","format":"uri"},"urls":{"type":"array","items":{"type":"string","format":"uri"}}}}"#;
    let mut catalogue = with_schema(schema);
    let rule = |meaning, text| InputRule::new(meaning, text).unwrap();
    let inputs = vec![rule(Meaning::Path, "path*"), rule(Meaning::Host, "server")];
    catalogue.rules.insert(name("t"), ArgumentRules { inputs, ..ArgumentRules::default() });
    catalogue
}

/// What is told of a policy with `conditions` on a call of `t/t`.
fn told(effect: &str, conditions: &str) -> Vec<String> {
    let text = format!("{effect} (principal, action == Mcp::Action::\"t/t\", resource) {conditions};");
    let engine = engine(&text, &meant());
    let line = |w: Warning| {
        let (at, length) = w.span.unwrap();
        format!("{} at {}\n  {}", w.message, &text[at..at + length], w.help.unwrap_or_default())
    };
    engine.lint().into_iter().map(line).collect()
}

#[test]
fn a_comparison_that_can_never_hold_is_told_with_the_one_spelling() {
    let mut out = String::new();
    for condition in [
        r#"path.normal == "/a/""#,
        r#"path.normal like "/a/""#,
        r#"path.normal like "/a/*/""#,
        r#"path.normal like "/a/../b/*""#,
        r#"path.normal like "./a/*""#,
        r#"path.normal like "/a//*""#,
        r#"path.normal == "C:\\a""#,
        r#"path.components.contains("a/b")"#,
        r#"path.components.containsAny(["a", "/b"])"#,
        r#"path.name == "a/b""#,
        r#"path.name like "a/*""#,
        r#"path has extension && context.input.path.extension == ".MD""#,
        r#"path has extension && context.input.path.extension == "MD""#,
        r#"paths__within.contains("/a/")"#,
        r#"paths__within.contains("a")"#,
        r#"url.host == "Example.org""#,
        r#"url.host == "https://example.org""#,
        r#"url.scheme == "HTTPS""#,
        r#"url.scheme == "https://""#,
        r#"url.host like "*.Example.org""#,
        r#"url.normal like "https://Example.org/*""#,
        r#"urls__hosts.contains("example.org:443")"#,
        r#"server.normal == "example.org.""#,
        r#"server.normal != "Example.org""#,
    ] {
        let told = told("forbid", &format!("when {{ context.input.{condition} }}"));
        assert_eq!(told.len(), 1, "{condition}: {told:?}");
        out.push_str(&format!("{}\n", told[0]));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_a_test_that_never_holds_is_for_is_told_where_that_is_certain() {
    let never = r#"{ context.input.path.normal == "/a/" }"#;
    for (effect, conditions, part) in [
        ("forbid", format!("when {never}"), "protects nothing"),
        ("forbid", format!("unless {never}"), "is never \"/a/\" at"),
        ("permit", format!("when {never}"), "permits nothing"),
        ("permit", format!("unless {never}"), "is never \"/a/\" at"),
        (
            "forbid",
            r#"when { ["/b", "/a/"].contains(context.input.path.normal) }"#.to_owned(),
            "protects nothing",
        ),
        ("forbid", r#"unless { !(context.input.path.normal == "/a/") }"#.to_owned(), "protects nothing"),
    ] {
        let told = told(effect, &conditions);
        assert!(told.len() == 1 && told[0].contains(part), "{effect} {conditions}: {told:?}");
    }
}

#[test]
fn a_pattern_that_lets_in_more_than_the_folder_or_the_domain_it_names_is_told() {
    let mut out = String::new();
    for (condition, narrow) in [
        (
            r#"context.input.path.normal like "/srv/notes*""#,
            r#"context.input.path.normal like "/srv/notes/*""#,
        ),
        (r#"context.input.url.host like "*example.org""#, r#"context.input.url.host like "*.example.org""#),
        (r#"context.input.server.normal like "10.0.*""#, r#"context.input.server.normal == "10.0.0.1""#),
        (
            r#"context.input.url.normal like "https://a.org*""#,
            r#"context.input.url.normal like "https://a.org/*""#,
        ),
    ] {
        for (effect, word, open) in [
            ("permit", "when", true),
            ("forbid", "unless", true),
            ("permit", "unless", false),
            ("forbid", "when", false),
        ] {
            let found = told(effect, &format!("{word} {{ {condition} }}"));
            assert_eq!(found.len(), usize::from(open), "{effect} {word} {condition}: {found:?}");
            let other = told(effect, &format!("{word} {{ !({condition}) }}"));
            assert_eq!(other.len(), usize::from(!open), "{effect} {word} !{condition}: {other:?}");
            assert_eq!(told(effect, &format!("{word} {{ {narrow} }}")), Vec::<String>::new(), "{narrow}");
        }
        out.push_str(&format!("{}\n", told("permit", &format!("when {{ {condition} }}"))[0]));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn comparisons_that_do_what_they_say_are_not_spoken_of() {
    for condition in [
        r#"context.input.path.normal == "/" || context.input.path.normal == "." || context.input.path.normal == "../a""#,
        r#"context.input.path.normal like "*/.*" || context.input.path.normal like "/srv/report-2026*""#,
        r#"context.input.path.normal like "../*" || context.input.path.normal like "~/notes/*""#,
        r#"context.input.path.normal like "*.md" || context.input.path.normal like "/*" || context.input.path.normal like "*""#,
        r#"context.input.path.raw == "/a/" || context.input.path.name like "notes*""#,
        r#"context.input.path has extension && ["pem", "key"].contains(context.input.path.extension)"#,
        r#"context.input.path.components.contains("secret") && context.input.paths__within.contains("/srv/a")"#,
        r#"context.input.url.host == "" || context.input.url.scheme == "https" || context.input.url.host == "::1""#,
        r#"context.input.urls__hosts.containsAll(["example.org", "127.0.0.1"]) && context.input.server.normal == "a_b""#,
    ] {
        assert_eq!(told("permit", &format!("when {{ {condition} }}")), Vec::<String>::new(), "{condition}");
    }
}
