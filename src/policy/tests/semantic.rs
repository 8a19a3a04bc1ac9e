//! Paths, URIs and hosts: one meaning, whatever the spelling.

use super::*;
use crate::policy::host::Host;
use crate::policy::path::Path;
use crate::policy::uri::Uri;

fn normal(raw: &str) -> Option<String> {
    Path::read(raw).map(|path| path.normal)
}

#[test]
fn a_path_has_one_normal_spelling_or_none() {
    for (raw, expected) in [
        ("/srv/public/a", Some("/srv/public/a")),
        ("/srv/public/../secret", Some("/srv/secret")),
        ("/srv//public///a/", Some("/srv/public/a")),
        ("/srv/./public/./a", Some("/srv/public/a")),
        ("/srv/public/a/..", Some("/srv/public")),
        ("/..", Some("/")),
        ("/../../etc/passwd", Some("/etc/passwd")),
        ("/", Some("/")),
        ("", Some(".")),
        (".", Some(".")),
        ("a/..", Some(".")),
        ("../a", Some("../a")),
        ("a/../../b", Some("../b")),
        ("../../b/..", Some("../..")),
        ("a/b/../c", Some("a/c")),
        ("~/notes", Some("~/notes")),
        ("~/a/../b", Some("~/b")),
        ("~root/.ssh", Some("~root/.ssh")),
        ("/srv/public/.hidden", Some("/srv/public/.hidden")),
        ("/srv/public/a..b", Some("/srv/public/a..b")),
        ("/srv/public/100%", Some("/srv/public/100%")),
        ("/srv/public/été", Some("/srv/public/été")),
        ("/srv/public/a b", Some("/srv/public/a b")),
        // Above a home directory.
        ("~/..", None),
        ("~/../root/.ssh", None),
        // Windows' separators, drives, devices, streams, shares, and names that it trims.
        (r"/srv/public\..\secret", None),
        (r"..\secret", None),
        (r"C:\Windows", None),
        ("C:/Windows", None),
        ("c:secret", None),
        ("//server/share/a", None),
        ("//srv/public/a", None),
        ("///srv/public/a", None),
        ("/srv/public/.. /secret", None),
        ("/srv/public/.../secret", None),
        ("/srv/public/../secret.", None),
        ("secret.txt::$DATA", None),
        // Schemes.
        ("file:///etc/passwd", None),
        ("file:/etc/passwd", None),
        ("http://a/b", None),
        // Encoded once, or more.
        ("/srv/public/%2e%2e/secret", None),
        ("/srv/public/%2E%2E/secret", None),
        ("/srv/public/.%2e/secret", None),
        ("/srv/public%2f..%2fsecret", None),
        ("/srv/public/%252e%252e/secret", None),
        ("/srv/public/..%5csecret", None),
        ("/srv/public/a%00.txt", None),
        // Characters that become dots and slashes, or vanish.
        ("/srv/public/\u{ff0e}\u{ff0e}/secret", None),
        ("/srv/public/\u{2025}/secret", None),
        ("/srv/public/\u{2024}\u{2024}/secret", None),
        ("/srv/public\u{ff0f}..\u{ff0f}secret", None),
        ("/srv/public\u{2215}..\u{2215}secret", None),
        ("/srv/public/.\u{200b}./secret", None),
        ("/srv/public/\u{202e}terces", None),
        ("/srv/public/.\u{ad}./secret", None),
        // Ends that readers trim, and characters that end a text for some.
        (" /etc/passwd", None),
        ("/etc/passwd ", None),
        ("\"/etc/passwd\"", None),
        ("'/etc/passwd'", None),
        ("/srv/public/a\0/../../secret", None),
        ("/srv/public/a\n", None),
        ("/srv/public/a\tb", None),
        ("\u{feff}/etc/passwd", None),
    ] {
        assert_eq!(normal(raw).as_deref(), expected, "{raw:?}");
    }
    assert_eq!(normal(&"/a".repeat(2_049)), None);
    let path = Path::read("/srv/x/../a.tar.GZ").unwrap();
    assert!(path.is_absolute && path.has_parent_steps);
    assert_eq!(path.components, ["srv", "a.tar.GZ"]);
    assert!(Path::read("~/a").unwrap().is_absolute && !Path::read("a/..").unwrap().is_absolute);
}

/// `scheme host port path`.
fn parts(raw: &str) -> Option<String> {
    let uri = Uri::read(raw)?;
    let port = uri.port.map_or("-".to_owned(), |port| port.to_string());
    let host = uri.host.as_ref().map_or("-", |host| host.name.as_str());
    Some(format!("{} {host} {port} {}", uri.scheme, uri.path))
}

#[test]
fn a_uri_has_the_parts_that_every_reader_finds_or_none() {
    for (raw, expected) in [
        ("https://good.example/a?b#c", Some("https good.example 443 /a")),
        ("HTTPS://GOOD.Example:443", Some("https good.example 443 /")),
        ("http://good.example.:8080/", Some("http good.example 8080 /")),
        ("https://good.example/public/../secret", Some("https good.example 443 /secret")),
        ("https://good.example/public/%2e%2e/secret", Some("https good.example 443 /secret")),
        ("https://good.example/%61dmin", Some("https good.example 443 /admin")),
        ("https://good.example/group%2fproject", Some("https good.example 443 /group%2Fproject")),
        ("https://user:pw@evil.example/", Some("https evil.example 443 /")),
        ("https://good.example:pw@evil.example/", Some("https evil.example 443 /")),
        ("https://good.example.evil.example/", Some("https good.example.evil.example 443 /")),
        ("https://evil.example/#@good.example/", Some("https evil.example 443 /")),
        ("https://evil.example?@good.example/", Some("https evil.example 443 /")),
        ("http://127.0.0.1/", Some("http 127.0.0.1 80 /")),
        ("http://[::1]:80/", Some("http ::1 80 /")),
        ("http://[0:0:0:0:0:0:0:1]/", Some("http ::1 80 /")),
        ("http://[::ffff:127.0.0.1]/", Some("http 127.0.0.1 80 /")),
        ("http://[::FFFF:7f00:1]/", Some("http 127.0.0.1 80 /")),
        ("https://xn--bcher-kva.example/", Some("https xn--bcher-kva.example 443 /")),
        ("postgres://DB.example:5432/x", Some("postgres db.example 5432 /x")),
        ("file:///etc/passwd", Some("file - - /etc/passwd")),
        ("urn:isbn:123", Some("urn - - isbn:123")),
        ("mailto:a@example.org", Some("mailto - - a@example.org")),
        ("https://good.example/é", Some("https good.example 443 /%C3%A9")),
        // A backslash is a slash to browsers and a part of the userinfo to others.
        (r"https://good.example\@evil.example/", None),
        (r"https:\\evil.example/", None),
        (r"https://evil.example\.good.example/", None),
        // Two userinfos.
        ("https://a@good.example@evil.example/", None),
        ("https://good.example%2f@evil.example/", None),
        // Slashes too few or too many.
        ("https:evil.example", None),
        ("https:/evil.example", None),
        ("https:///evil.example", None),
        ("https:////evil.example", None),
        ("//evil.example/", None),
        ("/relative", None),
        ("", None),
        ("https://", None),
        // Addresses that are not written as four numbers.
        ("http://2130706433/", None),
        ("http://0x7f000001/", None),
        ("http://0x7f.1/", None),
        ("http://0177.0.0.1/", None),
        ("http://127.1/", None),
        ("http://127.0.0.1./", None),
        ("http://127.0.0.01/", None),
        ("http://0/", None),
        ("http://127.0.0.0x1/", None),
        ("http://[fe80::1%25eth0]/", None),
        ("http://[::1/", None),
        ("http://::1/", None),
        // Names that become others.
        ("http://\u{ff45}vil.example/", None),
        ("http://evil\u{3002}example/", None),
        ("http://fa\u{df}.example/", None),
        ("http://b\u{fc}cher.example/", None),
        ("http://ex%61mple.org/", None),
        ("http://good.example%00.evil.example/", None),
        ("http://good.example%2eevil.example/", None),
        ("http://xn--/", None),
        ("http://good..example/", None),
        ("http://.good.example/", None),
        ("http://good.example../", None),
        // Ports.
        ("http://good.example:99999/", None),
        ("http://good.example:+80/", None),
        ("http://good.example:80:80/", None),
        // Blanks and controls that some drop.
        (" https://good.example/", None),
        ("https://good.example /", None),
        ("https://good.exa\tmple/", None),
        ("ht\ntps://good.example/", None),
        ("https://good.example/a b", None),
        // Steps that show when the path is decoded once more.
        ("https://good.example/public/..%2fsecret", None),
        ("https://good.example/public/%252e%252e/secret", None),
        ("https://good.example/public/..%5csecret", None),
        ("https://good.example/public/..;/secret", None),
        ("https://good.example/a%00", None),
        ("file:///C:/../secret", None),
        ("file:secret", None),
    ] {
        assert_eq!(parts(raw).as_deref(), expected, "{raw:?}");
    }
    let uri = Uri::read("HTTP://user@GOOD.example:80/a/../b?q=1#f").unwrap();
    assert!(uri.has_userinfo);
    assert_eq!(uri.normal, "http://good.example/b?q=1");
    assert_eq!(Uri::read("http://[::1]:81/").unwrap().normal, "http://[::1]:81/");
}

#[test]
fn a_host_has_one_spelling_or_none() {
    for (raw, expected) in [
        ("GOOD.example", Some("good.example -")),
        ("good.example.", Some("good.example -")),
        ("good.example:8080", Some("good.example 8080")),
        ("10.0.0.1:22", Some("10.0.0.1 22")),
        ("::1", Some("::1 -")),
        ("[::1]:22", Some("::1 22")),
        ("::ffff:10.0.0.1", Some("10.0.0.1 -")),
        ("my_host", Some("my_host -")),
        ("good.example/evil", None),
        ("user@evil.example", None),
        ("https://evil.example", None),
        ("evil.example#good.example", None),
        ("0x7f.1", None),
        ("2130706433", None),
        ("good.example:", None),
        (":22", None),
        ("", None),
        ("b\u{fc}cher.example", None),
        ("fe80::1%eth0", None),
    ] {
        let found = Host::with_port(raw).map(|(host, port)| {
            format!("{} {}", host.name, port.map_or("-".to_owned(), |port| port.to_string()))
        });
        assert_eq!(found.as_deref(), expected, "{raw:?}");
    }
}

/// The tool `t/t` with a path, a URI and a host, each meant as such.
fn meant() -> Catalogue {
    let schema = r#"{"type":"object","properties":{"path":{"type":"string"},"paths":{"type":"array","items":{"type":"string"}},
        "urls":{"type":"array","items":{"type":"string","format":"uri"}},"url":{"type":"string","format":"uri"},
        "server":{"type":["string","null"]},"to":{"type":"object","properties":{"dir":{"type":"string"}}},"n":{"type":"integer"}}}"#;
    let mut catalogue = with_schema(schema);
    let rule = |meaning, text| InputRule::new(meaning, text).unwrap();
    let inputs =
        vec![rule(Meaning::Path, "t:path*"), rule(Meaning::Path, "to.dir"), rule(Meaning::Host, "server")];
    catalogue.rules.insert(name("t"), ArgumentRules { inputs, ..ArgumentRules::default() });
    catalogue
}

#[test]
fn policies_see_what_a_text_means_and_not_how_it_is_spelt() {
    let arguments = r#"{"path":"/srv/public/./a.TXT","paths":["/srv/public/a","/srv/public/b/c"],
        "urls":["https://A.example/x","https://b.example"],"url":"http://10.1.2.3:80/a/../b","server":"DB.Example.:5432",
        "to":{"dir":"/srv/x"}}"#;
    for condition in [
        r#"context.input has path && context.input.path.normal == "/srv/public/a.TXT""#,
        r#"context.input has path.extension && context.input.path.extension == "txt""#,
        r#"context.input has path && context.input.path.name == "a.TXT" && context.input.path.is_absolute"#,
        r#"context.input has path && context.input.path.components.contains("public") && !context.input.path.has_parent_steps"#,
        r#"context.input has path && context.input.path.raw == "/srv/public/./a.TXT""#,
        r#"context.input has paths__within && context.input.paths__within.contains("/srv/public")"#,
        r#"context.input has paths__within && !context.input.paths__within.contains("/srv/public/a")"#,
        r#"context.input has urls__hosts && ["a.example", "b.example"].containsAll(context.input.urls__hosts)"#,
        r#"context.input has url.ip && context.input.url.ip.isInRange(ip("10.0.0.0/8"))"#,
        r#"context.input has url.port && context.input.url.port == 80 && context.input.url.scheme == "http""#,
        r#"context.input has url && context.input.url.path == "/b" && context.input.url.host == "10.1.2.3""#,
        r#"context.input has server.port && context.input.server.normal == "db.example" && context.input.server.port == 5432"#,
        r#"context.input has to.dir && context.input.to.dir.normal like "/srv/*""#,
    ] {
        let policy =
            format!(r#"permit (principal, action == Mcp::Action::"t/t", resource) when {{ {condition} }};"#);
        let ruling = call(&engine(&policy, &meant()), "t", "t", arguments);
        assert_eq!(effect(&ruling), "allow", "{condition} {ruling:?}");
    }
}

#[test]
fn a_text_that_can_be_read_in_several_ways_is_refused_where_a_policy_reads_it() {
    let sandbox = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has path && context.input.path.normal like "/srv/public/*" };
           permit (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has urls__hosts && ["good.example"].containsAll(context.input.urls__hosts) };
           permit (principal, action == Mcp::Action::"t/t", resource)
             when { context.input has paths__within && context.input.paths__within.contains("/srv/public") };"#,
        &meant(),
    );
    for (arguments, expected) in [
        (r#"{"path":"/srv/public/a"}"#, "allow"),
        (r#"{"path":"/srv/public/../secret"}"#, "not_permitted"),
        (r#"{"path":"/srv/public/%2e%2e/secret"}"#, "invalid_input"),
        (r#"{"path":"/srv/public\\..\\secret"}"#, "invalid_input"),
        (r#"{"urls":["https://good.example/"]}"#, "allow"),
        (r#"{"urls":["https://good.example/","https://evil.example/"]}"#, "not_permitted"),
        (r#"{"urls":["https://good.example/","http:evil.example"]}"#, "invalid_input"),
        (r#"{"paths":["/srv/public/a"]}"#, "allow"),
        (r#"{"paths":["/srv/public/a","/srv/secret"]}"#, "not_permitted"),
        (r#"{"paths":["/srv/public/a","/srv/public/l/../b"]}"#, "not_permitted"),
        (r#"{"paths":["/srv/public/a","C:/secret"]}"#, "invalid_input"),
    ] {
        assert_eq!(effect(&call(&sandbox, "t", "t", arguments)), expected, "{arguments}");
    }
    let blind = engine(r#"permit (principal, action == Mcp::Action::"t/t", resource);"#, &meant());
    assert_eq!(effect(&call(&blind, "t", "t", r#"{"path":"C:/x","urls":["http:evil"]}"#)), "allow");
}

#[test]
fn a_rule_that_finds_no_text_is_told() {
    let mut catalogue = meant();
    let rules = catalogue.rules.get_mut(&name("t")).unwrap();
    rules.inputs.push(InputRule::new(Meaning::Uri, "nothing").unwrap());
    rules.inputs.push(InputRule::new(Meaning::Path, "t:n").unwrap());
    let (_, warnings) = Engine::compile(&PolicySources::default(), &catalogue).unwrap();
    insta::assert_snapshot!(lines(&warnings));
}

#[test]
fn a_pattern_on_the_text_of_a_path_or_url_is_told_with_what_to_write_instead() {
    let plain = r#"{"type":"object","properties":{"filePath":{"type":"string"},"target_url":{"type":"string"},
        "host":{"type":"string"},"text":{"type":"string"},"mode":{"type":"string","enum":["url"]}},
        "required":["filePath","target_url","host","text","mode"]}"#;
    let mut catalogue = with_schema(plain);
    catalogue.servers.extend(
        Catalogue::of(name("m"), tools(&format!(r#"[{{"name":"m","inputSchema":{plain}}}]"#))).servers,
    );
    let rules = ArgumentRules {
        inputs: vec![InputRule::new(Meaning::Path, "filePath").unwrap()],
        ..ArgumentRules::default()
    };
    catalogue.rules.insert(name("m"), rules);
    let engine = engine(
        r#"permit (principal, action == Mcp::Action::"t/t", resource)
  when { context.input.filePath like "/srv/*" && context.input.text like "a*" && context.input.mode like "u*" };
permit (principal, action in Mcp::Action::"t/*", resource)
  unless { !(context.input.target_url like "https://good.example*") };
forbid (principal, action == Mcp::Action::"t/t", resource) when { context.input.host == "evil.example" };
permit (principal, action == Mcp::Action::"t/t", resource) when { context.input.host == "good.example" };
permit (principal, action == Mcp::Action::"m/m", resource)
  when { context.input.filePath.raw like "/srv/*" && context.input.filePath.normal like "/srv/*" };"#,
        &catalogue,
    );
    insta::assert_snapshot!(lines(&engine.lint()));
}
