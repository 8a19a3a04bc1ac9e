//! Admission by bearer tokens of an issuer, on the wire: what clients are told that have none, what a token opens, and
//! what it does not.

use std::fs;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::gateway::{Gateway, chancery, demo_server, wait_for};
use crate::raw::{Answer, Client, call, initialize, promise, read_head, send, tcp};
use crate::support::issuer::{Issuer, Key};

const POLICIES: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("staff") permit (principal in Mcp::Group::"oidc:staff", action == Mcp::Action::"demo/add", resource);
"#;

/// Starts a gateway that believes `issuer`, with more lines below `oidc`.
fn gateway(issuer: &Issuer, more: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.cedar"), POLICIES).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {}\nadmission:\n  bootstrap: \
         {{ file: secret }}\n  oidc:\n    - issuer: {}\n      audience: [chancery, other-name]\n      allow_http: \
         true\n      allow_private: true\n      groups: {{ claim: groups }}\n{more}log: {{ dir: log }}\npolicies: \
         test.cedar\n",
        demo_server(),
        issuer.url()
    );
    fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    let mut command = chancery(dir.path());
    command.env("CHANCERY_LOG", "trace");
    Gateway::start_by(command, dir)
}

fn claims(issuer: &Issuer, subject: &str, groups: &[&str]) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": issuer.url(), "aud": ["chancery"], "sub": subject, "azp": "editor", "scope": "openid mcp:use",
        "iat": now, "exp": now + 600, "groups": groups,
    })
}

fn bearer(key: &Key, claims: &Value) -> String {
    format!("Bearer {}", key.token(claims))
}

fn knock(gateway: &Gateway, authorization: Option<&str>) -> Answer {
    let mut headers = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    headers.extend(authorization.map(|value| ("authorization", value)));
    send(tcp(gateway), "POST /mcp/demo", &headers, initialize("2025-11-25").to_string().as_bytes())
}

#[test]
fn a_client_without_a_token_learns_where_to_get_one() {
    let issuer = Issuer::start();
    let gateway = gateway(&issuer, "      scopes: [\"mcp:use\"]\n");
    let answer = knock(&gateway, None);
    assert_eq!(answer.status, 401);
    let metadata = "http://localhost/.well-known/oauth-protected-resource/mcp/demo";
    let challenge = answer.header("www-authenticate").unwrap();
    assert_eq!(
        challenge,
        format!("Bearer realm=\"chancery\", resource_metadata=\"{metadata}\", scope=\"mcp:use\"")
    );
    for (path, resource) in [("", ""), ("/mcp", "/mcp"), ("/mcp/demo", "/mcp/demo")] {
        let line = format!("GET /.well-known/oauth-protected-resource{path}");
        let page = send(tcp(&gateway), &line, &[("host", "localhost")], b"");
        assert_eq!(page.status, 200);
        let document: Value = serde_json::from_str(&page.body).unwrap();
        let expected = json!({
            "resource": format!("http://localhost{resource}"),
            "authorization_servers": [issuer.url()],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mcp:use"],
        });
        assert_eq!(document, expected);
    }
    let rebound =
        send(tcp(&gateway), "GET /.well-known/oauth-protected-resource", &[("host", "evil.example")], b"");
    assert_eq!(rebound.status, 403);
    assert_eq!(issuer.asked(), [""; 0]);
}

#[test]
fn a_token_opens_a_session_for_its_subject_and_for_nobody_else() {
    let issuer = Issuer::start();
    let key = Key::es256("k1");
    issuer.publish(&[&key]);
    let gateway = gateway(&issuer, "");
    let alice = bearer(&key, &claims(&issuer, "alice", &["staff"]));
    let mut client = Client::open_as(&gateway, "/mcp/demo", "2025-11-25", &alice);
    let sum = client.call(1, "add", r#"{"a":2,"b":3}"#).message();
    assert_eq!(sum["result"]["content"][0]["text"], "5", "{sum}");

    // The session's handle with another's token, with another client's token, with the gateway's secret.
    let mut other_client = claims(&issuer, "alice", &["staff"]);
    other_client["azp"] = json!("thief");
    for stranger in
        [bearer(&key, &claims(&issuer, "mallory", &["staff"])), bearer(&key, &other_client), gateway.bearer()]
    {
        client.bearer = stranger;
        assert_eq!(client.call(2, "add", r#"{"a":1,"b":1}"#).status, 404);
        assert_eq!(client.listen().0.status, 404);
        assert_eq!(client.delete().status, 404);
    }

    // A group that the next token lacks is gone; one that comes back is back.
    client.bearer = bearer(&key, &claims(&issuer, "alice", &["guests"]));
    let denied = client.call(3, "add", r#"{"a":1,"b":1}"#).message();
    assert!(denied["error"]["code"].is_i64(), "{denied}");
    client.bearer = bearer(&key, &claims(&issuer, "alice", &["staff"]));
    assert_eq!(client.call(4, "add", r#"{"a":2,"b":2}"#).message()["result"]["content"][0]["text"], "4");
    assert_eq!(client.delete().status, 204);
    assert_eq!(issuer.asked().len(), 2, "{:?}", issuer.asked());

    // No bearer is told to anyone, at any level of the log.
    let records = serde_json::to_string(&gateway.records()).unwrap();
    let (_, signature) = alice.rsplit_once('.').unwrap();
    assert!(!gateway.said().contains(signature) && !records.contains(signature));
    assert!(records.contains(&format!("oidc:{}#alice", issuer.url())));
}

#[test]
fn a_body_that_comes_when_its_token_has_ended_is_not_heard() {
    let issuer = Issuer::start();
    let key = Key::es256("k1");
    issuer.publish(&[&key]);
    let gateway = gateway(&issuer, "");
    let mut said = claims(&issuer, "alice", &["staff"]);
    let mut client = Client::open_as(&gateway, "/mcp/demo", "2025-11-25", &bearer(&key, &said));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = now() + 3;
    said["exp"] = json!(end);
    client.bearer = bearer(&key, &said);
    let (add, open) = (call(1, "add", r#"{"a":2,"b":3}"#), initialize("2025-11-25").to_string());
    let headers = client.headers();
    let anew: Vec<_> = headers.iter().copied().filter(|(name, _)| *name != "mcp-session-id").collect();
    let begun = [(add.as_str(), &headers), (open.as_str(), &anew)]
        .map(|(body, headers)| (body, promise(tcp(&gateway), "POST /mcp/demo", headers, body.len())));
    wait_for("the token's end", || (now() >= end).then_some(()));
    for (body, mut reader) in begun {
        reader.get_mut().write_all(body.as_bytes()).unwrap();
        let (answer, _) = read_head(reader);
        assert_eq!(answer.status, 401, "{body}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        let why = "error=\"invalid_token\", error_description=\"The access token expired\"";
        assert!(challenge.ends_with(why), "{challenge}");
        assert!(answer.header("mcp-session-id").is_none());
    }
    let records = serde_json::to_string(&gateway.records()).unwrap();
    assert!(!records.contains("demo/add") && records.matches("session-open:v1").count() == 1, "{records}");
}

#[test]
fn tokens_that_prove_nothing_open_nothing() {
    let issuer = Issuer::start();
    let key = Key::rs256("k1");
    issuer.publish(&[&key]);
    let gateway = gateway(&issuer, "      scopes: [\"mcp:admin\"]\n");
    let good = claims(&issuer, "alice", &[]);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        bearer(&key, &claims)
    };
    let session = json!({ "alg": "RS256", "kid": "k1", "typ": "mcp-session+jwt" }).to_string();
    let none = json!({ "alg": "none", "kid": "k1" }).to_string();
    for hostile in [
        bearer(&Key::rs256("k1"), &good),
        bearer(&Key::es256("k2"), &good),
        with("aud", json!("someone-else")),
        with("iss", json!("http://127.0.0.1:1")),
        with("exp", json!(1)),
        with("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })),
        format!("Bearer {}", key.sign(&session, &good.to_string())),
        format!("Bearer {}", key.sign(&none, &good.to_string())),
    ] {
        let answer = knock(&gateway, Some(&hostile));
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{answer:?}");
        assert!(answer.header("mcp-session-id").is_none());
    }
    let lacking = knock(&gateway, Some(&bearer(&key, &good)));
    assert_eq!(lacking.status, 403);
    let challenge = lacking.header("www-authenticate").unwrap();
    assert!(challenge.ends_with("scope=\"mcp:admin\", error=\"insufficient_scope\""), "{challenge}");
    assert!(knock(&gateway, Some(&with("scope", json!("mcp:admin")))).header("mcp-session-id").is_some());
    // The secret admits beside the issuer.
    assert!(knock(&gateway, Some(&gateway.bearer())).header("mcp-session-id").is_some());
}

#[test]
fn an_issuer_that_is_down_is_told_apart_from_a_token_that_is_no_good() {
    let issuer = Issuer::start();
    let gateway = gateway(&issuer, "");
    issuer.fail();
    let answer = knock(&gateway, Some(&bearer(&Key::eddsa("k"), &claims(&issuer, "alice", &[]))));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
    assert!(answer.header("www-authenticate").is_none());
    gateway.says(&["an issuer's keys can't be fetched"]);
}

#[test]
fn a_source_that_fails_is_told_to_the_operator_and_the_next_one_serves() {
    let issuer = Issuer::start();
    let key = Key::es256("k1");
    issuer.publish(&[&key]);
    let url = issuer.url();
    let next = format!(
        "      jwks_url: {url}/broken\n    - issuer: {url}\n      audience: chancery\n      allow_http: true\n      \
         allow_private: true\n      groups: {{ claim: groups }}\n"
    );
    let gateway = gateway(&issuer, &next);
    let client = Client::open_as(
        &gateway,
        "/mcp/demo",
        "2025-11-25",
        &bearer(&key, &claims(&issuer, "alice", &["staff"])),
    );
    assert_eq!(client.call(1, "add", r#"{"a":2,"b":3}"#).message()["result"]["content"][0]["text"], "5");
    gateway.says(&["/broken answered 503"]);
}

#[test]
fn a_flood_of_forged_tokens_is_told_to_come_later_and_the_right_one_goes_through() {
    let issuer = Issuer::start();
    let (key, thief) = (Key::es256("k1"), Key::es256("k1"));
    issuer.publish(&[&key]);
    let gateway = gateway(&issuer, "");
    let good = claims(&issuer, "alice", &["staff"]);
    let forged = bearer(&thief, &good);
    // More than a minute's fill, wherever in a minute this begins.
    let told = (0..70).map(|_| knock(&gateway, Some(&forged))).find(|answer| answer.status == 429).unwrap();
    assert_eq!(told.header("retry-after"), Some("60"));
    assert!(told.header("mcp-session-id").is_none());
    assert!(knock(&gateway, Some(&bearer(&key, &good))).header("mcp-session-id").is_some());
}

#[test]
fn a_claim_that_is_let_through_is_in_the_sessions_token_and_no_other_is() {
    let issuer = Issuer::start();
    let key = Key::es256("k1");
    issuer.publish(&[&key]);
    let gateway = gateway(&issuer, "      claims: [department]\n");
    let mut said = claims(&issuer, "alice", &[]);
    said["department"] = json!("lab");
    said["email"] = json!("alice@example.org");
    let answer = knock(&gateway, Some(&bearer(&key, &said)));
    let token = answer.header("mcp-session-id").unwrap().to_owned();
    let payload = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["claims"], json!({ "department": ["lab"] }));
    // One that leaves no room for it in a header admits nobody.
    said["department"] = json!("x".repeat(2000));
    assert_eq!(knock(&gateway, Some(&bearer(&key, &said))).status, 401);
    let records = serde_json::to_string(&gateway.records()).unwrap();
    assert!(!records.contains("alice@example.org") && !gateway.said().contains("alice@example.org"));
}
