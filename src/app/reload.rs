//! Hot reload: policies, approved definitions and some keys of the configuration are read anew when their files change,
//! and on SIGHUP.
//!
//! All of it is read, checked and compiled first; then all of it is in force, or nothing is. What is wrong is told once,
//! and what was in force stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::excerpt;
use super::lock::LockFileError;
use super::policies::{self, PolicyFilesError};
use super::prepare::approved;
use super::run;
use super::shown::Shown;
use super::tools::{Adopted, Reading, Rejected, Tools};
use super::watch::{Watch, Watched};
use crate::attest::predicate::PolicySummary;
use crate::config::{Config, ConfigError, Environment, Purpose, changed_keys};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;
use crate::domain::recorder::SharedRecorder;
use crate::policy::{Pin, PolicySources};
use crate::proxy::config::ServerConfig;
use crate::telemetry::subscriber;

/// How often files that change while they are read are read again, before the next notice is waited for.
const TRIES: u32 = 20;
/// Forbids that are gone and named in one line.
const MOST_LIFTED: usize = 16;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the configuration file can't be read: {0}")]
    File(#[from] std::io::Error),
    #[error("the configuration is not in order:\n{}", excerpt::rendered(.0))]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Files(#[from] PolicyFilesError),
    #[error(transparent)]
    Lock(#[from] LockFileError),
    #[error("the policies are not in order:{0}")]
    Policies(String),
    #[error("the change could not be recorded in the log: {0}")]
    Unrecorded(crate::attest::AppendError),
    #[error("reading or compiling ended abnormally")]
    Failed,
}

/// What a reload goes by.
#[derive(Debug)]
pub(super) struct Reload {
    tools: Arc<Tools>,
    env: Environment,
    recorder: SharedRecorder,
    now: Now,
    /// The configuration file's text at the start: what else it says takes a restart.
    started: Option<Arc<str>>,
    /// The trouble that was told last.
    told: Option<Sha256Digest>,
    /// Keys that were told to take a restart.
    restart: BTreeSet<String>,
}

/// What is in force.
#[derive(Debug, Clone)]
struct Now {
    config: Config,
    sources: PolicySources,
    shadow: Option<PolicySources>,
    servers: BTreeMap<ServerName, ServerConfig>,
    shown: Shown,
}

impl Reload {
    /// Of the configuration that the gateway was started with.
    pub(super) fn new(
        config: Config,
        env: Environment,
        sources: PolicySources,
        shadow: Option<PolicySources>,
        tools: Arc<Tools>,
    ) -> Self {
        let started = config.file.as_ref().map(|(_, text)| Arc::clone(text));
        let (servers, shown, recorder) =
            (config.servers.clone(), tools.shown.clone(), tools.recorder.clone());
        let now = Now { config, sources, shadow, servers, shown };
        Self { tools, env, recorder, now, started, told: None, restart: BTreeSet::new() }
    }

    /// Follows the files until `stop`; each message on `hangup` asks for a look at once.
    pub(super) async fn run(mut self, mut hangup: Option<mpsc::Receiver<()>>, stop: CancellationToken) {
        let mut watch = Watch::new(self.now.watched());
        // What changed since the start read it.
        self.look(&mut watch, false).await;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = hung_up(&mut hangup) => true,
                () = watch.changed() => false,
            };
            self.look(&mut watch, asked).await;
            watch.follow(self.now.watched());
        }
    }

    /// Reads everything, as it is at one moment, and takes it over.
    async fn look(&mut self, watch: &mut Watch, asked: bool) {
        for _ in 0..TRIES {
            let before = watch.fingerprint().await;
            let (now, env) = (self.now.clone(), self.env.clone());
            let read = tokio::task::spawn_blocking(move || now.read(&env)).await;
            let read = read.unwrap_or(Err(Trouble::Failed));
            if watch.fingerprint().await != before {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
            watch.was_read(before);
            if let Err(trouble) = self.take(read, asked).await {
                if matches!(trouble, Trouble::Unrecorded(_) | Trouble::Failed) {
                    // No fault of the files: the next look, in a while at the latest, is to try again.
                    watch.was_read(Sha256Digest::of(b""));
                }
                self.tell(&trouble);
            }
            return;
        }
    }

    async fn take(&mut self, read: Result<Now, Trouble>, asked: bool) -> Result<(), Trouble> {
        let next = read?;
        let approved = approved(&next.servers, &next.config.pins, &next.shown)?;
        let reading = Reading {
            sources: next.sources.clone(),
            shadow: next.shadow.clone(),
            pins: next.config.pins.clone(),
            rules: next
                .servers
                .values()
                .map(|server| (server.name.clone(), server.arguments.clone()))
                .collect(),
            approved,
        };
        let asked_before = self.tools.engines.current().state_reads().lasting();
        let adopted = self.tools.adopt(reading).await.map_err(|rejected| match rejected {
            Rejected::Policies(findings) => Trouble::Policies(excerpt::of_policies(&findings)),
            Rejected::Unrecorded(error) => Trouble::Unrecorded(error),
            Rejected::Failed => Trouble::Failed,
        })?;
        self.needs_restart(&next.config);
        let filter = next.config.telemetry.log.filter.clone();
        let refilter = filter != self.now.config.telemetry.log.filter;
        self.now = next;
        let mended = self.told.take().is_some();
        match adopted {
            Adopted::Applied { policy_set, summary, shadow_refused, lifted } => {
                self.recorder.reload("applied");
                if shadow_refused {
                    self.recorder.reload("candidate_refused");
                }
                if summary.policies == 0 {
                    tracing::warn!("no policies are in force any more, so everything is refused");
                }
                // Where nothing is permitted, nothing that they denied is.
                if !lifted.is_empty() && summary.policies > 0 {
                    let named: Vec<&str> = lifted.iter().take(MOST_LIFTED).map(|id| &**id).collect();
                    let (count, named) = (lifted.len(), named.join(", "));
                    tracing::warn!(
                        count,
                        "forbids are gone, and what they denied may be permitted now: {named}"
                    );
                }
                let engine = self.tools.engines.current();
                for warning in engine.unprovable(&policies::provable(&self.now.config.admission)) {
                    tracing::warn!("{warning}");
                }
                if engine.state_reads().lasting() && !asked_before && run::forgets(&self.now.config) {
                    tracing::warn!("{}", run::FORGETS);
                }
                tracing::info!(%policy_set, "read anew and in force: {}", told(&summary));
            }
            Adopted::Unchanged if mended => {
                tracing::info!("what was wrong is in order again; what is in force did not change");
            }
            Adopted::Unchanged if asked => tracing::info!("read anew: nothing changed"),
            Adopted::Unchanged => {}
        }
        // Last, so that what was to be told until now still is.
        if refilter {
            tracing::info!("the log's filter is `{filter}` from here on");
            if let Err(error) = subscriber::refilter(&filter) {
                tracing::error!(%error, "the log's filter stays as it was");
            }
        }
        Ok(())
    }

    /// Tells of trouble, once for as long as it stays the same.
    fn tell(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        let digest = Sha256Digest::of(text.as_bytes());
        if self.told.replace(digest) == Some(digest) {
            return;
        }
        self.recorder.reload("refused");
        tracing::error!("nothing was taken over, and what was in force stays in force: {text}");
    }

    /// Names the keys that changed and take a restart.
    fn needs_restart(&mut self, config: &Config) {
        let (Some(started), Some((_, text))) = (&self.started, &config.file) else { return };
        let changed = changed_keys(started, text).into_iter().filter(|key| !is_reloaded(key));
        let changed: BTreeSet<String> = changed.collect();
        if changed != self.restart && !changed.is_empty() {
            let keys: Vec<&str> = changed.iter().map(String::as_str).collect();
            tracing::warn!(
                "changed in the configuration, and in force after a restart only: {}",
                keys.join(", ")
            );
        }
        self.restart = changed;
    }
}

impl Now {
    /// The files and directories that a change could come from.
    fn watched(&self) -> Watched {
        let config = &self.config;
        let mut paths: Vec<_> = config.policies.iter().chain(&config.shadow_policies).cloned().collect();
        paths.extend(config.file.as_ref().map(|(path, _)| path.clone()));
        let pin = |pin| move |server: &&ServerConfig| config.pins.of(&server.name) == pin;
        if self.servers.values().any(|server| pin(Pin::Lock)(&server)) {
            paths.push(config.pins.lock_file.clone());
        }
        paths.extend(self.servers.values().filter(pin(Pin::FirstUse)).map(|server| self.shown.path(server)));
        // The system names them by whole paths.
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Watched { paths: paths.into_iter().map(whole).collect() }
    }

    /// Reads everything anew. Of the configuration only those parts are taken that need no restart.
    fn read(mut self, env: &Environment) -> Result<Self, Trouble> {
        if let Some((path, text)) = self.config.file.take() {
            let found = fs::read_to_string(&path)?;
            if *found == *text {
                self.config.file = Some((path, text));
            } else {
                let next = Config::load(&path, Purpose::Serve, env)?;
                self.config.policies = next.policies;
                self.config.shadow_policies = next.shadow_policies;
                self.config.pins = next.pins;
                for (name, server) in &mut self.servers {
                    if let Some(next) = next.servers.get(name) {
                        server.arguments = next.arguments.clone();
                    }
                }
                self.config.telemetry.log.filter = next.telemetry.log.filter;
                self.config.file = next.file;
            }
        }
        self.sources = policies::reload(&self.config.policies, &self.sources)?;
        self.shadow = match self.config.shadow_policies.as_slice() {
            [] => None,
            // A candidate set that can't be read stops nothing else.
            paths => match policies::load(paths) {
                Ok(sources) => Some(sources),
                Err(error) => {
                    tracing::error!(%error, "the shadow set stays as it was");
                    self.shadow
                }
            },
        };
        Ok(self)
    }
}

/// Whether a key of the configuration needs no restart.
fn is_reloaded(key: &str) -> bool {
    let own = |top: &str| key == top || key.strip_prefix(top).is_some_and(|rest| rest.starts_with('.'));
    let of_server = key.strip_prefix("servers.").and_then(|rest| rest.split_once('.')).map(|(_, key)| key);
    let of_server = of_server.map(|key| key.split('.').next().unwrap_or(key));
    own("policies")
        || key == "pin"
        || key == "lock_file"
        || key == "telemetry.log_filter"
        || matches!(of_server, Some("pin" | "arguments" | "inputs"))
}

/// `12 policies, 1 new (a), 2 gone (b, c), 1 changed (d)`.
fn told(summary: &PolicySummary) -> String {
    const MOST: usize = 8;
    let count = summary.policies;
    let mut text = if count == 1 { "1 policy".to_owned() } else { format!("{count} policies") };
    for (names, what) in [(&summary.added, "new"), (&summary.removed, "gone"), (&summary.changed, "changed")]
    {
        if names.count > 0 {
            let ids: Vec<&str> = names.ids.iter().take(MOST).map(String::as_str).collect();
            let more = if names.count > ids.len() as u64 { ", …" } else { "" };
            text.push_str(&format!(", {} {what} ({}{more})", names.count, ids.join(", ")));
        }
    }
    text
}

/// The next request for a look; never, where there are none.
async fn hung_up(hangup: &mut Option<mpsc::Receiver<()>>) {
    if let Some(asked) = hangup
        && asked.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::predicate::PolicyNames;

    #[test]
    fn the_keys_that_need_no_restart_are_these() {
        for key in
            ["policies", "policies.shadow", "pin", "lock_file", "servers.files.pin", "telemetry.log_filter"]
        {
            assert!(is_reloaded(key), "{key}");
        }
        for key in ["servers.files.arguments", "servers.files.inputs", "servers.files.inputs.path"] {
            assert!(is_reloaded(key), "{key}");
        }
        for key in
            ["listen.tcp", "servers.files.command", "servers.pin", "limits.sessions", "policies_of_others"]
        {
            assert!(!is_reloaded(key), "{key}");
        }
    }

    #[test]
    fn a_summary_names_the_first_few() {
        let names = |ids: &[&str]| ids.iter().copied().collect::<PolicyNames>();
        let summary = PolicySummary { policies: 3, added: names(&["a"]), ..PolicySummary::default() };
        assert_eq!(told(&summary), "3 policies, 1 new (a)");
        let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let summary = PolicySummary { policies: 1, removed: names(&many), ..PolicySummary::default() };
        assert_eq!(told(&summary), "1 policy, 200 gone (0, 1, 2, 3, 4, 5, 6, 7, …)");
    }
}
