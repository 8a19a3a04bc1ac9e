//! One thing of the evidence is another's: the session's token is worth nothing beside it.

use super::*;
use crate::domain::evidence::Executable;

/// A process of the session's, but for what a test changes.
fn peer(change: impl FnOnce(&mut PeerEvidence)) -> Admitted {
    let executable = Executable { path: "/usr/bin/agent".into(), sha256: Sha256Digest::of(b"agent") };
    let mut peer = PeerEvidence {
        uid: 1000,
        gid: 1000,
        pid: 7,
        start_time: Some(5),
        executable: Some(executable),
        parent: false,
    };
    change(&mut peer);
    Admitted::by(Evidence::Peer(peer), None)
}

#[tokio::test]
async fn a_stolen_token_with_another_uid_process_start_or_executable_is_refused_by_every_method() {
    let world = World::new();
    let owner = peer(|_| {});
    let open = world.open(&owner, Transport::Unix).await;
    let token = open.session.token().unwrap();
    let thieves = [
        ("uid", peer(|peer| peer.uid = 1001)),
        ("root", peer(|peer| peer.uid = 0)),
        ("process", peer(|peer| peer.pid = 8)),
        ("start, as after the id was used again", peer(|peer| peer.start_time = Some(6))),
        ("start that is not known", peer(|peer| peer.start_time = None)),
        ("executable", peer(|peer| peer.executable.as_mut().unwrap().sha256 = Sha256Digest::of(b"thief"))),
        ("executable that is not known", peer(|peer| peer.executable = None)),
        ("secret", secret(1)),
        ("nobody", Admitted::by(Evidence::Anonymous, None)),
    ];
    for (name, thief) in &thieves {
        let resumed = world.gate.resume(token.expose(), thief, &server());
        assert_eq!(resumed.unwrap_err(), ResumeError::Binding, "{name}");
        let post = frame(call(1, "read", "/public/a").to_string());
        assert_eq!(code(open.session.from_client(thief, post, &Arrival::default()).await), 404, "{name}");
        assert_eq!(open.session.stream(thief, None).unwrap_err(), DropReason::Binding, "{name}");
        assert_eq!(open.session.delete(thief).unwrap_err(), DropReason::Binding, "{name}");
    }
    assert_eq!(world.gate.resume(token.expose(), &owner, &server()).unwrap().id(), open.session.id());
    let _goes_on = forwarded(open.call(1, "read", "/public/a").await);
    assert_eq!(world.gate.counts().binding, 4 * thieves.len() as u64);
    let records = world.verified().await;
    assert!(records.iter().any(|record| record["denyReason"] == "evidence_mismatch"));
}
