//! The operator's side of the socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LONGEST_LINE, Line, Request, SessionRow, Trouble};
use crate::domain::ids::SessionId;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens.
    #[error("no gateway serves on the admin socket {path}", path = .0.display())]
    Nobody(PathBuf),
    /// There is no socket that anything listens on.
    #[error("no gateway serves: there is no live admin socket in {directory}", directory = .0.display())]
    None(PathBuf),
    /// More than one could be meant.
    #[error("several gateways serve:{}", listed(.0))]
    Several(Vec<PathBuf>),
    /// It is another user's.
    #[error("the gateway at {path} belongs to another user", path = .0.display())]
    Permission(PathBuf),
    /// It is not, or no longer, there.
    #[error("no session {0} is open")]
    UnknownSession(SessionId),
    /// The connection failed, or the answer is none.
    #[error("the gateway at {path} gave no answer: {source}", path = .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn listed(sockets: &[PathBuf]) -> String {
    sockets.iter().map(|socket| format!("\n  {}", socket.display())).collect()
}

impl AskError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Nobody(_) => "start it: chancery serve -c FILE; or name another one by -c or --socket",
            Self::None(_) => {
                "name the gateway by its configuration (-c FILE) or its socket (--socket PATH); the client of \
                 `chancery run` is its parent, and its session ends with the process"
            }
            Self::Several(_) => "name one by its socket (--socket PATH) or its configuration (-c FILE)",
            Self::Permission(_) => "run this as the user that runs the gateway, or as root",
            Self::UnknownSession(_) => "it is over already, or another gateway's; see: chancery session list",
            Self::Io { .. } => "see whether the gateway still runs, and what it says on stderr",
        }
    }
}

/// The socket of the only gateway that serves with its sockets in `directory`.
///
/// # Errors
/// When none serves there, or several do.
pub fn only_one(directory: &Path) -> Result<PathBuf, AskError> {
    let mut live = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AskError::Permission(directory.to_owned()));
        }
        Err(_) => return Err(AskError::None(directory.to_owned())),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "sock") && UnixStream::connect(&path).is_ok() {
            live.push(path);
        }
    }
    live.sort();
    match live.len() {
        0 => Err(AskError::None(directory.to_owned())),
        1 => live.pop().ok_or_else(|| AskError::None(directory.to_owned())),
        _ => Err(AskError::Several(live)),
    }
}

/// Asks the gateway at `socket`; the sessions of its answer.
///
/// # Errors
/// See [`AskError`].
pub fn ask(socket: &Path, request: Request) -> Result<Vec<SessionRow>, AskError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Nobody(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::Permission(socket.to_owned()),
        _ => AskError::Io { path: socket.to_owned(), source },
    };
    let mut stream = UnixStream::connect(socket).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
    let mut text = serde_json::to_vec(&request).map_err(|error| io(error.into()))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(io)?;
    let mut reader = BufReader::new(stream);
    let mut rows = Vec::new();
    loop {
        let mut line = Vec::new();
        let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        (&mut reader).take(longest).read_until(b'\n', &mut line).map_err(io)?;
        if line.is_empty() {
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
        let line: Line = serde_json::from_slice(&line).map_err(|error| io(error.into()))?;
        match (line, request) {
            (Line::Session(row), _) => rows.push(*row),
            (Line::Done {}, _) => return Ok(rows),
            (Line::Error(Trouble::Permission), _) => return Err(AskError::Permission(socket.to_owned())),
            (Line::Error(Trouble::UnknownSession), Request::Show { sid } | Request::Revoke { sid }) => {
                return Err(AskError::UnknownSession(sid));
            }
            (Line::Error(trouble), _) => return Err(io(io::Error::other(format!("{trouble:?}")))),
        }
    }
}
