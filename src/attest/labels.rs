//! Stable labels of what records say, and how domain types that have no text form of their own are written.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::domain::decision::Effect;
use crate::domain::evidence::EvidenceKind;
use crate::domain::refusal::DenyReason;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The client said so (HTTP DELETE) or closed its pipe.
    Client,
    /// The tool server is gone.
    Server,
    /// Nothing happened for too long.
    Idle,
    /// The longest lifetime of a session is over.
    Lifetime,
    /// A new session took the place of this one (one live session per bootstrap secret).
    Superseded,
    /// What it was bound to was taken back.
    Revoked,
    /// The trust bundle no longer vouches for the key that signed its first token, which clients go on showing.
    KeyRevoked,
    /// The gateway stopped.
    Shutdown,
    /// The handshake failed after the session was decided.
    Handshake,
}

impl CloseReason {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::KeyRevoked => "key-revoked",
            Self::Shutdown => "shutdown",
            Self::Handshake => "handshake",
        }
    }
}

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The client.
    Client,
    /// The tool server.
    Server,
    /// The gateway, on its own account.
    Gateway,
}

/// Why records could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GapCause {
    /// The file system refused them: full, read-only, failing.
    Storage,
    /// There was no signing identity.
    Signer,
    /// More came than the writer could take.
    Overload,
}

impl GapCause {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Signer => "signer",
            Self::Overload => "overload",
        }
    }
}

pub(super) fn display<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn effect<S: Serializer>(effect: &Effect, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(effect.as_str())
}

pub(super) fn evidence<S: Serializer>(kind: &EvidenceKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

pub(super) fn deny_reason<S: Serializer>(
    reason: &Option<DenyReason>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => serializer.serialize_str(reason.as_str()),
        None => serializer.serialize_none(),
    }
}
