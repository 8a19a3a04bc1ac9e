//! What authors write, right and wrong (long: one mistake after the other, easier to read whole).

use std::path::Path;
use std::time::Duration;

use miette::Diagnostic as _;

use super::*;
use crate::proxy::config::{HeaderSource, ServerKind};

fn env() -> Environment {
    Environment::of([("HOME", "/home/ada"), ("API_KEY", "k3y")])
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("chancery.yaml", text, Path::new("/etc/chancery"), Purpose::Serve, &env())
}

/// Each mistake as `line:column message | help`.
fn mistakes(text: &str) -> Vec<String> {
    let found = match parse(text).unwrap_err() {
        ConfigError::One(one) => vec![one],
        ConfigError::Many(many) => many,
        other => panic!("{other}"),
    };
    let line = |m: &Mistake| {
        assert!(m.source_code().is_some() && m.labels().is_some());
        let (line, column) = m.position();
        format!("{line}:{column} {m} | {}", m.fix().unwrap_or_default())
    };
    found.iter().map(line).collect()
}

const GOOD: &str = r#"
listen: { tcp: "127.0.0.1:0", unix: run/mcp.sock, address_file: addresses }
servers:
  files:
    command: npx
    args: [-y, "@modelcontextprotocol/server-filesystem", /data]
    env: { TOKEN: "${API_KEY}", PRICE: "5$$" }
  local-tool: { command: ./bin/tool }
  remote:
    url: https://mcp.example.com/mcp
    headers: { Authorization: "Bearer ${API_KEY}" }
policies: ./policies
log: { dir: ~/log, durability: written, segment: 1MiB }
admission:
  peer: { allow_uids: [1000], allow_executables: [/usr/bin/agent] }
  bootstrap: { file: ./secret }
session: { token_ttl: 5m }
limits: { message_bytes: 1MiB, in_flight: 8 }
refusal_summary: 5s
time_zone: Asia/Kolkata
"#;

#[test]
fn a_whole_file_is_resolved_with_defaults_and_paths_relative_to_it() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.listen.unix.as_deref(), Some(Path::new("/etc/chancery/run/mcp.sock")));
    assert_eq!(config.address_file.as_deref(), Some(Path::new("/etc/chancery/addresses")));
    assert_eq!(config.policies, [Path::new("/etc/chancery/policies")]);
    assert_eq!(config.log.dir, Path::new("/home/ada/log"));
    assert_eq!(config.log.durability, attest::Durability::Written);
    assert_eq!(config.state_dir, Path::new("/home/ada/.local/state/chancery"));
    assert_eq!(config.session.token_ttl, Duration::from_secs(300));
    assert_eq!(config.session.max_lifetime, Duration::from_secs(12 * 3600));
    assert_eq!((config.limits.message_bytes, config.limits.in_flight), (1 << 20, 8));
    assert_eq!(config.refusal_summary, Duration::from_secs(5));
    assert_eq!(config.time_zone.to_string(), "Asia/Kolkata");
    let kind = |name: &str| config.servers[&name.parse().unwrap()].kind.clone();
    match kind("files") {
        ServerKind::Child(child) => {
            assert_eq!((child.command.as_str(), child.args.len()), ("npx", 3));
            assert_eq!((child.env["TOKEN"].as_str(), child.env["PRICE"].as_str()), ("k3y", "5$"));
        }
        other => panic!("{other:?}"),
    }
    match kind("local-tool") {
        ServerKind::Child(child) => assert_eq!(child.command, "/etc/chancery/bin/tool"),
        other => panic!("{other:?}"),
    }
    match kind("remote") {
        ServerKind::Http(http) => match &http.headers["Authorization"] {
            HeaderSource::Text(text) => assert_eq!(text.expose(), "Bearer k3y"),
            HeaderSource::File { .. } => panic!("a file"),
        },
        other => panic!("{other:?}"),
    }
    assert!(!format!("{:?}", kind("remote")).contains("k3y"));
}

#[test]
fn every_unknown_key_is_reported_at_once_with_the_one_that_was_meant() {
    let text =
        "lisen:\n  tcp: \"127.0.0.1:0\"\nservers:\n  files:\n    comand: npx\nlog:\n  zzz: 1\n  dir:\n";
    let found = mistakes(text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found[0], "1:1 unknown key `lisen` | did you mean `listen`?");
    assert_eq!(found[1], "5:5 unknown key `comand` | did you mean `command`?");
    assert!(found[2].starts_with("7:3 unknown key `zzz` | known here: `dir`"), "{}", found[2]);
    assert!(found[3].starts_with("8:3 `dir` has no value"), "{}", found[3]);
}

#[test]
fn every_wrong_value_is_reported_at_once() {
    let text = r#"
listen: { tcp: localhost, allowed_origins: ["http://x/y"], unix: s }
servers:
  Files: { command: npx }
  both: { command: npx, url: "https://x/" }
  none: { args: [a] }
  secret: { url: "https://user:pw@x/" }
  env: { command: npx, env: { A: "${MISSING}" } }
admission: { bootstrap: { file: s }, peer: { allow_executables: [agent, "sha256:12"] } }
session: { token_ttl: 15 }
limits: { message_bytes: 4mb, sessions: 0 }
telemetry: { otlp_endpoint: "127.0.0.1:4318" }
"#;
    let found = mistakes(text);
    let expected = [
        "2:16 `localhost` is not an address",
        "2:45 `http://x/y` is not an origin",
        "4:3 `Files` is not a server name",
        "5:30 a server has a `command` or a `url`, not both",
        "6:9 this server has neither `command` nor `url`",
        "7:18 this is not the URL of a tool server",
        "8:34 the environment has no `MISSING`",
        "9:66 an executable needs an absolute path",
        "9:73 this is not a digest",
        "10:23 `15` is not a duration",
        "11:26 `4mb` is not a size",
        "11:41 this is out of bounds",
        "12:29 `127.0.0.1:4318` is not a URL",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nexpected {expected}");
    }
}

#[test]
fn a_listener_without_evidence_is_refused_and_told_what_to_write() {
    let servers = "servers: { s: { command: x } }\n";
    let found = mistakes(&format!("listen: {{ tcp: \"127.0.0.1:0\" }}\n{servers}"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("1:16 this listener has no evidence configured"), "{}", found[0]);
    assert!(found[0].contains("admission:\n  bootstrap:\n    file:"), "{}", found[0]);

    let found =
        mistakes(&format!("listen: {{ tcp: \"127.0.0.1:0\" }}\nadmission: {{ peer: {{}} }}\n{servers}"));
    let told = |what: &str| found.iter().any(|mistake| mistake.contains(what));
    assert!(told("no evidence") && told("no meaning without `listen.unix`"), "on TCP: {found:?}");

    let found = mistakes(&format!("listen: {{ unix: s }}\n{servers}"));
    assert!(found[0].contains("admission:\n  peer: {}"), "{}", found[0]);
    assert!(parse(&format!("listen: {{ unix: s }}\nadmission: {{ peer: {{}} }}\n{servers}")).is_ok());
}

#[test]
fn a_synonym_an_empty_socket_and_a_listener_for_tokens_are_told_what_was_meant() {
    let listen = "listen: { tls: \"127.0.0.1:0\" }\n";
    let found = mistakes(&format!("{listen}servers: {{ s: {{ cmd: x }} }}\n"));
    assert!(found[0].contains("did you mean `command`?"), "{found:?}");
    let oidc = "admission: { oidc: [{ issuer: \"https://a.org\", audience: a }] }\nadmin: { socket: \"\" }\n";
    let found = mistakes(&format!("{listen}servers: {{ s: {{ command: x }} }}\n{oidc}"));
    assert!(found.iter().any(|m| m.contains("certificate: ./fullchain.pem, key:")), "{found:?}");
    assert!(found.iter().any(|m| m.contains("`admin.socket` names no file")), "{found:?}");
}

#[test]
fn a_bootstrap_secret_never_goes_over_the_network() {
    let text = "listen: { tcp: \"0.0.0.0:80\" }\nadmission: { bootstrap: { file: s } }\nservers: { s: { command: x } }";
    assert!(mistakes(text)[0].contains("0.0.0.0 is not a loopback address"));
}

#[test]
fn what_serve_needs_is_named() {
    let found = mistakes("log: { durability: fsync }");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("nothing to listen on") && found[1].contains("no tool server"));
    assert!(Config::defaults(Purpose::Run, &env()).is_ok());
    assert!(matches!(Config::defaults(Purpose::Run, &Environment::of([])), Err(ConfigError::NoStateDir)));
}

#[test]
fn unreadable_yaml_and_wrong_types_have_a_place() {
    for (text, place) in [
        ("listen:\n  tcp: [1", "2:"),
        ("listen: 5\nservers: {}", "1:"),
        ("log:\n  durability: maybe\n", "2:"),
        ("limits: { in_flight: many }", "1:"),
        ("log: {}\nlog: {}\n", "2:1"),
    ] {
        let found = mistakes(text);
        assert!(found[0].starts_with(place), "{text:?}: {found:?}");
    }
}

fn identity_of(text: &str, env: &Environment) -> identity::Config {
    let text = format!("{GOOD}{text}");
    Config::parse("chancery.yaml", &text, Path::new("/etc/chancery"), Purpose::Serve, env).unwrap().identity
}

#[test]
fn which_identity_is_meant_follows_the_word_the_sections_and_the_environment() {
    let plain = env();
    let agent = Environment::of([
        ("HOME", "/home/ada"),
        ("API_KEY", "k3y"),
        ("SPIFFE_ENDPOINT_SOCKET", "unix:///run/agent.sock"),
    ]);
    let kind = |text: &str, env: &Environment| match identity_of(text, env).kind {
        identity::Kind::Local(_) => "local".to_owned(),
        identity::Kind::Spire(spire) => spire.socket.unwrap_or_else(|| "none".to_owned()),
    };
    let (own, other) = ("unix:///run/agent.sock", "unix:///run/other.sock");
    let cases = [
        ("", "local", own),
        ("identity: auto", "local", own),
        ("identity: local", "local", "local"),
        ("identity: { local: {} }", "local", "local"),
        ("identity: { publish_ahead: 5s }", "local", own),
        ("identity: { spire: { socket: \"unix:///run/other.sock\" } }", other, other),
        ("identity: { kind: auto, spire: { socket: \"unix:///run/other.sock\" }, local: {} }", other, other),
        ("identity: { kind: auto, spire: { hint: internal }, local: {} }", "local", own),
        ("identity: { kind: local, spire: { socket: \"unix:///run/other.sock\" } }", "local", "local"),
    ];
    for (text, without, with) in cases {
        assert_eq!((kind(text, &plain), kind(text, &agent)), (without.to_owned(), with.to_owned()), "{text}");
    }
    assert_eq!(kind("identity: spire", &agent), own);
}

#[test]
fn everything_of_a_spire_identity_is_taken_over() {
    let text = r#"
identity:
  publish_ahead: 5s
  spire:
    socket: unix:///run/spire/agent.sock
    spiffe_id: spiffe://example.org/chancery
    hint: internal
    initial_sync_timeout: 3s
    dir: ./keys
"#;
    let found = identity_of(text, &env());
    let spire = identity::Spire {
        socket: Some("unix:///run/spire/agent.sock".to_owned()),
        spiffe_id: Some("spiffe://example.org/chancery".parse().unwrap()),
        hint: Some("internal".to_owned()),
        initial_sync_timeout: Duration::from_secs(3),
        dir: "/etc/chancery/keys".into(),
    };
    let lead = Duration::from_secs(5);
    assert_eq!(found, identity::Config { kind: identity::Kind::Spire(spire), lead });
}

#[test]
fn a_wrong_identity_is_told_what_to_write() {
    let found = |text: &str| mistakes(&format!("{GOOD}{text}"));
    // Where the socket is missing, a start says so; what only looks does not need it.
    for text in ["identity: spire", "identity: { kind: spire }", "identity: { spire: {} }"] {
        assert!(
            matches!(identity_of(text, &env()).kind, identity::Kind::Spire(spire) if spire.socket.is_none())
        );
    }
    let relative = found("identity: { spire: { socket: \"unix://./agent.sock\" } }");
    assert!(relative[0].contains("unix:///"), "{relative:?}");
    assert!(
        found("identity: vault")[0].contains("one of auto, spire, local"),
        "{:?}",
        found("identity: vault")
    );
    let both = found("identity: { spire: { socket: \"unix:///a\" }, local: {} }");
    assert!(both[0].contains("kind: auto"), "{both:?}");
    let text = "identity: { kind: auto, publish_ahead: 1h, spire: { spiffe_id: example.org, socket: \"unix:///a\" } }";
    assert_eq!(found(text).len(), 2, "{:?}", found(text));
    let unknown = found("identity: { spire: { sockets: \"unix:///a\" } }");
    assert!(unknown[0].contains("socket"), "{unknown:?}");
}

#[test]
fn a_server_that_must_prove_itself_needs_tls_and_an_identity_from_spire() {
    let server = "\nservers:\n  far: { url: \"http://far/mcp\", spiffe_id: \"spiffe://example.org/far\" }\n";
    let rest = "listen: { tcp: \"127.0.0.1:0\" }\nadmission: { bootstrap: { file: ./secret } }";
    let found = mistakes(&format!("{rest}{server}"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().any(|m| m.contains("https URL")) && found.iter().any(|m| m.contains("identity: spire"))
    );
    let text = format!(
        "{rest}{}identity: {{ spire: {{ socket: \"unix:///a\" }} }}",
        server.replace("http:", "https:")
    );
    let config = parse(&text).unwrap();
    match &config.servers[&"far".parse().unwrap()].kind {
        ServerKind::Http(http) => assert_eq!(http.spiffe_ids[0].as_str(), "spiffe://example.org/far"),
        ServerKind::Child(_) => panic!("a child"),
    }
}

const MTLS: &str = "listen: { tls: \"0.0.0.0:8443\" }\nservers: { demo: { command: demo } }\n";

#[test]
fn what_arguments_mean_and_what_becomes_of_wrong_ones_is_taken_over() {
    use crate::policy::{Breaches, InputRule, Meaning};
    let more = "arguments: record, inputs: { path: [path, \"read:*.to\"], host: name }";
    let text = GOOD.replace("{ command: ./bin/tool }", &format!("{{ command: ./bin/tool, {more} }}"));
    let config = parse(&text).unwrap();
    let rules = &config.servers[&"local-tool".parse().unwrap()].arguments;
    let rule = |meaning, text| InputRule::new(meaning, text).unwrap();
    assert_eq!(rules.breaches, Breaches::Record);
    assert_eq!(
        rules.inputs,
        [rule(Meaning::Path, "path"), rule(Meaning::Path, "read:*.to"), rule(Meaning::Host, "name")]
    );
    assert_eq!(config.servers[&"files".parse().unwrap()].arguments.breaches, Breaches::Refuse);
    let wrong = mistakes(&text.replace("host: name", "uri: [\"read:\"]"));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("an argument's name is missing"), "{wrong:?}");
}

#[test]
fn workloads_are_let_in_on_tls_by_trust_domain_and_by_pattern() {
    let admission = "admission: { mtls: { trust_domains: [a.org], spiffe_ids: [\"spiffe://a.org/x/*\"] } }\n";
    let spire = "identity: { spire: { socket: \"unix:///a\" } }";
    let config = parse(&format!("{MTLS}{admission}{spire}")).unwrap();
    // Encrypted and mutually authenticated: it need not be a loopback address.
    assert_eq!(config.listen.tls, Some("0.0.0.0:8443".parse().unwrap()));
    let mtls = config.admission.mtls.unwrap();
    assert!(mtls.allows(&"spiffe://a.org/x/y".parse().unwrap()));
    assert!(!mtls.allows(&"spiffe://a.org/z".parse().unwrap()));
}

#[test]
fn a_tls_listener_needs_mtls_that_lets_somebody_in_and_an_identity_from_spire() {
    let spire = "identity: { spire: { socket: \"unix:///a\" } }\n";
    let found = |admission: &str, identity: &str| mistakes(&format!("{MTLS}{admission}{identity}"));
    for (admission, identity, what) in [
        ("", spire, "no evidence configured"),
        ("admission: { bootstrap: { file: x } }\n", spire, "no evidence configured"),
        ("admission: { mtls: {} }\n", spire, "lets nobody in"),
        (
            "admission: { mtls: { trust_domains: [a.org] } }\n",
            "identity: local",
            "needs an identity from SPIRE",
        ),
        ("admission: { mtls: { trust_domains: [a.org/x] } }\n", spire, "not the name of a trust domain"),
        ("admission: { mtls: { spiffe_ids: [\"spiffe://a.org/n*\"] } }\n", spire, "`spiffe://a.org/n*`"),
        ("admission: { mtls: { spiffe_ids: [\"spiffe://a.org\"] } }\n", spire, "names a trust domain"),
        (
            "admission: { mtls: { trust_domains: [a.org], spiffe_ids: [\"spiffe://b.org/*\"] } }\n",
            spire,
            "`b.org` is not in `trust_domains`",
        ),
    ] {
        let found = found(admission, identity);
        assert!(found.len() == 1 && found[0].contains(what), "{admission}: {found:?}");
    }
    let nowhere =
        mistakes(&format!("{GOOD}{spire}").replace("  peer:", "  mtls: { trust_domains: [a.org] }\n  peer:"));
    assert!(nowhere.len() == 1 && nowhere[0].contains("without `listen.tls`"), "{nowhere:?}");
}

#[test]
fn anonymous_is_evidence_for_loopback_tcp_and_for_nothing_else() {
    let servers = "servers: { demo: { command: demo } }\n";
    let tcp = format!("listen: {{ tcp: \"127.0.0.1:0\" }}\n{servers}");
    assert!(parse(&format!("{tcp}admission: {{ anonymous: true }}")).unwrap().admission.anonymous);
    assert!(
        mistakes(&format!("{tcp}admission: {{ anonymous: false }}"))[0].contains("no evidence configured")
    );
    let wide = mistakes(&format!("{}admission: {{ anonymous: true }}", tcp.replace("127.0.0.1", "0.0.0.0")));
    assert!(wide[0].contains("not a loopback address"), "{wide:?}");
    let unix = mistakes(&format!("listen: {{ unix: mcp.sock }}\n{servers}admission: {{ anonymous: true }}"));
    assert_eq!(unix.len(), 2, "{unix:?}");
    assert!(unix.iter().any(|mistake| mistake.contains("without `listen.tcp`")), "{unix:?}");
}

#[test]
fn an_issuer_is_evidence_for_tcp_and_its_mistakes_are_told() {
    let rest = "listen: { tcp: \"127.0.0.1:0\" }\nservers: { a: { command: a } }\nadmission: { oidc: ";
    let good = "[{ issuer: \"https://login.example.org\", audience: chancery, claims: [team], groups: { claim: roles } }] }";
    let config = parse(&format!("{rest}{good}")).unwrap();
    let [issuer] = config.admission.oidc.as_slice() else { panic!("{config:?}") };
    assert_eq!(issuer.algorithms, admission::Algorithm::ALL);
    assert_eq!(issuer.claims, ["team"]);
    assert_eq!((issuer.groups.as_ref().unwrap().prefix.as_str(), issuer.allow_private), ("oidc:", false));
    for (entry, told) in [
        ("{ issuer: \"http://login.example.org\", audience: a }", "is not https"),
        ("{ issuer: \"https://127.0.0.1:1\", audience: a }", "keys are not fetched from this machine's own"),
        (
            "{ issuer: \"https://a.org\", jwks_url: \"https://localhost/k\", audience: a }",
            "keys are not fetched from this machine's own `https://localhost/k`",
        ),
        ("{ issuer: login, audience: a }", "is not an https URL"),
        ("{ issuer: \"https://a.org/?x=1\", audience: a }", "neither query nor fragment"),
        ("{ issuer: \"https://a.org\", audience: [] }", "`audience` names nothing"),
        ("{ issuer: \"https://a.org\" }", "audience"),
        ("{ issuer: \"https://a.org\", audience: a, algorithms: [HS256] }", "`HS256` is not accepted"),
        ("{ issuer: \"https://a.org\", audience: a, scopes: [\"a b\"] }", "is not a scope"),
        ("{ issuer: \"https://a.org\", audience: a, claims: [x, x] }", "`x` can't be let through"),
        ("{ issuer: \"https://a.org\", audience: a, claims: [\"\"] }", "can't be let through"),
        ("{ issuer: \"https://a.org\", audience: a, jwks_url: \"http://a.org\" }", "is not https"),
        (
            "{ issuer: \"https://a.org\", audience: a, groups: { claim: g, prefix: \"uid:\" } }",
            "can't stand before groups",
        ),
    ] {
        let found = mistakes(&format!("{rest}[{entry}] }}"));
        assert!(found.iter().any(|mistake| mistake.contains(told)), "{entry}: {found:?}");
    }
    let found = mistakes(&format!("{}{good}", rest.replace("tcp:", "public_url: \"https://a.org/x\", tcp:")));
    assert!(found[0].contains("is not such a URL"), "{found:?}");
}
