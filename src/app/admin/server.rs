//! The gateway's side of the operator's socket.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{LONGEST_ANSWER, LONGEST_LINE, LONGEST_REASON, Line, PrincipalRow, Request, SessionRow, Trouble};
use crate::app::error::StartError;
use crate::attest;
use crate::config::Config;
use crate::domain::clock::{Clock, Timestamp};
use crate::gate::{Gate, Lift, LiftError};
use crate::proxy::downstream::http::{SocketFile, bind_unix};

/// Connections at once.
const CONNECTIONS: usize = 8;

/// Labels that are taken away at once.
const MOST_LABELS: usize = 64;

/// How long one exchange may take. The record of a close is waited for within it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Others could reach it.
    #[error("others can reach the directory of the admin socket, {directory}, which has mode {mode:04o}")]
    WideOpen {
        /// The directory.
        directory: String,
        /// Its mode.
        mode: u32,
    },
    /// The directory is another user's, or no directory.
    #[error("the directory of the admin socket, {0}, is not a directory of the gateway's user")]
    NotOurs(String),
    /// It can't be made.
    #[error("can't listen on the admin socket {path}: {source}")]
    Bind {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl AdminError {
    /// Whether another gateway listens there.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::WideOpen { directory, .. } => {
                format!("chmod 700 {directory}, or let `admin.socket` name a path in a directory of its own")
            }
            Self::NotOurs(_) => {
                "let `admin.socket` name a path in a directory of the gateway's user".to_owned()
            }
            _ if self.is_in_use() => {
                "another gateway has it: let `admin.socket` name another path".to_owned()
            }
            Self::Bind { .. } => "let `admin.socket` name another path, of at most 107 bytes".to_owned(),
        }
    }
}

/// A socket that nobody is answered on yet.
#[derive(Debug)]
pub(in crate::app) struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// How old a socket must be to be taken for one that was left behind: one that is being made answers nobody either.
const YOUNG: Duration = Duration::from_secs(60);

/// Removes the sockets in `directory` that nobody listens on any more: a gateway that was killed leaves its own behind.
pub(in crate::app) async fn collect(directory: &Path, now: Timestamp) {
    let Ok(mut entries) = tokio::fs::read_dir(directory).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let path = entry.path();
        let Ok(meta) = entry.metadata().await else { continue };
        let made = Timestamp::from_secs(meta.mtime());
        let old = meta.file_type().is_socket() && now.since(made) >= YOUNG;
        if !old || path.extension().is_none_or(|end| end != "sock") {
            continue;
        }
        let answered = tokio::time::timeout(Duration::from_millis(200), UnixStream::connect(&path)).await;
        if matches!(answered, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused) {
            // Another gateway may be at it as well.
            tokio::fs::remove_file(&path).await.ok();
        }
    }
}

impl AdminSocket {
    /// The socket of a gateway with this configuration, before its log is opened. What others left behind in the
    /// state directory is removed.
    ///
    /// # Errors
    /// See [`AdminError`]; where another gateway has both the socket and the log, that of the log, which says more.
    pub(in crate::app) async fn of(config: &Config) -> Result<Self, StartError> {
        collect(&config.admin_directory(), Clock::system().now()).await;
        match Self::bind(&config.admin_socket()).await {
            Err(error) if error.is_in_use() => {
                attest::in_use(&config.log.dir)?;
                Err(error.into())
            }
            bound => Ok(bound?),
        }
    }

    /// Binds it, mode 0600, in a directory of mode 0700 that is made if it is missing.
    async fn bind(path: &Path) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { path: path.display().to_string(), source };
        let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        private(directory, &std::fs::metadata(directory).map_err(failed)?)?;
        let (listener, file) = bind_unix(path).await.map_err(failed)?;
        Ok(Self { listener, file })
    }

    /// Answers until `stop`; the socket's file goes with it.
    pub(in crate::app) async fn serve(self, gate: Arc<Gate>, stop: CancellationToken) {
        let Self { listener, file } = self;
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let accepting = async {
            while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::debug!(%error, "a connection to the admin socket was not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    match tokio::time::timeout(PATIENCE, exchange(&gate, stream)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "an exchange on the admin socket broke off")
                        }
                        Err(_) => tracing::debug!("an exchange on the admin socket took too long"),
                    }
                    drop(slot);
                });
            }
        };
        stop.run_until_cancelled(accepting).await;
        drop(file);
    }
}

fn private(directory: &Path, meta: &Metadata) -> Result<(), AdminError> {
    let name = || directory.display().to_string();
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(AdminError::NotOurs(name()));
    }
    match meta.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => Err(AdminError::WideOpen { directory: name(), mode }),
        _ => Ok(()),
    }
}

/// Whether the gateway's sessions are this user's affair.
fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

async fn exchange(gate: &Gate, mut stream: UnixStream) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    // Read whoever asks, so that nobody's answer is lost in what was not read.
    let mut line = Vec::new();
    let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
    BufReader::new((&mut stream).take(longest)).read_until(b'\n', &mut line).await?;
    let answer = if may_ask(uid) {
        match serde_json::from_slice(&line) {
            Ok(request) => answer(gate, request, uid).await,
            Err(_) => vec![Line::Error(Trouble::Malformed)],
        }
    } else {
        tracing::warn!(uid, "another user was refused on the admin socket");
        vec![Line::Error(Trouble::Permission)]
    };
    let mut text = Vec::new();
    for line in &answer {
        let begin = text.len();
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        debug_assert!(text.len() - begin <= LONGEST_ANSWER, "what a line lists is bounded");
    }
    stream.write_all(&text).await?;
    stream.shutdown().await
}

async fn answer(gate: &Gate, request: Request, uid: u32) -> Vec<Line> {
    let unknown = || vec![Line::Error(Trouble::UnknownSession)];
    match request {
        Request::List {} => {
            let mut seen: Vec<_> = gate.sessions().iter().map(|session| session.overview()).collect();
            seen.sort_by_key(|session| (session.opened.as_millis(), session.id));
            let rows = seen.into_iter().map(|seen| Line::Session(Box::new(SessionRow::from(seen))));
            rows.chain([Line::Done {}]).collect()
        }
        Request::Show { sid } => {
            let found = gate.sessions().into_iter().find(|session| session.id() == sid);
            found.map_or_else(unknown, |session| {
                vec![Line::Session(Box::new(SessionRow::from(session.overview()))), Line::Done {}]
            })
        }
        Request::Revoke { sid } => {
            if !gate.revoke(&sid).await {
                return unknown();
            }
            tracing::warn!(target: "chancery::session", session = %sid, uid, "a session was revoked");
            vec![Line::Done {}]
        }
        Request::Principals {} => {
            let rows = gate.principals().into_iter();
            let rows = rows.map(|seen| Line::Principal(Box::new(PrincipalRow::from(seen))));
            rows.chain([Line::Done {}]).collect()
        }
        Request::Principal { principal } => match known(gate, &principal) {
            Some(row) => vec![row, Line::Done {}],
            None => vec![Line::Error(Trouble::UnknownPrincipal)],
        },
        Request::Lift { principal, mut labels, calls, reason } => {
            labels.sort();
            labels.dedup();
            let nothing = labels.is_empty() && !calls;
            if nothing
                || labels.len() > MOST_LABELS
                || reason.trim().is_empty()
                || reason.len() > LONGEST_REASON
            {
                return vec![Line::Error(Trouble::Malformed)];
            }
            match gate.lift(&Lift { principal: principal.clone(), labels, calls, reason, uid }).await {
                Ok(()) => {
                    // Without calls, labels and sessions nothing is known of it any more, and it was done all the same.
                    let nothing = || Line::Principal(Box::new(PrincipalRow::nothing(&principal)));
                    vec![known(gate, &principal).unwrap_or_else(nothing), Line::Done {}]
                }
                Err(LiftError::UnknownPrincipal) => vec![Line::Error(Trouble::UnknownPrincipal)],
                Err(LiftError::NoLabel(label)) => vec![Line::Error(Trouble::NoLabel(label))],
                Err(error @ (LiftError::Unrecorded(_) | LiftError::Abandoned)) => {
                    tracing::error!(%error, "nothing was taken away from a principal's past: it could not be recorded");
                    vec![Line::Error(Trouble::Unrecorded)]
                }
            }
        }
    }
}

fn known(gate: &Gate, principal: &str) -> Option<Line> {
    let found = gate.principals().into_iter().find(|seen| &*seen.principal == principal)?;
    Some(Line::Principal(Box::new(PrincipalRow::from(found))))
}
