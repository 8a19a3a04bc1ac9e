//! Evidence from the kernel about a local process: the peer of a Unix socket, or on stdio our parent.
//!
//! A process id alone names nobody for long. Where the kernel has it (Linux 6.5), a connection's peer is held by a
//! process descriptor (`SO_PEERPIDFD`): it stays with the process that connected, and facts count only if that one
//! still lives after they were read. Elsewhere, and for the parent, the start time is read before and after, so that
//! facts of two processes never mix. What `/proc` does not let us read is absent, never assumed.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use nix::sys::socket::{GetSockOpt as _, sockopt};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::config::{ExecutableRule, PeerConfig};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{Executable, PeerEvidence};
use crate::domain::refusal::AdmissionRefusal;

/// Executables above this size are not digested; their facts are absent.
const MAX_EXECUTABLE_BYTES: u64 = 1 << 30;
/// Digests kept; when full the cache starts over.
const MAX_CACHED: usize = 256;

/// The peer of one Unix connection, as the kernel named it when the connection was accepted.
#[derive(Debug, Clone)]
pub struct ConnectionPeer {
    uid: u32,
    gid: u32,
    pid: Option<u32>,
    start_time: Option<u64>,
    process: Process,
}

/// The process itself, whatever becomes of its id.
#[derive(Debug, Clone)]
enum Process {
    /// Held by the kernel's word.
    Held(Arc<OwnedFd>),
    /// It had ended before we asked.
    Gone,
    /// The kernel can't name it so.
    Unheld,
}

impl Process {
    fn of(stream: &tokio::net::UnixStream) -> Self {
        match sockopt::PeerPidfd.get(stream) {
            Ok(process) => Self::Held(Arc::new(process)),
            Err(nix::errno::Errno::ESRCH) => Self::Gone,
            // An older kernel, or a peer in a process namespace that we can't see.
            Err(_) => Self::Unheld,
        }
    }

    /// Whether it has ended, as far as this tells. A process descriptor becomes readable then (pidfd_open(2)).
    fn has_ended(&self) -> bool {
        match self {
            Self::Held(process) => {
                let mut fds = [PollFd::new(process, PollFlags::IN)];
                !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
            }
            Self::Gone => true,
            Self::Unheld => false,
        }
    }
}

impl ConnectionPeer {
    /// Asks the kernel (`SO_PEERCRED`, `SO_PEERPIDFD`) who connected; call it right after `accept`, when the process that
    /// connected is most surely still the one of that id.
    ///
    /// # Errors
    /// The kernel's, when the socket has no credentials.
    pub fn of(stream: &tokio::net::UnixStream) -> io::Result<Self> {
        let cred = stream.peer_cred()?;
        // 0: the peer lives in a process namespace that we can't see.
        let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let start_time = pid.and_then(|pid| start_time(pid).ok());
        Ok(Self { uid: cred.uid(), gid: cred.gid(), pid, start_time, process: Process::of(stream) })
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
    /// Held while an executable is read: one at a time, however many processes come at once.
    reading: tokio::sync::Mutex<()>,
}

impl Processes {
    /// The facts about whoever is on the other end of `peer`'s connection now. A user that `config` does not let in
    /// is refused before anything of its process is read.
    pub(super) async fn connected(
        &self,
        peer: &ConnectionPeer,
        config: &PeerConfig,
    ) -> Result<PeerEvidence, AdmissionRefusal> {
        if !allows_user(config, peer.uid) {
            tracing::debug!(target: "chancery::admission", uid = peer.uid, "a process of another user was refused");
            return Err(AdmissionRefusal::PeerNotAllowed);
        }
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
        if let Some(start) = peer.start_time {
            facts.executable = self.executable(pid).await;
            if start_time(pid).ok() != Some(start) {
                return Err(AdmissionRefusal::PeerUnknown);
            }
        }
        // Last: it lives now, so the id was its own while the facts were read.
        if peer.process.has_ended() { Err(AdmissionRefusal::PeerUnknown) } else { Ok(facts) }
    }

    /// The facts about our parent process.
    pub(super) async fn parent(&self, config: &PeerConfig) -> Result<PeerEvidence, AdmissionRefusal> {
        let pid = parent_pid()?;
        let before = start_time(pid).ok();
        let (uid, gid) = owner(pid).ok_or(AdmissionRefusal::PeerUnknown)?;
        if !allows_user(config, uid) {
            return Err(AdmissionRefusal::PeerNotAllowed);
        }
        let executable = if before.is_some() { self.executable(pid).await } else { None };
        if start_time(pid).ok() != before || parent_pid()? != pid {
            return Err(AdmissionRefusal::PeerUnknown);
        }
        Ok(PeerEvidence { uid, gid, pid, start_time: before, executable, parent: true })
    }

    /// The running executable: opening `/proc/<pid>/exe` gives the very inode that runs, even after the file
    /// was replaced.
    async fn executable(&self, pid: u32) -> Option<Executable> {
        let file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.size() > MAX_EXECUTABLE_BYTES {
            return None;
        }
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let key = FileKey::of(&meta);
        if let Some(sha256) = self.known(&key) {
            return Some(Executable { path, sha256 });
        }
        let _one_at_a_time = self.reading.lock().await;
        // Another may have read it meanwhile.
        if let Some(sha256) = self.known(&key) {
            return Some(Executable { path, sha256 });
        }
        let sha256 = tokio::task::spawn_blocking(move || unchanged(file, key)).await.ok()??;
        let mut digests = self.digests.lock();
        if digests.len() >= MAX_CACHED {
            digests.clear();
        }
        digests.insert(key, sha256);
        Some(Executable { path, sha256 })
    }

    fn known(&self, key: &FileKey) -> Option<Sha256Digest> {
        self.digests.lock().get(key).copied()
    }
}

/// The digest of a file that is still the one of `key` when it was read.
fn unchanged(mut file: File, key: FileKey) -> Option<Sha256Digest> {
    let sha256 = digest(&mut file).ok()?;
    (FileKey::of(&file.metadata().ok()?) == key).then_some(sha256)
}

/// What of `config` lets nobody in by the Unix socket, and why, for the operator.
pub fn remarks(config: &PeerConfig) -> Vec<String> {
    let us = rustix::process::geteuid().as_raw();
    let mut remarks = Vec::new();
    for uid in config.allow_uids.iter().filter(|uid| **uid != us && **uid != 0) {
        remarks.push(format!(
            "`admission.peer.allow_uids` names the user {uid}, who can't open the socket: it has mode 0600 and belongs to \
             user {us}"
        ));
    }
    for rule in &config.allow_executables {
        let ExecutableRule::Path(path) = rule else { continue };
        let path_of = path.display();
        match fs::canonicalize(path) {
            Ok(resolved) if resolved == *path => {}
            Ok(resolved) => remarks.push(format!(
                "`admission.peer.allow_executables` names {path_of}, a link: the kernel names {}, write that",
                resolved.display()
            )),
            Err(error) => remarks.push(format!(
                "`admission.peer.allow_executables` names {path_of}, which nobody can run: {error}"
            )),
        }
    }
    remarks
}

/// Whether the configuration lets this user's processes in.
fn allows_user(config: &PeerConfig, uid: u32) -> bool {
    match config.allow_uids.as_slice() {
        [] => uid == rustix::process::geteuid().as_raw(),
        allowed => allowed.contains(&uid),
    }
}

/// Whether the configuration lets this process in.
pub(super) fn allowed(config: &PeerConfig, facts: &PeerEvidence) -> bool {
    let names = |rule: &ExecutableRule| {
        facts.executable.as_ref().is_some_and(|exe| match rule {
            ExecutableRule::Path(path) => exe.path == *path,
            ExecutableRule::Sha256(sha256) => exe.sha256 == *sha256,
        })
    };
    allows_user(config, facts.uid)
        && (config.allow_executables.is_empty() || config.allow_executables.iter().any(names))
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
mod tests;
