//! Sessions of callers with a bearer token: what the token of this very request proves is what counts.

use super::*;
use crate::domain::evidence::{OidcEvidence, PassedClaims};

const STAFF_ONLY: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("read") permit (principal in Mcp::Group::"oidc:staff", action == Mcp::Action::"files/read", resource);
"#;

/// A caller whose token, one of many, says `groups`.
pub(super) fn bearer(token: u8, subject: &str, groups: &[&str]) -> Admitted {
    bearer_with(token, subject, groups, PassedClaims::new())
}

fn bearer_with(token: u8, subject: &str, groups: &[&str], claims: PassedClaims) -> Admitted {
    let evidence = OidcEvidence {
        issuer: "https://login.example".into(),
        subject: subject.into(),
        client: Some("editor".into()),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scopes: Arc::default(),
        claims: Arc::new(claims),
        token_sha256: Sha256Digest::of(&[token]),
    };
    Admitted::by(Evidence::Oidc(evidence), None)
}

#[tokio::test]
async fn a_group_taken_away_in_the_next_bearer_is_gone_at_the_next_request() {
    let world = World::with(Terms { policies: STAFF_ONLY, ..Terms::default() });
    let open = world.open(&bearer(1, "alice", &["oidc:staff"]), Transport::Tcp).await;
    let read = async |id, by: &Admitted| {
        let message = frame(call(id, "read", "/public/a").to_string());
        open.session.from_client(by, message, &Arrival::default()).await
    };
    let _allowed = forwarded(read(1, &bearer(1, "alice", &["oidc:staff"])).await);
    assert_eq!(
        code(read(2, &bearer(2, "alice", &["oidc:guests"])).await),
        -32602,
        "a tool that is not seen at all"
    );
    let _again = forwarded(read(3, &bearer(3, "alice", &["oidc:guests", "oidc:staff"])).await);
    // What another subject's token proves reaches no session of alice's.
    assert_eq!(code(read(4, &bearer(4, "mallory", &["oidc:guests"])).await), 404);
    let _still = forwarded(read(5, &bearer(3, "alice", &["oidc:guests", "oidc:staff"])).await);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "session-open")[0]["claims"]["sub"], "oidc:https://login.example#alice");
}

#[tokio::test]
async fn a_list_is_filtered_for_the_bearer_that_asked_for_it_whatever_bearer_came_meanwhile() {
    let world = World::with(Terms { policies: STAFF_LISTS, ..Terms::default() });
    let (staff, guest) = (bearer(1, "alice", &["oidc:staff"]), bearer(2, "alice", &["oidc:guests"]));
    let open = world.open(&staff, Transport::Tcp).await;
    let ask = async |id: i64, by: &Admitted| {
        let list = frame(request(id, "tools/list").to_string());
        let _asked = forwarded(open.session.from_client(by, list, &Arrival::default()).await);
    };
    let shown = async |id: i64| {
        let tools = tools().join(",");
        let answer = frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]}}}}"#));
        let shown = delivered(open.session.from_server(answer).await);
        json_of(&shown.bytes)["result"]["tools"].as_array().unwrap().len()
    };
    // Both wait; each gets its own, in whatever order the answers come.
    ask(1, &guest).await;
    ask(2, &staff).await;
    assert_eq!((shown(1).await, shown(2).await), (0, 1));
    ask(3, &staff).await;
    ask(4, &guest).await;
    assert_eq!((shown(3).await, shown(4).await), (1, 0));
    world.verified().await;
}

const STAFF_LISTS: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("list") permit (principal, action == Mcp::Action::"tools/list", resource);
@id("read") permit (principal in Mcp::Group::"oidc:staff", action == Mcp::Action::"files/read", resource);
"#;

const BY_CLAIM: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("read") permit (principal, action == Mcp::Action::"files/read", resource)
when { principal.hasTag("department") && principal.getTag("department").contains("lab") };
"#;

#[tokio::test]
async fn claims_that_are_let_through_decide_as_the_very_requests_bearer_has_them() {
    let world = World::with(Terms { policies: BY_CLAIM, ..Terms::default() });
    let of = |token, departments: &[&str]| {
        let departments: Vec<_> = departments.iter().map(|name| (*name).to_owned()).collect();
        bearer_with(token, "alice", &[], [("department".to_owned(), departments)].into())
    };
    let open = world.open(&of(1, &["lab", "office"]), Transport::Tcp).await;
    let read = async |id, by: &Admitted| {
        let message = frame(call(id, "read", "/public/a").to_string());
        open.session.from_client(by, message, &Arrival::default()).await
    };
    let _allowed = forwarded(read(1, &of(1, &["lab", "office"])).await);
    assert_eq!(code(read(2, &of(2, &["office"])).await), -32602);
    assert_eq!(code(read(3, &bearer(3, "alice", &[])).await), -32602, "without the claim");
    let _again = forwarded(read(4, &of(4, &["lab"])).await);
    let token = open.session.token().unwrap();
    let payload = token.expose().split('.').nth(1).unwrap();
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["claims"], json!({ "department": ["lab", "office"] }));
    world.verified().await;
}
