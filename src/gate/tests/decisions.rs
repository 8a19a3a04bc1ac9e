//! What becomes of a client's messages.

use super::*;

#[tokio::test]
async fn an_allowed_call_goes_on_byte_for_byte_and_its_record_came_first() {
    let world = World::new();
    let open = world.http().await;
    let raw = br#"{ "method":"tools/call","params":{"arguments":{"path":"/public/9007199254740993 \u0000"},"name":"read"},"id":7,"jsonrpc":"2.0" }"#;
    let verdict = open.session.from_client(&open.admitted, frame(raw.to_vec()), &Arrival::default()).await;
    let Verdict::Forward(permit) = verdict else { panic!("{verdict:?}") };
    let attestation = permit.attestation().unwrap().to_string();
    let on_disk =
        std::fs::read_to_string(world.dir.path().join("log/records/00000000.intoto.jsonl")).unwrap();
    let written = on_disk.lines().any(|line| {
        Sha256Digest::of(&attest::dsse::read(line.as_bytes()).unwrap().payload).to_string() == attestation
    });
    assert!(written, "the record was on disk before the permit was given");
    let outgoing = permit.redeem().unwrap();
    assert_eq!(outgoing.bytes, raw.as_slice());
    assert_eq!(outgoing.headers, [("mcp-protocol-version", "2025-11-25".to_owned())]);
    let records = world.verified().await;
    let allowed = of_kind(&records, "decision");
    let call = allowed.iter().find(|record| record["method"] == "tools/call").unwrap();
    assert_eq!((&call["effect"], &call["policies"][0]["id"]), (&json!("allow"), &json!("read")));
    assert_eq!((&call["action"], &call["principal"]), (&json!("files/read"), &json!("bootstrap:1000")));
    assert!(call["token"]["jti"].is_string() && call["toolDefinition"].is_string());
}

#[tokio::test]
async fn a_denied_call_is_answered_with_the_policys_reason_and_its_record() {
    let world = World::new();
    let open = world.http().await;
    let reply = replied(open.call(7, "write", "/public/x").await);
    assert_eq!(reply["id"], 7);
    assert_eq!(reply["error"]["code"], 403);
    assert_eq!(reply["error"]["message"], "This folder is read-only.");
    let data = &reply["error"]["data"];
    assert_eq!(data["reasons"], json!([{"policyId": "no-writes", "reason": "This folder is read-only."}]));
    let records = world.verified().await;
    let denied = records.iter().find(|record| record["decisionId"] == data["decisionId"]).unwrap();
    assert_eq!((&denied["effect"], &denied["denyReason"]), (&json!("deny"), &json!("forbidden")));
    assert_eq!(denied["policies"][0]["reason"], "This folder is read-only.");
    assert!(denied["request"].get("forwarded").is_none());
}

#[tokio::test]
async fn hidden_and_unknown_tools_get_the_same_answer_and_the_log_tells_them_apart() {
    let world = World::new();
    let open = world.http().await;
    let mut hidden = replied(open.call(1, "secret", "/public/x").await);
    let mut unknown = replied(open.call(1, "nothing", "/public/x").await);
    assert_eq!(hidden["error"]["message"], "Unknown tool: secret");
    for reply in [&mut hidden, &mut unknown] {
        let data = reply["error"]["data"].as_object_mut().unwrap();
        assert!(data.remove("decisionId").is_some() && data.remove("attestation").is_some());
        reply["error"]["message"].take();
    }
    assert_eq!(hidden, unknown);
    let records = world.verified().await;
    let reasons: Vec<_> = records.iter().filter_map(|record| record["denyReason"].as_str()).collect();
    assert_eq!(reasons, ["not_permitted", "unknown_tool"]);
}

#[tokio::test]
async fn a_visible_tool_with_other_arguments_is_denied_with_403() {
    let world = World::new();
    let open = world.http().await;
    let reply = replied(open.call(1, "read", "/private/x").await);
    assert_eq!(reply["error"]["code"], 403);
    assert_eq!(reply["error"]["data"]["reason"], "not_permitted");
    let wrong_type = json!({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read","arguments":{"path":51234}}});
    let reply = replied(open.client(&wrong_type).await);
    assert_eq!(reply["error"]["code"], -32602);
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("`/path`") && !message.contains("51234"), "{message}");
    world.verified().await;
}

#[tokio::test]
async fn an_id_that_is_under_way_is_refused_and_free_again_after_the_answer() {
    let world = World::new();
    let open = world.http().await;
    let _first = forwarded(open.call(1, "read", "/public/a").await);
    let refused = replied(open.call(1, "read", "/public/b").await);
    assert_eq!(refused["error"]["data"]["reason"], "duplicate_id");
    let text_id = json!({"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"read","arguments":{"path":"/public/c"}}});
    let _other_type = forwarded(open.client(&text_id).await);
    assert_eq!(delivered(open.server(&result(1)).await).in_reply_to, Some(1.into()));
    let _again = forwarded(open.call(1, "read", "/public/d").await);
    world.verified().await;
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let limits = Limits { in_flight: 2, ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    let open = world.http().await;
    let _a = forwarded(open.call(1, "read", "/public/a").await);
    let _b = forwarded(open.call(2, "read", "/public/a").await);
    assert_eq!(code(open.call(3, "read", "/public/a").await), 429);
    assert_eq!(code(open.client(&request(4, "ping")).await), 429);
    let _ = delivered(open.server(&result(1)).await);
    let _c = forwarded(open.call(3, "read", "/public/a").await);
}

#[tokio::test]
async fn a_permit_that_is_not_redeemed_frees_its_id_and_lets_no_answer_in() {
    let world = World::new();
    let open = world.http().await;
    let verdict = open.call(1, "read", "/public/a").await;
    assert!(matches!(verdict, Verdict::Forward(_)));
    drop(verdict);
    assert_eq!(ignored(open.server(&result(1)).await), DropReason::Unmatched);
    let _again = forwarded(open.call(1, "read", "/public/a").await);
}

#[tokio::test]
async fn the_gateways_own_ids_are_nobody_elses() {
    let world = World::new();
    let open = world.http().await;
    assert_eq!(code(open.client(&request("chancery:2", "tools/list")).await), -32600);
    let cancel =
        json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"chancery:2"}});
    open.tools_changed().await;
    let _own = open.session.own_request().unwrap().redeem().unwrap();
    assert_eq!(dropped(open.client(&cancel).await), DropReason::Unmatched);
    world.verified().await;
}

#[tokio::test]
async fn a_second_initialize_and_a_probe_never_reach_the_server() {
    let world = World::new();
    let open = world.http().await;
    assert_eq!(code(open.client(&request(5, "initialize")).await), -32600);
    assert_eq!(code(open.client(&request(6, "server/discover")).await), -32601);
}

#[tokio::test]
async fn notifications_are_decided_too_and_a_denied_one_goes_nowhere() {
    let world = World::new();
    let open = world.http().await;
    let roots = json!({"jsonrpc":"2.0","method":"notifications/roots/list_changed"});
    let _sent = forwarded(open.client(&roots).await);
    let other = json!({"jsonrpc":"2.0","method":"notifications/evil"});
    assert_eq!(dropped(open.client(&other).await), DropReason::Denied);
    let records = world.verified().await;
    let denied = records.iter().find(|record| record["method"] == "notifications/evil").unwrap();
    assert_eq!(denied["effect"], "deny");
}

#[tokio::test]
async fn maintenance_for_nothing_that_is_under_way_goes_nowhere() {
    let world = World::new();
    let open = world.http().await;
    let cancel =
        |id: i64| json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":id}});
    let progress = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}});
    assert_eq!(dropped(open.client(&cancel(1)).await), DropReason::Unmatched);
    assert_eq!(dropped(open.client(&progress).await), DropReason::Unmatched);
    assert_eq!(dropped(open.client(&result(1)).await), DropReason::Unmatched);
    let _call = forwarded(open.call(1, "read", "/public/a").await);
    let _cancelled = forwarded(open.client(&cancel(1)).await);
    assert_eq!(dropped(open.client(&cancel(1)).await), DropReason::Unmatched, "once is enough");
    let _late_answer = delivered(open.server(&result(1)).await);
    assert_eq!(world.gate.counts().unmatched, 4);
}

#[tokio::test]
async fn maintenance_beyond_the_allowance_is_held_back() {
    let standing = Allowance { burst: 3, per_second: 1 };
    let world = World::with(Terms { config: Config { standing, ..Config::default() }, ..Terms::default() });
    let open = world.http().await;
    for id in 1..=2 {
        let _ping = forwarded(open.client(&request(id, "ping")).await);
        let _pong = delivered(open.server(&result(id)).await);
    }
    assert_eq!(code(open.client(&request(3, "ping")).await), 429);
    world.clock.set(START.plus(std::time::Duration::from_secs(1)));
    let _ping = forwarded(open.client(&request(3, "ping")).await);
}

#[tokio::test]
async fn refusals_beyond_a_principals_quota_are_not_recorded() {
    let refusals = Allowance { burst: 2, per_second: 1 };
    let world = World::with(Terms { config: Config { refusals, ..Config::default() }, ..Terms::default() });
    let open = world.http().await;
    for id in 0..50 {
        let _ = replied(open.call(id, "write", "/public/a").await);
    }
    let _ = forwarded(open.call(50, "read", "/public/a").await);
    let records = world.verified().await;
    assert_eq!(records.iter().filter(|record| record["effect"] == "deny").count(), 2);
    assert_eq!(world.gate.counts().unrecorded, 48);
}

#[tokio::test]
async fn malformed_messages_are_refused_and_recorded() {
    let world = World::new();
    let open = world.http().await;
    let bytes = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","Name":"write"}}"#;
    let error = Frame::parse(bytes.to_vec(), &Limits::default()).unwrap_err();
    let reply = json_of(&open.session.refuse_malformed(&error, Sha256Digest::of(bytes)).await);
    assert_eq!(reply["error"]["code"], -32600);
    let records = world.verified().await;
    let refusal = records.iter().find(|record| record["denyReason"] == "malformed").unwrap();
    assert_ne!(refusal["request"]["received"], json!(Sha256Digest::of(bytes)), "salted");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_lets_nothing_through() {
    let world = World::new();
    let open = world.http().await;
    world.log.close().await;
    let reply = replied(open.call(1, "read", "/public/a").await);
    assert_eq!(reply["error"]["code"], 503);
    assert_eq!(reply["error"]["data"]["reason"], "attestation_failed");
    let route = Route::new(server(), Transport::Tcp);
    let refused = world.gate.open(&secret(2), &route, initialize(), &Arrival::default()).await.unwrap_err();
    assert_eq!(json_of(&refused.reply)["error"]["code"], 503);
    assert_eq!(world.gate.open_sessions(), 1);
}

#[tokio::test]
async fn many_calls_at_once_leave_a_chain_without_holes() {
    let world = World::new();
    let open = Arc::new(world.http().await);
    let calls: Vec<_> = (0..200)
        .map(|id| {
            let open = open.clone();
            tokio::spawn(async move {
                let tool = if id % 3 == 0 { "write" } else { "read" };
                matches!(open.call(id, tool, "/public/a").await, Verdict::Forward(_))
            })
        })
        .collect();
    let mut forwarded = 0;
    for call in calls {
        forwarded += usize::from(call.await.unwrap());
    }
    assert_eq!(forwarded, 133);
    let records = world.verified().await;
    let session = json!(open.session.id());
    let mut sequence: Vec<_> =
        records.iter().filter(|r| r["session"] == session).map(|r| r["seq"].as_u64().unwrap()).collect();
    sequence.sort_unstable();
    assert_eq!(sequence, (0..203).collect::<Vec<u64>>());
}

#[tokio::test]
async fn no_argument_and_no_token_is_in_the_log() {
    let world = World::new();
    let open = world.http().await;
    let _ = forwarded(open.call(1, "read", "/public/hunter2").await);
    let _ = replied(open.call(2, "read", "/private/hunter2").await);
    let _ = replied(open.call(3, "write", "hunter2").await);
    let token = open.session.token().unwrap();
    world.verified().await;
    let text = world.log_text();
    assert!(!text.contains("hunter2"));
    assert!(!text.contains(token.expose()));
}
