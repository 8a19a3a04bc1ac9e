//! Processes that are not what their id says.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

#[test]
fn a_command_name_with_parentheses_does_not_shift_the_start_time() {
    let stat =
        b"42 (evil) R 1 2 3 4 5 6 7 8 9 (x) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2";
    assert_eq!(parse_start_time(stat), Some(987_654));
    assert_eq!(parse_start_time(b"42 (short) S 1"), None);
    assert_eq!(parse_start_time(b""), None);
}

#[tokio::test]
async fn the_parent_is_known_with_its_executable() {
    let facts = Processes::default().parent(&PeerConfig::default()).await.unwrap();
    assert!(facts.parent && facts.start_time.is_some());
    let exe = facts.executable.unwrap();
    let pid = rustix::process::getppid().unwrap().as_raw_nonzero().get();
    let bytes = fs::read(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(exe.sha256, Sha256Digest::of(&bytes));
}

#[tokio::test]
async fn a_unix_peer_is_known_by_the_kernel_and_another_process_with_its_id_is_not_it() {
    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    let mut peer = ConnectionPeer::of(&ours).unwrap();
    let (processes, config) = (Processes::default(), PeerConfig::default());
    let facts = processes.connected(&peer, &config).await.unwrap();
    assert_eq!(facts.pid, std::process::id());
    assert_eq!(facts.executable.unwrap().path, std::env::current_exe().unwrap());
    assert!(!facts.parent);

    peer.start_time = peer.start_time.map(|t| t - 1);
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerUnknown));
    peer.start_time = None;
    assert_eq!(processes.connected(&peer, &config).await.unwrap().executable, None);
    peer.pid = None;
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerUnknown));
}

#[tokio::test]
async fn nothing_is_read_of_a_process_whose_user_is_not_let_in() {
    let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
    let peer = ConnectionPeer::of(&ours).unwrap();
    let config = PeerConfig { allow_uids: vec![peer.uid + 1], ..PeerConfig::default() };
    let processes = Processes::default();
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerNotAllowed));
    assert_eq!(processes.parent(&config).await, Err(AdmissionRefusal::PeerNotAllowed));
    assert!(processes.digests.lock().is_empty());
}

/// Names the socket for the process that connects, and says whether it stays.
const SOCKET: &str = "CHANCERY_TEST_PEER_SOCKET";
const STAYS: &str = "CHANCERY_TEST_PEER_STAYS";

/// Not a test but the process that connects in others: it is this very binary, started with [`SOCKET`] set.
#[test]
fn as_a_process_that_connects() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let _stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    if std::env::var_os(STAYS).is_some() {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}

fn connecting(program: &Path, socket: &Path, stays: bool) -> Child {
    let mut command = Command::new(program);
    command.args(["--exact", "admission::peer::tests::as_a_process_that_connects"]).env(SOCKET, socket);
    if stays {
        command.env(STAYS, "1");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_peer_that_ended_is_refused_even_when_its_process_id_names_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut child = connecting(&std::env::current_exe().unwrap(), &path, true);
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = ConnectionPeer::of(&stream).unwrap();
    let (processes, config) = (Processes::default(), PeerConfig::default());
    assert_eq!(processes.connected(&peer, &config).await.unwrap().pid, child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerUnknown));

    // Its id is another's now, whose start time is the same: on a fast machine that is one clock tick.
    peer.pid = Some(std::process::id());
    peer.start_time = Some(start_time(std::process::id()).unwrap());
    match peer.process {
        Process::Held(_) => {}
        _ => panic!("this kernel should name a peer by a process descriptor: {peer:?}"),
    }
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerUnknown));

    // And one that has ended before the connection was accepted.
    let mut child = connecting(&std::env::current_exe().unwrap(), &path, false);
    child.wait().unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let peer = ConnectionPeer::of(&stream).unwrap();
    assert_eq!(processes.connected(&peer, &config).await, Err(AdmissionRefusal::PeerUnknown));
}

#[tokio::test]
async fn a_peer_whose_executable_is_replaced_after_its_start_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let original = std::env::current_exe().unwrap();
    let program = dir.path().join("agent");
    fs::copy(&original, &program).unwrap();
    let mut child = connecting(&program, &path, true);
    let (stream, _) = listener.accept().await.unwrap();
    let peer = ConnectionPeer::of(&stream).unwrap();
    let (processes, config) = (Processes::default(), PeerConfig::default());
    let first = processes.connected(&peer, &config).await.unwrap();

    let other = dir.path().join("other");
    fs::write(&other, "#!/bin/sh\n").unwrap();
    fs::rename(&other, &program).unwrap();
    for processes in [processes, Processes::default()] {
        let now = processes.connected(&peer, &config).await.unwrap();
        let exe = now.executable.unwrap();
        assert_eq!(exe.sha256, Sha256Digest::of(&fs::read(&original).unwrap()));
        assert_eq!(Some(exe.sha256), first.executable.as_ref().map(|exe| exe.sha256));
        assert_ne!(exe.path, program, "the path tells that it is there no more");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn only_our_own_user_and_the_named_executables_are_let_in() {
    let us = rustix::process::geteuid().as_raw();
    let exe = Executable { path: "/bin/agent".into(), sha256: Sha256Digest::of(b"agent") };
    let facts = |uid, executable| PeerEvidence {
        uid,
        gid: 0,
        pid: 7,
        start_time: Some(1),
        executable,
        parent: false,
    };
    let config = |uids: &[u32], rules: &[ExecutableRule]| PeerConfig {
        allow_uids: uids.to_vec(),
        allow_executables: rules.to_vec(),
    };
    let path = ExecutableRule::Path("/bin/agent".into());
    let digest = ExecutableRule::Sha256(Sha256Digest::of(b"agent"));
    let other = ExecutableRule::Sha256(Sha256Digest::of(b"other"));
    for (config, facts, expected) in [
        (config(&[], &[]), facts(us, None), true),
        (config(&[], &[]), facts(us + 1, None), false),
        (config(&[us + 1], &[]), facts(us + 1, None), true),
        (config(&[us + 1], &[]), facts(us, None), false),
        (config(&[], &[path]), facts(us, Some(exe.clone())), true),
        (config(&[], &[other.clone(), digest.clone()]), facts(us, Some(exe.clone())), true),
        (config(&[], &[other]), facts(us, Some(exe)), false),
        (config(&[], &[digest]), facts(us, None), false),
    ] {
        assert_eq!(allowed(&config, &facts), expected, "{config:?} {facts:?}");
    }
}

#[test]
fn rules_that_let_nobody_in_are_remarked_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap();
    let (real, link, gone) = (root.join("agent-1.2"), root.join("agent"), root.join("gone"));
    fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let us = rustix::process::geteuid().as_raw();
    let rules = [real.clone(), link, gone].map(ExecutableRule::Path).to_vec();
    let other = us + 1;
    let found = remarks(&PeerConfig { allow_uids: vec![us, other], allow_executables: rules });
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains(&format!("the user {other}")) && found[0].contains("0600"), "{found:?}");
    assert!(found[1].contains(&format!("the kernel names {}", real.display())), "{found:?}");
    assert!(found[2].contains("gone, which nobody can run"), "{found:?}");
}
