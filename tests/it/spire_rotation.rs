//! SVIDs and authorities change under way, and nobody who calls notices.

use std::time::{Duration, SystemTime};

use chancery::domain::clock::Timestamp;
use serde_json::Value;

use crate::gateway::{Gateway, chancery, is_kind, wait_for};
use crate::raw::Client;
use crate::spire::{
    BRIEF, ID, asks_for_a_session, calls, files_below, is_refused_for_want_of_an_identity, kid_of,
    no_key_was_made, place, published, published_kids, signer_of, verified, verify, wait_until_signed_by,
    while_calling,
};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

fn key_changes(gateway: &Gateway) -> Vec<Value> {
    gateway.records().into_iter().filter(|record| is_kind(record, "key-change")).collect()
}

fn millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_new_key_is_published_before_it_signs_and_no_call_fails_meanwhile() {
    let authority = Authority::new("example.org");
    let (first, second) = (authority.svid(&Leaf::of(ID)), authority.svid(&Leaf::of(ID)));
    let (old, new) = (kid_of(&first), kid_of(&second));
    let agent = Agent::serving(first);
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 2s,", ""));
    let (_, max_age) = published(&gateway);
    assert!(max_age <= 2, "a key that is cached for {max_age} s would miss the next one");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");

    let mut served = SystemTime::UNIX_EPOCH;
    let count = while_calling(&client, || {
        calls(&client).unwrap();
        served = SystemTime::now();
        agent.serve(second);
        wait_for("the new key in the JWKS", || published_kids(&gateway).contains(&new).then_some(()));
        assert!(!gateway.signers().contains(&new), "it signed before anyone could know it");
        wait_until_signed_by(&gateway, &new);
    });
    assert!(count > 10, "{count} calls");

    let changes = key_changes(&gateway);
    let [change] = changes.as_slice() else { panic!("{changes:#?}") };
    assert_eq!(
        (&change["predicate"]["previousKey"], &change["predicate"]["key"]["kid"]),
        (&old.as_str().into(), &new.as_str().into())
    );
    let time = Timestamp::parse_rfc3339(time_of(change)).unwrap();
    assert!(time.as_millis() >= millis(served) + 2000, "served at {served:?}, signed at {time}");
    // Its first signature is on the record of the change, and the old key signs nothing after it.
    let signers = gateway.signers();
    let at = gateway.records().iter().position(|record| is_kind(record, "key-change")).unwrap();
    assert!(signers[..at].iter().all(|signer| *signer == old));
    assert!(signers[at..].iter().all(|signer| *signer == new));

    // The session lives on, its token verifies, and the next session's token is of the new key.
    calls(&client).unwrap();
    assert_eq!(signer_of(&client), old);
    verified(&gateway, &client.session);
    let next = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_eq!(signer_of(&next), new);
    verified(&gateway, &next.session);

    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&authority]);
    assert!(passed && said.contains("2 signing keys"), "{said}");
    let chains = files_below(&dir.path().join("log/trust/chains"));
    assert_eq!(chains.len(), 2, "{chains:?}");
    no_key_was_made(dir.path());
}

/// When a record was made.
fn time_of(record: &Value) -> &str {
    record["predicate"]["time"].as_str().unwrap_or_else(|| panic!("{record:#}"))
}

#[test]
fn a_key_whose_predecessor_is_about_to_end_signs_at_once() {
    let authority = Authority::new("example.org");
    let first = authority.svid(&Leaf::of(ID).ending_in(Duration::from_secs(600)));
    let second = authority.svid(&Leaf::of(ID).ending_in(Duration::from_secs(7200)));
    let new = kid_of(&second);
    let agent = Agent::serving(first);
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 10m,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    while_calling(&client, || {
        agent.serve(second);
        wait_until_signed_by(&gateway, &new);
    });
}

#[test]
fn two_rotations_within_one_lead_end_with_the_newest_key_and_no_call_fails() {
    let authority = Authority::new("example.org");
    let svids: Vec<_> = (0..3).map(|_| authority.svid(&Leaf::of(ID))).collect();
    let kids: Vec<_> = svids.iter().map(kid_of).collect();
    let agent = Agent::serving(svids[0].clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 2s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    while_calling(&client, || {
        for next in [1, 2] {
            agent.serve(svids[next].clone());
            wait_for("the key in the JWKS", || published_kids(&gateway).contains(&kids[next]).then_some(()));
        }
        let all = published_kids(&gateway);
        assert!(kids.iter().all(|kid| all.contains(kid)), "{all:?}");
        wait_until_signed_by(&gateway, &kids[2]);
    });
    let all = published_kids(&gateway);
    assert!(all.contains(&kids[0]) && all.contains(&kids[2]), "{all:?}");
    verified(&gateway, &client.session);
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&authority]);
    assert!(passed, "{said}");
}

#[test]
fn an_authority_is_replaced_by_overlapping_bundles_and_no_call_fails() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let both: [&[u8]; 2] = [old.root(), new.root()];
    let first = old.svid(&Leaf::of(ID).ending_in(BRIEF));
    let second = new.svid(&Leaf::of(ID)).bundle(&both);
    let agent = Agent::serving(first.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let changes = |count: usize| {
        wait_for("a key-change", || (key_changes(&gateway).len() == count).then(|| key_changes(&gateway)))
    };
    while_calling(&client, || {
        // SPIRE prepares: the same key, one more root.
        agent.serve(first.clone().bundle(&both));
        let [change] = changes(1).try_into().unwrap();
        let (key, kid) = (&change["predicate"]["key"], kid_of(&first));
        assert_eq!(
            (&change["predicate"]["previousKey"], &key["kid"]),
            (&kid.as_str().into(), &kid.as_str().into())
        );
        let bundles = gateway.dir.path().join("log/trust/bundles");
        let archived = bundles.join(format!("{}.pem", key["bundle"].as_str().unwrap()));
        let archived = std::fs::read_to_string(archived).unwrap();
        assert_eq!(archived.matches("BEGIN CERTIFICATE").count(), 2);
        // It activates: a key below the new root.
        agent.serve(second.clone());
        wait_until_signed_by(&gateway, &kid_of(&second));
        // It forgets the old root, when everything below it has ended.
        let gone = || !published_kids(&gateway).contains(&kid_of(&first));
        wait_for("the end of the old key", || gone().then_some(()));
        agent.serve(second.clone().bundle(&[new.root()]));
        changes(3);
    });
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&old, &new]);
    assert!(passed, "{said}");
    let (passed, said) = verify(dir.path(), &[&new]);
    assert!(!passed && said.contains("trust bundle"), "{said}");
}

#[test]
fn a_revoked_authority_ends_at_once_what_stood_on_it() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let [first, second] = [(); 2].map(|()| old.svid(&Leaf::of(ID)));
    let third = new.svid(&Leaf::of(ID));
    let agent = Agent::serving(first.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    while_calling(&client, || {
        agent.serve(second.clone());
        wait_until_signed_by(&gateway, &kid_of(&second));
    });
    agent.serve(third.clone());
    // A token that nothing vouches for opens nothing: its session is over, and the client begins another.
    let answer = wait_for("the end of the session", || calls(&client).err());
    assert_eq!(answer.status, 404, "{answer:?}");
    wait_for("the record of its end", || {
        let closed = |record: &Value| {
            is_kind(record, "session-close") && record["predicate"]["reason"] == "key-revoked"
        };
        gateway.records().iter().any(closed).then_some(())
    });
    // Neither the key that signed nor the one before it is published any more.
    assert_eq!(published_kids(&gateway), [kid_of(&third)]);
    let next = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_eq!(signer_of(&next), kid_of(&third));
    let before = gateway.signers().len();
    calls(&next).unwrap();
    assert!(gateway.signers()[before..].iter().all(|signer| *signer == kid_of(&third)));
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&old, &new]);
    assert!(passed, "{said}");
}

#[test]
fn a_revoked_authority_ends_what_stood_on_it_before_another_svid_has_come() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let (first, second) = (old.svid(&Leaf::of(ID)), new.svid(&Leaf::of(ID)));
    let agent = Agent::serving(first.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 10m,", ""));
    // The roots are others already, the SVID is not yet. What comes as a foreigner's in our name is no better.
    let in_our_name = X509SvidResponse::from(first.clone()).federated("example.org", new.root().to_vec());
    for update in [in_our_name, first.clone().bundle(&[new.root()]).into()] {
        agent.serve(first.clone());
        wait_for("service", || asks_for_a_session(&gateway).header("mcp-session-id").map(drop));
        let client = Client::open(&gateway, "/mcp", "2025-11-25");
        calls(&client).unwrap();
        agent.serve(update);
        wait_for("a refusal", || calls(&client).err());
        assert!(published_kids(&gateway).is_empty(), "{:?}", published_kids(&gateway));
        is_refused_for_want_of_an_identity(&asks_for_a_session(&gateway));
    }
    let before = gateway.signers().len();
    agent.serve(second.clone());
    let next = wait_for("service", || {
        asks_for_a_session(&gateway)
            .header("mcp-session-id")
            .map(|_| Client::open(&gateway, "/mcp", "2025-11-25"))
    });
    calls(&next).unwrap();
    assert!(gateway.signers()[before..].iter().all(|signer| *signer == kid_of(&second)));
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&old, &new]);
    assert!(passed, "{said}");
}

#[test]
fn nobody_who_holds_the_lock_of_the_kept_chains_delays_a_withdrawal() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let (first, second) = (old.svid(&Leaf::of(ID)), new.svid(&Leaf::of(ID)));
    let agent = Agent::serving(first.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    calls(&client).unwrap();
    let lock =
        std::fs::File::options().write(true).open(gateway.dir.path().join("state/chancery/spire/lock"));
    let lock = lock.unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let begun = std::time::Instant::now();
    agent.serve(second.clone());
    wait_for("the end of the old key", || (published_kids(&gateway) == [kid_of(&second)]).then_some(()));
    agent.withdraw();
    wait_for("a refusal", || asks_for_a_session(&gateway).header("mcp-session-id").is_none().then_some(()));
    // Each of the two would take 10 s if the lock were waited for as at the start.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // It is kept as soon as it can be.
    agent.serve(second.clone());
    drop(lock);
    let kept = gateway.dir.path().join("state/chancery/spire/svids");
    wait_for("the chain", || (files_below(&kept).len() == 2).then_some(()));
}

#[test]
fn no_log_filter_shows_a_private_key() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let agent = Agent::serving(svid.clone());
    let dir = place(&agent, "publish_ahead: 1s,", "");
    let mut command = chancery(dir.path());
    command.env("CHANCERY_LOG", "trace");
    let gateway = Gateway::start_by(command, dir);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let next = authority.svid(&Leaf::of(ID));
    agent.serve(next.clone());
    while_calling(&client, || wait_until_signed_by(&gateway, &kid_of(&next)));
    agent.withdraw();
    wait_for("a refusal", || calls(&client).err());
    // The library is heard.
    let said = gateway.says(&["Connected to Workload API"]);
    for key in [&svid.x509_svid_key, &next.x509_svid_key] {
        // Of the private number itself, as text in any of the usual forms.
        let part = &key[40..48];
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = part.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let forms = [hex.clone(), hex.to_uppercase(), list, part.escape_ascii().to_string()];
        assert!(forms.iter().all(|form| !said.contains(form.as_str())), "{forms:?}");
    }
}
