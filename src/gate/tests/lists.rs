//! Lists: what they show, what they teach.

use super::*;

fn list(id: impl Into<Value>, tools: &[String]) -> Frame {
    let id = id.into();
    frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{}]}}}}"#, tools.join(", ")))
}

fn names(outgoing: &Outgoing) -> Vec<String> {
    let value = json_of(&outgoing.bytes);
    let tools = value["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_shows_only_what_could_be_permitted_and_the_cut_is_recorded() {
    let world = World::new();
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "tools/list")).await);
    let shown = delivered(open.session.from_server(list(1, &tools())).await);
    assert_eq!(names(&shown), ["read"]);
    assert_eq!(shown.in_reply_to, Some(1.into()));
    let text = String::from_utf8(shown.bytes.to_vec()).unwrap();
    assert!(text.contains(&tools()[0]), "what is left is byte for byte the server's");
    let records = world.verified().await;
    let cut = records.iter().find(|record| record["from"] == "server").unwrap();
    assert_eq!((&cut["method"], &cut["principal"]), (&json!("tools/list"), &json!("server:files")));
    assert_ne!(cut["request"]["received"], cut["request"]["forwarded"]);
    assert_eq!(cut["removed"], 2);
}

#[tokio::test]
async fn a_list_of_which_nothing_is_cut_passes_unchanged() {
    let world = World::new();
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "tools/list")).await);
    let answer = list(1, &tools()[..1]);
    let shown = delivered(open.session.from_server(answer.clone()).await);
    assert_eq!(shown.bytes, answer.bytes());
}

#[tokio::test]
async fn a_list_is_filtered_by_what_was_asked_not_by_what_it_looks_like() {
    let world = World::new();
    let open = world.http().await;
    let _call = forwarded(open.call(1, "read", "/public/a").await);
    let answer = list(1, &tools());
    assert_eq!(delivered(open.session.from_server(answer.clone()).await).bytes, answer.bytes());
    let _asked = forwarded(open.client(&request(2, "tools/list")).await);
    assert_eq!(names(&delivered(open.session.from_server(list(2, &tools())).await)), ["read"]);
}

#[tokio::test]
async fn a_list_that_is_no_list_is_not_shown() {
    let world = World::new();
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "tools/list")).await);
    let odd = frame(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"0":{"name":"secret"}}}}"#);
    let shown = delivered(open.session.from_server(odd).await);
    assert_eq!(json_of(&shown.bytes)["error"]["code"], -32600);
    assert!(!String::from_utf8_lossy(&shown.bytes).contains("secret"));
}

#[tokio::test]
async fn a_gateway_without_a_catalogue_learns_it_from_the_clients_first_list() {
    let world = World::with(Terms { tools: Vec::new(), ..Terms::default() });
    let open = world.http().await;
    assert_eq!(code(open.call(1, "read", "/public/a").await), -32602);
    let _asked = forwarded(open.client(&request(2, "tools/list")).await);
    assert_eq!(names(&delivered(open.session.from_server(list(2, &tools())).await)), ["read"]);
    let _called = forwarded(open.call(3, "read", "/public/a").await);
    world.verified().await;
}

#[tokio::test]
async fn the_gateways_own_list_is_asked_page_by_page_and_never_delivered() {
    let world = World::with(Terms { tools: Vec::new(), ..Terms::default() });
    let open = world.unlisted(&secret(1), Transport::Tcp).await;
    let own = open.session.own_request().unwrap();
    assert_eq!(own.standing_kind(), Some(Standing::OwnToolList));
    let first = json_of(&own.redeem().unwrap().bytes);
    assert_eq!((&first["id"], &first["method"]), (&json!("chancery:1"), &json!("tools/list")));
    assert!(open.session.own_request().is_none(), "one at a time");
    let page = frame(format!(
        r#"{{"jsonrpc":"2.0","id":"chancery:1","result":{{"tools":[{}],"nextCursor":"more"}}}}"#,
        tool("other", "first")
    ));
    assert_eq!(ignored(open.session.from_server(page).await), DropReason::Consumed);
    let second = json_of(&open.session.own_request().unwrap().redeem().unwrap().bytes);
    assert_eq!(second["params"]["cursor"], "more");
    let last = open.session.from_server(list("chancery:2", &tools())).await;
    assert_eq!(ignored(last), DropReason::Consumed);
    assert!(open.session.own_request().is_none());
    let _called = forwarded(open.call(3, "read", "/public/a").await);
    assert_eq!(world.engines.current().catalogue().servers[&server()].len(), 4);
    world.verified().await;
}

#[tokio::test]
async fn a_changed_tool_is_held_back_until_policies_were_compiled_for_it() {
    let world = World::with(Terms { fixed_catalogue: true, ..Terms::default() });
    let open = world.http().await;
    let _called = forwarded(open.call(1, "read", "/public/a").await);
    open.tools_changed().await;
    let _own = open.session.own_request().unwrap().redeem().unwrap();
    let poisoned = [tool("read", "now with instructions for the model")];
    assert_eq!(ignored(open.session.from_server(list("chancery:2", &poisoned)).await), DropReason::Consumed);
    assert_eq!(code(open.call(2, "read", "/public/a").await), 403);
    let _asked = forwarded(open.client(&request(3, "tools/list")).await);
    let twice = [poisoned[0].clone(), tools()[0].clone()];
    let shown = delivered(open.session.from_server(list(3, &twice)).await);
    let text = String::from_utf8(shown.bytes.to_vec()).unwrap();
    assert!(!text.contains("instructions"), "{text}");
    let approved =
        compile(POLICIES, &[tool("read", "now with instructions for the model"), tools()[0].clone()][..1]);
    archive(&world.log, &approved);
    world.engines.replace(approved);
    let _relisted = forwarded(open.client(&request(4, "tools/list")).await);
    let _shown = delivered(open.session.from_server(list(4, &poisoned)).await);
    let _called = forwarded(open.call(5, "read", "/public/a").await);
    world.verified().await;
}

#[tokio::test]
async fn a_server_without_tools_is_not_asked_for_them() {
    let world = World::new();
    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    let _ = delivered(session.from_server(frame(answer)).await);
    let _ = forwarded(session.from_client(&secret(1), frame(INITIALIZED), &Arrival::default()).await);
    assert!(session.own_request().is_none());
}

#[tokio::test]
async fn a_cancelled_list_is_not_seen_whole_under_another_requests_id() {
    let world =
        World::with(Terms { limits: Limits { in_flight: 2, ..Limits::default() }, ..Terms::default() });
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(5, "tools/list")).await);
    let cancelled = json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}});
    let _cancelled = forwarded(open.client(&cancelled).await);
    let _slow = forwarded(open.call(6, "read", "/public/a").await);
    // If the list's entry went to make room, a ping of its id would take its answer.
    let _third = open.client(&request(7, "ping")).await;
    let _reused = open.client(&request(5, "ping")).await;
    let late = open.session.from_server(list(5, &tools())).await;
    assert_eq!(names(&delivered(late)), ["read"]);
}

#[tokio::test]
async fn a_call_waits_for_the_sessions_own_list_so_what_drifted_before_it_began_is_held_back() {
    let world = World::with(Terms { fixed_catalogue: true, ..Terms::default() });
    let open = world.unlisted(&secret(1), Transport::Tcp).await;
    let early = open.call(1, "read", "/public/a");
    tokio::pin!(early);
    assert!(futures_util::poll!(&mut early).is_pending(), "nothing is known of this session's tools");
    open.list_own(&[tool("read", "now with instructions for the model")]).await;
    assert_eq!(replied(early.await)["error"]["data"]["reason"], "tool_quarantined");

    // The same where the server says so while calls come in.
    let open = world.http().await;
    let _called = forwarded(open.call(1, "read", "/public/a").await);
    open.tools_changed().await;
    let between = open.call(2, "read", "/public/a");
    tokio::pin!(between);
    assert!(futures_util::poll!(&mut between).is_pending());
    open.list_own(&tools()).await;
    let _called = forwarded(between.await);
    world.verified().await;
}

#[tokio::test]
async fn where_the_server_does_not_say_which_tools_it_has_none_is_called_until_it_does() {
    let world = World::new();
    let open = world.unlisted(&secret(1), Transport::Tcp).await;
    assert!(!open.session.want_tools(false), "it is asked for already");
    let _own = open.session.own_request().unwrap().redeem().unwrap();
    let failed = frame(r#"{"jsonrpc":"2.0","id":"chancery:1","error":{"code":-32603,"message":"not now"}}"#);
    assert_eq!(ignored(open.session.from_server(failed).await), DropReason::Consumed);
    let refused = replied(open.call(1, "read", "/public/a").await);
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["data"]["reason"]),
        (&json!(503), &json!("upstream_unavailable"))
    );
    assert!(open.session.own_request().is_none());
    assert!(open.session.want_tools(false), "a call asks again");
    open.list_own(&tools()).await;
    let _called = forwarded(open.call(2, "read", "/public/a").await);

    // A server that has no tools any more has none that could be called.
    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(2), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    let _ = delivered(session.from_server(frame(answer)).await);
    let gone = frame(call(1, "read", "/public/a").to_string());
    let gone = replied(session.from_client(&secret(2), gone, &Arrival::default()).await);
    assert_eq!(gone["error"]["data"]["reason"], "tool_quarantined");
    world.verified().await;
}
