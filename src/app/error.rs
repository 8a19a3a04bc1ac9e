//! Why a gateway does not start. Each says what to do; nothing was started when one is returned.

use std::path::PathBuf;

use super::admin::server::AdminError;
use super::command::CommandError;
use super::lock::LockFileError;
use super::policies::PolicyFilesError;
use crate::admission::bootstrap::SecretFileError;
use crate::admission::{AdmissionError, FetchError};
use crate::attest::{AppendError, LogError};
use crate::domain::ids::ServerName;
use crate::domain::random::RandomError;
use crate::gate::LedgerError;
use crate::identity::{CertificateError, IdentityError, TlsError};
use crate::policy::PolicyDiagnostic;
use crate::proxy::downstream::http::BindError;
use crate::proxy::upstream::{ConnectError, ProbeError};
use crate::telemetry::TelemetryError;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Policy files can't be read.
    #[error(transparent)]
    PolicyFiles(#[from] PolicyFilesError),
    /// Policies are wrong.
    #[error("{} of the policies", errors(.0.len()))]
    Policies(Vec<PolicyDiagnostic>),
    /// A tool server's command can't be started.
    #[error("the tool server `{server}` can't be started: {source}")]
    Command {
        /// Which.
        server: ServerName,
        /// Why.
        source: CommandError,
    },
    /// A tool server would be sent tokens that open sessions with the gateway itself.
    #[error("the tool server `{server}` has the gateway's own audience `{audience}`")]
    OwnAudience {
        /// Which.
        server: ServerName,
        /// The audience.
        audience: String,
    },
    /// A tool server could not be asked for its tools.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The lock file can't be used.
    #[error(transparent)]
    Lock(#[from] LockFileError),
    /// A connection to a tool server can't be set up.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A listener can't be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no usable signing identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The bootstrap secret is not usable.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// TLS for the listener can't be had.
    #[error("the TLS listener can't be set up: {0}")]
    Tls(#[from] TlsError),
    /// The certificate of the TLS listener is not usable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The log can't be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The policies in force could not be recorded.
    #[error("the policies could not be recorded in the log: {0}")]
    Record(#[from] AppendError),
    /// What principals did before is not known.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Telemetry is set up wrongly.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The addresses can't be written down.
    #[error("can't write the addresses to {path}: {source}", path = .path.display())]
    AddressFile {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operator's socket can't be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Issuers of bearer tokens can't be asked.
    #[error(transparent)]
    Issuers(FetchError),
    /// The process can't be set up.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl From<AdmissionError> for StartError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Bootstrap(error) => Self::Secret(error),
            AdmissionError::Issuers(error) => Self::Issuers(error),
        }
    }
}

impl StartError {
    /// What to do about it, where the message does not say so itself.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::PolicyFiles(_) => {
                "name a file or directory that exists; make the first policies: chancery policy init -- COMMAND"
            }
            Self::Lock(error) if error.is_missing() => {
                "`pin: lock` needs it: write it from the tools as they are now (chancery policy lock -c FILE), or change \
                 `lock_file`"
            }
            Self::Lock(_) => {
                "take back what was changed in it, or write it anew: chancery policy lock -c FILE --update"
            }
            Self::OwnAudience { .. } => {
                "write the tool server's own name into `forward_identity.audience`: not the gateway's SPIFFE ID, nor \
                 anything below it"
            }
            Self::Command { source, .. } => return Some(source.help()),
            Self::Secret(error) => return Some(error.help()),
            Self::Admin(error) => return Some(error.help()),
            Self::Certificate(error) => return Some(error.help()),
            Self::Bind(BindError::Tcp { key, addr, source })
                if source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                return Some(format!(
                    "another process listens there: stop it (ss -ltnp 'sport = :{port}' names it), or change \
                     `{key}`; port 0 takes any free one",
                    port = addr.port()
                ));
            }
            Self::Bind(BindError::Tcp { key, .. }) => return Some(format!("change `{key}`")),
            Self::Bind(BindError::Unix { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or change `listen.unix`"
            }
            Self::Bind(BindError::Unix { .. }) => {
                "change `listen.unix`: its directory must exist and be writable"
            }
            Self::AddressFile { .. } => {
                "change `listen.address_file`: its directory must exist and be writable"
            }
            Self::Log(LogError::Storage(_)) => "change `log.dir` (or --log), or make the directory writable",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn errors(count: usize) -> String {
    if count == 1 { "1 mistake in one".to_owned() } else { format!("{count} mistakes in some") }
}
