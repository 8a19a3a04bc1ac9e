//! Admission of whoever shows nothing, where configuration says so.

use crate::gateway::{Gateway, demo_server, is_kind, wait_for};
use crate::raw::{Answer, call, initialize, send, tcp};
use crate::spire::part;

const POLICIES: &str = r#"@id("anyone") permit (principal == Mcp::Agent::"anonymous", action, resource);
@id("holder") permit (principal in Mcp::Group::"bootstrap", action, resource);"#;

fn gateway(admission: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("test.cedar"), POLICIES).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {}\n\
         admission: {{ {admission} }}\nlog: {{ dir: log }}\npolicies: test.cedar\n",
        demo_server()
    );
    std::fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    Gateway::start_in(dir)
}

fn post(gateway: &Gateway, more: &[(&str, &str)], body: &str) -> Answer {
    let mut headers = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    headers.extend(more);
    send(tcp(gateway), "POST /mcp/demo", &headers, body.as_bytes())
}

fn begin(gateway: &Gateway, more: &[(&str, &str)]) -> Answer {
    post(gateway, more, &initialize("2025-11-25").to_string())
}

#[test]
fn who_shows_nothing_is_anonymous_where_that_is_written_out_and_warned_about() {
    let gateway = gateway("anonymous: true");
    gateway.says(&["`admission.anonymous` lets in whoever"]);
    let answer = begin(&gateway, &[]);
    let session = answer.header("mcp-session-id").unwrap();
    let claims = part(session, 1);
    assert_eq!((&claims["sub"], &claims["amr"]), (&"anonymous".into(), &serde_json::json!(["anonymous"])));
    let sum = post(&gateway, &[("mcp-session-id", session)], &call(1, "add", r#"{"a":1,"b":2}"#));
    assert_eq!(sum.message()["result"]["content"][0]["text"], "3", "{sum:?}");
    // DNS rebinding is what a page could do to a listener that asks for nothing.
    assert_eq!(begin(&gateway, &[("origin", "http://evil.example")]).status, 403);
}

#[test]
fn wrong_evidence_is_not_taken_for_none() {
    let gateway = gateway("anonymous: true, bootstrap: { file: secret }");
    let bearer = gateway.bearer();
    let wrong: [&[(&str, &str)]; 5] = [
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic Zm9v")],
        &[("authorization", "")],
        &[("authorization", &bearer), ("authorization", &bearer)],
    ];
    for headers in wrong {
        let answer = begin(&gateway, headers);
        assert_eq!(answer.status, 401, "{headers:?} {answer:?}");
    }
    let with_nothing = self::gateway("anonymous: true");
    assert_eq!(begin(&with_nothing, &[("authorization", "Bearer x")]).status, 401, "there is nothing to fit");
    assert!(!gateway.records().iter().any(|record| is_kind(record, "session-open")));
}

#[test]
fn the_secrets_holder_is_its_holder_and_its_token_opens_nothing_for_nobody() {
    let gateway = gateway("anonymous: true, bootstrap: { file: secret }");
    let bearer = gateway.bearer();
    let answer = begin(&gateway, &[("authorization", &bearer)]);
    let session = answer.header("mcp-session-id").unwrap();
    assert!(part(session, 1)["sub"].as_str().unwrap().starts_with("bootstrap:"));
    let stolen = post(&gateway, &[("mcp-session-id", session)], &call(1, "add", r#"{"a":1,"b":2}"#));
    assert_eq!(stolen.status, 404, "{stolen:?}");
    wait_for("the refusal in the log", || {
        let mut records = gateway.records().into_iter();
        records.find(|record| record.to_string().contains("evidence_mismatch"))
    });
}
