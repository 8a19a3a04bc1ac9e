//! How a decision is told: what each policy made of it, with the very words that did not hold.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde::Serialize;

use crate::domain::decision::Ruling;
use crate::domain::unseen::masked;
use crate::policy::{Clause, Considered, Explanation, Outcome, Part, Truth};

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
    for considered in &explanation.considered {
        out.push('\n');
        out.push_str(&excerpt(considered));
    }
    match explanation.others {
        0 => {}
        1 => out.push_str("\n1 other policy is about other actions\n"),
        count => out.push_str(&format!("\n{count} other policies are about other actions\n")),
    }
    if let Some(suggestion) = &ruling.suggestion {
        out.push_str(&format!("\nthis would permit it, with any arguments:\n  {suggestion}\n"));
    }
    out
}

/// One policy with its source, for people; without colours, as it may go into a file.
pub(super) fn excerpt(considered: &Considered) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    let handler =
        handler.with_width(160).with_wrap_lines(false).with_break_words(false).with_context_lines(0);
    match handler.render_report(&mut out, &Excerpt::of(considered)) {
        Ok(()) => format!("{}\n", out.trim_matches('\n').trim_end()),
        Err(_unwritable) => format!("{}\n", Excerpt::of(considered).title),
    }
}

/// A policy's part in a decision.
#[derive(Debug)]
struct Excerpt {
    title: String,
    source: NamedSource<String>,
    labels: Vec<LabeledSpan>,
}

impl Excerpt {
    fn of(considered: &Considered) -> Self {
        let place = &considered.place;
        let effect = if place.forbid { "forbid" } else { "permit" };
        let shadow = if place.shadow { "shadow " } else { "" };
        let word = match &considered.outcome {
            Outcome::Holds => "holds".to_owned(),
            Outcome::Unmet => "does not hold".to_owned(),
            Outcome::OutOfScope(parts) => format!("is about another {}", parts.join(" and another ")),
            Outcome::Failed(why) if place.forbid => format!("fails, and so denies: {why}"),
            Outcome::Failed(why) => format!("fails, and so does not hold: {why}"),
            Outcome::Unseen => "depends on an argument that Cedar can't hold exactly".to_owned(),
        };
        let mut labels: Vec<LabeledSpan> = considered.clauses.iter().flat_map(told).collect();
        if labels.is_empty() {
            let text = place.text.get(place.span.clone()).unwrap_or_default();
            let scope = text.lines().find(|line| line.starts_with(effect)).unwrap_or(text);
            let scope = scope.lines().next().unwrap_or_default();
            let at = place.span.start + text.find(scope).unwrap_or(0);
            labels.push(LabeledSpan::new(None, at, scope.trim_end().len()));
        }
        Self {
            title: format!("{shadow}{effect} `{}` {word}", place.reference.id),
            source: NamedSource::new(&place.file, masked(&place.text)),
            labels,
        }
    }
}

/// What of a clause is worth being pointed at: what keeps its policy from holding.
fn told(clause: &Clause) -> Vec<LabeledSpan> {
    let label = |part: &Part, word: String| {
        let values: Vec<String> =
            part.values.iter().map(|(read, value)| format!("{read} is {value}")).collect();
        let text = if values.is_empty() { word } else { format!("{word}: {}", values.join(", ")) };
        LabeledSpan::new(Some(text), part.span.start, part.span.len())
    };
    let of = |part: &Part| match &part.truth {
        Truth::Failed(why) => Some(label(part, (*why).to_owned())),
        Truth::Known(value) if *value != clause.when && !clause.met => {
            Some(label(part, if *value { "true" } else { "false" }.to_owned()))
        }
        _ => None,
    };
    clause.parts.iter().filter_map(of).collect()
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Excerpt {}

impl Diagnostic for Excerpt {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A decision, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story<'a> {
    effect: &'static str,
    deny_reason: Option<&'static str>,
    /// The ids of the policies that decided.
    by: Vec<&'a str>,
    failures: Vec<&'a str>,
    labels: Vec<&'a str>,
    policies: Vec<PolicyStory<'a>>,
    suggestion: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PolicyStory<'a> {
    id: &'a str,
    effect: &'static str,
    shadow: bool,
    file: &'a str,
    line: usize,
    outcome: &'static str,
    clauses: Vec<ClauseStory<'a>>,
}

#[derive(Debug, Serialize)]
struct ClauseStory<'a> {
    kind: &'static str,
    met: bool,
    parts: Vec<PartStory<'a>>,
}

#[derive(Debug, Serialize)]
struct PartStory<'a> {
    text: &'a str,
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
            failures: ruling.failures.iter().map(|failure| failure.message.as_str()).collect(),
            labels: ruling.labels.iter().map(|label| &*label.name).collect(),
            policies: explanation.considered.iter().map(policy).collect(),
            suggestion: ruling.suggestion.as_deref(),
        }
    }
}

fn policy(considered: &Considered) -> PolicyStory<'_> {
    let place = &considered.place;
    PolicyStory {
        id: &place.reference.id,
        effect: if place.forbid { "forbid" } else { "permit" },
        shadow: place.shadow,
        file: &place.file,
        line: place.line,
        outcome: considered.outcome.as_str(),
        clauses: considered.clauses.iter().map(clause).collect(),
    }
}

fn clause(clause: &Clause) -> ClauseStory<'_> {
    let kind = if clause.when { "when" } else { "unless" };
    ClauseStory { kind, met: clause.met, parts: clause.parts.iter().map(part).collect() }
}

fn part(part: &Part) -> PartStory<'_> {
    let value = match part.truth {
        Truth::Known(true) => "true",
        Truth::Known(false) => "false",
        Truth::Failed(_) => "failed",
        Truth::NotReached => "not_reached",
    };
    let reads = part.values.iter().map(|(read, value)| (read.as_str(), value.as_str())).collect();
    PartStory { text: &part.text, value, reads }
}
