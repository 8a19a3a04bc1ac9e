//! Attacks on admission by a bootstrap secret.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::bootstrap::SecretFileError;
use super::*;
use crate::domain::clock::Timestamp;
use crate::domain::recorder::Silent;

fn tcp() -> Origin {
    Origin::Tcp(([127, 0, 0, 1], 4711).into())
}

fn open(file: &Path) -> Result<Admission, AdmissionError> {
    let bootstrap = BootstrapConfig { file: file.to_owned(), max_age: None };
    let config = Config { bootstrap: Some(bootstrap), ..Config::default() };
    Admission::open(config, Clock::fixed(Timestamp::from_secs(0)), Arc::new(Silent))
}

fn header(file: &Path) -> Vec<u8> {
    format!("Bearer {}", fs::read_to_string(file).unwrap().trim()).into_bytes()
}

#[tokio::test]
async fn the_holder_of_the_secret_is_admitted_and_bound_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/dir/secret");
    bootstrap::create(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let admission = open(&file).unwrap();
    let admitted = admission.admit(&tcp(), Some(&header(&file))).await.unwrap();
    assert!(admitted.principal().as_str().starts_with("bootstrap:"));
    assert!(!format!("{admission:?}").contains(fs::read_to_string(&file).unwrap().trim()));
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    bootstrap::create(&file).unwrap();
    let admission = open(&file).unwrap();
    let secret = fs::read_to_string(&file).unwrap();
    let secret = secret.trim();
    let cut = format!("Bearer {}", &secret[..42]);
    let longer = format!("Bearer {secret}A");
    let twice = format!("Bearer {secret}, Bearer {secret}");
    let digest = format!("Bearer {}", crate::domain::digest::Sha256Digest::of(secret.as_bytes()));
    for (authorization, reason) in [
        (None, AdmissionRefusal::NoEvidence),
        (Some("Bearer "), AdmissionRefusal::NoEvidence),
        (Some("Basic Zm9v"), AdmissionRefusal::NoEvidence),
        (Some(secret), AdmissionRefusal::NoEvidence),
        (Some(&cut), AdmissionRefusal::WrongSecret),
        (Some(&longer), AdmissionRefusal::WrongSecret),
        (Some(&twice), AdmissionRefusal::WrongSecret),
        (Some(&digest), AdmissionRefusal::WrongSecret),
    ] {
        let refused = admission.admit(&tcp(), authorization.map(str::as_bytes)).await.unwrap_err();
        assert_eq!(refused, reason, "{authorization:?}");
    }
    let counts = admission.refusals().drain();
    assert_eq!(counts.iter().map(|row| row.count).collect::<Vec<_>>(), [4, 4]);
}

#[tokio::test]
async fn guesses_beyond_the_rate_are_limited_while_the_right_secret_is_still_heard() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    bootstrap::create(&file).unwrap();
    let admission = open(&file).unwrap();
    for _ in 0..GUESSES_PER_MINUTE {
        assert_eq!(
            admission.admit(&tcp(), Some(b"Bearer x")).await.unwrap_err(),
            AdmissionRefusal::WrongSecret
        );
    }
    assert_eq!(admission.admit(&tcp(), Some(b"Bearer x")).await.unwrap_err(), AdmissionRefusal::RateLimited);
    assert!(admission.admit(&tcp(), Some(&header(&file))).await.is_ok());
    admission.guesses.clock.set(Timestamp::from_secs(61));
    assert_eq!(admission.admit(&tcp(), Some(b"Bearer x")).await.unwrap_err(), AdmissionRefusal::WrongSecret);
}

#[tokio::test]
async fn a_rotated_secret_counts_at_once_and_the_old_one_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    bootstrap::create(&file).unwrap();
    let admission = open(&file).unwrap();
    let old = header(&file);
    let before = admission.admit(&tcp(), Some(&old)).await.unwrap();
    assert!(!admission.has_outlived(before.binding()));
    bootstrap::create(&file).unwrap();
    assert!(admission.has_outlived(before.binding()), "before anyone comes with the new one");
    assert_eq!(admission.admit(&tcp(), Some(&old)).await.unwrap_err(), AdmissionRefusal::WrongSecret);
    let after = admission.admit(&tcp(), Some(&header(&file))).await.unwrap();
    assert!(!before.binding().holds_for(after.evidence()));
    assert!(!admission.has_outlived(after.binding()));
    fs::remove_file(&file).unwrap();
    assert!(!admission.has_outlived(after.binding()), "a secret that can't be read is not another one");
}

#[tokio::test]
async fn a_secret_file_that_is_opened_to_others_while_running_admits_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    bootstrap::create(&file).unwrap();
    let admission = open(&file).unwrap();
    let right = header(&file);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(admission.admit(&tcp(), Some(&right)).await.is_err());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(admission.admit(&tcp(), Some(&right)).await.is_ok());
    fs::remove_file(&file).unwrap();
    assert!(admission.admit(&tcp(), Some(&right)).await.is_err());
}

#[tokio::test]
async fn a_secret_past_its_age_admits_nobody_and_ends_what_was_opened_with_it_until_it_is_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    bootstrap::create(&file).unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let clock = Clock::fixed(Timestamp::from_secs(written + 59));
    let bootstrap = BootstrapConfig { file: file.clone(), max_age: Some(std::time::Duration::from_secs(60)) };
    let config = Config { bootstrap: Some(bootstrap), ..Config::default() };
    let admission = Admission::open(config, clock.clone(), Arc::new(Silent)).unwrap();
    let old = header(&file);
    let before = admission.admit(&tcp(), Some(&old)).await.unwrap();
    assert!(!admission.has_outlived(before.binding()));
    clock.set(Timestamp::from_secs(written + 60));
    assert_eq!(admission.admit(&tcp(), Some(&old)).await.unwrap_err(), AdmissionRefusal::SecretTooOld);
    assert_eq!(admission.admit(&tcp(), Some(b"Bearer x")).await.unwrap_err(), AdmissionRefusal::WrongSecret);
    assert!(admission.has_outlived(before.binding()));

    clock.set(Timestamp::from_secs(written));
    bootstrap::create(&file).unwrap();
    assert_eq!(admission.admit(&tcp(), Some(&old)).await.unwrap_err(), AdmissionRefusal::WrongSecret);
    assert!(admission.admit(&tcp(), Some(&header(&file))).await.is_ok());
}

#[test]
fn an_unusable_secret_file_is_named_with_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| match open(path) {
        Err(AdmissionError::Bootstrap(error)) => error,
        Err(AdmissionError::Issuers(error)) => panic!("{error}"),
        Ok(_) => panic!("{} was taken", path.display()),
    };
    let missing = dir.path().join("missing");
    assert!(error(&missing).help().contains("chancery bootstrap new"));

    let wide = dir.path().join("wide");
    bootstrap::create(&wide).unwrap();
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o644)).unwrap();
    let wide_error = error(&wide);
    assert!(wide_error.to_string().contains("0644"), "{wide_error}");
    assert!(wide_error.help().contains("chmod 600"), "{}", wide_error.help());

    let link = dir.path().join("link");
    let target = dir.path().join("target");
    bootstrap::create(&target).unwrap();
    symlink(&target, &link).unwrap();
    assert!(matches!(error(&link), SecretFileError::NotAFile(_)));
    assert!(matches!(error(dir.path()), SecretFileError::NotAFile(_)));

    let short = dir.path().join("short");
    fs::write(&short, "hunter2\n").unwrap();
    fs::set_permissions(&short, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(error(&short), SecretFileError::NotASecret(_)));
    assert!(matches!(bootstrap::create(&short), Err(SecretFileError::NotASecret(_))));
    assert_eq!(fs::read_to_string(&short).unwrap(), "hunter2\n", "a foreign file is never overwritten");
}

#[tokio::test]
async fn hex_secrets_are_taken_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hex");
    fs::write(&file, format!("{}\n", "0f".repeat(32))).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open(&file).unwrap().admit(&tcp(), Some(&header(&file))).await.is_ok());
}

#[tokio::test]
async fn the_stdio_parent_is_admitted_only_where_peers_are() {
    let config = Config { peer: Some(PeerConfig::default()), ..Config::default() };
    let admission = Admission::open(config, Clock::system(), Arc::new(Silent)).unwrap();
    let first = admission.admit(&Origin::Parent, None).await.unwrap();
    let second = admission.admit(&Origin::Parent, None).await.unwrap();
    assert!(first.binding().holds_for(second.evidence()));
    assert!(admission.admit(&tcp(), None).await.is_err());

    let nobody = Admission::open(Config::default(), Clock::system(), Arc::new(Silent)).unwrap();
    assert_eq!(nobody.admit(&Origin::Parent, None).await.unwrap_err(), AdmissionRefusal::NoEvidence);
}
