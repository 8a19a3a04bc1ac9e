//! The session's handle and its current token.

use std::time::Duration;

use super::*;

fn later(minutes: u64) -> Timestamp {
    START.plus(Duration::from_secs(minutes * 60))
}

#[tokio::test]
async fn the_handle_leads_to_its_session_on_its_own_route_only() {
    let world = World::new();
    let open = world.http().await;
    let token = open.session.token().unwrap();
    let resume = |token: &str, server: &str| world.gate.resume(token, &secret(1), &server.parse().unwrap());
    assert_eq!(resume(token.expose(), "files").unwrap().id(), open.session.id());
    assert_eq!(resume(token.expose(), "other").unwrap_err(), ResumeError::NotFound);
    let forged = token.expose().replace('.', "..");
    for bad in ["", "x", &forged, &token.expose()[1..]] {
        assert_eq!(resume(bad, "files").unwrap_err(), ResumeError::Invalid);
    }
    open.session.close(CloseReason::Client).await;
    assert_eq!(resume(token.expose(), "files").unwrap_err(), ResumeError::NotFound);
}

#[tokio::test]
async fn the_gateway_renews_the_current_token_and_the_handle_stays() {
    let world = World::new();
    let open = Arc::new(world.http().await);
    let token = open.session.token().unwrap();
    world.clock.set(later(14));
    let calls = (0..20).map(|id| {
        let open = open.clone();
        tokio::spawn(async move { matches!(open.call(id, "read", "/public/a").await, Verdict::Forward(_)) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    world.clock.set(later(60));
    let _after_expiry = forwarded(open.call(30, "read", "/public/a").await);
    assert_eq!(open.session.token().unwrap().expose(), token.expose());
    assert!(
        world.gate.resume(token.expose(), &secret(1), &server()).is_ok(),
        "past its exp it is still the handle"
    );
    world.clock.set(later(12 * 60));
    assert_eq!(world.gate.resume(token.expose(), &secret(1), &server()).unwrap_err(), ResumeError::NotFound);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "session-renew").len(), 2, "once per period");
    let last = records.iter().rfind(|record| record["method"] == "tools/call").unwrap();
    assert_eq!(last["token"], of_kind(&records, "session-renew")[1]["token"]);
}

#[tokio::test]
async fn a_call_that_is_not_gone_on_with_while_it_renews_the_token_holds_up_no_other() {
    let world = World::new();
    let open = world.http().await;
    world.clock.set(later(14));
    // Begun, and no more: as where what is ahead of it waits for a server that does not read.
    let mut stuck = Box::pin(open.call(1, "read", "/public/a"));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    tokio::task::yield_now().await;
    world.clock.set(later(60));
    let other = tokio::time::timeout(Duration::from_secs(60), open.call(2, "read", "/public/a"));
    let _sent = forwarded(other.await.expect("it waits for the other"));
    let _late = forwarded(stuck.await);
    world.verified().await;
}

#[tokio::test]
async fn a_renewed_token_is_no_handle() {
    let world = World::new();
    let open = world.http().await;
    let renewed = open.session.shared.issue(&open.admitted).unwrap();
    let resumed = world.gate.resume(renewed.token.expose(), &secret(1), &server());
    assert_eq!(resumed.unwrap_err(), ResumeError::NotFound);
}

#[tokio::test]
async fn someone_else_renews_nothing() {
    let world = World::new();
    let open = world.http().await;
    world.clock.set(later(14));
    let thief = Open { admitted: secret(9), ..open };
    assert_eq!(code(thief.call(1, "read", "/public/a").await), 404);
    let records = world.verified().await;
    assert!(of_kind(&records, "session-renew").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_calls_at_the_moment_of_renewal_renew_once() {
    // A minute before the end, when the old token still holds, and a minute after it, when all must wait.
    for minute in [14, 16] {
        let world = World::new();
        let open = Arc::new(world.http().await);
        world.clock.set(later(minute));
        let calls = (0..64).map(|id| {
            let open = open.clone();
            tokio::spawn(
                async move { matches!(open.call(id, "read", "/public/a").await, Verdict::Forward(_)) },
            )
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(call.await.unwrap(), "no call is lost");
        }
        let records = world.verified().await;
        assert_eq!(of_kind(&records, "session-renew").len(), 1, "at minute {minute}");
    }
}
