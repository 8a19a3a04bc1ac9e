//! Why a record was not written, and why a log can't be opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::labels::GapCause;
use crate::domain::ids::SpiffeId;
use crate::domain::refusal::DenyReason;
use crate::keys::SignerError;

/// Why a record was not written; nothing that it would have permitted may happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The file system refused: full, read-only, failing. Tried again by itself.
    #[error("the attestation log can't be written: {0}")]
    Storage(Arc<StorageError>),
    /// There is no signing identity. Tried again by itself.
    #[error("there is no signing identity for the attestation log: {0}")]
    Signer(Arc<SignerError>),
    /// The signing key's certificate, or one above it, does not cover the record's time.
    #[error("the signing certificate was not valid when the record was made: is the clock right?")]
    Validity,
    /// The signing key is another gateway's.
    #[error("the signing key is of {0}, which is not the gateway that keeps this log")]
    Identity(SpiffeId),
    /// More records wait than the queue holds.
    #[error("too many records are waiting for the attestation log")]
    Overload,
    /// An earlier record of the same chain failed.
    #[error("an earlier record of the same session could not be written")]
    RolledBack,
    /// The record is larger than any record may be.
    #[error("the record has {0} bytes, more than {MAX_PAYLOAD}")]
    TooLarge(usize),
    /// The record has no JSON form.
    #[error("the record can't be encoded: {0}")]
    Encoding(Arc<serde_json::Error>),
    /// The log is closed.
    #[error("the attestation log is closed")]
    Closed,
}

/// Largest payload of a record, in bytes. Texts from outside are clipped far below it.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;

impl AppendError {
    /// How a caller is told.
    pub const fn deny_reason(&self) -> DenyReason {
        match self {
            Self::Signer(_) | Self::Validity | Self::Identity(_) => DenyReason::SignerUnavailable,
            Self::Overload => DenyReason::Limited,
            Self::Storage(_) | Self::RolledBack | Self::TooLarge(_) | Self::Encoding(_) | Self::Closed => {
                DenyReason::AttestationFailed
            }
        }
    }

    pub(super) const fn cause(&self) -> GapCause {
        match self {
            Self::Signer(_) | Self::Validity | Self::Identity(_) => GapCause::Signer,
            Self::Overload => GapCause::Overload,
            _ => GapCause::Storage,
        }
    }
}

impl From<SignerError> for AppendError {
    fn from(error: SignerError) -> Self {
        Self::Signer(Arc::new(error))
    }
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl From<serde_json::Error> for AppendError {
    fn from(error: serde_json::Error) -> Self {
        Self::Encoding(Arc::new(error))
    }
}

/// A file operation of the log failed.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}: {source}", path.display())]
pub struct StorageError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl StorageError {
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

/// Why a log can't be opened. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The directory belongs to another gateway.
    #[error(
        "{} is the log of {theirs}, not of {ours}: choose another directory, or start with the identity that \
         keeps this one", dir.display()
    )]
    OtherGateway {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who we are.
        ours: SpiffeId,
    },
    /// Something else is in the directory.
    #[error(
        "{} is not empty and holds no log (it has no log.json): choose an empty directory, or a new name, as the \
         log's directory", .0.display()
    )]
    NotEmpty(PathBuf),
    /// Others could put records into the directory, or take them out.
    #[error("others can write to {path} (mode {mode:04o}): run `chmod go-w {path}`", path = dir.display())]
    Writable {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process writes to it.
    #[error("{} is in use by process {pid}: stop it, or choose another directory (`log.dir`, or --log \
         under `chancery run`)", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, as it wrote itself down.
        pid: String,
    },
    /// `log.json` is not ours to read.
    #[error("{} is not a log that this version can continue: {why}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The first record could not be written.
    #[error("the log can't be begun: {0}")]
    Start(#[from] AppendError),
    /// The writer's thread could not be started.
    #[error("the log's writer can't be started: {0}")]
    Thread(io::Error),
}
