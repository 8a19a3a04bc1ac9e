//! What keeps a gateway with SPIRE from starting: each is one diagnostic that names what is wrong and the fix, and
//! nothing takes the identity's place.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::gateway::{chancery, wait_for};
use crate::spire::{ID, files_below, no_key_was_made, place, place_of};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

/// How long the gateways in here wait for their first SVID.
const WAIT: &str = "initial_sync_timeout: 1s";

/// Starts a gateway that must not start; asserts that each of `words` is said, and that no key was made.
#[track_caller]
fn is_refused(home: &Path, words: &[&str]) {
    is_refused_by(chancery(home), home, words);
}

/// The same by a command of one's own.
#[track_caller]
fn is_refused_by(command: Command, home: &Path, words: &[&str]) {
    let mut command = assert_cmd::Command::from_std(command);
    command.args(["serve", "-c"]).arg(home.join("chancery.yaml")).timeout(Duration::from_secs(50));
    let begin = Instant::now();
    let output = command.output().unwrap();
    let took = begin.elapsed();
    let said = String::from_utf8(output.stderr).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("it did not end within {took:?}: {said}"));
    assert!(code > 0, "exit code {code}: {said}");
    // Diagnostics are wrapped for the terminal.
    let flat = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for word in words {
        // A long path may be broken in two.
        let found = flat.contains(word) || flat.replace(' ', "").contains(&word.replace(' ', ""));
        assert!(found, "`{word}` is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(output.stdout.is_empty());
    assert!(!home.join("addresses").exists(), "it listened: {said}");
    no_key_was_made(home);
}

/// The same for what an agent serves.
#[track_caller]
fn an_update_is_refused(update: impl Into<X509SvidResponse>, spire: &str, words: &[&str]) {
    let agent = Agent::serving(update);
    is_refused(place(&agent, "", &format!("{WAIT}, {spire}")).path(), words);
}

#[test]
fn a_socket_that_does_not_exist() {
    let agent = Agent::absent();
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "agent"]);
}

#[test]
fn a_socket_that_a_dead_agent_left_behind() {
    let authority = Authority::new("example.org");
    let mut agent = Agent::serving(authority.svid(&Leaf::of(ID)));
    agent.crash();
    assert!(agent.socket().exists());
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "agent"]);
}

#[test]
fn a_socket_that_takes_connections_and_says_nothing() {
    let agent = Agent::absent();
    let listener = UnixListener::bind(agent.socket()).unwrap();
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "within 1 s", "healthcheck"]);
    drop(listener);
}

#[test]
fn an_agent_that_takes_requests_and_answers_none() {
    let agent = Agent::silent();
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "within 1 s", "healthcheck"]);
    assert!(agent.asked() > 0);
}

#[test]
fn a_tcp_endpoint_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = format!("tcp://{}", listener.local_addr().unwrap());
    let dir = place_of(&format!("identity: {{ spire: {{ socket: \"{socket}\", {WAIT} }} }}"));
    is_refused(dir.path(), &[&socket, "within 1 s", "healthcheck"]);
}

#[test]
fn a_file_that_is_no_socket() {
    let agent = Agent::absent();
    fs::write(agent.socket(), "not a socket").unwrap();
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "socket"]);
}

#[test]
fn a_socket_that_this_user_may_not_open() {
    let agent = Agent::serving(Authority::new("example.org").svid(&Leaf::of(ID)));
    let locked = agent.socket().parent().unwrap();
    let mode = |mode| fs::set_permissions(locked, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let dir = place(&agent, "", WAIT);
    let mut command = chancery(dir.path());
    let reachable = tempfile::tempdir().unwrap();
    if rustix::process::getuid().is_root() {
        // Nothing is closed to root: another user asks, with a program that it can reach.
        let program = reachable.path().join("chancery");
        fs::set_permissions(&reachable, fs::Permissions::from_mode(0o755)).unwrap();
        // By a process of its own: a file that this one has open for writing can't be run by those that it forks.
        assert!(Command::new("cp").arg(command.get_program()).arg(&program).status().unwrap().success());
        let mut other = Command::new(program);
        other.env_clear().env("HOME", dir.path()).env("NO_COLOR", "1").uid(65534).gid(65534);
        other.env("XDG_STATE_HOME", dir.path().join("state"));
        command = other;
        for path in files_below(dir.path()).iter().map(std::path::PathBuf::as_path).chain([dir.path()]) {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    let path = agent.socket().display().to_string();
    is_refused_by(command, dir.path(), &[&path, "may not open", "user id"]);
    mode(0o700);
    assert_eq!(agent.asked(), 0);
}

#[test]
fn an_agent_that_has_no_entry_for_this_workload() {
    let agent = Agent::refusing();
    is_refused(place(&agent, "", WAIT).path(), &["no identity", "entry"]);
}

#[test]
fn an_agent_that_denies_for_another_reason() {
    let agent = Agent::refusing();
    agent.refuse(&tonic::Status::permission_denied("workload is not trusted here"));
    is_refused(place(&agent, "", WAIT).path(), &["workload is not trusted here", "entry"]);
}

#[test]
fn a_server_that_is_no_workload_api() {
    let agent = Agent::silent();
    agent.refuse(&tonic::Status::unimplemented("unknown service"));
    let path = agent.socket().display().to_string();
    is_refused(place(&agent, "", WAIT).path(), &[&path, "not a Workload API", "socket_path"]);
}

#[test]
fn a_key_of_a_kind_that_session_tokens_have_no_algorithm_for() {
    let authority = Authority::new("example.org");
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ED25519] {
        let svid = authority.svid(&Leaf::of(ID).algorithm(algorithm));
        an_update_is_refused(svid, "", &["workload_x509_svid_key_type", "ec-p256"]);
    }
}

#[test]
fn a_configured_spiffe_id_that_is_not_offered() {
    let authority = Authority::new("example.org");
    let (a, b) = ("spiffe://example.org/a", "spiffe://example.org/b");
    let offered = X509SvidResponse::of([a, b].map(|id| authority.svid(&Leaf::of(id))));
    an_update_is_refused(offered, &format!("spiffe_id: \"{ID}\""), &[ID, a, b, "spiffe_id"]);
}

#[test]
fn a_configured_hint_that_is_not_offered() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID)).hint("external");
    an_update_is_refused(svid, "hint: internal", &["internal", "external", ID, "hint"]);
}

#[test]
fn a_configured_spiffe_id_with_another_hint() {
    let authority = Authority::new("example.org");
    let svids = [
        authority.svid(&Leaf::of(ID)).hint("external"),
        authority.svid(&Leaf::of("spiffe://example.org/b")).hint("internal"),
    ];
    let both = format!("spiffe_id: \"{ID}\", hint: internal");
    an_update_is_refused(X509SvidResponse::of(svids), &both, &["internal", "external", ID]);
}

#[test]
fn an_agent_of_another_trust_domain() {
    let authority = Authority::new("other.org");
    let svid = authority.svid(&Leaf::of("spiffe://other.org/chancery"));
    an_update_is_refused(
        svid,
        &format!("spiffe_id: \"{ID}\""),
        &["trust domain", "example.org", "other.org"],
    );
}

#[test]
fn a_clock_that_is_an_hour_off() {
    let authority = Authority::new("example.org");
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let past = authority.svid(&Leaf::of(ID).valid(now - 2 * hour, now - hour));
    an_update_is_refused(past, "", &["valid from", "clock"]);
    let future = authority.svid(&Leaf::of(ID).valid(now + hour, now + 2 * hour));
    an_update_is_refused(future, "", &["valid from", "clock"]);
}

#[test]
fn a_first_update_that_does_not_hold() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let another = Authority::new("example.org");
    an_update_is_refused(svid.clone().bundle(&[another.root()]), "", &["does not lead to a root"]);
    let mut mixed = svid.clone();
    mixed.x509_svid_key = authority.svid(&Leaf::of(ID)).x509_svid_key;
    an_update_is_refused(mixed, "", &["private key"]);
    an_update_is_refused(svid.bundle(&[]), "", &["bundle"]);
}

#[test]
fn a_directory_of_chains_that_others_may_enter() {
    let authority = Authority::new("example.org");
    let agent = Agent::serving(authority.svid(&Leaf::of(ID)));
    let dir = place(&agent, "", &format!("{WAIT}, dir: chains"));
    let chains = dir.path().join("chains");
    fs::create_dir(&chains).unwrap();
    fs::set_permissions(&chains, fs::Permissions::from_mode(0o755)).unwrap();
    is_refused(dir.path(), &[&format!("chmod 700 {}", chains.display())]);
}

#[test]
fn a_socket_that_is_configured_nowhere_or_wrongly() {
    is_refused(place_of("identity: spire").path(), &["SPIFFE_ENDPOINT_SOCKET", "socket"]);
    for uri in [
        "http://127.0.0.1:8081",
        "run/agent.sock",
        "unix://./agent.sock",
        "unix:relative.sock",
        "unix://",
        "tcp://name:1",
    ] {
        let dir = place_of(&format!("identity: {{ kind: spire, spire: {{ socket: \"{uri}\" }} }}"));
        is_refused(dir.path(), &[uri, "unix:///"]);
        let dir = place_of("identity: spire");
        let mut command = chancery(dir.path());
        command.args(["serve", "-c"]).arg(dir.path().join("chancery.yaml"));
        let output = command.env("SPIFFE_ENDPOINT_SOCKET", uri).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(uri) && said.contains("SPIFFE_ENDPOINT_SOCKET"), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
        no_key_was_made(dir.path());
    }
}

#[test]
fn an_automatic_choice_of_spire_is_held_to_although_the_agent_is_gone() {
    let dir = place_of("identity: { spire: { initial_sync_timeout: 1s } }");
    let output = chancery(dir.path())
        .args(["serve", "-c"])
        .arg(dir.path().join("chancery.yaml"))
        .env("SPIFFE_ENDPOINT_SOCKET", "unix:///nonexistent/agent.sock")
        .output()
        .unwrap();
    assert!(output.status.code().unwrap() > 0);
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/agent.sock"));
    no_key_was_made(dir.path());
}

#[test]
fn whoever_asks_a_gateway_to_end_while_it_waits_for_an_agent_does_not_wait_with_it() {
    let agent = Agent::silent();
    let dir = place(&agent, "", "initial_sync_timeout: 10m");
    let mut child =
        chancery(dir.path()).args(["serve", "-c"]).arg(dir.path().join("chancery.yaml")).spawn().unwrap();
    wait_for("the question", || (agent.asked() > 0).then_some(()));
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let status = wait_for("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
    no_key_was_made(dir.path());
}
