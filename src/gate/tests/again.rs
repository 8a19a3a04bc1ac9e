//! The policies change between a decision and the sending of its message: it is decided anew, once for each time.

use super::state::{TEN, world};
use super::*;
use crate::gate::Outdated;

/// As [`TEN`], but other policies.
const STILL_TEN: &str = r#"
@id("anyone") permit (principal, action, resource);
@id("ten") @reason("Ten calls are enough.")
forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.usage.calls >= 10 };
"#;
const NO_READING: &str = r#"
permit (principal, action, resource);
@id("no-reading") @reason("Nothing is read today.")
forbid (principal, action == Mcp::Action::"files/read", resource);
"#;

fn outdated(verdict: Verdict) -> Outdated<ToServer> {
    let Verdict::Forward(permit) = verdict else { panic!("{verdict:?}") };
    permit.redeem().unwrap_err().outdated.unwrap()
}

#[tokio::test]
async fn a_call_that_old_and_new_policies_allow_goes_on_is_counted_once_and_its_record_says_what_it_replaces()
{
    let world = world(TEN);
    let open = world.http().await;
    for id in 0..10 {
        let allowed = open.call(id, "read", "/public/a").await;
        world.replace_policies(if id % 2 == 0 { STILL_TEN } else { TEN });
        let outdated = outdated(allowed);
        assert_eq!(outdated.request(), Some(&id.into()));
        let sent = forwarded(open.session.from_client_again(outdated).await);
        assert_eq!(json_of(&sent.bytes), call(id, "read", "/public/a"));
        let _answer = delivered(open.server(&result(id)).await);
    }
    assert_eq!(
        replied(open.call(10, "read", "/public/a").await)["error"]["message"],
        "Ten calls are enough."
    );
    let records = world.verified().await;
    let calls: Vec<_> = records.iter().filter(|record| record["action"] == "files/read").collect();
    let replacing: Vec<_> = calls.iter().filter(|record| !record["replaces"].is_null()).collect();
    assert_eq!((calls.len(), replacing.len()), (21, 10));
    for record in replacing {
        let replaced = calls.iter().find(|other| other["decisionId"] == record["replaces"]).unwrap();
        assert_eq!((&replaced["effect"], &record["effect"]), (&json!("allow"), &json!("allow")));
        assert_ne!(replaced["policySet"], record["policySet"]);
    }
    assert_eq!(of_kind(&records, "session-close")[0]["allowed"], json!(11), "ten calls and the opening");
}

#[tokio::test]
async fn a_call_that_the_new_policies_forbid_is_refused_by_their_reason() {
    let world = world(TEN);
    let open = world.http().await;
    let allowed = open.call(1, "read", "/public/a").await;
    world.replace_policies(NO_READING);
    let refused = replied(open.session.from_client_again(outdated(allowed)).await);
    assert_eq!((&refused["id"], &refused["error"]["message"]), (&json!(1), &json!("Nothing is read today.")));
    // Nothing of it is left: not its id, not what it counted.
    world.replace_policies(TEN);
    let _again = forwarded(open.call(1, "read", "/public/a").await);
    world.verified().await;
}

#[tokio::test]
async fn one_message_is_decided_anew_three_times_and_no_more() {
    let world = world(TEN);
    let open = world.http().await;
    let mut allowed = open.call(1, "read", "/public/a").await;
    for time in 0..3 {
        world.replace_policies(if time % 2 == 0 { STILL_TEN } else { TEN });
        allowed = open.session.from_client_again(outdated(allowed)).await;
    }
    world.replace_policies(STILL_TEN);
    let Verdict::Forward(permit) = allowed else { panic!("{allowed:?}") };
    let withdrawn = permit.redeem().unwrap_err();
    assert!(withdrawn.outdated.is_none());
    assert_eq!(json_of(&withdrawn.reply.unwrap())["error"]["data"]["reason"], "limited");
    world.verified().await;
}

#[tokio::test]
async fn nothing_is_decided_anew_for_a_session_that_is_over() {
    let world = world(TEN);
    let open = world.http().await;
    let (first, second) = (open.call(1, "read", "/public/a").await, open.call(2, "read", "/public/a").await);
    world.replace_policies(STILL_TEN);
    let outdated = outdated(first);
    open.session.close(CloseReason::Client).await;
    assert_eq!(code(open.session.from_client_again(outdated).await), 404);
    let Verdict::Forward(permit) = second else { panic!("{second:?}") };
    assert!(permit.redeem().unwrap_err().outdated.is_none());
    world.verified().await;
}

#[tokio::test]
async fn a_tool_servers_request_is_decided_anew_as_well() {
    let world = world(TEN);
    let open = world.http().await;
    let asked = |policies: &'static str, id: &'static str| {
        let (world, open) = (&world, &open);
        async move {
            let verdict = open.server(&request(id, "roots/list")).await;
            world.replace_policies(policies);
            let ServerVerdict::Deliver(permit) = verdict else { panic!("{verdict:?}") };
            open.session.from_server_again(permit.redeem().unwrap_err().outdated.unwrap()).await
        }
    };
    assert_eq!(delivered(asked(STILL_TEN, "a").await).request, Some("a".into()));
    let nobody = r#"permit (principal, action in Mcp::Action::"tools/call", resource);"#;
    let ServerVerdict::Answer(refused) = asked(nobody, "b").await else { panic!() };
    let refused = json_of(&refused.redeem().unwrap().bytes);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("b"), &json!(403)));
    world.verified().await;
}
