//! Wires a gateway together, in an order that leaves nothing half-started: whatever can be refused is, before the
//! log is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compiled;
use super::error::StartError;
use super::prepare::Prepared;
use super::reload::Reload;
use super::tools::{MOST_WAITING, State, Tools};
use super::upkeep::{self, Summary, Upkeep};
use crate::admission::{Admission, TrustDomains, bootstrap};
use crate::attest::predicate::PolicyCause;
use crate::attest::{GatewayInfo, Log};
use crate::config::{Config, Environment};
use crate::domain::clock::Clock;
use crate::domain::ids::{GatewayRunId, ServerName};
use crate::domain::random;
use crate::gate::{self, Gate, Ledger};
use crate::identity::{Identity, SpiffeTls};
use crate::keys::{PublicKeySource, Signer, TrustBundle};
use crate::policy::EngineStore;
use crate::proxy::config::ServerKind;
use crate::telemetry::Telemetry;
use crate::token::{self, IdentityConfig, Issuer, Verifier};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A gateway that could serve now.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) gate: Arc<Gate>,
    pub(super) admission: Arc<Admission>,
    pub(super) identity: Arc<Identity>,
    pub(super) log: Log,
    telemetry: Telemetry,
    upkeep: Upkeep,
    reload: JoinHandle<()>,
    stop: CancellationToken,
}

/// Opens identity, secret and log, and begins the upkeep. Each message on `hangup` has policies and configuration read
/// anew, as a change of their files has. `tell` gets what the operator must read.
pub(super) async fn core(
    config: &Config,
    mut prepared: Prepared,
    env: &Environment,
    hangup: Option<mpsc::Receiver<()>>,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Core, StartError> {
    let clock = Clock::system();
    let telemetry = telemetry(config).await?;
    let recorder = telemetry.recorder();
    let identity = match prepared.identity.take() {
        Some(opened) => up_to_date(opened).await?,
        None => Identity::open(&config.identity, clock.clone()).await?,
    };
    let admission = admission(config, &identity, &clock, &telemetry, tell)?;
    let run = GatewayRunId::from_uuid(random::uuid_v7(clock.now())?);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let info = GatewayInfo { spiffe_id: identity.spiffe_id().clone(), version, run };
    let signer: Arc<dyn Signer> = identity.clone();
    let log = Log::open(config.log.clone(), signer.clone(), clock.clone(), recorder.clone(), info)?;
    let Prepared { inputs, engine, shown, .. } = prepared;
    compiled::announce(&log, PolicyCause::Start, None, &engine).await?;
    let engines = Arc::new(EngineStore::new(engine));

    let token = token::Config {
        ttl: config.session.token_ttl,
        audience: config.session.audience.clone(),
        ..token::Config::default()
    };
    let keys: Arc<dyn PublicKeySource> = identity.clone();
    let verifier = Verifier::new(keys, identity.spiffe_id().clone(), &token, clock.clone());
    let (sources, shadow) = (inputs.sources.clone(), inputs.shadow.clone());
    let tools = Arc::new(Tools {
        servers: config.servers.clone(),
        engines: Arc::clone(&engines),
        log: log.clone(),
        clock: clock.clone(),
        recorder: recorder.clone(),
        shown,
        state: Mutex::new(State::new(inputs)),
        places: Arc::new(Semaphore::new(MOST_WAITING)),
    });
    let ledger = ledger(&log, config, &clock).await?;
    let reload = Reload::new(config.clone(), env.clone(), sources, shadow, Arc::clone(&tools));
    let parts = gate::Parts {
        engines,
        log: log.clone(),
        issuer: Issuer::new(signer, clock.clone(), token),
        verifier,
        clock: clock.clone(),
        recorder: recorder.clone(),
        observer: telemetry.observer(),
        catalogue: Arc::new(tools),
        limits: config.limits.clone(),
        config: gate::Config {
            max_lifetime: config.session.max_lifetime,
            idle_timeout: config.session.idle_timeout,
            zone: config.time_zone.clone(),
            forward_identity: told_who_calls(config),
            ..gate::Config::default()
        },
    };
    let gate = Gate::new(parts, ledger);
    let stop = CancellationToken::new();
    let summary = Summary::new(Arc::clone(admission.refusals()), log.clone(), clock);
    let upkeep =
        upkeep::spawn(&gate, &admission, &identity, summary, config.refusal_summary, recorder, &stop);
    let reload = tokio::spawn(reload.run(hangup, stop.clone()));
    Ok(Core { gate, admission, identity, log, telemetry, upkeep, reload, stop })
}

/// The tool servers that are told who calls them.
fn told_who_calls(config: &Config) -> BTreeMap<ServerName, IdentityConfig> {
    let told = config.servers.iter().filter_map(|(name, server)| match &server.kind {
        ServerKind::Http(http) => Some((name.clone(), http.forward_identity.clone()?)),
        ServerKind::Child(_) => None,
    });
    told.collect()
}

impl Core {
    /// Ends what goes on beside the messages, writes the last records and sends the last measurements. Sessions
    /// are closed before.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        if let Err(error) = self.reload.await {
            tracing::debug!(%error, "what follows the files did not end in order");
        }
        self.upkeep.finish().await;
        let gate = self.gate;
        if let Err(error) = tokio::task::spawn_blocking(move || gate.save_ledger(true)).await {
            tracing::debug!(%error, "what principals did was not summed up");
        }
        self.log.close().await;
        let telemetry = self.telemetry;
        if let Err(error) = tokio::task::spawn_blocking(move || telemetry.shutdown()).await {
            tracing::debug!(%error, "telemetry did not end in order");
        }
    }
}

/// The identity that tool servers were shown, who may have taken their time: what came meanwhile counts.
async fn up_to_date(identity: Arc<Identity>) -> Result<Arc<Identity>, StartError> {
    let opened = Arc::clone(&identity);
    let refreshed = tokio::task::spawn_blocking(move || opened.refresh()).await;
    refreshed.map_err(|error| StartError::System {
        what: "the signing identity can't be refreshed",
        source: std::io::Error::other(error),
    })??;
    Ok(identity)
}

/// What principals did before. After a long time without an end in order there is much to read.
async fn ledger(log: &Log, config: &Config, clock: &Clock) -> Result<Ledger, StartError> {
    let (log, room, now) = (log.clone(), config.limits.counters, clock.now());
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&log, room, now)).await;
    let opened = opened.map_err(|error| StartError::System {
        what: "what principals did before can't be read",
        source: std::io::Error::other(error),
    })?;
    Ok(opened?)
}

/// The exporters are set up and torn down where blocking is allowed.
async fn telemetry(config: &Config) -> Result<Telemetry, StartError> {
    let config = config.telemetry.clone();
    let started = tokio::task::spawn_blocking(move || Telemetry::start(&config)).await;
    let started = started.map_err(|error| StartError::System {
        what: "telemetry can't be set up",
        source: std::io::Error::other(error),
    })?;
    Ok(started?)
}

fn admission(
    config: &Config,
    identity: &Arc<Identity>,
    clock: &Clock,
    telemetry: &Telemetry,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Arc<Admission>, StartError> {
    let config = &config.admission;
    if config.anonymous {
        tell(ANONYMOUS);
    }
    if let Some(secret) = &config.bootstrap
        && !secret.file.exists()
    {
        let _there_was_none = bootstrap::create(&secret.file)?;
        tell(&format!("made a bootstrap secret in {}", secret.file.display()));
    }
    let own: Arc<dyn PublicKeySource> = Arc::<Identity>::clone(identity);
    let admission = Admission::open(config.clone(), clock.clone(), telemetry.recorder())?.knowing(own);
    Ok(Arc::new(match identity.tls() {
        Some(tls) => admission.believing(Arc::new(tls.clone())),
        None => admission,
    }))
}

const ANONYMOUS: &str = "`admission.anonymous` lets in whoever reaches the TCP address: every process and every user of \
                         this machine, as the principal `anonymous`";

impl TrustDomains for SpiffeTls {
    fn bundle(&self, trust_domain: &str) -> Option<Arc<TrustBundle>> {
        self.bundle(trust_domain)
    }
}
