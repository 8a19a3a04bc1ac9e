//! `run`: one tool server, the parent process as client.

use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admin::server::AdminSocket;
use super::error::StartError;
use super::{build, prepare, signals};
use crate::admission;
use crate::config::{Config, Environment};
use crate::domain::clock::Clock;
use crate::domain::random;
use crate::gate::{Route, Transport};
use crate::proxy::config::ServerConfig;
use crate::proxy::downstream::stdio::{self, RunParts};

/// Serves the client on stdin and stdout until either side ends; returns the code to exit with. `tell` gets what
/// the operator must read.
///
/// # Errors
/// What is wrong, before anything was started.
pub async fn run(
    mut config: Config,
    server: ServerConfig,
    env: &Environment,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<i32, StartError> {
    let (hangup, asked) = mpsc::channel(1);
    let shutdown = signals::listen(hangup)
        .map_err(|source| StartError::System { what: "signals can't be listened to", source })?;
    // On a pipe there is only the parent, and its word is the kernel's.
    let peer = config.admission.peer.take().unwrap_or_default();
    config.admission = admission::Config { peer: Some(peer), ..admission::Config::default() };
    let name = server.name.clone();
    config.servers = [(name.clone(), server)].into();
    // It lives as long as its client, and the command line has the last word on it: policies are read anew, not this.
    config.file = None;
    let limits = config.limits.clone();
    // A tool server or a SPIRE agent may be waited for; whoever asks for the end does not wait with us.
    let Some(prepared) = shutdown.run_until_cancelled(prepare::prepare(&config, env)).await else {
        return Ok(0);
    };
    let mut prepared = prepared?;
    if prepared.engine.is_empty() {
        tell(
            "no policies are loaded, so every call is refused; make the first: chancery policy init -- COMMAND",
        );
    }
    let admin = match AdminSocket::of(&config).await {
        // Nobody asked for it by name, and the client gets what it came for without.
        Err(StartError::Admin(error)) if config.named_admin_socket.is_none() => {
            tracing::warn!(help = error.help(), "this session can't be listed nor revoked: {error}");
            None
        }
        bound => Some(bound?),
    };
    if prepared.engine.state_reads().lasting() && forgets(&config) {
        tell(FORGETS);
    }
    let connector = prepared.connectors.remove(&name);
    let Some(core) =
        shutdown.run_until_cancelled(build::core(&config, prepared, env, Some(asked), tell)).await
    else {
        return Ok(0);
    };
    let core = core?;
    let closed = CancellationToken::new();
    let admin = admin.map(|admin| tokio::spawn(admin.serve(Arc::clone(&core.gate), closed.clone())));
    tracing::info!(log = %core.log.dir().display(), identity = %core.identity.spiffe_id(), "ready");
    let code = match connector {
        Some(connector) => {
            let parts = RunParts {
                gate: Arc::clone(&core.gate),
                admission: Arc::clone(&core.admission),
                connector,
                route: Route::new(name, Transport::Stdio),
                limits,
            };
            stdio::run(parts, shutdown).await
        }
        None => 0,
    };
    closed.cancel();
    if let Some(admin) = admin
        && let Err(error) = admin.await
    {
        tracing::debug!(%error, "the admin socket did not end in order");
    }
    core.finish().await;
    Ok(code)
}

/// A log directory of its own for one run below `config`'s state directory: a log has one writer, and one user runs
/// many gateways at once.
///
/// # Errors
/// When there are no random bytes.
pub fn own_log_dir(config: &Config, server: &ServerConfig) -> Result<PathBuf, StartError> {
    let now = Clock::system().now();
    let at = OffsetDateTime::from_unix_timestamp(now.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let stamp =
        at.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap_or_default();
    let [a, b, c, d] = random::bytes::<4>()?;
    let name = format!("{stamp}-{}-{a:02x}{b:02x}{c:02x}{d:02x}", server.name);
    Ok(runs_dir(config).join(name))
}

/// What is told where policies ask for what a run with a log of its own does not know.
pub(super) const FORGETS: &str = "the policies ask for what was done before (`usage`, `labels`), and that is kept with the log: this run has a \
     log of its own, so it begins at zero and ends with the run. For limits that last, and labels that other \
     runs see, give a log that stays (--log DIR), or serve all servers from one gateway (chancery serve)";

/// Whether what is counted ends with this run.
pub(super) fn forgets(config: &Config) -> bool {
    config.log.dir.starts_with(runs_dir(config))
}

/// Where runs have logs of their own.
fn runs_dir(config: &Config) -> PathBuf {
    config.state_dir.join("logs/run")
}
