//! How sessions open, whom they belong to and how they end.

use std::time::Duration;

use super::*;
use crate::domain::refusal::DenyReason;

#[tokio::test]
async fn the_handshake_passes_unchanged_over_http_and_its_opening_is_recorded_first() {
    let world = World::new();
    let open = world.http().await;
    assert_eq!(open.sent, initialize().bytes());
    assert_eq!(open.answer, initialized_answer("2025-11-25").bytes());
    let records = world.verified().await;
    let session = json!(open.session.id());
    let kinds: Vec<_> = records.iter().filter(|r| r["session"] == session).map(|r| &r["kind"]).collect();
    assert_eq!(kinds, ["decision", "session-open", "session-close"]);
    let opened = of_kind(&records, "session-open")[0];
    assert_eq!(opened["claims"]["sub"], "bootstrap:1000");
    assert_eq!(opened["client"], json!({"name": "tester", "version": "1"}));
    assert_eq!((&opened["protocol"], &opened["transport"]), (&json!("2025-11-25"), &json!("tcp")));
}

#[tokio::test]
async fn on_stdio_the_token_stands_in_the_results_meta() {
    let world = World::new();
    let open = world.open(&process(7), Transport::Stdio).await;
    let answer = json_of(&open.answer);
    let entry = &answer["result"]["_meta"]["chancery/session"];
    assert_eq!(entry["token"], open.session.token().unwrap().expose());
    assert!(entry["expiresAt"].as_str().unwrap().ends_with('Z'));
    let verified = world.gate.house.parts.verifier.verify(entry["token"].as_str().unwrap()).unwrap();
    assert_eq!(verified.claims().sid, open.session.id());
    assert_eq!(verified.claims().mcp.transport, "stdio");
    let records = world.verified().await;
    let rewrite = &of_kind(&records, "session-open")[0]["handshake"];
    assert!(rewrite["received"].is_string() && rewrite["received"] != rewrite["forwarded"]);
}

#[tokio::test]
async fn without_a_permit_for_it_no_session_opens() {
    let world = World::with(Terms {
        policies: r#"permit (principal, action in Mcp::Action::"list", resource);"#,
        ..Terms::default()
    });
    let route = Route::new(server(), Transport::Tcp);
    let refused = world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap_err();
    assert_eq!(json_of(&refused.reply)["error"]["code"], 403);
    assert_eq!(world.gate.open_sessions(), 0);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "decision")[0]["denyReason"], "not_permitted");
}

#[tokio::test]
async fn only_an_initialize_request_opens_a_session() {
    let world = World::new();
    let route = Route::new(server(), Transport::Tcp);
    for message in [request(1, "tools/list"), json!({"jsonrpc":"2.0","method":"initialize"}), result(1)] {
        let Ok(frame) = Frame::parse(message.to_string().into(), &Limits::default()) else { continue };
        assert!(world.gate.open(&secret(1), &route, frame, &Arrival::default()).await.is_err(), "{message}");
    }
    assert_eq!(world.gate.open_sessions(), 0);
}

#[tokio::test]
async fn before_the_handshake_is_answered_nothing_but_a_ping_passes() {
    let world = World::new();
    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let client = |message: Value| {
        let session = session.clone();
        async move { session.from_client(&secret(1), frame(message.to_string()), &Arrival::default()).await }
    };
    assert_eq!(code(client(call(1, "read", "/public/a")).await), -32600);
    assert_eq!(
        dropped(client(json!({"jsonrpc":"2.0","method":"notifications/initialized"})).await),
        DropReason::OutOfOrder
    );
    let _ping = forwarded(client(request(2, "ping")).await);
    let early = session.from_server(frame(request(1, "roots/list").to_string())).await;
    assert!(matches!(early, ServerVerdict::Answer(_)));
    assert!(session.token().is_none() && session.stream(&secret(1), None).is_err());
    world.verified().await;
}

#[tokio::test]
async fn a_revision_that_nobody_speaks_ends_the_session_with_a_clear_error() {
    let world = World::new();
    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let verdict = session.from_server(initialized_answer("2026-07-28")).await;
    assert!(!session.is_over(), "the client is told first");
    let error = json_of(&delivered(verdict).bytes);
    assert!(error["error"]["message"].as_str().unwrap().contains("2026-07-28"), "{error}");
    assert!(session.is_over() && session.token().is_none());
    assert_eq!(world.gate.open_sessions(), 0);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "session-close")[0]["reason"], "handshake");
    assert!(of_kind(&records, "session-open").is_empty());
}

#[tokio::test]
async fn a_server_that_refuses_the_handshake_is_heard() {
    let world = World::new();
    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let no = frame(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#);
    assert_eq!(delivered(session.from_server(no.clone()).await).bytes, no.bytes());
    assert!(session.is_over());
}

#[tokio::test]
async fn a_stolen_token_on_another_connection_is_refused_counted_and_recorded_once() {
    let world = World::new();
    let open = world.http().await;
    let bystander = world.open(&secret(2), Transport::Tcp).await;
    let token = open.session.token().unwrap();
    for _ in 0..3 {
        for thief in [secret(9), process(7)] {
            let resumed = world.gate.resume(token.expose(), &thief, &server());
            assert_eq!(resumed.unwrap_err(), ResumeError::Binding);
            let verdict = open
                .session
                .from_client(&thief, frame(call(1, "read", "/public/a").to_string()), &Arrival::default())
                .await;
            assert_eq!(code(verdict), 404);
        }
    }
    assert_eq!(world.gate.counts().binding, 12);
    let _owner = forwarded(open.call(1, "read", "/public/a").await);
    let _other = forwarded(bystander.call(1, "read", "/public/a").await);
    let records = world.verified().await;
    let recorded: Vec<_> = records.iter().filter(|r| r["denyReason"] == "evidence_mismatch").collect();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["session"], json!(open.session.id()));
}

#[tokio::test]
async fn initializing_again_with_the_same_secret_supersedes_the_session_before() {
    let world = World::new();
    let first = world.http().await;
    let token = first.session.token().unwrap();
    let waiting = first.call(1, "read", "/public/a").await;
    let other = world.open(&secret(2), Transport::Tcp).await;
    let second = world.http().await;
    assert!(first.session.is_over() && first.session.ended().is_cancelled());
    let resume = |admitted: &_| world.gate.resume(token.expose(), admitted, &server()).unwrap_err();
    assert_eq!(resume(&secret(1)), ResumeError::Superseded);
    assert_eq!(resume(&secret(2)), ResumeError::NotFound, "a thief learns nothing");
    assert_eq!(code(first.call(2, "read", "/public/a").await), 404);
    let Verdict::Forward(permit) = waiting else { panic!() };
    assert!(permit.redeem().is_err(), "what was allowed before goes no further");
    let token = second.session.token().unwrap();
    assert_eq!(world.gate.resume(token.expose(), &secret(1), &server()).unwrap().id(), second.session.id());
    let _other = forwarded(other.call(1, "read", "/public/a").await);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "session-close")[0]["reason"], "superseded");
}

#[tokio::test]
async fn a_client_that_restarts_with_its_secret_is_let_in_where_one_session_is_all_it_may_have() {
    for limits in [
        Limits { sessions_per_principal: 1, ..Limits::default() },
        Limits { sessions: 1, ..Limits::default() },
    ] {
        let world = World::with(Terms { limits, ..Terms::default() });
        let route = Route::new(server(), Transport::Tcp);
        let first = world.http().await;
        let (opening, _permit) =
            world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap();
        let third = world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await.unwrap_err();
        assert_eq!(third.reason, DenyReason::Limited, "only one takes the place of one");
        let other = world.gate.open(&secret(2), &route, initialize(), &Arrival::default()).await.unwrap_err();
        assert_eq!(other.reason, DenyReason::Limited, "another secret takes nobody's place");
        let _still = forwarded(first.call(1, "read", "/public/a").await);
        opening.close(CloseReason::Handshake).await;
        let second = world.http().await;
        assert!(first.session.is_over() && !second.session.is_over());
        let _again = world.http().await;
        assert_eq!(world.gate.open_sessions(), 1);
        world.verified().await;
    }
}

#[tokio::test]
async fn a_handshake_that_fails_leaves_the_session_that_it_would_have_superseded() {
    let world = World::new();
    let first = world.http().await;
    let route = Route::new(server(), Transport::Tcp);
    let open = || async {
        let opened = world.gate.open(&secret(1), &route, initialize(), &Arrival::default()).await;
        let (session, permit) = opened.unwrap();
        let _sent = permit.redeem().unwrap();
        session
    };
    let refused = frame(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#);
    for answer in [refused, initialized_answer("2026-07-28")] {
        let _told = delivered(open().await.from_server(answer).await);
    }
    // One whose answer comes after its end.
    let ended = open().await;
    ended.close(CloseReason::Revoked).await;
    let _late = ended.from_server(initialized_answer("2025-11-25")).await;
    let _still = forwarded(first.call(1, "read", "/public/a").await);
    let token = first.session.token().unwrap();
    assert_eq!(world.gate.resume(token.expose(), &secret(1), &server()).unwrap().id(), first.session.id());
    let second = world.http().await;
    assert!(first.session.is_over() && !second.session.is_over());
    world.verified().await;
}

#[tokio::test]
async fn a_process_may_hold_several_sessions() {
    let world = World::new();
    let first = world.open(&process(7), Transport::Unix).await;
    let second = world.open(&process(7), Transport::Unix).await;
    let _a = forwarded(first.call(1, "read", "/public/a").await);
    let _b = forwarded(second.call(1, "read", "/public/a").await);
}

#[tokio::test]
async fn idle_old_and_unanswered_sessions_are_collected_and_busy_ones_are_not() {
    let world = World::new();
    let idle = world.http().await;
    let busy = world.open(&secret(2), Transport::Tcp).await;
    let pipe = world.open(&process(7), Transport::Stdio).await;
    let route = Route::new(server(), Transport::Tcp);
    let (unanswered, _permit) =
        world.gate.open(&secret(3), &route, initialize(), &Arrival::default()).await.unwrap();
    let _under_way = forwarded(busy.call(1, "read", "/public/a").await);
    let at = |hours: u64| START.plus(Duration::from_secs(hours * 3600));
    world.gate.sweep(at(1)).await;
    let over = [&idle.session, &unanswered, &busy.session, &pipe.session].map(|session| session.is_over());
    assert_eq!(over, [true, true, false, false]);
    world.gate.sweep(at(12)).await;
    assert!(busy.session.is_over() && !pipe.session.is_over(), "on stdio the pipe is the session");
}

#[tokio::test]
async fn sessions_are_bounded() {
    let limits = Limits { sessions: 2, ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    let first = world.http().await;
    let _second = world.open(&secret(2), Transport::Tcp).await;
    let route = Route::new(server(), Transport::Tcp);
    let refused = world.gate.open(&secret(3), &route, initialize(), &Arrival::default()).await.unwrap_err();
    assert_eq!(json_of(&refused.reply)["error"]["code"], 429);
    assert!(refused.retry_after.is_some());
    first.session.close(CloseReason::Client).await;
    let _third = world.open(&secret(3), Transport::Tcp).await;
}

#[tokio::test]
async fn one_principals_sessions_are_bounded_and_cost_no_other_its_own() {
    let limits = Limits { sessions_per_principal: 1, ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    let route = Route::new(server(), Transport::Tcp);
    let open = || async {
        let admitted = process(7);
        world.gate.open(&admitted, &route, initialize(), &Arrival::default()).await
    };
    let (first, permit) = open().await.unwrap();
    let refused = open().await.unwrap_err();
    assert_eq!(refused.reason, DenyReason::Limited, "a handshake under way counts");
    assert!(refused.retry_after.is_some());
    let reply = json_of(&refused.reply);
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["data"]["reason"]),
        (&json!(429), &json!("limited"))
    );
    assert!(reply["error"]["data"]["retryAfterMs"].as_u64().unwrap() > 0);
    assert_eq!(world.gate.open_sessions(), 1);
    let _other = world.open(&secret(7), Transport::Tcp).await;
    drop(permit);
    first.close(CloseReason::Client).await;
    let _again = open().await.unwrap();
    let records = world.verified().await;
    let limited =
        of_kind(&records, "decision").into_iter().filter(|record| record["denyReason"] == "limited");
    assert_eq!(limited.count(), 1);
}

#[tokio::test]
async fn calls_beyond_a_principals_rate_are_refused_recorded_and_told_when_to_come_again() {
    let limits = Limits { calls_per_second: Some(1), ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    let open = world.http().await;
    let other = world.open(&process(7), Transport::Tcp).await;
    for id in 1..=2 {
        let _ = forwarded(open.call(id, "read", "/public/a").await);
    }
    let refused = replied(open.call(3, "read", "/public/a").await);
    let data = &refused["error"]["data"];
    assert_eq!((&refused["error"]["code"], &data["reason"]), (&json!(429), &json!("limited")), "{refused}");
    assert_eq!(data["retryAfterMs"], 1000);
    assert!(data["attestation"].is_string() && data["decisionId"].is_string(), "{data}");
    let _ = forwarded(other.call(1, "read", "/public/a").await);
    world.clock.set(world.clock.now().plus(std::time::Duration::from_secs(1)));
    let _ = forwarded(open.call(4, "read", "/public/a").await);
    world.verified().await;
}

#[tokio::test]
async fn get_and_delete_run_under_the_standing_permit_of_the_rightful_caller() {
    let world = World::new();
    let open = world.http().await;
    let stream = open.session.stream(&open.admitted, Some("42".to_owned())).unwrap();
    let expected = Delivery::OpenStream { last_event_id: Some("42".to_owned()) };
    assert_eq!(stream.redeem().unwrap().delivery, expected);
    assert_eq!(open.session.stream(&secret(9), None).unwrap_err(), DropReason::Binding);
    assert_eq!(open.session.delete(&secret(9)).unwrap_err(), DropReason::Binding);
    assert_eq!(open.session.delete(&open.admitted).unwrap().redeem().unwrap().delivery, Delivery::EndSession);
    open.session.close(CloseReason::Client).await;
    assert_eq!(open.session.delete(&open.admitted).unwrap_err(), DropReason::SessionOver);
}
