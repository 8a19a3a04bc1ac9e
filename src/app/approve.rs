//! What is approved, what servers show, and how the one becomes the other: what `chancery policy approve` and
//! `chancery policy lock` rest on. A running gateway notices what is written here.

use std::collections::BTreeMap;

use super::drift::{Drifted, drift};
use super::error::StartError;
use super::lock::LockFile;
use super::prepare::{approved, live_tools};
use super::shown::Shown;
use crate::config::Config;
use crate::domain::ids::ServerName;
use crate::policy::{Pin, ToolDefinition};

/// One server's tools.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The server.
    pub server: ServerName,
    /// How firmly it is held.
    pub pin: Pin,
    /// What is approved.
    pub approved: Vec<ToolDefinition>,
    /// What it shows now.
    pub live: Vec<ToolDefinition>,
}

impl Standing {
    /// The tools that differ.
    pub fn drifted(&self) -> Vec<Drifted> {
        drift(&self.approved, &self.live, true)
    }

    /// What is approved once `chosen` are.
    pub fn with(&self, chosen: &[Drifted]) -> Vec<ToolDefinition> {
        let stays = |tool: &&ToolDefinition| chosen.iter().all(|drifted| drifted.tool != tool.name);
        let mut next: Vec<ToolDefinition> = self.approved.iter().filter(stays).cloned().collect();
        next.extend(chosen.iter().filter_map(|drifted| drifted.now.clone()));
        next.sort_by(|a, b| a.name.cmp(&b.name));
        next
    }
}

/// Asks every configured server for its tools.
///
/// # Errors
/// One of them can't be asked.
pub async fn live(config: &Config) -> Result<BTreeMap<ServerName, Vec<ToolDefinition>>, StartError> {
    let mut found = BTreeMap::new();
    for (name, server) in &config.servers {
        found.insert(name.clone(), live_tools(config, server).await?);
    }
    Ok(found)
}

/// What is approved for each configured server on disk, where something is; nothing is asked.
///
/// # Errors
/// The lock file can't be used.
pub fn on_disk(config: &Config) -> Result<BTreeMap<ServerName, Vec<ToolDefinition>>, StartError> {
    match approved(&config.servers, &config.pins, &Shown::below(&config.state_dir)) {
        Err(error) if error.is_missing() => Ok(BTreeMap::new()),
        found => Ok(found?),
    }
}

/// What is approved for every configured server, and what it shows. A lock file that is not there yet has no tools.
///
/// # Errors
/// A server can't be asked, the lock file can't be used.
pub async fn standings(config: &Config) -> Result<Vec<Standing>, StartError> {
    let live = live(config).await?;
    let mut approved = on_disk(config)?;
    let standing = |(server, live): (ServerName, Vec<ToolDefinition>)| Standing {
        pin: config.pins.of(&server),
        approved: approved.remove(&server).unwrap_or_default(),
        server,
        live,
    };
    Ok(live.into_iter().map(standing).collect())
}

/// Approves `tools` for each server, where its definitions are kept: the lock file, or the state directory.
///
/// # Errors
/// Either can't be written.
pub fn approve(config: &Config, tools: &BTreeMap<ServerName, Vec<ToolDefinition>>) -> Result<(), StartError> {
    let shown = Shown::below(&config.state_dir);
    let mut locked = None;
    for (name, tools) in tools {
        if config.pins.of(name) == Pin::Lock {
            let lock = match locked.take() {
                Some(lock) => Ok(lock),
                None => LockFile::read(&config.pins.lock_file),
            };
            let mut lock = match lock {
                Err(error) if error.is_missing() => LockFile::default(),
                lock => lock?,
            };
            lock.servers.insert(name.clone(), tools.clone());
            locked = Some(lock);
        } else if let Some(server) = config.servers.get(name) {
            let failed =
                |source| StartError::System { what: "the approved definitions can't be kept", source };
            shown.save(server, tools).map_err(failed)?;
        }
    }
    match locked {
        Some(lock) => write(&lock, config),
        None => Ok(()),
    }
}

/// Writes the lock file.
///
/// # Errors
/// If it can't be written.
pub fn write(lock: &LockFile, config: &Config) -> Result<(), StartError> {
    lock.write(&config.pins.lock_file)
        .map_err(|source| StartError::System { what: "the lock file can't be written", source })
}
