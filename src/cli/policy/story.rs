//! How a decision is told: what each policy made of it, with the very words that did not hold.

use serde::Serialize;

use super::excerpt::excerpt;
use crate::domain::decision::{PolicyFailure, Ruling};
use crate::policy::{Clause, Considered, Explanation, Misnamed, Outcome, Part, Truth};

/// `allow`, or `deny (not_permitted)`, and by which policies.
pub(super) fn headline(ruling: &Ruling) -> String {
    let effect = match ruling.deny {
        None => ruling.effect.as_str().to_owned(),
        Some(reason) => format!("deny ({})", reason.as_str()),
    };
    let ids: Vec<String> = ruling.determining.iter().map(|policy| format!("`{}`", policy.id)).collect();
    if ids.is_empty() { effect } else { format!("{effect}, by {}", ids.join(", ")) }
}

/// The whole decision, for people.
pub(super) fn text(explanation: &Explanation) -> String {
    let ruling = &explanation.ruling;
    let mut out = format!("{}\n", headline(ruling));
    for policy in &ruling.determining {
        if let Some(reason) = &policy.reason {
            out.push_str(&format!("  `{}` says: {reason}\n", policy.id));
        }
    }
    for failure in &ruling.failures {
        out.push_str(&format!("  `{}`: {}\n", failure.policy.id, failure.message));
    }
    let labels: Vec<String> = ruling.labels.iter().map(|label| format!("`{}`", label.name)).collect();
    if !labels.is_empty() {
        out.push_str(&format!("  labels {}\n", labels.join(", ")));
    }
    if let Some(hint) = &explanation.hint {
        out.push_str(&format!("  {hint}\n"));
    }
    for considered in &explanation.considered {
        out.push('\n');
        out.push_str(&excerpt(considered));
    }
    match explanation.others {
        0 => {}
        _ if !explanation.asked => out.push_str("\nno policy was asked\n"),
        1 => out.push_str("\n1 other policy is about other actions\n"),
        count => out.push_str(&format!("\n{count} other policies are about other actions\n")),
    }
    // What there is not needs no permit.
    if let Some(suggestion) = suggestion(explanation) {
        out.push_str(&format!("\nthis would permit it, with any arguments:\n  {suggestion}\n"));
    }
    out
}

/// A decision, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story<'a> {
    effect: &'static str,
    deny_reason: Option<&'static str>,
    /// The ids of the policies that decided.
    by: Vec<&'a str>,
    /// What those say to the caller.
    reasons: Vec<&'a str>,
    failures: Vec<FailureStory<'a>>,
    labels: Vec<&'a str>,
    /// The ids of the shadow policies that would have counted, and whether they would have turned it.
    shadow: Vec<&'a str>,
    would_flip: bool,
    /// The policies that are about the action.
    policies: Vec<PolicyStory<'a>>,
    /// How many are about other actions.
    others: usize,
    suggestion: Option<&'a str>,
    /// What may be wrong with the request itself.
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct FailureStory<'a> {
    /// The policy's id, or `chancery:input`.
    id: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyStory<'a> {
    id: &'a str,
    effect: &'static str,
    shadow: bool,
    file: &'a str,
    line: usize,
    /// `holds`, `unmet`, `out_of_scope`, `failed`, `unseen`.
    outcome: &'static str,
    /// Of `out_of_scope` what it is about another one of; of `failed` why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    because: Vec<&'a str>,
    clauses: Vec<ClauseStory<'a>>,
}

#[derive(Debug, Serialize)]
struct ClauseStory<'a> {
    /// `when` or `unless`.
    kind: &'static str,
    met: bool,
    parts: Vec<PartStory<'a>>,
}

#[derive(Debug, Serialize)]
struct PartStory<'a> {
    text: &'a str,
    /// From 1, in the policy's file.
    line: usize,
    column: usize,
    /// `true`, `false`, `failed`, `not_reached`.
    value: &'static str,
    reads: std::collections::BTreeMap<&'a str, &'a str>,
}

impl<'a> Story<'a> {
    pub(super) fn of(explanation: &'a Explanation) -> Self {
        let ruling = &explanation.ruling;
        Self {
            effect: ruling.effect.as_str(),
            deny_reason: ruling.deny.map(|reason| reason.as_str()),
            by: ruling.determining.iter().map(|policy| &*policy.id).collect(),
            reasons: ruling.determining.iter().filter_map(|policy| policy.reason.as_deref()).collect(),
            failures: ruling.failures.iter().map(failure).collect(),
            labels: ruling.labels.iter().map(|label| &*label.name).collect(),
            shadow: ruling.shadow.iter().map(|policy| &*policy.id).collect(),
            would_flip: ruling.would_flip,
            policies: explanation.considered.iter().map(policy).collect(),
            others: explanation.others,
            suggestion: suggestion(explanation),
            hint: explanation.hint.as_ref().map(ToString::to_string),
        }
    }
}

/// What would permit it, unless it asks for what there is not.
fn suggestion(explanation: &Explanation) -> Option<&str> {
    let odd = explanation.hint.as_ref().is_some_and(|hint| hint.about != Misnamed::Nothing);
    explanation.ruling.suggestion.as_deref().filter(|_| !odd)
}

fn failure(failure: &PolicyFailure) -> FailureStory<'_> {
    FailureStory { id: &failure.policy.id, message: &failure.message }
}

fn policy(considered: &Considered) -> PolicyStory<'_> {
    let place = &considered.place;
    let because = match &considered.outcome {
        Outcome::OutOfScope(parts) => parts.clone(),
        Outcome::Failed(why) => vec![why.as_str()],
        _ => Vec::new(),
    };
    PolicyStory {
        id: &place.reference.id,
        effect: if place.forbid { "forbid" } else { "permit" },
        shadow: place.shadow,
        file: &place.file,
        line: place.line,
        outcome: considered.outcome.as_str(),
        because,
        clauses: considered.clauses.iter().map(|own| clause(own, &place.text)).collect(),
    }
}

fn clause<'a>(clause: &'a Clause, text: &str) -> ClauseStory<'a> {
    let kind = if clause.when { "when" } else { "unless" };
    ClauseStory { kind, met: clause.met, parts: clause.parts.iter().map(|own| part(own, text)).collect() }
}

fn part<'a>(part: &'a Part, text: &str) -> PartStory<'a> {
    let before = text.get(..part.span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let value = match part.truth {
        Truth::Known(true) => "true",
        Truth::Known(false) => "false",
        Truth::Failed(_) => "failed",
        Truth::NotReached => "not_reached",
    };
    let reads = part.values.iter().map(|(read, value)| (read.as_str(), value.as_str())).collect();
    PartStory { text: &part.text, line, column, value, reads }
}
