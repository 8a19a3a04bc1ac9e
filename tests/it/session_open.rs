//! Who may open a session to which server: decided by the policies, recorded either way.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::gateway::{Gateway, demo_server, is_kind};
use crate::raw::{Answer, initialize, send, tcp};
use crate::support::issuer::{Issuer, Key};

const POLICIES: &str = r#"
@id("staff-opens-demo")
permit (principal in Mcp::Group::"oidc:staff", action == Mcp::Action::"session/open", resource == Mcp::Server::"demo");
@id("nobody-on-leave") @reason("Accounts on leave open no sessions.")
forbid (principal in Mcp::Group::"oidc:on-leave", action == Mcp::Action::"session/open", resource);
"#;

#[test]
fn the_opening_of_a_session_is_decided_by_group_and_server_and_recorded_either_way() {
    let (issuer, key) = (Issuer::start(), Key::es256("k1"));
    issuer.publish(&[&key]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.cedar"), POLICIES).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {0}\n  vault: \
         {0}\nadmission:\n  oidc:\n    - issuer: {1}\n      audience: chancery\n      allow_http: true\n      allow_private: \
         true\n      groups: {{ claim: groups }}\nlog: {{ dir: log }}\npolicies: test.cedar\n",
        demo_server(),
        issuer.url()
    );
    fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    let gateway = Gateway::start_in(dir);
    let open = |groups: &[&str], server: &str| -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": issuer.url(), "aud": "chancery", "sub": "alice", "azp": "editor", "iat": now,
            "exp": now + 600, "groups": groups });
        let bearer = format!("Bearer {}", key.token(&claims));
        let headers = [
            ("host", "localhost"),
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let line = format!("POST /mcp/{server}");
        send(tcp(&gateway), &line, &headers, initialize("2025-11-25").to_string().as_bytes())
    };
    let opened = open(&["staff"], "demo");
    assert!(
        opened.message()["result"].is_object() && opened.header("mcp-session-id").is_some(),
        "{opened:?}"
    );
    assert_eq!(gateway.children().len(), 1);
    for (groups, server, label, reason) in [
        (&["staff"][..], "vault", "not_permitted", None),
        (&["guests"], "demo", "not_permitted", None),
        (&["staff", "on-leave"], "demo", "forbidden", Some("Accounts on leave open no sessions.")),
    ] {
        let refused = open(groups, server);
        assert_eq!((refused.status, refused.header("mcp-session-id")), (200, None), "{refused:?}");
        let error = &refused.message()["error"];
        assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(403), &json!(label)), "{error}");
        if let Some(reason) = reason {
            assert_eq!(error["message"], reason);
            assert_eq!(
                error["data"]["reasons"],
                json!([{ "policyId": "nobody-on-leave", "reason": reason }])
            );
        }
        let decision = error["data"]["decisionId"].as_str().unwrap().to_owned();
        assert!(error["data"]["attestation"].is_string(), "{error}");
        let records = gateway.records();
        let record = records.iter().find(|record| record["predicate"]["decisionId"] == *decision).unwrap();
        let predicate = &record["predicate"];
        assert_eq!(
            (&predicate["effect"], &predicate["denyReason"]),
            (&json!("deny"), &json!(label)),
            "{record}"
        );
        assert!(
            record.to_string().contains("session/open") && record.to_string().contains(server),
            "{record}"
        );
    }
    assert_eq!(gateway.children().len(), 1, "nothing was started for who was refused");
    let records = gateway.records();
    let allowed = records.iter().find(|record| record["predicate"]["effect"] == "allow").unwrap();
    assert!(is_kind(allowed, "decision") && allowed.to_string().contains("session/open"), "{allowed}");
    assert!(allowed.to_string().contains("staff-opens-demo"), "{allowed}");
}
