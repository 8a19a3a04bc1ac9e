//! Which source the identity comes from, and which of several SVIDs it is.

use crate::gateway::{Gateway, chancery};
use crate::puppet::{PERMIT_ALL, configured};
use crate::raw::Client;
use crate::spire::{ID, calls, kid_of, no_key_was_made, place, place_of, signer_of, wait_until_signed_by};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

/// Starts a gateway whose environment names `agent`.
fn started_beside(agent: &Agent, more: &str) -> Gateway {
    let dir = place_of(more);
    let mut command = chancery(dir.path());
    command.env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
    Gateway::start_by(command, dir)
}

fn who_signs(gateway: &Gateway) -> String {
    signer_of(&Client::open(gateway, "/mcp", "2025-11-25"))
}

#[test]
fn without_a_word_about_identity_the_environment_decides() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let agent = Agent::serving(svid.clone());
    for auto in ["", "identity: auto"] {
        let gateway = started_beside(&agent, auto);
        assert_eq!(who_signs(&gateway), kid_of(&svid));
        no_key_was_made(gateway.dir.path());
    }
    assert_eq!(who_signs(&started_beside(&agent, "identity: spire")), kid_of(&svid));

    let asked = agent.asked();
    let gateway = started_beside(&agent, "identity: local");
    assert!(who_signs(&gateway).contains(".chancery.local/chancery#"));
    let gateway = Gateway::start_in(place_of("identity: auto"));
    assert!(who_signs(&gateway).contains(".chancery.local/chancery#"));
    assert_eq!(agent.asked(), asked);
}

#[test]
fn a_configured_socket_decides_against_the_environments() {
    let authority = Authority::new("example.org");
    let (ours, theirs) = (authority.svid(&Leaf::of(ID)), authority.svid(&Leaf::of(ID)));
    let (agent, other) = (Agent::serving(ours.clone()), Agent::serving(theirs));
    let socket = agent.endpoint();
    let gateway = started_beside(&other, &format!("identity: {{ spire: {{ socket: \"{socket}\" }} }}"));
    assert_eq!(who_signs(&gateway), kid_of(&ours));
    assert_eq!(other.asked(), 0);
    // The form with one slash.
    let socket = format!("unix:{}", agent.socket().display());
    let gateway = Gateway::start_in(place_of(&format!("identity: {{ spire: {{ socket: \"{socket}\" }} }}")));
    assert_eq!(who_signs(&gateway), kid_of(&ours));
}

#[test]
fn one_of_several_svids_is_chosen_by_its_id_or_hint_and_else_the_first() {
    let authority = Authority::new("example.org");
    let id = |name: &str| format!("spiffe://example.org/{name}");
    let svids = ["a", "b", "c"].map(|name| authority.svid(&Leaf::of(&id(name))).hint(&name.repeat(2)));
    let agent = Agent::serving(X509SvidResponse::of(svids.clone()));
    let cases = [
        (String::new(), 0),
        (format!("spiffe_id: \"{}\"", id("b")), 1),
        ("hint: cc".to_owned(), 2),
        (format!("spiffe_id: \"{}\", hint: bb", id("b")), 1),
    ];
    for (spire, chosen) in cases {
        let gateway = Gateway::start_in(place(&agent, "", &spire));
        assert_eq!(who_signs(&gateway), kid_of(&svids[chosen]), "{spire}");
    }
}

#[test]
fn the_chosen_identity_is_kept_when_the_order_changes_and_its_new_key_is_found() {
    let authority = Authority::new("example.org");
    let other = authority.svid(&Leaf::of("spiffe://example.org/another"));
    let (first, second) = (authority.svid(&Leaf::of(ID)), authority.svid(&Leaf::of(ID)));
    let agent = Agent::serving(X509SvidResponse::of([first.clone(), other.clone()]));
    let gateway = Gateway::start_in(place(&agent, "publish_ahead: 1s,", ""));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    agent.serve(X509SvidResponse::of([other.clone(), first.clone()]));
    calls(&client).unwrap();
    agent.serve(X509SvidResponse::of([other.clone(), second.clone()]));
    crate::spire::while_calling(&client, || wait_until_signed_by(&gateway, &kid_of(&second)));
    assert!(!gateway.signers().contains(&kid_of(&other)));
}

#[test]
fn a_tool_server_is_not_told_where_the_agent_is() {
    let authority = Authority::new("example.org");
    let agent = Agent::serving(authority.svid(&Leaf::of(ID)));
    let told = tempfile::tempdir().unwrap();
    let file = told.path().join("environment");
    let command = format!("env > {}.tmp; mv {0}.tmp {0}; cat > /dev/null", file.display());
    let servers = format!("  demo: {{ command: sh, args: [-c, \"{command}\"], env: {{ KEPT: kept }} }}");
    let dir = configured(&servers, PERMIT_ALL, "limits: { handshake: 1s }");
    let mut starter = chancery(dir.path());
    starter.env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
    let gateway = Gateway::start_by(starter, dir);
    let said = std::fs::read_to_string(&file).unwrap();
    let names: Vec<&str> = said.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.contains(&"KEPT") && !names.contains(&"SPIFFE_ENDPOINT_SOCKET"), "{names:?}");
    drop(gateway);
}
