//! Limits and labels: what one principal did counts in all its sessions, exactly, and after a restart.

use std::time::Duration;

use super::*;

/// Two servers; ten calls for each principal, whatever it calls.
pub(super) const TEN: &str = r#"
permit (principal, action, resource);
@id("ten") @reason("Ten calls are enough.")
forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.usage.calls >= 10 };
"#;

/// What is read at `files` must not be mailed.
pub(super) const FLOW: &str = r#"
permit (principal, action in [Mcp::Action::"session/open", Mcp::Action::"list"], resource);
@id("read") @label("pii") @label_for("2h")
permit (principal, action == Mcp::Action::"files/read", resource) when { context.input.path like "/public/*" };
@id("peek") @label("peeked") @label_for("session")
permit (principal, action == Mcp::Action::"files/secret", resource);
@id("mail") permit (principal, action == Mcp::Action::"mail/read", resource);
@id("no-leak") @reason("You have read personal data.")
forbid (principal, action in Mcp::Action::"mail/*", resource) when { principal.labels.contains("pii") };
@id("no-peeking")
forbid (principal, action in Mcp::Action::"mail/*", resource) when { principal.session.labels.contains("peeked") };
"#;

pub(super) fn mail() -> ServerName {
    "mail".parse().unwrap()
}

/// A world of two servers with the same tools.
pub(super) fn world(policies: &'static str) -> World {
    let world = World::new();
    put_in_force(&world, policies);
    world
}

fn put_in_force(world: &World, policies: &str) {
    let definitions =
        || tools().iter().map(|t| ToolDefinition::from_list_entry(t.as_bytes()).unwrap()).collect();
    let mut catalogue = Catalogue::of(server(), definitions());
    catalogue.servers.insert(mail(), definitions());
    let engine = Engine::compile(&PolicySources::single("p.cedar", policies), &catalogue).unwrap().0;
    archive(&world.log, &engine);
    world.engines.replace(engine);
}

pub(super) async fn at(world: &World, server: ServerName, admitted: &Admitted) -> Arc<Open> {
    let route = Route::new(server, Transport::Tcp);
    let opened = world.gate.open(admitted, &route, initialize(), &Arrival::default()).await;
    let (session, permit) = opened.map_err(|refused| refused.reply).unwrap();
    let sent = permit.redeem().unwrap();
    let answer = delivered(session.from_server(initialized_answer("2025-11-25")).await).bytes;
    let verdict = session.from_client(admitted, frame(INITIALIZED), &Arrival::default()).await;
    let _ = forwarded(verdict);
    let open = Open { session, admitted: admitted.clone(), sent: sent.bytes, answer };
    open.list_own(&tools()).await;
    Arc::new(open)
}

/// Sixty-four calls at once, in turn over the sessions; how many went on.
async fn storm(sessions: &[Arc<Open>]) -> usize {
    let calls = (0..64_usize).map(|id| {
        let open = Arc::clone(&sessions[id % sessions.len()]);
        tokio::spawn(async move {
            let id = i64::try_from(id).unwrap();
            match open.call(id, "read", "/public/a").await {
                Verdict::Forward(permit) => {
                    drop(permit.redeem().unwrap());
                    1
                }
                Verdict::Reply(reply) => {
                    assert_eq!(json_of(&reply)["error"]["data"]["reasons"][0]["policyId"], "ten");
                    0
                }
                Verdict::Drop(reason) => panic!("{}", reason.as_str()),
            }
        })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        passed += call.await.unwrap();
    }
    passed
}

fn recorded(records: &[Value], effect: &str) -> usize {
    records.iter().filter(|record| record["method"] == "tools/call" && record["effect"] == effect).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_calls_at_once_a_limit_of_ten_lets_ten_through() {
    let world = world(TEN);
    let open = at(&world, server(), &secret(1)).await;
    assert_eq!(storm(&[open]).await, 10);
    let records = world.verified().await;
    assert_eq!((recorded(&records, "allow"), recorded(&records, "deny")), (10, 54));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_is_one_over_two_servers_and_four_sessions_of_a_principal_and_no_others() {
    let world = world(TEN);
    let mut sessions = Vec::new();
    for (of, server) in [(1, server()), (2, mail()), (3, server()), (4, mail())] {
        sessions.push(at(&world, server, &secret(of)).await);
    }
    assert_eq!(storm(&sessions).await, 10);
    let other = at(&world, server(), &process(7)).await;
    assert_eq!(storm(&[other]).await, 10, "another principal has ten of its own");
    let records = world.verified().await;
    assert_eq!((recorded(&records, "allow"), recorded(&records, "deny")), (20, 108));
    let told: Vec<u64> = records
        .iter()
        .filter(|record| record["method"] == "tools/call" && record["principal"] == "bootstrap:1000")
        .map(|record| record["state"]["usage"]["calls"].as_u64().unwrap())
        .collect();
    let mut before: Vec<u64> = told.iter().copied().filter(|calls| *calls < 10).collect();
    before.sort_unstable();
    assert_eq!(before, (0..10).collect::<Vec<u64>>(), "each allowed call saw another count");
    assert!(told.iter().all(|calls| *calls <= 10));
}

#[tokio::test]
async fn only_permitted_calls_count_and_a_new_session_begins_no_count_anew() {
    let world = world(
        r#"permit (principal, action, resource);
        forbid (principal, action == Mcp::Action::"files/write", resource);
        forbid (principal, action == Mcp::Action::"files/read", resource)
          when { principal.usage.tool.minute >= 2 && principal.usage.server.calls >= 3 };"#,
    );
    let open = at(&world, server(), &secret(1)).await;
    for id in 0..5 {
        let _ = replied(open.call(id, "write", "/a").await);
    }
    let passes = async |open: &Open, id| matches!(open.call(id, "read", "/a").await, Verdict::Forward(_));
    assert!(passes(&open, 10).await && passes(&open, 11).await);
    assert!(passes(&open, 12).await, "two of the tool, but only two of the server");
    assert!(!passes(&open, 13).await);
    let again = at(&world, server(), &secret(2)).await;
    assert!(!passes(&again, 1).await, "another session of the same principal");
    world.clock.set(START.plus(Duration::from_secs(66)));
    assert!(passes(&again, 2).await, "the minute is over");
    world.verified().await;
}

#[tokio::test]
async fn what_was_read_at_one_server_is_not_mailed_by_another_session_at_another() {
    let world = world(FLOW);
    let files = at(&world, server(), &secret(1)).await;
    let mailer = at(&world, mail(), &secret(2)).await;
    let _ = forwarded(mailer.call(1, "read", "/x").await);
    assert_eq!(code(files.call(1, "read", "/private/x").await), 403, "denied: nothing was let in");
    let _ = forwarded(mailer.call(2, "read", "/x").await);
    let _ = forwarded(files.call(2, "read", "/public/x").await);
    let refused = replied(mailer.call(3, "read", "/x").await);
    assert_eq!(refused["error"]["message"], "You have read personal data.", "before the answer even came");
    let new = at(&world, mail(), &secret(3)).await;
    assert_eq!(code(new.call(1, "read", "/x").await), 403);
    let other = at(&world, mail(), &process(7)).await;
    let _ = forwarded(other.call(1, "read", "/x").await);

    world.clock.set(START.plus(Duration::from_secs(7_199)));
    assert_eq!(code(new.call(2, "read", "/x").await), 403);
    world.clock.set(START.plus(Duration::from_secs(7_200)));
    let again = at(&world, mail(), &secret(4)).await;
    let _ = forwarded(again.call(1, "read", "/x").await);
    let records = world.verified().await;
    let labelled: Vec<&Value> = records.iter().filter(|r| r["addedLabels"].is_array()).collect();
    assert_eq!(labelled.len(), 1);
    assert_eq!(
        labelled[0]["addedLabels"],
        json!([{"label": "pii", "until": START.plus(Duration::from_secs(7_200)).to_rfc3339()}])
    );
    let denied = records.iter().find(|record| record["policies"][0]["id"] == "no-leak").unwrap();
    assert_eq!(denied["state"]["labels"], json!(["pii"]));
}

#[tokio::test]
async fn a_label_of_a_session_ends_with_it() {
    let world = world(FLOW);
    let peeking = at(&world, server(), &process(1)).await;
    let _ = forwarded(peeking.call(1, "secret", "/x").await);
    let mailer = at(&world, mail(), &process(1)).await;
    let _ = forwarded(mailer.call(1, "read", "/x").await);
    put_in_force(&world, &FLOW.replace("\"mail/*\"", "\"files/*\""));
    let _ = replied(peeking.call(2, "secret", "/x").await);
    let records = world.verified().await;
    let labelled = records.iter().find(|record| record["addedLabels"].is_array()).unwrap();
    assert_eq!(labelled["addedLabels"], json!([{"label": "peeked"}]));
}

#[tokio::test]
async fn a_permit_that_fails_labels_all_the_same() {
    let world = world(
        r#"@id("plain") permit (principal, action, resource);
        @id("odd") @label("odd")
        permit (principal, action == Mcp::Action::"files/read", resource)
          when { principal.session.calls + 9223372036854775807 < 0 };
        forbid (principal, action == Mcp::Action::"files/write", resource)
          when { principal.labels.contains("odd") };"#,
    );
    let open = at(&world, server(), &secret(1)).await;
    let _ = forwarded(open.call(1, "read", "/a").await);
    let _ = forwarded(open.call(2, "write", "/a").await);
    let _ = forwarded(open.call(3, "read", "/a").await);
    // Its sum overflowed the second time; whether it would have held nobody knows.
    let _ = replied(open.call(4, "write", "/a").await);
    world.verified().await;
}

#[tokio::test]
async fn a_tool_whose_limit_is_used_up_is_no_longer_listed() {
    let world = world(
        r#"permit (principal, action, resource);
        forbid (principal, action == Mcp::Action::"files/read", resource) when { principal.usage.tool.hour >= 1 };"#,
    );
    let open = at(&world, server(), &secret(1)).await;
    let list = async |id: i64| {
        let _ = forwarded(open.client(&request(id, "tools/list")).await);
        let all = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{}]}}}}"#, tools().join(","));
        let shown = json_of(&delivered(open.session.from_server(frame(all)).await).bytes);
        let names = shown["result"]["tools"].as_array().unwrap().iter();
        names.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(1).await, ["read", "write", "secret"]);
    let _ = forwarded(open.call(2, "read", "/a").await);
    assert_eq!(list(3).await, ["write", "secret"]);
    world.clock.set(START.plus(Duration::from_secs(3_900)));
    assert_eq!(list(4).await, ["read", "write", "secret"]);
    world.verified().await;
}

#[tokio::test]
async fn a_set_that_reads_no_state_records_none_and_still_counts() {
    let world = world("permit (principal, action, resource);");
    let open = at(&world, server(), &secret(1)).await;
    for id in 0..10 {
        let _ = forwarded(open.call(id, "read", "/a").await);
    }
    put_in_force(&world, TEN);
    assert_eq!(code(open.call(10, "read", "/a").await), 403);
    let records = world.verified().await;
    let calls: Vec<&Value> = records.iter().filter(|record| record["method"] == "tools/call").collect();
    assert!(calls[0].get("state").is_none());
    assert_eq!(calls[10]["state"]["usage"]["server"]["minute"], 10);
}

#[tokio::test]
async fn where_no_counter_has_room_a_policy_that_reads_them_permits_no_call() {
    let limits = Limits { counters: 2, ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    put_in_force(&world, TEN);
    let open = at(&world, server(), &secret(1)).await;
    let _ = forwarded(open.call(1, "read", "/a").await);
    let _ = forwarded(open.call(2, "read", "/a").await);
    let refused = replied(open.call(3, "write", "/a").await);
    assert_eq!(refused["error"]["data"]["reason"], "limited", "a tool that is not counted yet");
    put_in_force(&world, "permit (principal, action, resource);");
    let _ = forwarded(open.call(4, "write", "/a").await);
    world.verified().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn policies_that_are_replaced_all_the_while_let_no_call_more_through() {
    let world = Arc::new(world(TEN));
    let mut sessions = Vec::new();
    for (of, server) in [(1, server()), (2, mail())] {
        sessions.push(at(&world, server, &secret(of)).await);
    }
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (replaced, until, count) = (Arc::clone(&world), Arc::clone(&stop), Arc::clone(&times));
    let replacing = tokio::task::spawn_blocking(move || {
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            let time = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            put_in_force(&replaced, &format!("{TEN}// {time}"));
        }
    });
    let (mut passed, mut asked) = (0, 0);
    while asked < 64 || times.load(std::sync::atomic::Ordering::Relaxed) < 4 {
        let calls = (asked..asked + 16).map(|id| {
            let open = Arc::clone(&sessions[id % sessions.len()]);
            tokio::spawn(async move {
                match open.call(i64::try_from(id).unwrap(), "read", "/public/a").await {
                    Verdict::Forward(permit) => usize::from(permit.redeem().is_ok()),
                    Verdict::Reply(_) => 0,
                    Verdict::Drop(reason) => panic!("{}", reason.as_str()),
                }
            })
        });
        asked += 16;
        for call in calls.collect::<Vec<_>>() {
            passed += call.await.unwrap();
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    replacing.await.unwrap();
    assert!(passed <= 10, "{passed}");
    let count = |ledger: &Ledger| {
        let mut state = crate::policy::State::default();
        ledger.account("bootstrap:1000").lock().tell("files", None, START, &mut state);
        usize::try_from(state.all.calls).unwrap()
    };
    let (live, told) =
        (count(&world.gate.house.ledger), count(&Ledger::open(&world.log, 100, START).unwrap()));
    assert!(passed <= live && live <= 10 && live <= told, "{passed} {live} {told}");
    world.verified().await;
}

#[tokio::test]
async fn a_limit_in_shadow_refuses_no_call_where_no_counter_has_room() {
    let limits = Limits { counters: 2, ..Limits::default() };
    let world = World::with(Terms { limits, ..Terms::default() });
    put_in_force(&world, &TEN.replace("@id(\"ten\")", "@id(\"ten\") @shadow"));
    let open = at(&world, server(), &secret(1)).await;
    let _ = forwarded(open.call(1, "read", "/a").await);
    let _ = forwarded(open.call(2, "write", "/a").await);
    world.verified().await;
}

#[tokio::test]
async fn the_log_alone_tells_what_every_principal_did() {
    let world = world(FLOW);
    let files = at(&world, server(), &secret(1)).await;
    let mailer = at(&world, mail(), &process(2)).await;
    for id in 0..3 {
        let _ = forwarded(files.call(id, "read", "/public/x").await);
        let _ = forwarded(mailer.call(id, "read", "/x").await);
        let _ = replied(files.call(10 + id, "read", "/private").await);
        world.clock.set(world.clock.now().plus(Duration::from_secs(61)));
    }
    let _ = forwarded(files.call(3, "secret", "/x").await);
    let again = Ledger::open(&world.log, 100, world.clock.now()).unwrap();
    for principal in ["bootstrap:1000", "peer:1000:-"] {
        let live = world.gate.house.ledger.account(principal).lock().clone();
        assert_eq!(*again.account(principal).lock(), live, "{principal}");
        assert_ne!(live, ledger::Account::default());
    }
    world.verified().await;
}
