//! What `chancery keys show` tells of a key.

use std::path::PathBuf;

use crate::domain::clock::Timestamp;

/// What a key is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// The root of the trust domain.
    Root,
    /// Signs now.
    Signing,
    /// Published, will sign soon.
    Next,
    /// Signs no more; what it signed can still be verified.
    Retired,
}

impl KeyRole {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Signing => "signing",
            Self::Next => "next",
            Self::Retired => "retired",
        }
    }
}

/// One key, described without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// What it is for.
    pub role: KeyRole,
    /// The `kid`; for a root the trust domain's SPIFFE ID.
    pub id: String,
    /// The JOSE name of its algorithm.
    pub algorithm: &'static str,
    /// SHA-256 of the certificate, hex.
    pub thumbprint: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The file that holds it, where it is in one.
    pub file: Option<PathBuf>,
}
