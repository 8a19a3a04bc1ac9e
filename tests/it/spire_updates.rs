//! Updates that no proper agent sends: each is refused and named, and the key in use goes on signing.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};

use crate::gateway::{Gateway, wait_for};
use crate::raw::Client;
use crate::spire::{ID, calls, kid_of, no_key_was_made, place, published_kids, verify, wait_until_signed_by};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::{X509Svid, X509SvidResponse};
use crate::support::workload_api::Agent;

/// What is said of an update that is refused.
const REFUSED: &str = "update is refused, the key in use stays";

/// Each malformed update, and a word that must be said of it.
fn malformed(authority: &Authority) -> Vec<(&'static str, &'static str, X509SvidResponse)> {
    let proper = authority.svid(&Leaf::of(ID));
    let spoilt = |spoil: &dyn Fn(&mut X509Svid)| {
        let mut svid = proper.clone();
        spoil(&mut svid);
        X509SvidResponse::from(svid)
    };
    let leaf = |change: &dyn Fn(&mut Leaf)| {
        let mut leaf = Leaf::of(ID);
        change(&mut leaf);
        X509SvidResponse::from(authority.svid(&leaf))
    };
    let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    let deep = (0..9).fold(authority.intermediate(), |above, _| above.intermediate());
    let deeper = (0..20).fold(authority.intermediate(), |above, _| above.intermediate());
    let other_key = authority.svid(&Leaf::of(ID)).x509_svid_key;
    let other_root = Authority::new("example.org");
    let federated = |trust_domain, bundle: &[u8]| {
        X509SvidResponse::from(proper.clone()).federated(trust_domain, bundle.to_vec())
    };
    let of_kind = |algorithm| X509SvidResponse::from(authority.svid(&Leaf::of(ID).algorithm(algorithm)));
    vec![
        ("the key of another certificate", "key", spoilt(&|s| s.x509_svid_key.clone_from(&other_key))),
        ("no key", "key", spoilt(&|s| s.x509_svid_key.clear())),
        ("a key that is none", "key", spoilt(&|s| s.x509_svid_key = b"key".to_vec())),
        ("another root", "root", spoilt(&|s| s.bundle = other_root.root().to_vec())),
        ("an expired chain", "valid", leaf(&|l| *l = l.clone().valid(now - 9 * minute, now - minute))),
        ("a chain of tomorrow", "valid", leaf(&|l| *l = l.clone().valid(now + minute, now + 9 * minute))),
        ("an empty bundle", "bundle", spoilt(&|s| s.bundle.clear())),
        ("a bundle that is none", "bundle", spoilt(&|s| s.bundle = b"roots".to_vec())),
        ("no SVID", "svid", X509SvidResponse::default()),
        ("garbage for a chain", "certificate", spoilt(&|s| s.x509_svid = b"chain".to_vec())),
        ("no chain", "svid", spoilt(&|s| s.x509_svid.clear())),
        ("bytes behind the chain", "certificate", spoilt(&|s| s.x509_svid.extend(b"more"))),
        ("a CA for a leaf", "CA", leaf(&|l| l.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("two names", "URI", leaf(&|l| l.uris.push(ID.replace("chancery", "other")))),
        ("no name", "URI", leaf(&|l| l.uris.clear())),
        ("no path", "path", leaf(&|l| l.uris = vec!["spiffe://example.org".to_owned()])),
        (
            "no digitalSignature",
            "digitalSignature",
            leaf(&|l| l.usages = vec![KeyUsagePurpose::KeyAgreement]),
        ),
        ("an RSA leaf", "workload_x509_svid_key_type", of_kind(&rcgen::PKCS_RSA_SHA256)),
        ("an Ed25519 leaf", "workload_x509_svid_key_type", of_kind(&rcgen::PKCS_ED25519)),
        ("a long chain", "chain", X509SvidResponse::from(deep.svid(&Leaf::of(ID)))),
        ("an endless chain", "certificates", X509SvidResponse::from(deeper.svid(&Leaf::of(ID)))),
        ("a foreign bundle that is none", "bundle", federated("other.org", b"roots")),
        // Where ours is given twice, what is given for foreigners must not win.
        ("a foreign bundle in our name", "root", federated("example.org", other_root.root())),
        ("what is no UTF-8", "", spoilt(&|s| s.spiffe_id = vec![0xff])),
        ("5 MiB", "", spoilt(&|s| s.bundle = vec![0; 5 << 20])),
    ]
}

#[test]
fn a_malformed_update_is_refused_and_named_and_the_good_key_goes_on_signing() {
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
            let refused = said.lines().filter(|line| line.contains(REFUSED) && line.contains("ERROR"));
            let named = |line: &str| line.to_lowercase().contains(&word.to_lowercase());
            refused.map(named).find(|named| *named)
        });
        calls(&client).unwrap_or_else(|answer| panic!("{name}: {answer:?}"));
        assert_eq!(gateway.signers().last(), Some(&kid), "{name}");
        assert_eq!(published_kids(&gateway), [kid.clone()], "{name}");
        let asked = agent.asked();
        agent.serve(good.clone());
        // Some make the library open its stream anew.
        wait_for("an open stream", || (agent.asked() > asked || agent.streams() > 0).then_some(()));
    }
    // It still listens.
    let next = authority.svid(&Leaf::of(ID));
    agent.serve(next.clone());
    wait_until_signed_by(&gateway, &kid_of(&next));
    calls(&client).unwrap();
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&authority]);
    assert!(passed, "{said}");
    assert_eq!(kid_of(&good), kid);
    no_key_was_made(dir.path());
}
