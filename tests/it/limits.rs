//! What one principal may do at once, and that it costs no other.

use serde_json::json;

use crate::gateway::{Gateway, demo_server, is_kind, wait_for};
use crate::puppet::{POLICIES, gateway};
use crate::raw::{Answer, Client, initialize, send, tcp, unix};

const HEADERS: [(&str, &str); 3] = [
    ("host", "localhost"),
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
];

/// A handshake over the Unix socket, by this process.
fn handshake(gateway: &Gateway) -> Answer {
    let body = initialize("2025-11-25").to_string();
    send(unix(&gateway.dir.path().join("mcp.sock")), "POST /mcp", &HEADERS, body.as_bytes())
}

#[test]
fn a_principal_with_as_many_sessions_as_it_may_have_is_told_429_and_others_are_not() {
    let more = "limits: { sessions_per_principal: 2 }\n";
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, more);
    let first = handshake(&gateway);
    assert_eq!((first.status, handshake(&gateway).status), (200, 200));
    let refused = handshake(&gateway);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(refused.header("mcp-session-id"), None);
    let error = &refused.message()["error"];
    assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(429), &json!("limited")), "{error}");
    assert!(error["data"]["attestation"].is_string(), "{error}");
    assert_eq!(gateway.children().len(), 2, "nothing was started for it");

    // Neither another principal nor a stranger is treated otherwise than before.
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_eq!(client.call(1, "add", r#"{"a":1,"b":1}"#).message()["id"], 1);
    assert_eq!(send(tcp(&gateway), "POST /mcp", &HEADERS, b"{}").status, 401);

    let mut headers = HEADERS.to_vec();
    headers.push(("mcp-session-id", first.header("mcp-session-id").unwrap()));
    let ended = send(unix(&gateway.dir.path().join("mcp.sock")), "DELETE /mcp", &headers, b"");
    assert_eq!(ended.status, 204);
    assert_eq!(handshake(&gateway).status, 200);
    let records = gateway.records();
    let limited = records.iter().filter(|record| record["predicate"]["denyReason"] == "limited");
    assert_eq!(limited.count(), 1);
}

#[test]
fn a_client_that_restarts_with_its_secret_is_not_told_429_where_it_may_have_one_session() {
    let more = "limits: { sessions_per_principal: 1 }\n";
    let gateway = gateway(&format!("  demo: {}", demo_server()), POLICIES, more);
    let first = Client::open(&gateway, "/mcp", "2025-11-25");
    let second = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_eq!(first.call(1, "add", r#"{"a":1,"b":1}"#).status, 404);
    assert_eq!(second.call(1, "add", r#"{"a":1,"b":1}"#).message()["id"], 1);
    wait_for("the end of the first one's tool server", || (gateway.children().len() == 1).then_some(()));
    let records = gateway.records();
    let closes = records.iter().filter(|record| is_kind(record, "session-close"));
    let reasons: Vec<_> = closes.map(|record| record["predicate"]["reason"].clone()).collect();
    assert_eq!(reasons, [json!("superseded")]);
    assert!(!records.iter().any(|record| record["predicate"]["denyReason"] == "limited"));
}

#[test]
fn a_principal_that_calls_too_fast_is_told_when_to_come_again_and_nothing_of_it_goes_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("record");
    let server = format!(
        "  demo: {{ command: \"{}\", args: [demo-server, --record, \"{}\"] }}",
        env!("CARGO_BIN_EXE_chancery"),
        record.display()
    );
    let gateway = gateway(&server, POLICIES, "limits: { calls_per_second: 1 }\n");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let mut refused = None;
    for id in 1..=50 {
        let answer = client.call(id, "echo", &format!(r#"{{"message":"call-{id}-"}}"#));
        assert_eq!(answer.status, 200, "inside a session refusals are JSON-RPC errors");
        let message = answer.message();
        if message["error"].is_object() {
            refused = Some((id, message["error"].clone()));
            break;
        }
    }
    let (id, error) = refused.unwrap();
    assert!(id > 2, "the burst is twice the rate");
    assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(429), &json!("limited")), "{error}");
    let wait = error["data"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..=1000).contains(&wait), "{wait}");
    assert!(error["data"]["attestation"].is_string(), "{error}");
    let upstream = std::fs::read_to_string(&record).unwrap();
    assert!(upstream.contains("call-1-") && !upstream.contains(&format!("call-{id}-")), "{upstream}");

    let mut next = 100;
    wait_for("room for another call", || {
        next += 1;
        client.call(next, "add", r#"{"a":1,"b":1}"#).message()["result"].is_object().then_some(())
    });
    let records = gateway.records();
    let decisions = records.iter().filter(|record| is_kind(record, "decision"));
    assert!(decisions.filter(|record| record["predicate"]["denyReason"] == "limited").count() >= 1);
}
