//! What the engine in force is made from, and how one is made of it and recorded.

use std::sync::Arc;

use super::excerpt;
use super::policies::archived;
use crate::attest::predicate::{PolicyCause, PolicyNames, PolicySummary};
use crate::attest::{Announcement, AppendError, Log};
use crate::config::Pins;
use crate::policy::{Catalogue, Engine, PolicyDiagnostic, PolicySources, Warning};

/// All that an engine depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inputs {
    /// The policies that decide.
    pub(super) sources: PolicySources,
    /// Those of the candidate set, where one is configured.
    pub(super) shadow: Option<PolicySources>,
    /// How firmly servers are held.
    pub(super) pins: Pins,
    /// The definitions that count.
    pub(super) catalogue: Catalogue,
}

/// An engine, and what is to be told of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) engine: Engine,
    pub(super) warnings: Vec<Warning>,
    /// Why the candidate set is not beside it.
    pub(super) shadow_refused: Option<Vec<PolicyDiagnostic>>,
}

/// Compiles both sets. A candidate set that is wrong never stops the other one: the one of `current` stays beside it, if
/// there is one. Definitions that `current` left out because they would make its policies invalid don't make a new
/// set invalid either.
///
/// # Errors
/// What is wrong with the policies that decide.
pub(super) fn make(inputs: &Inputs, current: Option<&Engine>) -> Result<Made, Vec<PolicyDiagnostic>> {
    let (engine, warnings) = compile(&inputs.sources, &inputs.catalogue, current)?;
    let (mut shadow_refused, mut candidate) = (None, None);
    if let Some(sources) = &inputs.shadow {
        let beside = current.and_then(Engine::shadow);
        candidate = match compile(sources, &inputs.catalogue, beside) {
            Ok((candidate, _told_of_the_active_set)) => Some(candidate),
            Err(findings) => {
                shadow_refused = Some(findings);
                let last =
                    beside.and_then(|last| compile(last.sources(), &inputs.catalogue, Some(last)).ok());
                last.map(|(last, _)| last)
            }
        };
    }
    Ok(Made { engine: engine.with_shadow(candidate), warnings, shadow_refused })
}

fn compile(
    sources: &PolicySources,
    catalogue: &Catalogue,
    current: Option<&Engine>,
) -> Result<(Engine, Vec<Warning>), Vec<PolicyDiagnostic>> {
    match (Engine::compile(sources, catalogue), current) {
        // What an operator says of arguments is no definition of a server's.
        (Err(findings), Some(current))
            if current.catalogue() != catalogue && current.catalogue().rules == catalogue.rules =>
        {
            let fitting = Engine::compile(sources, current.catalogue());
            fitting.and_then(|(engine, _)| engine.with_catalogue(catalogue)).or(Err(findings))
        }
        (compiled, _) => compiled,
    }
}

impl Made {
    /// Tells the operator.
    pub(super) fn tell(&self) {
        for warning in self.engine.readdressed(self.warnings.clone()) {
            tracing::warn!("{warning}");
        }
        if let Some(findings) = &self.shadow_refused {
            tracing::error!(
                "the shadow set is wrong and is not what is measured; the policies in force are not concerned:{}",
                excerpt::of_policies(findings)
            );
        }
    }
}

/// Records the policy set in the log with its sources, before anything is decided by it.
///
/// # Errors
/// As the log's: the files can't be written, the record is not durable.
pub(super) async fn announce(
    log: &Log,
    cause: PolicyCause,
    before: Option<&Engine>,
    engine: &Engine,
) -> Result<(), AppendError> {
    let sources = archived(engine);
    let shadow = engine.shadow().map(|shadow| (shadow.digest(), archived(shadow)));
    let announcement = Announcement {
        cause,
        replaces: before.map(Engine::digest),
        policy_set: engine.digest(),
        schema: engine.schema_digest(),
        sources: &sources,
        summary: summary(engine, before),
        shadow: shadow.as_ref().map(|(digest, sources)| (*digest, sources.as_slice())),
    };
    log.announce(&announcement)?.await?;
    Ok(())
}

/// What is new about `engine`'s set.
pub(super) fn summary(engine: &Engine, before: Option<&Engine>) -> PolicySummary {
    let changes = engine.changes_since(before);
    let names = |ids: &[Arc<str>]| ids.iter().map(|id| &**id).collect::<PolicyNames>();
    PolicySummary {
        policies: u64::try_from(engine.len()).unwrap_or(u64::MAX),
        added: names(&changes.added),
        removed: names(&changes.removed),
        changed: names(&changes.changed),
    }
}
