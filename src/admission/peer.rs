//! Evidence from the kernel about a local process: the peer of a Unix socket, or on stdio our parent.
//!
//! A process id alone names nobody for long: it is held together with the process's start time, which is read
//! before and after the executable's digest, so that facts of two processes never mix. What `/proc` does not
//! let us read is absent, never assumed.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use parking_lot::Mutex;

use super::config::{ExecutableRule, PeerConfig};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{Executable, PeerEvidence};
use crate::domain::refusal::AdmissionRefusal;

/// Executables above this size are not digested; their facts are absent.
const MAX_EXECUTABLE_BYTES: u64 = 1 << 30;
/// Digests kept; when full the cache starts over.
const MAX_CACHED: usize = 256;

/// The peer of one Unix connection, as the kernel named it when the connection was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPeer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: Option<u32>,
    pub(super) start_time: Option<u64>,
}

impl ConnectionPeer {
    /// Asks the kernel (`SO_PEERCRED`) who connected; call it right after `accept`, when the process that
    /// connected is most surely still the one of that id.
    ///
    /// # Errors
    /// The kernel's, when the socket has no credentials.
    pub fn of(stream: &tokio::net::UnixStream) -> io::Result<Self> {
        let cred = stream.peer_cred()?;
        // 0: the peer lives in a process namespace that we can't see.
        let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let start_time = pid.and_then(|pid| start_time(pid).ok());
        Ok(Self { uid: cred.uid(), gid: cred.gid(), pid, start_time })
    }
}

/// Names the contents of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileKey {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Reads facts about processes; remembers digests of executables.
#[derive(Debug, Default)]
pub(super) struct Processes {
    digests: Mutex<HashMap<FileKey, Sha256Digest>>,
}

impl Processes {
    /// The facts about whoever is on the other end of `peer`'s connection now.
    pub(super) fn connected(&self, peer: &ConnectionPeer) -> Result<PeerEvidence, AdmissionRefusal> {
        let pid = peer.pid.ok_or(AdmissionRefusal::PeerUnknown)?;
        let mut facts = PeerEvidence {
            uid: peer.uid,
            gid: peer.gid,
            pid,
            start_time: peer.start_time,
            executable: None,
            parent: false,
        };
        // Without the start time of the accepted connection nothing ties `/proc/<pid>` to it.
        let Some(start) = peer.start_time else { return Ok(facts) };
        facts.executable = self.executable(pid);
        if start_time(pid).ok() == Some(start) { Ok(facts) } else { Err(AdmissionRefusal::PeerUnknown) }
    }

    /// The facts about our parent process.
    pub(super) fn parent(&self) -> Result<PeerEvidence, AdmissionRefusal> {
        let pid = parent_pid()?;
        let before = start_time(pid).ok();
        let (uid, gid) = owner(pid).ok_or(AdmissionRefusal::PeerUnknown)?;
        let executable = before.and_then(|_| self.executable(pid));
        if start_time(pid).ok() != before || parent_pid()? != pid {
            return Err(AdmissionRefusal::PeerUnknown);
        }
        Ok(PeerEvidence { uid, gid, pid, start_time: before, executable, parent: true })
    }

    /// The running executable: opening `/proc/<pid>/exe` gives the very inode that runs, even after the file
    /// was replaced.
    fn executable(&self, pid: u32) -> Option<Executable> {
        let mut file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.size() > MAX_EXECUTABLE_BYTES {
            return None;
        }
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let key = FileKey::of(&meta);
        if let Some(sha256) = self.digests.lock().get(&key) {
            return Some(Executable { path, sha256: *sha256 });
        }
        let sha256 = digest(&mut file).ok()?;
        if FileKey::of(&file.metadata().ok()?) != key {
            return None;
        }
        let mut digests = self.digests.lock();
        if digests.len() >= MAX_CACHED {
            digests.clear();
        }
        digests.insert(key, sha256);
        Some(Executable { path, sha256 })
    }
}

/// Whether the configuration lets this process in.
pub(super) fn allowed(config: &PeerConfig, facts: &PeerEvidence) -> bool {
    let uid = if config.allow_uids.is_empty() {
        facts.uid == rustix::process::geteuid().as_raw()
    } else {
        config.allow_uids.contains(&facts.uid)
    };
    let names = |rule: &ExecutableRule| {
        facts.executable.as_ref().is_some_and(|exe| match rule {
            ExecutableRule::Path(path) => exe.path == *path,
            ExecutableRule::Sha256(sha256) => exe.sha256 == *sha256,
        })
    };
    uid && (config.allow_executables.is_empty() || config.allow_executables.iter().any(names))
}

fn parent_pid() -> Result<u32, AdmissionRefusal> {
    let pid = rustix::process::getppid().ok_or(AdmissionRefusal::PeerUnknown)?;
    u32::try_from(pid.as_raw_nonzero().get()).or(Err(AdmissionRefusal::PeerUnknown))
}

/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): clock ticks from boot to the process's start.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat).ok_or(io::ErrorKind::InvalidData.into())
}

/// Field 2 is the command's name in parentheses and may itself hold `) 1 2 3`: count from the last `)`.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let close = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Effective user and group id from `/proc/<pid>/status`: what `SO_PEERCRED` would say.
fn owner(pid: u32) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let effective = |label: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((effective("Uid:")?, effective("Gid:")?))
}

fn digest(file: &mut File) -> io::Result<Sha256Digest> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => context.update(buffer.get(..n).unwrap_or_default()),
        }
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(Sha256Digest::from_bytes(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_start_time() {
        let stat =
            b"42 (evil) R 1 2 3 4 5 6 7 8 9 (x) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2";
        assert_eq!(parse_start_time(stat), Some(987_654));
        assert_eq!(parse_start_time(b"42 (short) S 1"), None);
        assert_eq!(parse_start_time(b""), None);
    }

    #[test]
    fn the_parent_is_known_with_its_executable() {
        let facts = Processes::default().parent().unwrap();
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
        let processes = Processes::default();
        let facts = processes.connected(&peer).unwrap();
        assert_eq!(facts.pid, std::process::id());
        assert_eq!(facts.executable.unwrap().path, std::env::current_exe().unwrap());
        assert!(!facts.parent);

        peer.start_time = peer.start_time.map(|t| t - 1);
        assert_eq!(processes.connected(&peer), Err(AdmissionRefusal::PeerUnknown));
        peer.start_time = None;
        assert_eq!(processes.connected(&peer).unwrap().executable, None);
        peer.pid = None;
        assert_eq!(processes.connected(&peer), Err(AdmissionRefusal::PeerUnknown));
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
}
