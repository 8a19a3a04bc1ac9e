//! Everything that can be found wrong without starting or writing anything but what a probe needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compiled::{self, Inputs};
use super::error::StartError;
use super::lock::{LockFile, LockFileError};
use super::overlooked::overlooked;
use super::shown::Shown;
use super::tools::catalogue;
use super::{command, policies};
use crate::config::{Config, Environment, Pins};
use crate::domain::clock::Clock;
use crate::domain::ids::ServerName;
use crate::domain::limits::Limits;
use crate::domain::secret::Secret;
use crate::identity::{Identity, SpiffeTls};
use crate::keys::Signer;
use crate::policy::{Catalogue, Engine, Pin, PolicySources, ToolDefinition};
use crate::proxy::config::{HttpConfig, ServerConfig, ServerKind};
use crate::proxy::upstream::{Connector, ProbeError, probe};
use crate::token::{self, Issuer, OnBehalfOf, TokenError};

/// What was found in order.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) inputs: Inputs,
    pub(super) engine: Engine,
    pub(super) connectors: BTreeMap<ServerName, Connector>,
    pub(super) shown: Shown,
    /// The signing identity, where a tool server had to be shown it already.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Reads the policies, looks for the servers' commands, takes their tools from the lock file, from the last time, or
/// asks them, and compiles.
pub(super) async fn prepare(config: &Config, env: &Environment) -> Result<Prepared, StartError> {
    let sources = policies::load(&config.policies)?;
    for found in overlooked(&config.policies, &config.shadow_policies) {
        tracing::warn!("{found}");
    }
    let shadow = shadow_sources(config);
    commands(config, env)?;
    let shown = Shown::below(&config.state_dir);
    let identity = shown_to_servers(config).await?;
    let tls = identity.as_ref().and_then(|identity| identity.tls());
    let asker = Asker { tls, issuer: identity.as_ref().map(issuer) };
    // Without policies everything is refused, whatever the tools are: nobody is asked.
    let asks = !sources.files.is_empty();
    let catalogue = tools(config, &shown, &asker, asks).await?;
    let inputs = Inputs { sources, shadow, pins: config.pins.clone(), catalogue };
    let made = compiled::make(&inputs, None).map_err(StartError::Policies)?;
    made.tell();
    for pair in inputs.catalogue.lookalikes() {
        tracing::warn!("{pair}");
    }
    let connect = |(name, server): (&ServerName, &ServerConfig)| {
        Ok((name.clone(), Connector::new(server.clone(), config.limits.clone(), tls)?))
    };
    let connectors = config.servers.iter().map(connect).collect::<Result<_, StartError>>()?;
    Ok(Prepared { inputs, engine: made.engine, connectors, shown, identity })
}

/// The candidate set, if one is configured. What is wrong with it stops nothing.
fn shadow_sources(config: &Config) -> Option<PolicySources> {
    if config.shadow_policies.is_empty() {
        return None;
    }
    let loaded = policies::load(&config.shadow_policies);
    loaded.inspect_err(|error| tracing::error!(%error, "there is no shadow set")).ok()
}

/// The tools of the configured servers: as the lock file has them, as they were seen last, or else as they are now.
///
/// # Errors
/// A server's command can't be started, the lock file can't be used.
pub async fn known_tools(config: &Config, env: &Environment) -> Result<Catalogue, StartError> {
    commands(config, env)?;
    let identity = shown_to_servers(config).await?;
    let tls = identity.as_ref().and_then(|identity| identity.tls());
    let asker = Asker { tls, issuer: identity.as_ref().map(issuer) };
    tools(config, &Shown::below(&config.state_dir), &asker, true).await
}

/// The tools of one server as they are now; what can't be used is left out, and told.
///
/// # Errors
/// It can't be asked.
pub async fn live_tools(config: &Config, server: &ServerConfig) -> Result<Vec<ToolDefinition>, StartError> {
    let identity = shown_to_servers(config).await?;
    let tls = identity.as_ref().and_then(|identity| identity.tls());
    let asker = Asker { tls, issuer: identity.as_ref().map(issuer) };
    Ok(probed(server, &config.limits, &asker).await?)
}

/// What is approved on disk, by server: nothing is asked.
///
/// # Errors
/// The lock file, or what was approved at first use, is needed and can't be used.
pub(super) fn approved(
    servers: &BTreeMap<ServerName, ServerConfig>,
    pins: &Pins,
    shown: &Shown,
) -> Result<BTreeMap<ServerName, Vec<ToolDefinition>>, LockFileError> {
    let locked = servers.keys().any(|server| pins.of(server) == Pin::Lock);
    let mut lock = if locked { LockFile::read(&pins.lock_file)? } else { LockFile::default() };
    let of = |server: &ServerConfig| match pins.of(&server.name) {
        Pin::Lock => Ok(lock.servers.remove(&server.name)),
        Pin::FirstUse => shown.load(server),
        // Nothing is held to it.
        Pin::Off => Ok(shown.load(server).unwrap_or_else(|error| {
            tracing::warn!(%error, "what the server showed last is left aside");
            None
        })),
    };
    let found = servers.values().map(of).collect::<Result<Vec<_>, _>>()?;
    Ok(servers.keys().zip(found).filter_map(|(name, tools)| Some((name.clone(), tools?))).collect())
}

/// As whom tool servers are asked for their tools.
struct Asker<'a> {
    tls: Option<&'a SpiffeTls>,
    issuer: Option<Issuer>,
}

fn issuer(identity: &Arc<Identity>) -> Issuer {
    let signer: Arc<dyn Signer> = Arc::<Identity>::clone(identity);
    Issuer::new(signer, Clock::system(), token::Config::default())
}

/// The identity, if a tool server asks for it; else it is opened last of all.
async fn shown_to_servers(config: &Config) -> Result<Option<Arc<Identity>>, StartError> {
    let asks = |server: &ServerConfig| match &server.kind {
        ServerKind::Http(http) => !http.spiffe_ids.is_empty() || http.forward_identity.is_some(),
        ServerKind::Child(_) => false,
    };
    if !config.servers.values().any(asks) {
        return Ok(None);
    }
    let identity = Identity::open(&config.identity, Clock::system()).await?;
    // A server whose tokens could be taken for the gateway's own is found now, not at the first client.
    let issuer = issuer(&identity);
    for (name, server) in &config.servers {
        let ServerKind::Http(HttpConfig { forward_identity: Some(forward), .. }) = &server.kind else {
            continue;
        };
        if let Err(TokenError::OwnAudience(audience)) = issuer.issue_identity(OnBehalfOf::Gateway, forward) {
            return Err(StartError::OwnAudience { server: name.clone(), audience });
        }
    }
    Ok(Some(identity))
}

impl Asker<'_> {
    /// What `server` is shown, if it is to be told who asks: the gateway itself, on nobody's behalf.
    fn authorization(&self, server: &ServerConfig) -> Result<Option<Secret>, ProbeError> {
        let (ServerKind::Http(http), Some(issuer)) = (&server.kind, &self.issuer) else { return Ok(None) };
        let Some(forward) = &http.forward_identity else { return Ok(None) };
        let issued = issuer.issue_identity(OnBehalfOf::Gateway, forward).map_err(|error| {
            let why = format!("can't be told who asks: {error}");
            ProbeError::Protocol { server: server.name.to_string(), why }
        })?;
        Ok(Some(issued.authorization))
    }
}

pub(super) fn commands(config: &Config, env: &Environment) -> Result<(), StartError> {
    for (name, server) in &config.servers {
        if let ServerKind::Child(child) = &server.kind {
            command::check(child, env)
                .map_err(|source| StartError::Command { server: name.clone(), source })?;
        }
    }
    Ok(())
}

async fn tools(
    config: &Config,
    shown: &Shown,
    asker: &Asker<'_>,
    asks: bool,
) -> Result<Catalogue, StartError> {
    let mut found = approved(&config.servers, &config.pins, shown)?;
    let rules = |server: &ServerConfig| (server.name.clone(), server.arguments.clone());
    let mut current =
        Catalogue { rules: config.servers.values().map(rules).collect(), ..Catalogue::default() };
    let unknown = |server: &&ServerConfig| {
        asks && config.pins.of(&server.name) != Pin::Lock && !found.contains_key(&server.name)
    };
    let asked = config
        .servers
        .values()
        .filter(unknown)
        .map(|server| async move { (server, probed(server, &config.limits, asker).await) });
    for (server, tools) in futures_util::future::join_all(asked).await {
        let name = server.name.clone();
        match tools {
            Ok(tools) if keeps(server, &tools, config.pins.of(&name), shown) => {
                found.insert(name, tools);
            }
            Ok(_not_kept) => {
                current.unanswered.insert(name);
            }
            Err(error @ ProbeError::Connect(_)) => return Err(error.into()),
            // It may come up later; its tools are then learned from its first list.
            Err(error) => {
                tracing::warn!(
                    server = %name, %error,
                    "configured but did not answer, so its tools are not known, and denied, until it lists them"
                );
                current.unanswered.insert(name);
            }
        }
    }
    for server in config.servers.keys().filter(|server| config.pins.of(server) == Pin::Lock) {
        if !found.contains_key(server) {
            let file = config.pins.lock_file.display();
            tracing::warn!(%server, "the lock file {file} has no tools of it, so all are denied");
        }
    }
    Ok(catalogue(config.servers.keys(), &config.pins, &found, &current))
}

/// Keeps what a server showed first; false where it is held to that and it can't be kept: the next start would approve
/// anew.
fn keeps(server: &ServerConfig, tools: &[ToolDefinition], pin: Pin, shown: &Shown) -> bool {
    let Err(error) = shown.save(server, tools) else { return true };
    let denied = if pin.holds() { ", so its tools are denied" } else { "" };
    tracing::warn!(server = %server.name, %error, "the tool definitions could not be kept{denied}");
    !pin.holds()
}

async fn probed(
    server: &ServerConfig,
    limits: &Limits,
    asker: &Asker<'_>,
) -> Result<Vec<ToolDefinition>, ProbeError> {
    let authorization = asker.authorization(server)?;
    let probed = probe(server, limits, asker.tls, authorization).await?;
    let mut tools = Vec::with_capacity(probed.tools.len());
    for entry in &probed.tools {
        match ToolDefinition::from_list_entry(entry) {
            Ok(tool) => tools.push(tool),
            Err(error) => tracing::warn!(server = %server.name, %error, "a tool is left out, and denied"),
        }
    }
    Ok(tools)
}
