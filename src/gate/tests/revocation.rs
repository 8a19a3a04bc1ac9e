//! Permits are worth something only at the moment of sending.

use super::*;
use crate::domain::refusal::DenyReason;

#[tokio::test]
async fn a_revoked_sessions_permit_cannot_be_redeemed() {
    let world = World::new();
    let open = world.http().await;
    let Verdict::Forward(permit) = open.call(1, "read", "/public/a").await else { panic!() };
    let stream = open.session.stream(&open.admitted, None).unwrap();
    assert!(world.gate.revoke(&open.session.id()).await);
    let withdrawn = permit.redeem().unwrap_err();
    assert_eq!(withdrawn.reason, DenyReason::SessionOver);
    assert!(stream.redeem().is_err(), "standing permits end with the session");
    assert!(!world.gate.revoke(&open.session.id()).await);
    assert_eq!(code(open.call(2, "read", "/public/a").await), 404);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "session-close")[0]["reason"], "revoked");
}

#[tokio::test]
async fn a_permit_of_older_policies_is_withdrawn_and_its_requester_told() {
    let world = World::new();
    let open = world.http().await;
    let Verdict::Forward(permit) = open.call(1, "read", "/public/a").await else { panic!() };
    world.replace_policies(r#"permit (principal, action == Mcp::Action::"session/open", resource);"#);
    let refused = replied(permit.redeem().unwrap_err().outdated.unwrap().decide_again().await);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32602)));
    assert_eq!(ignored(open.server(&result(1)).await), DropReason::Unmatched);
    assert_eq!(code(open.call(1, "read", "/public/a").await), -32602, "the new policies permit no tool");
    world.verified().await;
}

#[tokio::test]
async fn a_servers_request_under_older_policies_is_answered_by_the_gateway() {
    let world = World::new();
    let open = world.http().await;
    let ServerVerdict::Deliver(permit) = open.server(&request(1, "roots/list")).await else { panic!() };
    world.replace_policies(r#"permit (principal, action == Mcp::Action::"session/open", resource);"#);
    let verdict = permit.redeem().unwrap_err().outdated.unwrap().decide_again().await;
    let ServerVerdict::Answer(answer) = verdict else { panic!("{verdict:?}") };
    assert_eq!(json_of(&answer.redeem().unwrap().bytes)["id"], 1);
    assert_eq!(dropped(open.client(&result(1)).await), DropReason::Unmatched);
}

#[tokio::test]
async fn limits_on_calls_count_what_was_permitted_and_nothing_else() {
    let world = World::with(Terms {
        policies: r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("read") permit (principal, action == Mcp::Action::"files/read", resource);
@id("enough") @reason("Three calls are enough.")
forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.session.calls >= 3 };
"#,
        ..Terms::default()
    });
    let open = world.http().await;
    for id in 0..3 {
        let _ = replied(open.call(10 + id, "secret", "/public/a").await);
        let _ = forwarded(open.call(id, "read", "/public/a").await);
    }
    assert_eq!(
        replied(open.call(4, "read", "/public/a").await)["error"]["message"],
        "Three calls are enough."
    );
    world.verified().await;
}

#[tokio::test]
async fn a_replaced_secret_ends_the_sessions_and_streams_that_were_opened_with_it() {
    let world = World::new();
    let stolen = world.http().await;
    let other = world.open(&secret(2), Transport::Tcp).await;
    let stream = stolen.session.stream(&secret(1), None).unwrap();
    world.gate.revoke_those(|binding| binding == secret(1).binding()).await;
    assert!(stolen.session.ended().is_cancelled(), "whatever is open ends with it");
    assert!(stream.redeem().is_err());
    assert!(!other.session.is_over());
    let records = world.verified().await;
    let revoked = of_kind(&records, "session-close").into_iter().filter(|close| close["reason"] == "revoked");
    assert_eq!(revoked.count(), 1);
}
