//! Strict validation of policies against the generated schema, told in an author's words.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{
    PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;

use super::compile::{Findings, Parsed, report};
use super::diagnostic::{PolicyDiagnostic, Severity};
use super::index::position_of;
use super::inputs::Inputs;
use super::names::Verdict;
use super::narrow::Kinds;
use super::never::asked;

/// Validates `parsed` against a schema, of which `checked` tells the names; false if that is no schema.
pub(super) fn validate(
    schema: &str,
    parsed: &[Parsed<'_>],
    checked: &[Verdict],
    inputs: &Inputs<'_>,
    findings: &mut Findings,
) -> bool {
    let Ok((fragment, _)) = SchemaFragment::from_cedarschema_str(schema) else { return false };
    let Ok(schema) = Schema::from_schema_fragments([fragment.clone()]) else { return false };
    let doubtful = match fragment.to_json_value().ok().and_then(Kinds::of) {
        Some(kinds) => kinds.in_doubt(parsed),
        None => parsed.iter().collect(),
    };
    let Ok(set) = PolicySet::from_policies(doubtful.into_iter().map(|policy| policy.policy.clone())) else {
        findings.whole("two policies have the same position");
        return true;
    };
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let of = |id: &PolicyId| {
        let at = position_of(id)?;
        Some((parsed.get(at)?, checked.get(at)?))
    };
    let mut wrong = BTreeSet::new();
    for error in result.validation_errors() {
        wrong.insert(error.policy_id().clone());
        match of(error.policy_id()) {
            // What has no name is told already, in better words.
            Some((_, verdict)) if verdict.refused => {}
            Some((policy, _)) => {
                report(findings, Severity::Error, &policy.statement, Some(&policy.id), error);
            }
            None => findings.whole(&error.to_string()),
        }
    }
    let mut impossible = BTreeMap::new();
    for warning in result.validation_warnings() {
        let Some((policy, verdict)) = of(warning.policy_id()) else { continue };
        let told = verdict.refused || verdict.dormant || wrong.contains(warning.policy_id());
        match warning {
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
                if told => {}
            ValidationWarning::ImpossiblePolicy(_) => {
                impossible.entry(warning.policy_id()).or_insert(None);
            }
            ValidationWarning::InvalidActionApplication(_) => {
                impossible.insert(warning.policy_id(), warning.help().map(|help| help.to_string()));
            }
            other => report(findings, Severity::Warning, &policy.statement, Some(&policy.id), other),
        }
    }
    for (id, help) in impossible {
        let Some((policy, _)) = of(id) else { continue };
        let tools = inputs.iter().flat_map(|(server, tools)| {
            tools.iter().map(move |(name, (_, input))| (format!("{server}/{name}"), input))
        });
        let tools: Vec<_> = tools.collect();
        let never = asked(&policy.policy, tools.iter().map(|(action, input)| (action.as_str(), *input)));
        if let Some(never) = never.into_iter().next() {
            let span = never.place(policy.statement.text);
            let message = format!("this policy can never apply: {}", never.message);
            findings.add(Severity::Error, &policy.statement, span, Some(&policy.id), message, never.help);
            continue;
        }
        let help =
            help.unwrap_or_else(|| "no request can satisfy its scope and its conditions together".to_owned());
        let message = "this policy can never apply";
        findings.add(Severity::Error, &policy.statement, None, Some(&policy.id), message, Some(help));
    }
    // Cedar's own order is that of a hash table.
    findings.0.sort_by(|a, b| {
        (&a.file, a.span, b.severity, &a.message).cmp(&(&b.file, b.span, a.severity, &b.message))
    });
    merge(&mut findings.0);
    true
}

/// Cedar finds a mistake once for each action that it is about: tells the first, and how many more there are.
fn merge(findings: &mut Vec<PolicyDiagnostic>) {
    let mut merged: Vec<(PolicyDiagnostic, usize)> = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        match merged.last_mut() {
            Some((last, _)) if *last == finding => {}
            Some((last, more))
                if last.span.is_some() && (&last.file, last.span) == (&finding.file, finding.span) =>
            {
                *more += 1;
            }
            _ => merged.push((finding, 0)),
        }
    }
    findings.extend(merged.into_iter().map(|(mut finding, more)| {
        if more > 0 {
            finding.message.push_str(&format!(" (and {more} more like it here)"));
        }
        finding
    }));
}
