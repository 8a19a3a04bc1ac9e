//! What outlives the process: the keys of tokens that may be alive, without any key that signs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::Value;

use crate::gateway::{Gateway, chancery, is_kind};
use crate::raw::Client;
use crate::spire::{
    ID, files_below, kid_of, leaf_of, no_key_was_made, place, published, published_kids, signer_of, verified,
    verify,
};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509Svid;
use crate::support::workload_api::Agent;

#[test]
fn a_token_of_before_a_crash_and_a_rotation_verifies_by_what_is_published_after_them() {
    let authority = Authority::new("example.org");
    let (first, second) = (authority.svid(&Leaf::of(ID)), authority.svid(&Leaf::of(ID)));
    let agent = Agent::serving(first.clone());
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 10m,", ""));
    let token = Client::open(&gateway, "/mcp", "2025-11-25").session.clone();
    let claims = verified(&gateway, &token);
    let dir = gateway.kill();
    agent.serve(second.clone());
    let gateway = Gateway::start_in(dir);
    // Nothing is left that could sign in the old key's name: the new one signs from the start.
    assert_eq!(signer_of(&Client::open(&gateway, "/mcp", "2025-11-25")), kid_of(&second));
    let mut kids = published_kids(&gateway);
    kids.sort();
    let mut both = [kid_of(&first), kid_of(&second)];
    both.sort();
    assert_eq!(kids, both);
    assert_eq!(verified(&gateway, &token), claims);

    let spire = gateway.dir.path().join("state/chancery/spire");
    assert_eq!(spire.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(gateway.records().iter().filter(|record| is_kind(record, "gateway-start")).count(), 2);
    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[&authority]);
    assert!(passed, "{said}");
    no_key_was_made(dir.path());
}

#[test]
fn a_chain_that_is_not_ours_by_the_bundles_word_is_not_published_from_the_directory() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let agent = Agent::serving(svid.clone());
    let gateway = Gateway::start_in(place(&agent, "", ""));
    let (_, _, dir) = gateway.stop();
    let kept = files_below(&dir.path().join("state/chancery/spire"));
    let ours = kept.iter().find(|file| file.to_string_lossy().contains(&thumbprint(&svid)));
    let ours = ours.unwrap_or_else(|| panic!("{kept:?}"));
    let forged = Authority::new("example.org").svid(&Leaf::of(ID));
    let others = authority.svid(&Leaf::of("spiffe://example.org/other"));
    for strange in [&forged, &others] {
        // As the gateway would have kept it, had it been its own.
        let name = ours.file_name().unwrap().to_str().unwrap();
        let beside = ours.with_file_name(name.replace(&thumbprint(&svid), &thumbprint(strange)));
        std::fs::copy(ours, &beside).unwrap();
        std::fs::write(&beside, pem::encode(&pem::Pem::new("CERTIFICATE", leaf_of(strange)))).unwrap();
    }
    let gateway = Gateway::start_in(dir);
    assert_eq!(published_kids(&gateway), [kid_of(&svid)]);
}

/// The hex SHA-256 of an SVID's leaf.
fn thumbprint(svid: &X509Svid) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf_of(svid));
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_are_shown_while_the_agent_is_gone() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let mut agent = Agent::serving(svid.clone());
    let dir = place(&agent, "", "initial_sync_timeout: 1s");
    let config = dir.path().join("chancery.yaml");
    let home = dir.path().to_owned();
    let keys = |arguments: &[&str]| -> Output {
        let mut command = chancery(&home);
        command.arg("keys").args(arguments).arg("-c").arg(&config).output().unwrap()
    };
    let before = keys(&["show"]);
    assert_eq!(before.status.code(), Some(2));
    let said = String::from_utf8(before.stderr).unwrap();
    assert!(said.contains("start") && !home.join("state/chancery/identity").exists(), "{said}");

    let gateway = Gateway::start_in(dir);
    let (jwks, _) = published(&gateway);
    let (_, _, _dir) = gateway.stop();
    agent.stop();
    let printed = |arguments: &[&str]| {
        let output = keys(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(serde_json::from_str::<Value>(&printed(&["jwks"])).unwrap(), jwks);
    let shown = printed(&["show"]);
    assert!(shown.contains(&kid_of(&svid)) && shown.contains(ID), "{shown}");
    let bundle = pem::parse_many(printed(&["bundle"])).unwrap();
    assert_eq!(bundle.iter().map(pem::Pem::contents).collect::<Vec<_>>(), [authority.root()]);
    let as_json: Value = serde_json::from_str(&printed(&["bundle", "--format", "spiffe"])).unwrap();
    assert_eq!(as_json["keys"].as_array().unwrap().len(), 1);
    no_key_was_made(&home);
}
