//! Evidence from a bootstrap secret: a 256-bit text in a file that only one user can read.

use std::path::PathBuf;

/// Why a secret's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It can't be read or written.
    #[error("can't use the bootstrap secret's file {path}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
