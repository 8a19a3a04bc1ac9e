//! The operator's side of the socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LONGEST_ANSWER, Line, PrincipalRow, Request, SessionRow, Trouble};
use crate::domain::ids::SessionId;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens.
    #[error("no gateway runs on the admin socket {path}", path = .0.display())]
    Nobody(PathBuf),
    /// There is no socket that anything listens on.
    #[error("no gateway runs: there is no live admin socket in {directory}", directory = .0.display())]
    None(PathBuf),
    /// It is another user's.
    #[error("the gateway at {path} belongs to another user", path = .0.display())]
    Permission(PathBuf),
    /// It is not, or no longer, there.
    #[error("no session {0} is open")]
    UnknownSession(SessionId),
    /// It is no principal's name there.
    #[error("nothing is known of a principal `{0}`")]
    UnknownPrincipal(String),
    /// It was not to be had.
    #[error("the principal has no label `{label}` at {path}", path = .path.display())]
    NoLabel {
        /// The socket.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// The gateway's log can't take the record.
    #[error("nothing was done: the gateway at {path} can't record it in its log", path = .0.display())]
    Unrecorded(PathBuf),
    /// The connection failed, or the answer is none.
    #[error("the gateway at {path} gave no answer: {source}", path = .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AskError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Nobody(_) => "start it, or name another one by -c or --socket",
            Self::None(_) => {
                "a gateway of another user, state directory or `admin.socket` is found by its configuration (-c FILE) \
                 or its socket (--socket PATH)"
            }
            Self::Permission(_) => "run this as the user that runs the gateway, or as root",
            Self::UnknownSession(_) => "it is over already, or another gateway's; see: chancery session list",
            Self::UnknownPrincipal(_) => "it is a token's `sub`, to the letter; see: chancery principal list",
            Self::NoLabel { .. } => {
                "labels are named to the letter, and nothing was taken away; see: chancery principal show PRINCIPAL"
            }
            Self::Unrecorded(_) => "see what the gateway says on stderr: a full disk, or no signing key",
            Self::Io { .. } => "see whether the gateway still runs, and what it says on stderr",
        }
    }
}

/// What a gateway has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A session.
    Session(Box<SessionRow>),
    /// A principal.
    Principal(Box<PrincipalRow>),
}

/// What the gateways of one state directory said.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Each gateway's socket and what it has, in the order of the sockets' names.
    pub answers: Vec<(PathBuf, Vec<Row>)>,
    /// Those that listen and gave no answer.
    pub failed: Vec<AskError>,
}

/// Asks all gateways with their sockets in `directory`. For one session they are asked until one knows it.
///
/// # Errors
/// When none is there, and when none of those that answered knows the session or principal.
pub fn ask_all(directory: &Path, request: &Request) -> Result<Gathered, AskError> {
    let mut gathered = Gathered::default();
    let mut unknown = None;
    for socket in sockets(directory)? {
        match ask(&socket, request) {
            Ok(rows) => {
                gathered.answers.push((socket, rows));
                if request.of_one_session().is_some() {
                    return Ok(gathered);
                }
            }
            // Its gateway was killed.
            Err(AskError::Nobody(_)) => {}
            // Another one may have it.
            Err(error @ (AskError::UnknownSession(_) | AskError::UnknownPrincipal(_))) => {
                unknown.get_or_insert(error);
            }
            Err(error @ AskError::NoLabel { .. }) => unknown = Some(error),
            Err(error) => gathered.failed.push(error),
        }
    }
    match unknown {
        // One that gave no answer may have it.
        Some(unknown) if gathered.failed.is_empty() && gathered.answers.is_empty() => Err(unknown),
        None if gathered.answers.is_empty() && gathered.failed.is_empty() => {
            Err(AskError::None(directory.to_owned()))
        }
        _ => Ok(gathered),
    }
}

fn sockets(directory: &Path) -> Result<Vec<PathBuf>, AskError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AskError::Permission(directory.to_owned()));
        }
        Err(_) => return Err(AskError::None(directory.to_owned())),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut sockets: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    sockets.sort();
    Ok(sockets)
}

/// Asks the gateway at `socket`; what it has.
///
/// # Errors
/// See [`AskError`].
pub fn ask(socket: &Path, request: &Request) -> Result<Vec<Row>, AskError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Nobody(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::Permission(socket.to_owned()),
        _ => AskError::Io { path: socket.to_owned(), source },
    };
    let mut stream = UnixStream::connect(socket).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
    let mut text = serde_json::to_vec(request).map_err(|error| io(error.into()))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(io)?;
    let mut reader = BufReader::new(stream);
    let mut rows = Vec::new();
    loop {
        let mut line = Vec::new();
        let longest = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
        (&mut reader).take(longest).read_until(b'\n', &mut line).map_err(io)?;
        if line.is_empty() {
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
        let line: Line = serde_json::from_slice(&line).map_err(|error| io(error.into()))?;
        match (line, request) {
            (Line::Session(row), _) => rows.push(Row::Session(row)),
            (Line::Principal(row), _) => rows.push(Row::Principal(row)),
            (Line::Done {}, _) => return Ok(rows),
            (Line::Error(Trouble::Permission), _) => return Err(AskError::Permission(socket.to_owned())),
            (Line::Error(Trouble::UnknownSession), Request::Show { sid } | Request::Revoke { sid }) => {
                return Err(AskError::UnknownSession(*sid));
            }
            (
                Line::Error(Trouble::UnknownPrincipal),
                Request::Principal { principal } | Request::Lift { principal, .. },
            ) => return Err(AskError::UnknownPrincipal(principal.clone())),
            (Line::Error(Trouble::NoLabel(label)), _) => {
                return Err(AskError::NoLabel { path: socket.to_owned(), label });
            }
            (Line::Error(Trouble::Unrecorded), _) => return Err(AskError::Unrecorded(socket.to_owned())),
            (Line::Error(trouble), _) => return Err(io(io::Error::other(format!("{trouble:?}")))),
        }
    }
}
