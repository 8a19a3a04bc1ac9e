//! Sessions of callers with a bearer token: what the token of this very request proves is what counts.

use super::*;
use crate::domain::evidence::OidcEvidence;

const STAFF_ONLY: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("read") permit (principal in Mcp::Group::"oidc:staff", action == Mcp::Action::"files/read", resource);
"#;

/// A caller whose token, one of many, says `groups`.
fn bearer(token: u8, subject: &str, groups: &[&str]) -> Admitted {
    let evidence = OidcEvidence {
        issuer: "https://login.example".into(),
        subject: subject.into(),
        client: Some("editor".into()),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        scopes: Arc::default(),
        claims: Arc::default(),
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
