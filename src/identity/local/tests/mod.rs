//! The embedded trust domain over real directories, with a clock that the test holds.

mod refusals;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::clock::Clock;
use crate::identity::{Config, Identity, KeyRole, Kind};
use crate::keys::{PublicKeySource as _, Signer as _, SignerError};

const DAY: i64 = 24 * 3600;
/// When half of a leaf's validity is over: it begins a minute before it is made.
const HALF: i64 = DAY / 2 - 30;

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap()
}

fn after(secs: i64) -> Timestamp {
    Timestamp::from_secs(start().as_secs() + secs)
}

fn open(config: &Config, clock: Clock) -> Result<Arc<Identity>, IdentityError> {
    let Kind::Local(local) = &config.kind else { panic!("not a local identity") };
    Identity::open_local(local, config.lead, clock)
}

struct Place {
    dir: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: Clock::fixed(start()) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("identity")
    }

    fn open(&self) -> Arc<Identity> {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Arc<Identity>, IdentityError> {
        open(&Config::local(self.path()), self.clock.clone())
    }

    fn svids(&self) -> Vec<PathBuf> {
        files(&self.path().join(SVIDS))
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn kid(identity: &Identity) -> String {
    identity.current().unwrap().id().to_string()
}

#[test]
fn a_restart_keeps_the_root_and_the_leaf_and_yesterdays_signature_verifies() {
    let place = Place::new();
    let first = place.open();
    let (kid_then, bundle_then) = (kid(&first), first.bundle().to_pem());
    let signature = first.current().unwrap().sign(b"yesterday").unwrap();
    drop(first);

    place.clock.set(after(3600));
    let second = place.open();
    assert_eq!((kid(&second), second.bundle().to_pem()), (kid_then.clone(), bundle_then.clone()));

    place.clock.set(after(DAY));
    let third = place.open();
    assert_eq!(third.bundle().to_pem(), bundle_then, "the root stays");
    assert_ne!(kid(&third), kid_then, "the leaf does not");
    let key = third.find(&kid_then).expect("the key of yesterday is still known");
    key.key.verify_der(b"yesterday", signature.der()).unwrap();
}

#[test]
fn everything_is_private_and_the_private_key_of_a_retired_leaf_is_gone() {
    let place = Place::new();
    let identity = place.open();
    let dir = place.path();
    for path in [dir.clone(), dir.join(SVIDS), dir.join(RETIRED)] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    for path in [dir.join(ROOT), dir.join("lock")].into_iter().chain(place.svids()) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    place.clock.set(after(DAY / 2));
    identity.refresh().unwrap();
    place.clock.set(after(DAY / 2 + 60));
    identity.refresh().unwrap();
    let retired = files(&dir.join(RETIRED));
    assert_eq!((place.svids().len(), retired.len()), (1, 1));
    let text = fs::read_to_string(&retired[0]).unwrap();
    assert!(text.contains("CERTIFICATE") && !text.contains("PRIVATE"));
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_stays_listed() {
    let place = Place::new();
    let identity = place.open();
    let old = kid(&identity);
    assert_eq!(identity.jwks().keys.len(), 1);

    place.clock.set(after(HALF));
    identity.refresh().unwrap();
    assert_eq!(identity.jwks().keys.len(), 2, "half of the validity is over: the next key is listed");
    assert_eq!(kid(&identity), old, "but does not sign yet");
    let roles: Vec<_> = identity.describe().iter().map(|key| key.role).collect();
    assert_eq!(roles, [KeyRole::Root, KeyRole::Signing, KeyRole::Next]);

    place.clock.set(after(HALF + 29));
    assert_eq!(kid(&identity), old, "not before its lead of 30 s has passed");
    place.clock.set(after(HALF + 30));
    let new = kid(&identity);
    assert_ne!(new, old, "it signs when the lead is over, without anyone having to look");

    identity.refresh().unwrap();
    let jwks = identity.jwks();
    assert!(jwks.find(&old).is_some() && jwks.find(&new).is_some());
    place.clock.set(after(DAY + 61));
    assert!(identity.jwks().find(&old).is_none(), "no token of an ended certificate is alive");
    assert!(identity.find(&old).is_some(), "but a session's handle may be older than that");
    place.clock.set(after(31 * DAY));
    identity.refresh().unwrap();
    assert!(identity.find(&old).is_some(), "as old as the longest session");
    place.clock.set(after(33 * DAY));
    identity.refresh().unwrap();
    assert!(identity.find(&old).is_none(), "and is forgotten then");
}

#[test]
fn an_old_key_with_little_left_gives_way_at_once() {
    let place = Place::new();
    let old = kid(&place.open());
    // Ten seconds of the old leaf are left, the new one's lead is thirty.
    place.clock.set(after(DAY - 10));
    assert_ne!(kid(&place.open()), old);
}

#[test]
fn an_expired_key_does_not_sign_and_says_so() {
    let place = Place::new();
    let identity = place.open();
    place.clock.set(after(DAY));
    assert!(identity.current().is_ok(), "the second of notAfter belongs to the certificate");
    place.clock.set(after(DAY + 1));
    let error = identity.current().unwrap_err();
    assert!(matches!(error, SignerError::Expired { .. }), "{error}");
    assert!(error.to_string().contains("expired at 2026-03-02T12:00:00.000Z"), "{error}");
    place.clock.set(after(-3600));
    assert!(matches!(identity.current(), Err(SignerError::NotYetValid { .. })), "a clock that was set back");
}

#[test]
fn eight_openings_at_once_make_one_root_and_one_leaf() {
    let place = Place::new();
    let seen: Vec<(String, String)> = std::thread::scope(|scope| {
        let work = || {
            let identity = place.open();
            (kid(&identity), identity.bundle().to_pem())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|one| *one == seen[0]));
    assert_eq!(place.svids().len(), 1);
}

#[test]
fn a_key_that_another_process_made_is_taken_over_and_both_switch_at_the_same_moment() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    place.clock.set(after(DAY / 2));
    one.refresh().unwrap();
    two.refresh().unwrap();
    assert_eq!(one.jwks(), two.jwks());
    assert_eq!(one.jwks().keys.len(), 2);
    place.clock.set(after(DAY / 2 + 30));
    assert_eq!(kid(&one), kid(&two));
    one.refresh().unwrap();
    two.refresh().unwrap();
    assert_eq!((one.jwks(), place.svids().len()), (two.jwks(), 1));
}

#[test]
fn two_paths_share_a_trust_domain_and_leave_each_other_alone() {
    let place = Place::new();
    let one = place.open();
    let mut local = Local::in_dir(place.path());
    local.path = "/other".to_owned();
    let config = Config { kind: Kind::Local(local), lead: Config::DEFAULT_LEAD };
    let other = open(&config, place.clock.clone()).unwrap();
    assert_eq!(other.bundle(), one.bundle());
    assert!(other.spiffe_id().as_str().ends_with("/other"));
    one.refresh().unwrap();
    assert_eq!((place.svids().len(), one.jwks().keys.len(), other.jwks().keys.len()), (2, 1, 1));
}

#[test]
fn what_a_killed_process_left_half_written_is_swept_and_never_read() {
    let place = Place::new();
    drop(place.open());
    let left = place.path().join(SVIDS).join(".0a.tmp");
    fs::write(&left, "half a key").unwrap();
    place.open();
    place.clock.set(after(DAY / 2));
    place.open().refresh().unwrap();
    assert!(!left.exists());
}

#[test]
fn a_lock_that_nobody_gives_back_is_an_error_and_not_a_hang() {
    let place = Place::new();
    drop(place.open());
    let store = Store::open(&place.path(), &[SVIDS, RETIRED], false).unwrap();
    let lock = store.lock().unwrap();
    let error = store.lock_within(Duration::from_millis(30)).unwrap_err();
    assert!(matches!(error, IdentityError::Busy { .. }), "{error}");
    drop(lock);
    assert!(store.lock().is_ok(), "given back when dropped");
}

#[tokio::test]
async fn rotation_runs_by_itself_until_it_is_stopped() {
    let place = Place::new();
    // The shortest pause between two looks is a second.
    let config = Config { lead: Duration::from_secs(2), ..Config::local(place.path()) };
    let identity = open(&config, place.clock.clone()).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&identity).rotate_forever(stop.clone()));
    place.clock.set(after(DAY / 2));
    let published = async {
        while identity.jwks().keys.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), published).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
}
