//! The agent dies, or takes the identity away: what goes on, what is refused, and how service comes back.

use tonic::Status;

use crate::gateway::{Gateway, is_kind, wait_for};
use crate::raw::Client;
use crate::spire::{
    BRIEF, ID, asks_for_a_session, calls, is_refused_for_want_of_an_identity, kid_of, no_key_was_made, place,
    published_kids, verify, wait_until_signed_by,
};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

/// Waits until calls and new sessions are refused, with the reason.
fn wait_until_refused(gateway: &Gateway, client: &Client<'_>) {
    let answer = wait_for("a refusal", || calls(client).err());
    is_refused_for_want_of_an_identity(&answer);
    let answer = asks_for_a_session(gateway);
    assert_eq!(answer.header("mcp-session-id"), None, "{answer:?}");
    is_refused_for_want_of_an_identity(&answer);
}

/// Waits until calls go through again, in the session that was open before.
fn wait_until_served(gateway: &Gateway, client: &Client<'_>) {
    wait_for("service", || calls(client).ok());
    let answer = asks_for_a_session(gateway);
    assert!(answer.header("mcp-session-id").is_some(), "{answer:?}");
}

/// Asserts that the log passes and tells of the time without an identity.
fn the_log_tells_of_the_gap(gateway: Gateway, roots: &[&Authority]) {
    let gap = gateway.records().into_iter().find(|record| is_kind(record, "gap"));
    let gap = gap.expect("a gap in the log");
    assert_eq!(gap["predicate"]["cause"], "signer", "{gap:#}");
    assert!(gap["predicate"]["refused"].as_u64().unwrap() > 0, "{gap:#}");
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), roots);
    assert!(passed, "{said}");
    no_key_was_made(dir.path());
}

#[test]
fn an_agent_that_dies_is_survived_until_the_svid_ends_and_after_it_is_back() {
    let authority = Authority::new("example.org");
    let mut agent = Agent::serving(authority.svid(&Leaf::of(ID).ending_in(BRIEF)));
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    agent.crash();
    wait_for("a warning", || gateway.said().contains("WARN").then_some(()));
    calls(&client).unwrap();
    wait_until_refused(&gateway, &client);
    // In the second in which it ends an SVID still signs records (RFC 5280 §4.1.2.5), and no tokens any more.
    wait_for("the end of signing", || {
        calls(&client).err()?;
        gateway.said().contains("could not be recorded").then_some(())
    });

    let next = authority.svid(&Leaf::of(ID));
    agent.serve(next.clone());
    agent.start();
    wait_until_served(&gateway, &client);
    assert_eq!(gateway.signers().last(), Some(&kid_of(&next)));
    the_log_tells_of_the_gap(gateway, &[&authority]);
}

#[test]
fn an_agent_that_restarts_within_the_svids_life_is_not_noticed() {
    let authority = Authority::new("example.org");
    let mut agent = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    agent.stop();
    calls(&client).unwrap();
    let next = authority.svid(&Leaf::of(ID));
    agent.serve(next.clone());
    agent.start();
    crate::spire::while_calling(&client, || wait_until_signed_by(&gateway, &kid_of(&next)));
    // Streams that end in other ways than by a withdrawal take nothing away either.
    for status in [Status::unavailable("shutting down"), Status::internal("?"), Status::unknown("?")] {
        let asked = agent.asked();
        agent.refuse(&status);
        wait_for("another attempt", || (agent.asked() > asked).then_some(()));
        calls(&client).unwrap();
    }
    assert!(!gateway.records().iter().any(|record| is_kind(record, "gap")));
}

#[test]
fn an_agent_that_says_that_it_cannot_serve_is_an_outage_and_no_refused_update() {
    let authority = Authority::new("example.org");
    let agent = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    agent.refuse(&Status::unavailable("shutting down"));
    let outage = |line: &str| line.contains("no SVIDs come since");
    wait_for("the outage", || gateway.said().lines().any(outage).then_some(()));
    let said = gateway.said();
    assert!(!said.contains("is refused, the key in use stays"), "{said}");
}

#[test]
fn a_deleted_entry_ends_signing_at_once_and_a_new_one_brings_it_back() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let agent = Agent::serving(svid.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 10m,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    calls(&client).unwrap();
    agent.withdraw();
    wait_until_refused(&gateway, &client);
    wait_for("word of it", || {
        let words = gateway.said();
        (words.contains("withdrawn") || words.contains("no identity")).then_some(())
    });
    agent.serve(svid);
    wait_until_served(&gateway, &client);
    the_log_tells_of_the_gap(gateway, &[&authority]);
}

#[test]
fn an_update_without_our_spiffe_id_is_a_withdrawal_whatever_else_it_holds() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let other = authority.svid(&Leaf::of("spiffe://example.org/other"));
    let agent = Agent::serving(svid.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 10m,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    // The same name in another trust domain is another identity.
    let (foreign, elsewhere) = (Authority::new("other.org"), "spiffe://other.org/chancery");
    let talkative = other.clone().hint(&"\u{1b}[2J".repeat(200_000));
    for strange in [
        X509SvidResponse::of([other.clone()]),
        X509SvidResponse::of(vec![talkative; 4]),
        X509SvidResponse::of([foreign.svid(&Leaf::of(elsewhere))]),
        X509SvidResponse::of([authority.svid(&Leaf::of(elsewhere))]),
    ] {
        agent.serve(strange);
        wait_until_refused(&gateway, &client);
        // Ours need not be the first.
        agent.serve(X509SvidResponse::of([other.clone(), svid.clone()]));
        wait_until_served(&gateway, &client);
    }
    let kids = published_kids(&gateway);
    assert_eq!(kids, [kid_of(&svid)], "another identity's key is never published");
    let said = gateway.said();
    assert!(said.len() < 64 * 1024 && !said.contains('\u{1b}'), "{} bytes", said.len());
    assert!(gateway.signers().iter().all(|signer| *signer == kid_of(&svid)));
    the_log_tells_of_the_gap(gateway, &[&authority]);
}
