//! What is held as updates come: which key signs, which is next, which is only answered for.

use std::sync::Arc;
use std::time::Duration;

use super::held::{Held, MOST_PUBLIC};
use super::kept::{self, Kept};
use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;
use crate::identity::IdentityError;
use crate::identity::material::signing;
use crate::keys::testing::{Authority, LeafSpec, RootSpec};
use crate::keys::{ActiveKey, CertificateChain, TrustBundle};

const LEAD: Duration = Duration::from_secs(30);
const PATH: &str = "/chancery";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_772_366_400 + secs)
}

/// An SVID of an hour.
fn svid(authority: &Authority, from: i64) -> ActiveKey {
    Arc::into_inner(authority.key(PATH, at(from), at(from + 3600))).unwrap()
}

fn begin(key: ActiveKey) -> Held {
    Held::begin(key, Vec::new(), LEAD, at(0))
}

fn signs(held: &Held, secs: i64) -> Option<&KeyId> {
    signing(&held.keys, at(secs)).map(|index| held.keys[index].key.id())
}

fn answers_for(held: &Held, id: &KeyId) -> bool {
    let public = held.public.iter().any(|half| half.leaf.key_id == *id);
    public || held.keys.iter().any(|known| known.key.id() == id)
}

#[test]
fn a_new_svid_is_published_for_the_lead_before_it_signs_and_the_old_one_is_answered_for() {
    let authority = Authority::new("example.org");
    let (first, second) = (svid(&authority, 0), svid(&authority, 1800));
    let (a, b) = (first.id().clone(), second.id().clone());
    let mut held = begin(first);
    assert_eq!(signs(&held, 0), Some(&a), "there is no other");
    held.take(second, at(1800));
    assert!(answers_for(&held, &b));
    assert_eq!(signs(&held, 1829), Some(&a));
    assert_eq!(signs(&held, 1830), Some(&b));
    held.settle(at(1830));
    assert_eq!(held.keys.len(), 1, "the private key of the old one is let go");
    assert!(answers_for(&held, &a));
    held.settle(at(3600 + 31 * 24 * 3600));
    assert!(answers_for(&held, &a));
    held.settle(at(3601 + 31 * 24 * 3600));
    assert!(!answers_for(&held, &a), "no session is older than that");
}

#[test]
fn a_new_svid_signs_at_once_when_the_old_one_ends_before_the_lead_does() {
    let authority = Authority::new("example.org");
    let (first, second) = (svid(&authority, 0), svid(&authority, 1800));
    let b = second.id().clone();
    let mut held = begin(first);
    held.take(second, at(3580));
    assert_eq!(signs(&held, 3580), Some(&b));
}

#[test]
fn of_two_rotations_within_one_lead_the_middle_key_never_signs_but_is_answered_for() {
    let authority = Authority::new("example.org");
    let [first, second, third] = [0, 100, 110].map(|from| svid(&authority, from));
    let (a, b, c) = (first.id().clone(), second.id().clone(), third.id().clone());
    let mut held = begin(first);
    held.take(second, at(100));
    held.take(third, at(110));
    for secs in [110, 129, 130, 139] {
        assert_eq!(signs(&held, secs), Some(&a), "{secs}");
    }
    assert_eq!(signs(&held, 140), Some(&c));
    assert!(answers_for(&held, &b));
}

#[test]
fn an_agent_that_goes_back_to_an_older_svid_is_followed_at_once() {
    let authority = Authority::new("example.org");
    let (first, second) = (svid(&authority, 0), svid(&authority, 100));
    let again = first.under(Arc::clone(first.bundle()), at(100)).unwrap();
    let (a, b) = (first.id().clone(), second.id().clone());
    let mut held = begin(first);
    held.take(second, at(100));
    held.take(again, at(110));
    assert_eq!(signs(&held, 110), Some(&a));
    assert_eq!(signs(&held, 200), Some(&a), "the one it no longer offers does not take over later");
    assert!(answers_for(&held, &b));
}

#[test]
fn a_withdrawal_leaves_nothing_to_sign_with_and_the_return_signs_at_once() {
    let authority = Authority::new("example.org");
    let (first, second) = (svid(&authority, 0), svid(&authority, 100));
    let (a, b) = (first.id().clone(), second.id().clone());
    let mut held = begin(first);
    held.withdraw("no identity issued".to_owned());
    assert_eq!(signs(&held, 1), None);
    assert!(answers_for(&held, &a), "what it signed can be verified");
    held.take(second, at(100));
    assert_eq!((signs(&held, 100), held.withdrawn.as_deref()), (Some(&b), None));
}

#[test]
fn another_bundle_keeps_the_key_that_it_vouches_for_and_ends_the_others() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let both = TrustBundle::union([(*old.bundle).clone(), (*new.bundle).clone()]).unwrap();
    let first = svid(&old, 0);
    let a = first.id().clone();
    let under_both = first.under(Arc::new(both), at(10)).unwrap();
    let mut held = begin(first);
    held.take(under_both, at(10));
    assert_eq!((signs(&held, 10), held.keys.len()), (Some(&a), 1));
    assert_eq!(held.keys[0].key.bundle().roots().count(), 2, "the log's next record names the new bundle");
    // The old root is gone: nothing that leads to it is believed any more, and no lead is waited for.
    let second = svid(&new, 20);
    let b = second.id().clone();
    held.take(second, at(20));
    assert_eq!(signs(&held, 20), Some(&b));
    assert!(!answers_for(&held, &a));
}

#[test]
fn a_key_whose_authority_ends_makes_way_as_if_it_ended_itself() {
    let authority = Authority::new("example.org");
    let below = authority.intermediate(&RootSpec { to: at(100), ..RootSpec::of("example.org") });
    let (first, second) = (svid(&below, 0), svid(&authority, 90));
    let b = second.id().clone();
    let mut held = begin(first);
    assert!(signs(&held, 100).is_some());
    assert_eq!(signs(&held, 101), None, "nobody could verify what it signs");
    assert_eq!(held.left(at(40)), Duration::from_secs(60));
    held.take(second, at(90));
    assert_eq!(signs(&held, 90), Some(&b));
}

#[test]
fn a_key_signs_on_when_one_of_the_roots_that_vouch_for_it_ends() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let generation = |to| {
        let spec = RootSpec { to, ..RootSpec::of("example.org") };
        Authority::keyed("example.org", &spec, rcgen::KeyPair::try_from(pair.serialize_der()).unwrap())
    };
    let short = generation(at(100));
    let spec = LeafSpec::of("spiffe://example.org/chancery", at(0), at(3600));
    // Which of the two is found first is up to their digests.
    let key = std::iter::repeat_with(|| generation(at(5000)))
        .map(|long| TrustBundle::union([(*short.bundle).clone(), (*long.bundle).clone()]).unwrap())
        .map(|both| Arc::into_inner(short.key_under(&spec, &both)).unwrap())
        .find(|key| key.leaf().to == at(100))
        .unwrap();
    let id = key.id().clone();
    let mut held = begin(key);
    held.settle(at(101));
    assert_eq!(signs(&held, 101), Some(&id));
}

#[test]
fn an_update_that_changes_nothing_leaves_the_very_same_key() {
    let authority = Authority::new("example.org");
    let first = svid(&authority, 0);
    let again = first.under(Arc::clone(first.bundle()), at(1)).unwrap();
    let mut held = begin(first);
    let before = Arc::clone(&held.keys[0].key);
    held.take(again, at(1));
    assert!(Arc::ptr_eq(&before, &held.keys[0].key), "the log would look at it as another one");
}

#[test]
fn an_ended_root_takes_no_ended_key_with_it() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let (first, second) = (svid(&old, 0), svid(&new, 3590));
    let a = first.id().clone();
    let mut held = begin(first);
    held.withdraw("gone".to_owned());
    held.take(second, at(4000));
    assert!(answers_for(&held, &a), "sessions may still show a token that it signed");
}

#[test]
fn a_restart_answers_for_the_keys_before_it_and_looking_shows_them_by_role() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let place = dir.path().join("spire");
    let (first, second) = (svid(&authority, 0), svid(&authority, 1800));
    let (a, b, id) = (first.id().clone(), second.id().clone(), first.spiffe_id().clone());
    let mut held = begin(first);
    let mut kept = Kept::open(&place).unwrap();
    kept.keep(&held, at(0), LEAD).unwrap();
    held.take(second, at(1800));
    kept.keep(&held, at(1800), LEAD).unwrap();
    let roles = |secs: i64| -> Vec<(&str, String)> {
        let (found, published) = kept::look(&place, None, at(secs)).unwrap();
        assert_eq!(found, id);
        published.public.iter().map(|half| (half.role.as_str(), half.leaf.key_id.to_string())).collect()
    };
    assert_eq!(roles(1801), [("next", b.to_string()), ("signing", a.to_string())]);
    assert_eq!(roles(1830), [("signing", b.to_string()), ("retired", a.to_string())]);

    let known = |secs: i64, bundle: &TrustBundle| {
        let known = Kept::open(&place).unwrap().known(&id, bundle, at(secs)).unwrap();
        let mut known: Vec<_> = known.iter().map(|half| half.leaf.key_id.to_string()).collect();
        known.sort();
        known
    };
    let mut expected = [a.to_string(), b.to_string()];
    expected.sort();
    assert_eq!(known(3600, &authority.bundle), expected);
    assert_eq!(known(3601, &authority.bundle), [b.to_string()], "no token of the other is alive");
    assert!(
        known(1900, &Authority::new("example.org").bundle).is_empty(),
        "the bundle does not vouch for them"
    );
    let text: String = std::fs::read_dir(place.join("svids"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE"));
}

#[test]
fn what_ended_long_ago_is_removed_when_something_new_is_kept() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let mut kept = Kept::open(dir.path().join("spire").as_path()).unwrap();
    let mut held = begin(svid(&authority, 0));
    kept.keep(&held, at(0), LEAD).unwrap();
    let late = 3600 + 24 * 3600 + 1;
    held.take(svid(&authority, late), at(late));
    held.settle(at(late));
    kept.keep(&held, at(late), LEAD).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("spire/svids")).unwrap().count(), 1);
}

#[test]
fn looking_shows_the_identity_of_the_last_start_whoever_was_there_before() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let place = dir.path().join("spire");
    let ours = svid(&authority, 0);
    let again = ours.under(Arc::clone(ours.bundle()), at(0)).unwrap();
    let other = Arc::into_inner(authority.key("/other", at(0), at(3600))).unwrap();
    let id = ours.spiffe_id().clone();
    for key in [ours, other, again] {
        let mut kept = Kept::open(&place).unwrap();
        let known = kept.known(key.spiffe_id(), key.bundle(), at(1)).unwrap();
        kept.keep(&Held::begin(key, known, LEAD, at(1)), at(1), LEAD).unwrap();
    }
    assert_eq!(kept::look(&place, None, at(2)).unwrap().0, id);
}

#[test]
fn a_chain_of_any_size_that_is_taken_over_can_be_read_at_the_next_start() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let place = dir.path().join("spire");
    let (leaf, pkcs8) = authority.leaf(&LeafSpec::of("spiffe://example.org/chancery", at(0), at(3600)));
    // Certificates that are in no way are carried along.
    let uris = (0..140).map(|n| format!("spiffe://example.org/{n}/{}", "x".repeat(80))).collect();
    let stuffed = LeafSpec { uris, ..LeafSpec::of("", at(0), at(3600)) };
    let more: Vec<_> = (0..7).map(|_| authority.leaf(&stuffed).0).collect();
    let ders = leaf.ders().chain(more.iter().flat_map(CertificateChain::ders)).map(<[u8]>::to_vec);
    let chain = CertificateChain::from_ders(ders).unwrap();
    assert!(chain.to_pem().len() > 100 * 1024);
    let key = ActiveKey::new(&pkcs8, chain, Arc::clone(&authority.bundle), at(0)).unwrap();
    let (id, bundle) = (key.spiffe_id().clone(), Arc::clone(key.bundle()));
    Kept::open(&place).unwrap().keep(&begin(key), at(0), LEAD).unwrap();
    assert_eq!(Kept::open(&place).unwrap().known(&id, &bundle, at(1)).unwrap().len(), 1);
}

#[test]
fn an_agent_that_sends_svids_without_end_fills_neither_memory_nor_disk() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let mut held = begin(svid(&authority, 0));
    held.take(svid(&authority, 1), at(1));
    held.settle(at(31));
    let half = Arc::clone(&held.public[0]);
    held.public.extend(std::iter::repeat_n(half, MOST_PUBLIC));
    let newest = svid(&authority, 31);
    let id = newest.id().clone();
    held.take(newest, at(31));
    held.settle(at(61));
    assert_eq!(held.public.len(), MOST_PUBLIC);
    assert!(answers_for(&held, &id));

    let place = dir.path().join("spire");
    let mut kept = Kept::open(&place).unwrap();
    let pem = held.public[0].chain.to_pem();
    for n in 0..MOST_PUBLIC {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = place.join(format!("svids/{n}-{n:064x}.pem"));
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
        std::io::Write::write_all(&mut file, pem.as_bytes()).unwrap();
    }
    kept.keep(&held, at(61), LEAD).unwrap();
    assert_eq!(std::fs::read_dir(place.join("svids")).unwrap().count(), MOST_PUBLIC);
    assert_eq!(kept::look(&place, None, at(61)).unwrap().1.public[0].leaf.key_id, id);
}

#[test]
fn a_file_that_is_none_of_ours_does_not_keep_what_is_new_from_being_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("example.org"));
    let place = dir.path().join("spire");
    let held = begin(svid(&authority, 0));
    let mut kept = Kept::open(&place).unwrap();
    for (name, text, mode) in [("1-a.pem", "nothing", 0o600), ("2-b.pem", "", 0o600), ("3-c.pem", "", 0o644)]
    {
        let path = place.join("svids").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    kept.keep(&held, at(0), LEAD).unwrap();
    assert_eq!(std::fs::read_dir(place.join("svids")).unwrap().count(), 4, "nothing of others' is removed");
}

#[test]
fn looking_where_no_gateway_was_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spire");
    assert!(matches!(kept::look(&place, None, at(0)), Err(IdentityError::Absent { .. })));
    assert!(!place.exists());
}
