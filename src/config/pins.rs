//! How firmly each tool server is held to the definitions that were approved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw;
use super::resolve::Resolver;
use crate::domain::ids::ServerName;
use crate::policy::Pin;

/// The lock file's name, where none is configured.
const LOCK_FILE: &str = "chancery.lock";

/// Pinning, as the file writes it.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PinWord {
    /// What a server has shown first is approved; what changes or is new afterwards is denied until approved.
    FirstUse,
    /// What the lock file has is approved, and nothing else.
    Lock,
    /// Whatever the server shows is taken over.
    Off,
}

impl From<PinWord> for Pin {
    fn from(word: PinWord) -> Self {
        match word {
            PinWord::FirstUse => Self::FirstUse,
            PinWord::Lock => Self::Lock,
            PinWord::Off => Self::Off,
        }
    }
}

/// How firmly each server is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// Every server without a word of its own.
    pub default: Pin,
    /// Servers with one.
    pub servers: BTreeMap<ServerName, Pin>,
    /// The lock file.
    pub lock_file: PathBuf,
}

impl Pins {
    /// How `server` is held.
    pub fn of(&self, server: &ServerName) -> Pin {
        self.servers.get(server).copied().unwrap_or(self.default)
    }

    /// Whether the lock file alone approves tools of `server`.
    pub fn is_locked(&self, server: &ServerName) -> bool {
        self.of(server) == Pin::Lock
    }
}

impl Resolver<'_> {
    pub(super) fn pins(&mut self, raw: &raw::Raw) -> Pins {
        let own = raw.servers.iter().filter_map(|(name, server)| {
            // A name that is none is told elsewhere.
            Some((ServerName::from_str(&name.value).ok()?, server.value.pin.as_ref()?.value.into()))
        });
        Pins {
            default: raw.pin.as_ref().map(|pin| pin.value.into()).unwrap_or_default(),
            servers: own.collect(),
            lock_file: self.path_or(raw.lock_file.as_ref(), |r| r.base.join(LOCK_FILE)),
        }
    }
}
