//! `chancery keys` as a user runs it, on an identity that another process made.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use chancery::domain::clock::Clock;
use chancery::identity::{Config, Identity, Local};
use chancery::keys::{CertificateChain, Jwks, Signer as _, TrustBundle};

/// The binary with a home of its own.
fn chancery(state: &Path, args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env_clear().env("XDG_STATE_HOME", state).env("HOME", state).arg("keys").args(args).assert()
}

#[test]
fn what_keys_prints_verifies_what_the_identity_signs() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("chancery/identity");
    let identity = Identity::open_local(&Local::in_dir(&dir), Config::DEFAULT_LEAD, Clock::system()).unwrap();
    let key = identity.current().unwrap();

    let out = chancery(state.path(), &["bundle", "--format", "spiffe"]).success().get_output().stdout.clone();
    let text = String::from_utf8(out).unwrap();
    let bundle = TrustBundle::parse(identity.spiffe_id().trust_domain(), &text).unwrap();
    let chain = CertificateChain::from_pem(&key.chain().to_pem()).unwrap();
    let leaf = chain.verify(&bundle, Clock::system().now()).unwrap();
    assert_eq!(leaf.key_id, *key.id());
    leaf.key.verify_der(b"message", key.sign(b"message").unwrap().der()).unwrap();

    let out = chancery(state.path(), &["jwks"]).success().get_output().stdout.clone();
    let jwks: Jwks = serde_json::from_slice(&out).unwrap();
    assert_eq!(jwks.find(key.id().as_str()).unwrap().public_key().unwrap(), leaf.key);
    let shown = chancery(state.path(), &["show"]).success().get_output().stdout.clone();
    assert!(String::from_utf8(shown).unwrap().contains(key.id().as_str()));
}

#[test]
fn an_identity_that_cannot_be_used_is_one_diagnostic_with_its_fix_and_exit_code_2() {
    let state = tempfile::tempdir().unwrap();
    let stderr = |assert: assert_cmd::assert::Assert| {
        let output = assert.code(2).get_output().clone();
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(stderr(chancery(state.path(), &["show"])).contains("first start"));
    let dir = state.path().join("chancery/identity");
    drop(Identity::open_local(&Local::in_dir(&dir), Config::DEFAULT_LEAD, Clock::system()).unwrap());
    std::fs::set_permissions(dir.join("root.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = stderr(chancery(state.path(), &["bundle"]));
    assert!(text.contains(&format!("chmod 600 {}", dir.join("root.pem").display())), "{text}");
}
