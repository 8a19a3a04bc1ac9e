//! One line in the operator's log for each decision; never an argument's value, never a token (I7).

use std::time::Duration;

use crate::attest::Receipt;
use crate::domain::decision::{Effect, PolicyRef, Ruling};
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, is_gateway_check};

use super::matter::Matter;
use super::session::Shared;

/// A decision and its record.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    pub decision: DecisionId,
    pub deny: Option<DenyReason>,
    pub policies: &'a [PolicyRef],
    pub ruling: Option<&'a Ruling>,
    pub receipt: &'a Receipt,
    pub took: Duration,
}

/// Tells of a decision whose record is written.
pub(super) fn decided(shared: &Shared, matter: &Matter<'_>, told: &Decided<'_>) {
    let effect = if told.deny.is_none() { Effect::Allow } else { Effect::Deny };
    let (method, tool) = names(matter);
    shared.house.parts.recorder.decision(method, effect);
    let policies: Vec<&str> = told.policies.iter().map(|policy| &*policy.id).collect();
    tracing::info!(
        target: "chancery::decision",
        decision = %told.decision,
        session = %shared.id,
        server = %shared.route.server,
        method,
        tool,
        effect = effect.as_str(),
        reason = told.deny.map(DenyReason::as_str),
        policies = policies.join(","),
        attestation = %told.receipt.digest(),
        micros = u64::try_from(told.took.as_micros()).unwrap_or(u64::MAX),
    );
    if let Some(ruling) = told.ruling.filter(|ruling| !ruling.shadow.is_empty()) {
        let shadow: Vec<&str> = ruling.shadow.iter().map(|policy| &*policy.id).collect();
        tracing::info!(
            target: "chancery::decision",
            decision = %told.decision,
            shadow = shadow.join(","),
            would_flip = ruling.would_flip,
            "shadow policies that would have counted"
        );
    }
    if let Some(ruling) = told.ruling {
        flips(shared, told.decision, effect, ruling);
    }
    for failure in told.ruling.iter().flat_map(|ruling| &ruling.failures) {
        if is_gateway_check(failure) {
            tracing::warn!(
                target: "chancery::policy",
                decision = %told.decision,
                server = %shared.route.server,
                tool,
                error = %failure.message,
                "{}",
                match failure.forbid {
                    true => "the call is refused for its arguments",
                    false => "the call's arguments don't fit the tool's schema",
                }
            );
            continue;
        }
        tracing::warn!(
            target: "chancery::policy",
            decision = %told.decision,
            policy = %failure.policy.id,
            effect = if failure.forbid { "forbid" } else { "permit" },
            error = %failure.message,
            "a policy could not be evaluated for this request"
        );
    }
    if told.deny == Some(DenyReason::NotPermitted)
        && let Some(ruling) = told.ruling
        && let Some(suggestion) = &ruling.suggestion
    {
        let advice = advice(matter, &ruling.unmet);
        tracing::info!(
            target: "chancery::decision",
            decision = %told.decision,
            %suggestion,
            "{advice}"
        );
    }
}

/// Counts and tells what policies that are not enforced would have turned.
fn flips(shared: &Shared, decision: DecisionId, effect: Effect, ruling: &Ruling) {
    let recorder = &shared.house.parts.recorder;
    if ruling.would_flip {
        recorder.shadow_flip("policy", effect);
    }
    let Some(candidate) = ruling.candidate.as_ref().filter(|candidate| candidate.flips) else { return };
    recorder.shadow_flip("set", effect);
    let policies: Vec<&str> = candidate.determining.iter().map(|policy| &*policy.id).collect();
    tracing::info!(
        target: "chancery::policy",
        %decision,
        effect = effect.as_str(),
        candidate = candidate.effect.as_str(),
        candidate_policies = policies.join(","),
        "the shadow set would have decided otherwise"
    );
}

/// What the suggestion would do, after what came closest: policies that fit but for their conditions.
fn advice(matter: &Matter<'_>, unmet: &[PolicyRef]) -> String {
    const MOST: usize = 8;
    let mut text = String::new();
    if !unmet.is_empty() {
        let named: Vec<&str> = unmet.iter().take(MOST).map(|policy| &*policy.id).collect();
        text = format!("policies whose condition did not hold: {}", named.join(", "));
        if unmet.len() > MOST {
            text.push_str(&format!(" and {} more", unmet.len() - MOST));
        }
        text.push_str("; ");
    }
    text.push_str(match matter.action {
        Action::ToolCall { .. } => {
            "`suggestion` would permit the tool to this user with any arguments; narrow it with `when`"
        }
        Action::SessionOpen => "`suggestion` would permit it",
        Action::Method { .. } => "`suggestion` would permit the method whatever it is asked for",
    });
    text
}

/// Tells of a message that was refused without a record.
pub(super) fn unrecorded(shared: &Shared, matter: &Matter<'_>, reason: DenyReason) {
    let (method, tool) = names(matter);
    shared.house.parts.recorder.decision(method, Effect::Deny);
    tracing::debug!(
        target: "chancery::decision",
        session = %shared.id,
        server = %shared.route.server,
        method,
        tool,
        effect = Effect::Deny.as_str(),
        reason = reason.as_str(),
        "refused without a record"
    );
}

/// Method and tool, cut to a length that no line of a log minds.
fn names<'a>(matter: &Matter<'a>) -> (&'a str, Option<&'a str>) {
    let method = matter.method.unwrap_or("-");
    let tool = match matter.action {
        Action::ToolCall { name, .. } => Some(cut(name)),
        Action::SessionOpen | Action::Method { .. } => None,
    };
    (cut(method), tool)
}

fn cut(text: &str) -> &str {
    const LONGEST: usize = 128;
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
