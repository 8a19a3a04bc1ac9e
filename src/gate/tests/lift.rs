//! What an operator takes away from what policies see of a principal's past: recorded first, and known after a restart.

use super::state::{FLOW, TEN, at, mail, world};
use super::*;

const READER: &str = "bootstrap:1000";

fn lift(labels: &[&str], calls: bool) -> Lift {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Lift { principal: READER.to_owned(), labels, calls, reason: "cleared by hand".to_owned(), uid: 7 }
}

/// The log alone tells what the gate knows.
fn agree(world: &World) {
    let again = Ledger::open(&world.log, 100, world.clock.now()).unwrap();
    let live = world.gate.house.ledger.account(READER).lock().clone();
    assert_eq!(*again.account(READER).lock(), live);
}

#[tokio::test]
async fn a_lifted_label_is_gone_from_the_principal_and_its_sessions_and_the_log_says_who_did_it() {
    let world = world(FLOW);
    let files = at(&world, server(), &secret(1)).await;
    let mailer = at(&world, mail(), &secret(2)).await;
    let _ = forwarded(files.call(1, "read", "/public/x").await);
    let _ = forwarded(files.call(2, "secret", "/x").await);
    assert_eq!(code(mailer.call(1, "read", "/x").await), 403);
    let seen = world.gate.principals();
    assert_eq!((seen.len(), &*seen[0].principal, seen[0].past.all.calls), (1, READER, 2));
    assert_eq!(&*seen[0].past.labels[0].0, "pii");
    assert_eq!(seen[0].sessions[&files.session.id()].len(), 2, "one of them is the session's only");

    for (wrong, known) in [(lift(&["pi"], false), true), (lift(&["pii", "other"], true), true)] {
        assert!(matches!(world.gate.lift(&wrong).await, Err(LiftError::NoLabel(_))), "{known}");
    }
    let nobody = Lift { principal: "bootstrap:1".to_owned(), ..lift(&["pii"], false) };
    assert!(matches!(world.gate.lift(&nobody).await, Err(LiftError::UnknownPrincipal)));
    assert_eq!(code(mailer.call(2, "read", "/x").await), 403, "a mistake takes nothing away");

    world.gate.lift(&lift(&["pii", "peeked"], false)).await.unwrap();
    let _ = forwarded(mailer.call(3, "read", "/x").await);
    let seen = world.gate.principals().remove(0);
    assert_eq!((seen.past.labels.len(), seen.past.all.calls), (0, 3));
    assert!(seen.sessions.values().all(Vec::is_empty));
    agree(&world);
    // What is read from then on counts again.
    let _ = forwarded(files.call(3, "read", "/public/x").await);
    assert_eq!(code(mailer.call(4, "read", "/x").await), 403);
    agree(&world);
    let records = world.verified().await;
    let lifted = of_kind(&records, "state-change");
    assert_eq!(lifted.len(), 1);
    assert_eq!(lifted[0]["principal"], READER);
    assert_eq!(
        (&lifted[0]["reason"], &lifted[0]["uid"], &lifted[0]["liftedLabels"][0]["label"]),
        (&json!("cleared by hand"), &json!(7), &json!("pii"))
    );
    assert!(lifted[0]["liftedLabels"][0]["until"].is_string());
    assert!(lifted[0]["liftedLabels"][1].get("until").is_none(), "a session's own has no end of its own");
    assert!(lifted[0].get("resetCalls").is_none());
}

#[tokio::test]
async fn counters_that_were_reset_begin_at_zero_and_a_limit_lets_as_many_through_again() {
    let world = world(TEN);
    let open = at(&world, server(), &secret(1)).await;
    let mut id = 0;
    let mut passed = async |open: &Open| {
        let mut passed = 0;
        for _ in 0..12 {
            id += 1;
            passed += usize::from(matches!(open.call(id, "read", "/x").await, Verdict::Forward(_)));
        }
        passed
    };
    assert_eq!(passed(&open).await, 10);
    world.gate.lift(&lift(&[], true)).await.unwrap();
    agree(&world);
    assert_eq!(passed(&open).await, 10);
    agree(&world);
    let records = world.verified().await;
    assert_eq!(of_kind(&records, "state-change")[0]["resetCalls"], 10);
}

#[tokio::test]
async fn what_the_log_can_not_take_is_not_taken_away() {
    let world = world(FLOW);
    let files = at(&world, server(), &secret(1)).await;
    let _ = forwarded(files.call(1, "read", "/public/x").await);
    let before = world.gate.house.ledger.account(READER).lock().clone();
    world.log.close().await;
    let refused = world.gate.lift(&lift(&["pii"], true)).await;
    assert!(matches!(refused, Err(LiftError::Unrecorded(_))), "{refused:?}");
    assert_eq!(*world.gate.house.ledger.account(READER).lock(), before);
}

#[test]
fn what_was_taken_away_and_is_given_back_counts_with_what_came_between() {
    let at = |secs| START.plus(std::time::Duration::from_secs(secs));
    let label: Arc<str> = "pii".into();
    let (mut whole, mut account) = (ledger::Account::default(), ledger::Account::default());
    for (secs, tool) in [(0, "s/a"), (7, "s/b"), (4_000, "s/a")] {
        whole.count("s", tool, at(secs));
        account.count("s", tool, at(secs));
    }
    account.label(&label, at(9_000));
    let taken = account.reset();
    for secs in [4_003, 4_100] {
        whole.count("s", "s/a", at(secs));
        account.count("s", "s/a", at(secs));
    }
    account.absorb(taken);
    assert_eq!(account.lift("pii"), Some(at(9_000)), "counters alone were reset");
    let state = |account: &ledger::Account| {
        let mut state = crate::policy::State::default();
        account.tell("s", Some("s/a"), at(4_101), &mut state);
        state
    };
    assert_eq!(state(&account), state(&whole));
}
