//! The policies change between a decision and the sending of its message: it is decided anew, once for each time.

use std::time::Duration;

use super::bearers::bearer;
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
        let sent = forwarded(outdated.decide_again().await);
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
    let refused = replied(outdated(allowed).decide_again().await);
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
        allowed = outdated(allowed).decide_again().await;
    }
    world.replace_policies(STILL_TEN);
    let Verdict::Forward(permit) = allowed else { panic!("{allowed:?}") };
    let withdrawn = permit.redeem().unwrap_err();
    assert!(withdrawn.outdated.is_none());
    assert_eq!(json_of(&withdrawn.reply.unwrap())["error"]["data"]["reason"], "limited");
    assert_eq!(world.gate.counts().withdrawn, 1, "the last time only");
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
    assert_eq!(code(outdated.decide_again().await), 404);
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
            permit.redeem().unwrap_err().outdated.unwrap().decide_again().await
        }
    };
    assert_eq!(delivered(asked(STILL_TEN, "a").await).request, Some("a".into()));
    let nobody = r#"permit (principal, action in Mcp::Action::"tools/call", resource);"#;
    let ServerVerdict::Answer(refused) = asked(nobody, "b").await else { panic!() };
    let refused = json_of(&refused.redeem().unwrap().bytes);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("b"), &json!(403)));
    world.verified().await;
}

#[tokio::test]
async fn who_calls_is_who_sent_the_message_and_not_whose_bearer_came_last() {
    let everyone = r#"permit (principal, action, resource);"#;
    let staff = r#"permit (principal in Mcp::Group::"oidc:staff", action, resource);"#;
    let world = world(everyone);
    let (alice, at_work) = (bearer(1, "alice", &[]), bearer(2, "alice", &["oidc:staff"]));
    let open = world.open(&alice, Transport::Tcp).await;
    let ask = async |by: &Admitted, message: Value| {
        open.session.from_client(by, frame(message.to_string()), &Arrival::default()).await
    };
    let waiting = ask(&alice, call(1, "read", "/public/a")).await;
    let list = ask(&alice, request(2, "tools/list")).await;
    let _meanwhile = forwarded(ask(&at_work, call(3, "read", "/public/a")).await);
    world.replace_policies(staff);
    assert_eq!(code(outdated(waiting).decide_again().await), -32602);
    let denied = outdated(list).decide_again().await;
    assert!(matches!(denied, Verdict::Reply(_)), "{denied:?}");
    // What came later is still what the session has.
    assert_eq!(open.session.shared.core.lock().bearer, at_work.evidence().bearer());
    world.verified().await;
}

#[tokio::test]
async fn a_token_that_has_ended_meanwhile_is_renewed_and_evidence_that_has_is_not_heard() {
    let world = world(TEN);
    let open = world.http().await;
    let waiting = open.call(1, "read", "/public/a").await;
    let until = START.plus(Duration::from_secs(600));
    let evidence = bearer(7, "bob", &[]).evidence().clone();
    let brief = world.open(&Admitted::by(evidence, Some(until)), Transport::Tcp).await;
    let of_brief = brief.call(1, "read", "/public/a").await;
    world.clock.set(START.plus(Duration::from_secs(3600)));
    world.replace_policies(STILL_TEN);
    let _sent = forwarded(outdated(waiting).decide_again().await);
    let Verdict::Forward(permit) = of_brief else { panic!("{of_brief:?}") };
    let withdrawn = permit.redeem().unwrap_err();
    assert!(withdrawn.outdated.is_none() && withdrawn.reply.is_some());
    let records = world.verified().await;
    let last = records.iter().rfind(|record| record["method"] == "tools/call").unwrap();
    assert_eq!(last["token"], of_kind(&records, "session-renew")[0]["token"]);
}

#[tokio::test]
async fn what_was_cancelled_meanwhile_is_not_sent() {
    let world = world(TEN);
    let open = world.http().await;
    let cancel =
        |id: i64| json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":id}});
    // Before it is found outdated, and after.
    let waiting = open.call(1, "read", "/public/a").await;
    let _cancel = forwarded(open.client(&cancel(1)).await);
    world.replace_policies(STILL_TEN);
    let Verdict::Forward(permit) = waiting else { panic!("{waiting:?}") };
    let withdrawn = permit.redeem().unwrap_err();
    assert!(withdrawn.outdated.is_none() && withdrawn.reply.is_some());
    let waiting = open.call(2, "read", "/public/a").await;
    world.replace_policies(TEN);
    let outdated = outdated(waiting);
    let _cancel = forwarded(open.client(&cancel(2)).await);
    assert_eq!(replied(outdated.decide_again().await)["error"]["data"]["reason"], "limited");
    // Both ids are free.
    let _first = forwarded(open.call(1, "read", "/public/a").await);
    let _second = forwarded(open.call(2, "read", "/public/a").await);
    world.verified().await;
}

#[tokio::test]
async fn a_call_that_was_answered_early_takes_nothing_from_a_later_request_with_its_id() {
    let world = world(TEN);
    let open = world.http().await;
    let (waiting, other) = (open.call(1, "read", "/public/a").await, open.call(2, "read", "/public/a").await);
    world.replace_policies(NO_READING);
    let Verdict::Forward(waiting) = waiting else { panic!("{waiting:?}") };
    let other = outdated(other);
    // A hostile server answers what it was not sent yet; the ids are used again, for lists.
    for id in [1, 2] {
        let _early = delivered(open.server(&result(id)).await);
        let _list = forwarded(open.client(&request(id, "tools/list")).await);
    }
    let withdrawn = waiting.redeem().unwrap_err();
    assert!(withdrawn.outdated.is_none() && withdrawn.reply.is_none(), "{withdrawn:?}");
    let dropped = other.decide_again().await;
    assert!(matches!(dropped, Verdict::Drop(DropReason::Unmatched)), "{dropped:?}");
    // Their entries are still lists': what comes under these ids is filtered.
    for id in [1, 2] {
        let tools = json!([{"name": "read", "inputSchema": {"type": "object"}}]);
        let answer = json!({"jsonrpc":"2.0","id":id,"result":{"tools":tools}});
        let shown = delivered(open.server(&answer).await);
        assert_eq!(json_of(&shown.bytes)["result"]["tools"], json!([]), "{shown:?}");
    }
    world.verified().await;
}

#[tokio::test]
async fn an_id_that_waits_to_be_decided_anew_is_nobody_elses_and_is_free_when_it_is_given_up() {
    let world = world(TEN);
    let open = world.http().await;
    let waiting = open.call(1, "read", "/public/a").await;
    world.replace_policies(STILL_TEN);
    let waiting = outdated(waiting);
    assert_eq!(replied(open.call(1, "read", "/public/a").await)["error"]["data"]["reason"], "duplicate_id");
    drop(waiting);
    let _again = forwarded(open.call(1, "read", "/public/a").await);
    world.verified().await;
}
