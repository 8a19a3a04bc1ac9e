//! Sessions that are opened at the same moment with one secret, and how streams end with their session.

use std::io::Read as _;
use std::sync::Barrier;

use crate::gateway::{Gateway, demo_server, is_kind, wait_for};
use crate::puppet::{PERMIT_ALL, gateway};
use crate::raw::{Client, call, initialize, send, tcp};
use crate::session_cli::sid;

const ADD: &str = r#"{"a":1,"b":2}"#;

fn demo(more: &str) -> Gateway {
    gateway(&format!("  demo: {}", demo_server()), PERMIT_ALL, more)
}

/// By the secret's holder with this session's token.
fn ask(gateway: &Gateway, method: &str, session: &str, body: &str) -> u16 {
    let bearer = gateway.bearer();
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", session),
    ];
    send(tcp(gateway), &format!("{method} /mcp"), &headers, body.as_bytes()).status
}

fn closes(gateway: &Gateway, reason: &str) -> usize {
    let records = gateway.records();
    let closes = records.iter().filter(|record| is_kind(record, "session-close"));
    closes.filter(|record| record["predicate"]["reason"] == reason).count()
}

#[test]
fn of_clients_that_race_with_one_secret_exactly_one_has_a_live_session() {
    let gateway = demo("");
    let (rounds, racers) = (4, 4);
    for round in 1..=rounds {
        let (start, bearer) = (Barrier::new(racers), gateway.bearer());
        let hello = initialize("2025-11-25").to_string();
        let handles: Vec<String> = std::thread::scope(|scope| {
            let race = || {
                start.wait();
                let headers = [
                    ("host", "localhost"),
                    ("authorization", bearer.as_str()),
                    ("content-type", "application/json"),
                    ("accept", "application/json, text/event-stream"),
                ];
                let answer = send(tcp(&gateway), "POST /mcp", &headers, hello.as_bytes());
                assert_eq!(answer.status, 200, "{answer:?}");
                answer.header("mcp-session-id").unwrap().to_owned()
            };
            let racing: Vec<_> = (0..racers).map(|_| scope.spawn(race)).collect();
            racing.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let live = |handle: &&String| ask(&gateway, "POST", handle, &call(1, "add", ADD)) == 200;
        let winners: Vec<&String> = handles.iter().filter(live).collect();
        assert_eq!(winners.len(), 1, "in round {round}");
        for loser in handles.iter().filter(|handle| *handle != winners[0]) {
            for (method, body) in
                [("POST", call(2, "add", ADD)), ("GET", String::new()), ("DELETE", String::new())]
            {
                assert_eq!(ask(&gateway, method, loser, &body), 404, "{method}");
            }
        }
        assert_eq!(ask(&gateway, "POST", winners[0], &call(3, "add", ADD)), 200, "no loser ends the winner");
        // All but one of this round, and the winner of the one before.
        let over = round * racers - 1;
        wait_for("the losers' close", || (closes(&gateway, "superseded") == over).then_some(()));
    }
}

#[test]
fn a_client_that_restarts_with_its_static_header_goes_on_and_its_old_session_is_closed_with_its_stream() {
    let gateway = demo("");
    let before = Client::open(&gateway, "/mcp", "2025-11-25");
    let (head, mut stream) = before.listen();
    assert_eq!(head.status, 200);
    let after = Client::open(&gateway, "/mcp", "2025-11-25");
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(before.call(1, "add", ADD).status, 404);
    assert_eq!(after.call(1, "add", ADD).message()["result"]["content"][0]["text"], "3");
    let close = wait_for("the record", || {
        gateway.records().into_iter().find(|record| is_kind(record, "session-close"))
    });
    assert_eq!(close["predicate"]["reason"], "superseded");
    assert!(close.to_string().contains(&sid(&before.session)), "{close}");
}

#[test]
fn an_idle_session_ends_with_its_stream() {
    ends_with_its_stream("session: { idle_timeout: 2s }\n", "idle");
}

#[test]
fn a_session_past_its_longest_lifetime_ends_with_its_stream_however_much_it_is_used() {
    ends_with_its_stream("session: { max_lifetime: 10s }\n", "lifetime");
}

fn ends_with_its_stream(settings: &str, reason: &str) {
    let gateway = demo(settings);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let (head, mut stream) = client.listen();
    assert_eq!(head.status, 200);
    if reason == "lifetime" {
        let mut id = 1;
        wait_for("the end of its lifetime", || {
            id += 1;
            (client.call(id, "add", ADD).status == 404).then_some(())
        });
    }
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(client.call(1, "add", ADD).status, 404);
    assert_eq!(client.listen().0.status, 404);
    wait_for("the record", || (closes(&gateway, reason) == 1).then_some(()));
    // Its client may begin anew.
    assert_eq!(Client::open(&gateway, "/mcp", "2025-11-25").call(1, "add", ADD).status, 200);
}
