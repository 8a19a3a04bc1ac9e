//! What was believed when a connection was made and is not any more: an authority, a trust domain.

use std::io::Read as _;

use crate::gateway::{is_kind, wait_for};
use crate::mtls_admission::{
    ALICE, ANY_OF_ORG, BOB, Workload, add, adds, ends_in_order, gateway, headers, is_cut_off, post,
    wait_for_refusal,
};
use crate::raw::{begin, initialize};
use crate::spire::ID;
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

#[test]
fn where_folders_are_no_groups_a_workload_is_known_by_its_spiffe_id_alone() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, &format!("{ANY_OF_ORG}, path_groups: false"));
    let alice = Workload::with(authority.svid(&Leaf::of(ALICE)));
    // The only policy that lets anyone in goes by the folder `agents`.
    let refused = post(&mut alice.connect(&gateway), "", &initialize("2025-11-25").to_string());
    assert_eq!(refused.message()["error"]["data"]["reason"], "not_permitted", "{refused:?}");
}

#[test]
fn a_revoked_authority_ends_the_connections_of_whom_it_has_signed_and_no_others() {
    let (kept, revoked) = (Authority::new("example.org"), Authority::new("example.org"));
    let svid = kept.svid(&Leaf::of(ID));
    let ours = Agent::serving(svid.clone().bundle(&[kept.root(), revoked.root()]));
    let gateway = gateway(&ours, ANY_OF_ORG);
    // Both believe the gateway, whatever signed their own.
    let alice = Workload::with(revoked.svid(&Leaf::of(ALICE)).bundle(&[kept.root(), revoked.root()]));
    let bob = Workload::with(kept.svid(&Leaf::of(BOB)));
    let (of_alice, of_bob) = (alice.open(&gateway), bob.open(&gateway));
    let mut connection = alice.connect(&gateway);
    assert!(adds(&add(&mut connection, &of_alice)));
    let mut bobs = bob.connect(&gateway);
    assert_eq!(add(&mut bobs, &of_bob).status, 200);
    let (head, mut stream) = begin(alice.connect(&gateway), "GET /mcp/demo", &headers(&of_alice), b"");
    assert_eq!(head.status, 200, "{head:?}");

    ours.serve(svid.bundle(&[kept.root()]));
    let refused = wait_for("the end of the authority", || {
        let answer = add(&mut connection, &of_alice);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((refused.status, refused.header("connection")), (401, Some("close")), "{refused:?}");
    wait_for_refusal(&gateway, "svid_not_believed");
    // The stream that was open is cut, in whatever way.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    is_cut_off(alice.connect(&gateway));
    // Alice herself is let in as before: it is her certificate that counts for nothing.
    let ended = |record: &serde_json::Value| is_kind(record, "session-close");
    assert!(!gateway.records().iter().any(ended));
    alice.renew(&gateway, kept.svid(&Leaf::of(ALICE)));
    assert!(adds(&add(&mut alice.connect(&gateway), &of_alice)));
    assert_eq!(add(&mut bobs, &of_bob).status, 200, "who was signed by another is not asked to come anew");
}

#[test]
fn a_trust_domain_that_is_not_believed_any_more_ends_its_sessions_and_connections() {
    let (authority, partner) = (Authority::new("example.org"), Authority::new("example.net"));
    let svid = authority.svid(&Leaf::of(ID));
    let ours = Agent::serving(
        X509SvidResponse::from(svid.clone()).federated("example.net", partner.root().to_vec()),
    );
    let gateway = gateway(&ours, "trust_domains: [example.org, example.net]");
    let foreign = X509SvidResponse::from(partner.svid(&Leaf::of("spiffe://example.net/agents/eve")));
    let eve = Workload::with(foreign.federated("example.org", authority.root().to_vec()));
    let session = eve.open(&gateway);
    let mut connection = eve.connect(&gateway);
    assert!(adds(&add(&mut connection, &session)));
    let (head, events) = begin(eve.connect(&gateway), "GET /mcp/demo", &headers(&session), b"");
    assert_eq!(head.status, 200, "{head:?}");
    ours.serve(svid);
    let refused = wait_for("the end of the federation", || {
        let answer = add(&mut connection, &session);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 403, "{refused:?}");
    ends_in_order(events);
    let is_end = |record: &serde_json::Value| {
        is_kind(record, "session-close") && record["predicate"]["reason"] == "revoked"
    };
    wait_for("the end of the session", || gateway.records().into_iter().find(is_end));
    is_cut_off(eve.connect(&gateway));
}
