//! What becomes of a tool server's messages.

use super::*;

#[tokio::test]
async fn an_answer_to_nothing_is_dropped_and_counted() {
    let world = World::new();
    let open = world.http().await;
    for id in [json!(9), json!("9")] {
        assert_eq!(ignored(open.server(&result(id)).await), DropReason::Unmatched);
    }
    let _call = forwarded(open.call(9, "read", "/public/a").await);
    assert_eq!(ignored(open.server(&result("9")).await), DropReason::Unmatched, "another JSON type");
    let _ = delivered(open.server(&result(9)).await);
    assert_eq!(ignored(open.server(&result(9)).await), DropReason::Unmatched, "once is enough");
    let nameless = json!({"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}});
    assert_eq!(ignored(open.server(&nameless).await), DropReason::Unmatched);
    assert_eq!(world.gate.counts().unmatched, 5);
}

#[tokio::test]
async fn a_servers_request_is_decided_and_a_denied_one_is_answered_by_the_gateway() {
    let world = World::new();
    let open = world.http().await;
    let verdict = open.server(&request(1, "sampling/createMessage")).await;
    let ServerVerdict::Answer(permit) = verdict else { panic!("{verdict:?}") };
    assert_eq!(permit.standing_kind(), Some(Standing::GatewayAnswer));
    let answer = permit.redeem().unwrap();
    assert_eq!(answer.in_reply_to, Some(1.into()));
    assert_eq!(json_of(&answer.bytes)["error"]["code"], 403);
    assert_eq!(dropped(open.client(&result(1)).await), DropReason::Unmatched, "the client was never asked");
    let records = world.verified().await;
    let denied = records.iter().find(|record| record["method"] == "sampling/createMessage").unwrap();
    assert_eq!((&denied["from"], &denied["principal"]), (&json!("server"), &json!("server:files")));
}

#[tokio::test]
async fn a_permitted_request_of_the_server_is_answered_once() {
    let world = World::new();
    let open = world.http().await;
    let asked = delivered(open.server(&request("r", "roots/list")).await);
    assert_eq!(asked.request, Some("r".into()));
    let ServerVerdict::Answer(refused) = open.server(&request("r", "roots/list")).await else { panic!() };
    assert_eq!(json_of(&refused.redeem().unwrap().bytes)["error"]["data"]["reason"], "duplicate_id");
    let answer = json!({"jsonrpc":"2.0","id":"r","result":{"roots":[]}});
    assert_eq!(forwarded(open.client(&answer).await).in_reply_to, Some("r".into()));
    assert_eq!(dropped(open.client(&answer).await), DropReason::Unmatched);
    world.verified().await;
}

#[tokio::test]
async fn progress_goes_to_the_request_that_it_belongs_to() {
    let world = World::new();
    let open = world.http().await;
    let mut message = call(1, "read", "/public/a");
    message["params"]["_meta"] = json!({"progressToken": 5});
    let _call = forwarded(open.client(&message).await);
    let progress = |token: Value| json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":1}});
    assert_eq!(delivered(open.server(&progress(json!(5))).await).related, Some(1.into()));
    assert_eq!(ignored(open.server(&progress(json!("5"))).await), DropReason::Unmatched);
    let _done = delivered(open.server(&result(1)).await);
    assert_eq!(ignored(open.server(&progress(json!(5))).await), DropReason::Unmatched);
}

#[tokio::test]
async fn a_server_that_dies_leaves_an_answer_for_every_waiting_request() {
    let world = World::new();
    let open = world.http().await;
    let _a = forwarded(open.call(1, "read", "/public/a").await);
    let _b = forwarded(open.call(2, "read", "/public/a").await);
    open.tools_changed().await;
    let _own = open.session.own_request().unwrap().redeem().unwrap();
    let reply = json_of(&open.session.fail_request(&1.into()).unwrap());
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(1), &json!(503)));
    let rest = open.session.fail_requests();
    assert_eq!(rest.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [2.into()]);
    assert!(open.session.fail_request(&2.into()).is_none());
}

#[tokio::test]
async fn a_servers_refused_requests_use_up_nothing_of_what_a_clients_refusals_are_recorded_by() {
    let refusals = Allowance { burst: 2, per_second: 1 };
    let world = World::with(Terms { config: Config { refusals, ..Config::default() }, ..Terms::default() });
    let open = world.http().await;
    for id in 0..10 {
        let ServerVerdict::Answer(_refused) = open.server(&request(id, "sampling/createMessage")).await
        else {
            panic!()
        };
    }
    let reply = replied(open.call(1, "write", "/public/a").await);
    assert_eq!(reply["error"]["data"]["reason"], "forbidden", "{reply}");
    let records = world.verified().await;
    assert!(records.iter().any(|record| record["action"] == "files/write" && record["effect"] == "deny"));
}
