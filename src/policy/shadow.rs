//! What a whole candidate set, which is not enforced, would have changed.

use crate::domain::decision::{Prospect, Ruling};

use super::decide::decide;
use super::engine::Engine;
use super::query::Query;

/// Adds to `ruling` what the engine's candidate set would have made of the same request.
pub(super) fn foresee(engine: &Engine, query: &Query<'_>, ruling: &mut Ruling) {
    let Some(candidate) = engine.shadow() else { return };
    let would = decide(candidate, query);
    ruling.candidate = Some(Prospect {
        policy_set: candidate.digest(),
        effect: would.effect,
        deny: would.deny,
        determining: would.determining,
        flips: would.effect != ruling.effect,
    });
}
