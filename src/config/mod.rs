//! Configuration: a YAML file becomes the settings of every module, or a list of all its mistakes.
//!
//! Reading goes in three looks: unknown keys and empty values over the whole file ([`strict`]), the typed shapes
//! ([`raw`]), then meaning ([`resolve`]). Every mistake carries file, line, column and its fix. Relative paths
//! begin at the file's directory. Only this module reads the environment, through [`Environment`].
//!
//! layer: L5

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod cases;
mod changes;
mod diagnostic;
mod environment;
mod evidence;
mod forms;
mod inputs;
mod listener;
mod located;
mod oidc;
mod pins;
mod policies;
mod raw;
mod resolve;
mod schema;
mod servers;
mod signing;
mod strict;
#[cfg(test)]
mod tests;
mod texts;
mod upstream;
mod values;

pub use cases::{CASE_FILES, Case, CaseAction, CaseFile, CasePlace, Expect, case_schema};
pub use changes::changed_keys;
pub use diagnostic::{ConfigError, Mistake};
use diagnostic::{Mistakes, Source};
pub use environment::{Environment, split_search_path};
pub use pins::Pins;
pub use schema::json_schema;

use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;
use crate::domain::limits::Limits;
use crate::domain::zone::Zone;
use crate::proxy::config::{ListenConfig, ServerConfig};
use crate::{admission, attest, identity, telemetry};

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `chancery run`: one server from the command line, the parent process as client.
    Run,
    /// `chancery serve`: listeners, servers and evidence are demanded.
    Serve,
}

/// Everything that a gateway is built from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect.
    pub listen: ListenConfig,
    /// A file for the bound addresses.
    pub address_file: Option<PathBuf>,
    /// The tool servers.
    pub servers: BTreeMap<ServerName, ServerConfig>,
    /// Policy files and directories, in order.
    pub policies: Vec<PathBuf>,
    /// Those of the candidate set, which is never enforced.
    pub shadow_policies: Vec<PathBuf>,
    /// How firmly tool servers are held to approved definitions.
    pub pins: Pins,
    /// The file that it was read from, and its text.
    pub file: Option<(PathBuf, std::sync::Arc<str>)>,
    /// The attestation log.
    pub log: attest::Config,
    /// Whether the file says where the log is.
    pub named_log: bool,
    /// The signing identity.
    pub identity: identity::Config,
    /// Who may hold a session.
    pub admission: admission::Config,
    /// Sessions and tokens.
    pub session: SessionConfig,
    /// Bounds.
    pub limits: Limits,
    /// Logs, traces, metrics.
    pub telemetry: telemetry::Config,
    /// How often refusals before admission are summed up in the log.
    pub refusal_summary: Duration,
    /// Where `chancery session` reaches the gateway, if it is not the default; see [`Config::admin_socket`].
    pub named_admin_socket: Option<PathBuf>,
    /// Whose clocks policies see as `context.local`.
    pub time_zone: Zone,
    /// Where the tools that servers have shown are kept.
    pub state_dir: PathBuf,
}

/// Sessions and their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Lifetime of a token.
    pub token_ttl: Duration,
    /// Lifetime of a session.
    pub max_lifetime: Duration,
    /// When a silent session ends.
    pub idle_timeout: Duration,
    /// The tokens' audience, if it is not the default.
    pub audience: Option<String>,
}

impl Config {
    /// The defaults, without a file.
    ///
    /// # Errors
    /// When there is no directory for state.
    pub fn defaults(purpose: Purpose, env: &Environment) -> Result<Self, ConfigError> {
        Self::parse("(defaults)", "", Path::new("."), purpose, env)
    }

    /// Where `chancery session` reaches the gateway: by default
    /// `<state>/admin/<log's name>-<8 hex digits of its path's digest>.sock`. A log has one gateway, so each has a
    /// socket of its own.
    pub fn admin_socket(&self) -> PathBuf {
        let log = &self.log.dir;
        let default = || {
            let name = log.file_name().unwrap_or_default().to_string_lossy();
            let name: String =
                name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(24).collect();
            let digest = Sha256Digest::of(log.as_os_str().as_encoded_bytes()).to_string();
            let start = digest.get(..8).unwrap_or_default();
            self.admin_directory().join(format!("{name}-{start}.sock"))
        };
        self.named_admin_socket.clone().unwrap_or_else(default)
    }

    /// What `serve` does with it that its author hardly means.
    pub fn remarks(&self) -> Vec<String> {
        let admission = &self.admission;
        let secret_alone = admission.bootstrap.is_some()
            && admission.peer.is_none()
            && admission.mtls.is_none()
            && admission.oidc.is_empty()
            && !admission.anonymous;
        if !secret_alone || self.servers.len() < 2 {
            return Vec::new();
        }
        vec![format!(
            "{} servers are served, and the bootstrap secret holds one session: a client that opens one with a second \
             server ends its first. For an agent that uses several at once write `listen: {{ unix: ./chancery.sock }}` \
             and `admission: {{ peer: {{}} }}`, or `admission.oidc`, or have a gateway with a secret of its own for \
             each server",
            self.servers.len()
        )]
    }

    /// Where the admin sockets are that have no path of their own.
    pub fn admin_directory(&self) -> PathBuf {
        self.state_dir.join("admin")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or all its mistakes.
    pub fn load(path: &Path, purpose: Purpose, env: &Environment) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let read = |why| ConfigError::Read { path: name.clone(), why };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        let mut config = Self::parse(&name, &text, base, purpose, env)?;
        config.file = Some((path.to_owned(), text.into()));
        Ok(config)
    }

    /// Reads `text`, which is called `name` in diagnostics; relative paths begin at `base`.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn parse(
        name: &str,
        text: &str,
        base: &Path,
        purpose: Purpose,
        env: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut mistakes = Mistakes::new(Source::new(name, text));
        let Some(raw) = read(text, &mut mistakes) else {
            return Err(mistakes.finish().err().unwrap_or(ConfigError::NoStateDir));
        };
        let state = match (env.state_dir(), &raw.state_dir) {
            (Ok(state), _) => state,
            (Err(_), Some(_)) => PathBuf::new(),
            (Err(error), None) => return Err(error),
        };
        let mut resolver = resolve::Resolver { base, env, state, purpose, mistakes: &mut mistakes };
        let config = resolver.config(&raw);
        mistakes.finish()?;
        Ok(config)
    }
}

/// Where it is told what belongs into a configuration.
const HINT: &str = "see schemas/config.schema.json or `chancery config schema` for what belongs here";

/// The file's shapes. `None` and a mistake when they can't be read; more than one when keys are unknown.
fn read(text: &str, mistakes: &mut Mistakes) -> Option<raw::Raw> {
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Some(raw::Raw::default());
    }
    match serde_yaml::from_str::<located::At<located::Node>>(text) {
        Ok(node) => strict::check(&node, &schema::value(), mistakes),
        Err(error) => {
            unreadable(text, &error, HINT, mistakes);
            return None;
        }
    }
    if !mistakes.is_empty() {
        return None;
    }
    match serde_yaml::from_str(text) {
        Ok(raw) => Some(raw),
        Err(error) => {
            unreadable(text, &error, HINT, mistakes);
            None
        }
    }
}

/// What the YAML reader says, without the excerpt that it would draw itself.
fn unreadable(text: &str, error: &serde_yaml::Error, hint: &str, mistakes: &mut Mistakes) {
    let error = error.without_snippet();
    let span = error.location().map_or(0..0, |location| match location.span().byte_offset() {
        Some(_) => located::range(location),
        None => offset(text, location.line(), location.column()),
    });
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    mistakes.add(&span, message, hint);
}

/// The byte at a line and column, both from 1.
fn offset(text: &str, line: u64, column: u64) -> std::ops::Range<usize> {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let start = before + rest.char_indices().nth(column.saturating_sub(1)).map_or(0, |(at, _)| at);
    start..(start + 1).min(text.len())
}
