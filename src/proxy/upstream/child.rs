//! A tool server that is our own child process, one per session, speaking over its stdin and stdout.
//!
//! The child leads its own process group, so that stopping it stops what it started (`npx` starts a shell that
//! starts node). Its stderr is ours. Whatever way a session ends, the group is gone afterwards.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};

use super::{ConnectError, Incoming, LinkEvent, StreamKey, ToSend};
use crate::domain::limits::Limits;
use crate::proxy::config::ChildConfig;
use crate::wire::framing::LineBuffer;

/// How long a child may take to leave by itself after its stdin was closed.
const LEAVE: Duration = Duration::from_secs(2);

/// How long we wait for the rest of a dead child's stdout, which a grandchild may hold open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Messages that may wait for the child to read its stdin.
const QUEUE: usize = 16;

/// How a child ended: its exit code, or 128 and the signal's number as shells have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The code to exit with in its place.
    pub code: i32,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let signal = status.signal().map(|signal| 128_i32.saturating_add(signal));
        Self { code: status.code().or(signal).unwrap_or(1) }
    }
}

/// How far the stopping of a child has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// It is wanted.
    No,
    /// Its stdin is closed; then SIGTERM, then SIGKILL.
    Leave,
    /// SIGTERM at once, then SIGKILL.
    Terminate,
}

/// Names the SPIFFE Workload API to a process (SPIFFE Workload Endpoint §4).
const SPIFFE_SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

/// A running child.
#[derive(Debug)]
pub(super) struct ChildLink {
    queue: mpsc::Sender<ToSend>,
    stop: watch::Sender<Stop>,
    exit: watch::Receiver<Option<Exit>>,
}

impl ChildLink {
    /// Starts the child. Its messages and its end come as `events`.
    pub(super) fn start(
        server: &str,
        config: &ChildConfig,
        limits: &Limits,
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Self, ConnectError> {
        let mut command = Command::new(&config.command);
        // A tool server has no business with our identity; where it has one of its own, its `env` says so.
        command.env_remove(SPIFFE_SOCKET);
        command.args(&config.args).envs(&config.env);
        if let Some(cwd) = &config.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| ConnectError::start(server, config, source))?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).map(Group);
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(ConnectError::start(server, config, std::io::ErrorKind::BrokenPipe.into()));
        };
        let (queue, queued) = mpsc::channel(QUEUE);
        let (stop, stopping) = watch::channel(Stop::No);
        let (exited, exit) = watch::channel(None);
        let reader = tokio::spawn(read(stdout, limits.message_bytes, events.clone()));
        tokio::spawn(write(stdin, queued, stopping.clone(), events.clone()));
        let grace = limits.grace;
        tokio::spawn(async move {
            let ended = supervise(child, group, stopping, grace).await;
            let abort = reader.abort_handle();
            if tokio::time::timeout(LAST_WORDS, reader).await.is_err() {
                abort.abort();
            }
            exited.send_replace(Some(ended));
            // The receiver is gone only when the session is.
            events.send(LinkEvent::Closed(Some(ended))).await.ok();
        });
        Ok(Self { queue, stop, exit })
    }

    /// Queues a message; waits while the queue is full. False when the child is gone.
    pub(super) async fn send(&self, message: ToSend) -> bool {
        self.queue.send(message).await.is_ok()
    }

    /// Stops the child: at once by SIGTERM when `terminate`, else by closing its stdin first. Returns how it ended.
    pub(super) async fn stop(&self, terminate: bool) -> Option<Exit> {
        let wanted = if terminate { Stop::Terminate } else { Stop::Leave };
        self.stop.send_if_modified(|now| {
            let more = wanted > *now;
            *now = (*now).max(wanted);
            more
        });
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit)
    }
}

/// The child's process group; dropping it kills what is left of it.
#[derive(Debug)]
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        // ESRCH: nobody is left.
        kill_process_group(self.0, signal).ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the child's end, and brings it about when it is no longer wanted.
async fn supervise(
    mut child: Child,
    group: Option<Group>,
    mut stop: watch::Receiver<Stop>,
    grace: Duration,
) -> Exit {
    let signal = |signal| {
        if let Some(group) = &group {
            group.signal(signal);
        }
    };
    tokio::select! {
        status = child.wait() => return ended(status),
        // A dropped sender is a session that nobody holds any more.
        _ = stop.wait_for(|stop| *stop != Stop::No) => {}
    }
    if *stop.borrow() == Stop::Leave {
        tokio::select! {
            status = child.wait() => return ended(status),
            _ = stop.wait_for(|stop| *stop == Stop::Terminate) => {}
            () = tokio::time::sleep(LEAVE) => {}
        }
    }
    signal(Signal::TERM);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return ended(status);
    }
    signal(Signal::KILL);
    ended(child.wait().await)
}

fn ended(status: std::io::Result<ExitStatus>) -> Exit {
    status.map_or(Exit { code: 1 }, Exit::from)
}

/// Writes each message as one line. The permit is redeemed here, at the moment of sending.
async fn write(
    mut stdin: ChildStdin,
    mut queue: mpsc::Receiver<ToSend>,
    mut stop: watch::Receiver<Stop>,
    events: mpsc::Sender<LinkEvent>,
) {
    loop {
        let message = tokio::select! {
            biased;
            message = queue.recv() => message,
            _ = stop.wait_for(|stop| *stop != Stop::No), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        let Some(message) = message else { return };
        // Where it is decided anew: not beyond the end, which answers whoever waits.
        let redeemed = tokio::select! {
            biased;
            redeemed = message.redeem() => redeemed,
            _ = stop.wait_for(|stop| *stop != Stop::No) => {
                queue.close();
                continue;
            }
        };
        let bytes = match redeemed {
            Ok(outgoing) => outgoing.bytes,
            Err(failed) => {
                if let Some(event) = failed {
                    events.send(event).await.ok();
                }
                continue;
            }
        };
        if write_line(&mut stdin, &bytes).await.is_err() {
            // The child closed its stdin; its end is `supervise`'s to tell.
            return;
        }
    }
}

async fn write_line(stdin: &mut ChildStdin, bytes: &Bytes) -> std::io::Result<()> {
    stdin.write_all(bytes).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await
}

/// Reads lines of at most `limit` bytes; a longer one is skipped to its end.
async fn read(mut stdout: ChildStdout, limit: usize, events: mpsc::Sender<LinkEvent>) {
    let mut lines = LineBuffer::new(limit);
    let mut chunk = vec![0; 64 * 1024];
    let mut open = true;
    while open {
        match stdout.read(&mut chunk).await {
            Ok(count @ 1..) => lines.push(chunk.get(..count).unwrap_or_default()),
            Ok(0) | Err(_) => {
                lines.finish();
                open = false;
            }
        }
        for line in lines.by_ref() {
            let event = match line {
                Ok(bytes) => LinkEvent::Message(Incoming { stream: StreamKey::Pipe, event: None, bytes }),
                Err(_too_long) => LinkEvent::Garbage("a line longer than the limit for messages"),
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}
