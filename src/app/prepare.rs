//! Everything that can be found wrong without starting or writing anything but what a probe needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::StartError;
use super::shown::Shown;
use super::{command, policies};
use crate::config::{Config, Environment};
use crate::domain::clock::Clock;
use crate::domain::ids::ServerName;
use crate::domain::limits::Limits;
use crate::domain::secret::Secret;
use crate::identity::{Identity, SpiffeTls};
use crate::keys::Signer;
use crate::policy::{Catalogue, Engine, PolicySources, ToolDefinition};
use crate::proxy::config::{HttpConfig, ServerConfig, ServerKind};
use crate::proxy::upstream::{Connector, ProbeError, probe};
use crate::token::{self, Issuer, OnBehalfOf, TokenError};

/// What was found in order.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) sources: PolicySources,
    pub(super) catalogue: Catalogue,
    pub(super) engine: Engine,
    pub(super) connectors: BTreeMap<ServerName, Connector>,
    pub(super) shown: Shown,
    /// The signing identity, where a tool server had to be shown it already.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Reads the policies, looks for the servers' commands, takes their tools from the last time or asks them, and
/// compiles.
pub(super) async fn prepare(config: &Config, env: &Environment) -> Result<Prepared, StartError> {
    let sources = policies::load(&config.policies)?;
    commands(config, env)?;
    let shown = Shown::below(&config.state_dir);
    let identity = shown_to_servers(config).await?;
    let tls = identity.as_ref().and_then(|identity| identity.tls());
    let asker = Asker { tls, issuer: identity.as_ref().map(issuer) };
    // Without policies everything is refused, whatever the tools are.
    let catalogue = match sources.files.is_empty() {
        true => Catalogue::default(),
        false => tools(config, &shown, &asker).await?,
    };
    let (engine, warnings) = Engine::compile(&sources, &catalogue).map_err(StartError::Policies)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let connect = |(name, server): (&ServerName, &ServerConfig)| {
        Ok((name.clone(), Connector::new(server.clone(), config.limits.clone(), tls)?))
    };
    let connectors = config.servers.iter().map(connect).collect::<Result<_, StartError>>()?;
    Ok(Prepared { sources, catalogue, engine, connectors, shown, identity })
}

/// The tools of the configured servers, as they were seen last or else as they are now.
///
/// # Errors
/// A server's command can't be started.
pub async fn known_tools(config: &Config, env: &Environment) -> Result<Catalogue, StartError> {
    commands(config, env)?;
    let identity = shown_to_servers(config).await?;
    let tls = identity.as_ref().and_then(|identity| identity.tls());
    let asker = Asker { tls, issuer: identity.as_ref().map(issuer) };
    tools(config, &Shown::below(&config.state_dir), &asker).await
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

async fn tools(config: &Config, shown: &Shown, asker: &Asker<'_>) -> Result<Catalogue, StartError> {
    let servers = config.servers.values();
    let asked = servers.map(|server| async move {
        let known = match shown.load(server) {
            Some(known) => Ok(known),
            None => ask(server, &config.limits, shown, asker).await,
        };
        (server.name.clone(), known)
    });
    let mut catalogue = Catalogue::default();
    for (name, found) in futures_util::future::join_all(asked).await {
        match found {
            Ok(tools) => {
                catalogue.servers.insert(name, tools);
            }
            Err(error @ ProbeError::Connect(_)) => return Err(error.into()),
            // It may come up later; its tools are then learned from its first list.
            Err(error) => {
                tracing::warn!(
                    server = %name, %error,
                    "configured but did not answer, so its tools are not known, and denied, until it lists them"
                );
                catalogue.unanswered.insert(name);
            }
        }
    }
    Ok(catalogue)
}

async fn ask(
    server: &ServerConfig,
    limits: &Limits,
    shown: &Shown,
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
    if let Err(error) = shown.save(server, &tools) {
        tracing::warn!(server = %server.name, %error, "the tool definitions could not be kept");
    }
    Ok(tools)
}
