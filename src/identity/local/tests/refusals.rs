//! Directories and files that are refused, each with its fix and left as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{DAY, Place, after, chmod, mode, open};
use crate::identity::local::{ROOT, SVIDS};
use crate::identity::{Config, Identity, IdentityError, Kind, Local};
use crate::keys::{Signer as _, SignerError};

#[test]
fn what_is_open_to_others_is_refused_with_the_command_that_closes_it() {
    let place = Place::new();
    drop(place.open());
    let (dir, svid) = (place.path(), place.svids().remove(0));
    let table = [
        (dir.clone(), 0o700, 0o750),
        (dir.clone(), 0o700, 0o701),
        (dir.clone(), 0o700, 0o500),
        (dir.join(SVIDS), 0o700, 0o755),
        (dir.join(ROOT), 0o600, 0o640),
        (dir.join(ROOT), 0o600, 0o604),
        (dir.join(ROOT), 0o600, 0o000),
        (svid, 0o600, 0o644),
    ];
    for (path, right, wrong) in table {
        chmod(&path, wrong);
        let error = place.try_open().unwrap_err().to_string();
        assert!(error.contains(&format!("chmod {right:o} {}", path.display())), "{error}");
        assert_eq!(mode(&path), wrong, "nothing was changed");
        chmod(&path, right);
    }
    place.open();
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let place = Place::new();
    drop(place.open());
    // Only root can give a directory away; others are refused by the kernel before they come here.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(place.path(), Some(12345), None).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, IdentityError::Owner { owner: 12345, .. }), "{error}");
    std::os::unix::fs::chown(place.path(), Some(0), None).unwrap();
    std::os::unix::fs::chown(place.path().join(ROOT), Some(12345), None).unwrap();
    assert!(matches!(place.try_open(), Err(IdentityError::Owner { .. })));
}

#[test]
fn damaged_files_are_named_and_left_as_they_are() {
    let place = Place::new();
    drop(place.open());
    let elsewhere = Place::new();
    drop(elsewhere.open());
    let (root, svid) = (place.path().join(ROOT), place.svids().remove(0));
    let (good_root, good_svid) = (fs::read_to_string(&root).unwrap(), fs::read_to_string(&svid).unwrap());
    let foreign_root = fs::read_to_string(elsewhere.path().join(ROOT)).unwrap();
    let foreign_svid = fs::read_to_string(elsewhere.svids().remove(0)).unwrap();
    let key_of = |text: &str| text[..text.find("-----BEGIN CERT").unwrap()].to_owned();
    let certificate_of = |text: &str| text[text.find("-----BEGIN CERT").unwrap()..].to_owned();
    let table = [
        (&root, String::new()),
        (&root, good_root[..good_root.len() / 2].to_owned()),
        (&root, good_svid.clone()),
        (&root, key_of(&good_root)),
        (&root, certificate_of(&good_root)),
        (&root, key_of(&foreign_root) + &certificate_of(&good_root)),
        (&root, good_root.clone() + &certificate_of(&foreign_root)),
        (&root, good_root.clone() + &key_of(&good_root)),
        (&svid, "rubbish".to_owned()),
        (&svid, "x".repeat(100_000)),
        (&svid, good_svid[..good_svid.len() - 40].to_owned()),
        (&svid, certificate_of(&good_svid)),
        (&svid, foreign_svid.clone()),
        (&svid, key_of(&foreign_svid) + &certificate_of(&good_svid)),
        (&svid, good_root.clone()),
    ];
    for (index, (path, text)) in table.into_iter().enumerate() {
        let good = fs::read(path).unwrap();
        fs::write(path, &text).unwrap();
        let error = place.try_open().unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{index}: {error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{index}: {error}");
        assert_eq!(fs::read_to_string(path).unwrap(), text, "{index}: it was left as it was");
        fs::write(path, good).unwrap();
    }
    place.open();
}

#[test]
fn a_missing_root_is_never_replaced_where_it_had_issued() {
    let place = Place::new();
    drop(place.open());
    fs::remove_file(place.path().join(ROOT)).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, IdentityError::RootMissing { .. }), "{error}");
    assert!(!place.path().join(ROOT).exists());
}

#[test]
fn links_and_other_things_in_a_files_place_are_refused() {
    let place = Place::new();
    drop(place.open());
    let (root, moved) = (place.path().join(ROOT), place.dir.path().join("elsewhere.pem"));
    fs::rename(&root, &moved).unwrap();
    symlink(&moved, &root).unwrap();
    assert!(matches!(place.try_open(), Err(IdentityError::Kind { .. })));
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    assert!(matches!(place.try_open(), Err(IdentityError::Kind { .. })));
    let file = place.dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(open(&Config::local(file), place.clock.clone()).is_err());
}

#[test]
fn an_expired_root_and_another_trust_domain_are_named() {
    let place = Place::new();
    drop(place.open());
    let mut local = Local::in_dir(place.path());
    local.trust_domain = Some("example.org".to_owned());
    let config = Config { kind: Kind::Local(local), lead: Config::DEFAULT_LEAD };
    let error = open(&config, place.clock.clone()).unwrap_err();
    assert!(
        matches!(&error, IdentityError::OtherDomain { wanted, .. } if wanted == "example.org"),
        "{error}"
    );
    place.clock.set(after(11 * 365 * DAY));
    assert!(matches!(place.try_open(), Err(IdentityError::RootExpired { .. })));
}

#[test]
fn a_configured_trust_domain_and_path_make_the_spiffe_id() {
    let place = Place::new();
    let mut local = Local::in_dir(place.path());
    (local.trust_domain, local.path) = (Some("example.org".to_owned()), "/gw/one".to_owned());
    let config = Config { kind: Kind::Local(local.clone()), lead: Config::DEFAULT_LEAD };
    let identity = open(&config, place.clock.clone()).unwrap();
    assert_eq!(identity.spiffe_id().as_str(), "spiffe://example.org/gw/one");
    let elsewhere = place.dir.path().join("not-made");
    for (domain, path) in
        [("Example", "/a"), ("a b", "/a"), ("a", "b"), ("a", ""), ("a", "/"), ("a", "/../b")]
    {
        let (trust_domain, path) = (Some(domain.to_owned()), path.to_owned());
        let kind = Kind::Local(Local {
            trust_domain,
            path,
            dir: elsewhere.clone(),
            svid_ttl: Duration::from_secs(600),
        });
        let made = open(&Config { kind, lead: Config::DEFAULT_LEAD }, place.clock.clone());
        assert!(made.is_err(), "{domain} {}", local.path);
        assert!(!elsewhere.exists(), "nothing is made for a name that can't be used");
    }
}

#[test]
fn looking_makes_nothing() {
    let place = Place::new();
    let look = || Identity::inspect(&Config::local(place.path()), place.clock.clone());
    assert!(matches!(look(), Err(IdentityError::Absent { .. })));
    assert!(!place.path().exists());
    drop(place.open());
    place.clock.set(after(2 * DAY));
    let seen = look().unwrap();
    assert_eq!(seen.describe().len(), 2);
    assert!(matches!(seen.current(), Err(SignerError::Expired { .. })));
    assert_eq!(place.svids().len(), 1);
}
