//! Updates that no proper agent sends: each is refused and named, and the key in use goes on signing.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SignatureAlgorithm};

use crate::gateway::{Gateway, wait_for};
use crate::raw::Client;
use crate::spire::{
    ID, calls, kid_of, no_key_was_made, place, published_kids, verify, wait_until_signed_by, while_calling,
};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::{X509Svid, X509SvidResponse};
use crate::support::workload_api::Agent;

/// What is wrong with an update, a word of the reason that must be told, and the update.
type Malformed = (&'static str, &'static str, X509SvidResponse);

/// What must be told of an update that says something, but nothing to rely on.
const REFUSED: &str = "is refused, the key in use stays";

fn unsound(authority: &Authority) -> Vec<Malformed> {
    let (proper, another) = (authority.svid(&Leaf::of(ID)), Authority::new("example.org"));
    let other_roots = another.svid(&Leaf::of(ID)).bundle(&[authority.root()]);
    let mut mixed = authority.svid(&Leaf::of(ID));
    mixed.x509_svid_key.clone_from(&proper.x509_svid_key);
    let valid = |from, to| authority.svid(&Leaf::of(ID).valid(from, to));
    let of_kind = |algorithm: &'static SignatureAlgorithm| authority.svid(&Leaf::of(ID).algorithm(algorithm));
    let long = (0..9).fold(authority.intermediate(), |above, _| above.intermediate());
    let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    vec![
        ("the key of another certificate", "key", mixed.into()),
        ("another root", "root", other_roots.into()),
        ("an expired chain", "valid", valid(now - 9 * minute, now - minute).into()),
        ("a chain of tomorrow", "valid", valid(now + minute, now + 9 * minute).into()),
        ("an RSA leaf", "workload_x509_svid_key_type", of_kind(&rcgen::PKCS_RSA_SHA256).into()),
        ("an Ed25519 leaf", "workload_x509_svid_key_type", of_kind(&rcgen::PKCS_ED25519).into()),
        ("a long chain", "chain", long.svid(&Leaf::of(ID)).into()),
    ]
}

fn unreadable(authority: &Authority) -> Vec<Malformed> {
    let proper = authority.svid(&Leaf::of(ID));
    let spoilt = |spoil: &dyn Fn(&mut X509Svid)| {
        let mut svid = proper.clone();
        spoil(&mut svid);
        X509SvidResponse::from(svid)
    };
    let leaf = |change: &dyn Fn(&mut Leaf)| {
        let mut leaf = Leaf::of(ID);
        change(&mut leaf);
        X509SvidResponse::from(X509Svid { spiffe_id: ID.into(), ..authority.svid(&leaf) })
    };
    let other = "spiffe://example.org/other".to_owned();
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let endless = (0..20).fold(authority.intermediate(), |above, _| above.intermediate());
    let foreign = X509SvidResponse::from(proper.clone()).federated("other.org", b"roots".to_vec());
    vec![
        ("no SVID", "svids", X509SvidResponse::default()),
        ("no key", "svid_key", spoilt(&|svid| svid.x509_svid_key.clear())),
        ("a key that is none", "key", spoilt(&|svid| svid.x509_svid_key = b"key".to_vec())),
        ("no bundle", "bundle", spoilt(&|svid| svid.bundle.clear())),
        ("a bundle that is none", "bundle", spoilt(&|svid| svid.bundle = b"roots".to_vec())),
        ("no chain", "x509_svid", spoilt(&|svid| svid.x509_svid.clear())),
        ("a foreign bundle that is none", "bundle", foreign),
        ("a chain that is none", "certificate", spoilt(&|svid| svid.x509_svid = b"chain".to_vec())),
        ("an endless chain", "certificates", endless.svid(&Leaf::of(ID)).into()),
        ("bytes behind the chain", "certificate", spoilt(&|svid| svid.x509_svid.extend(b"more"))),
        ("a CA for a leaf", "CA", leaf(&|leaf| leaf.is_ca = ca)),
        ("two names", "URI", leaf(&|leaf| leaf.uris.push(other.clone()))),
        // By the number of the extension: subject alternative name.
        ("no name", "2.5.29.17", leaf(&|leaf| leaf.uris.clear())),
        ("a trust domain's name", "path", leaf(&|leaf| leaf.uris = vec!["spiffe://example.org".to_owned()])),
        ("a web page's name", "SPIFFE", leaf(&|leaf| leaf.uris = vec!["https://example.org/a".to_owned()])),
        (
            "no digitalSignature",
            "digitalSignature",
            leaf(&|leaf| leaf.usages = vec![KeyUsagePurpose::KeyAgreement]),
        ),
        ("what is no UTF-8", "spiffe_id", spoilt(&|svid| svid.spiffe_id = vec![0xff])),
        ("5 MiB", "too large", spoilt(&|svid| svid.bundle = vec![0; 5 << 20])),
    ]
}

/// Serves each update in turn (what is said once is not said again: no two that are refused for the same follow on
/// each other), and the good one in between.
fn each_is_refused(malformed: impl Fn(&Authority) -> Vec<Malformed>, breaks: bool) {
    let authority = Authority::new("example.org");
    let good = authority.svid(&Leaf::of(ID));
    let kid = kid_of(&good);
    let agent = Agent::serving(good.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    for (name, word, update) in malformed(&authority) {
        let before = gateway.said().len();
        agent.serve(update);
        wait_for(&format!("that {name} is refused, with `{word}`,"), || {
            let said = gateway.said().split_off(before);
            let named = |line: &str| line.contains(REFUSED) && line.contains(word);
            said.lines().any(named).then_some(())
        });
        calls(&client).unwrap_or_else(|answer| panic!("{name}: {answer:?}"));
        assert_eq!(gateway.signers().last(), Some(&kid), "{name}");
        assert_eq!(published_kids(&gateway), [kid.as_str()], "{name}");
        let asked = agent.asked();
        agent.serve(good.clone());
        // One that can't be read ends the stream.
        if breaks {
            wait_for("another stream", || (agent.asked() > asked).then_some(()));
        }
    }
    // It still listens.
    let next = authority.svid(&Leaf::of(ID));
    agent.serve(next.clone());
    while_calling(&client, || wait_until_signed_by(&gateway, &kid_of(&next)));
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&authority]);
    assert!(passed, "{said}");
    no_key_was_made(dir.path());
}

#[test]
fn an_unsound_update_is_refused_and_named_and_the_good_key_goes_on_signing() {
    each_is_refused(unsound, false);
}

#[test]
fn an_unreadable_update_is_refused_and_named_and_the_good_key_goes_on_signing() {
    each_is_refused(unreadable, true);
}
