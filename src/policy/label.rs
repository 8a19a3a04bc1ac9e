//! `@label` and `@label_for`: what a permit says of what it lets in, and for how long that sticks to the principal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::Effect;
use serde_json::Value;

use super::compile::{Findings, Parsed, find};
use super::diagnostic::Severity;
use super::engine::Compiled;
use crate::domain::decision::Label;

/// How long a label lasts where `@label_for` does not say.
const DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// The least and the most that it may say.
const LEAST: u64 = 60;
const MOST: u64 = 90 * 86_400;
/// Most labels of one policy, and their length in bytes.
const MAX_LABELS: usize = 8;
const MAX_LENGTH: usize = 64;

/// The policies with their labels, ready for use. A label that is asked for and that none of them adds is warned of.
pub(super) fn compiled(parsed: Vec<Parsed<'_>>, findings: &mut Findings) -> Vec<Compiled> {
    let labelled: Vec<Vec<Label>> = parsed.iter().map(|policy| labels(policy, findings)).collect();
    let names: BTreeSet<&str> = labelled.iter().flatten().map(|label| &*label.name).collect();
    for policy in &parsed {
        let mut asked = BTreeSet::new();
        if let Some(conditions) = &policy.conditions {
            asked_for(conditions, &mut asked);
        }
        for name in asked.iter().filter(|name| !names.contains(name.as_str())) {
            let near = super::names::nearest(name, names.iter().copied());
            let help = near.map_or(
                "add it with `@label` to the permit that lets in what it stands for".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("no policy adds the label `{name}`");
            let span = find(&policy.statement, name);
            findings.add(Severity::Warning, &policy.statement, span, Some(&policy.id), message, Some(help));
        }
    }
    parsed.into_iter().zip(labelled).map(|(policy, labels)| policy.finish(labels)).collect()
}

/// The texts that `labels` is asked for by `contains`, `containsAll` or `containsAny`.
fn asked_for(node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Object(members) => {
            for (key, value) in members {
                let attribute = value.get("left").and_then(|left| left.get(".")?.get("attr"));
                if key.starts_with("contains") && attribute.is_some_and(|attr| attr == "labels") {
                    texts(value.get("right").unwrap_or(&Value::Null), found);
                }
                asked_for(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| asked_for(item, found)),
        _ => {}
    }
}

/// A literal text, or the literal texts of a set.
fn texts(node: &Value, found: &mut BTreeSet<String>) {
    if let Some(Value::String(text)) = node.get("Value") {
        found.insert(text.clone());
    }
    if let Some(Value::Array(items)) = node.get("Set") {
        items.iter().for_each(|item| texts(item, found));
    }
}

/// The labels of a policy; what is wrong with them is an error.
fn labels(parsed: &Parsed<'_>, findings: &mut Findings) -> Vec<Label> {
    let policy = &parsed.policy;
    let (names, lasts) = (policy.annotation("label"), policy.annotation("label_for"));
    let mut wrong = |annotation: &str, message: String, help: &str| {
        let span = find(&parsed.statement, annotation);
        findings.add(
            Severity::Error,
            &parsed.statement,
            span,
            Some(&parsed.id),
            message,
            Some(help.to_owned()),
        );
    };
    let Some(names) = names else {
        if lasts.is_some() {
            wrong("@label_for", "`@label_for` without `@label`".to_owned(), "add `@label(\"…\")`");
        }
        return Vec::new();
    };
    if policy.effect() == Effect::Forbid {
        let help = "a label is for what a `permit` lets in; a `forbid` lets nothing in";
        wrong("@label", "`@label` on a `forbid`".to_owned(), help);
    }
    let keeps = match lasts {
        None => Some(DEFAULT),
        Some("session") => None,
        Some(text) => match duration(text) {
            Some(keeps) => Some(keeps),
            None => {
                let help = "write a number and a unit, from `1m` to `90d` (`s`, `m`, `h`, `d`), or `session`";
                wrong("@label_for", format!("`{text}` is no time that a label can last"), help);
                return Vec::new();
            }
        },
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if names.len() > MAX_LABELS {
        wrong("@label", format!("more than {MAX_LABELS} labels"), "one policy can have eight");
        return Vec::new();
    }
    let fits = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        !name.is_empty() && name.len() <= MAX_LENGTH && name.bytes().all(plain)
    };
    if let Some(name) = names.iter().find(|name| !fits(name)) {
        let help = "a label is 1 to 64 of a-z, A-Z, 0-9 and `-_.:/`; several are set apart by commas";
        wrong("@label", format!("`{name}` is no label"), help);
        return Vec::new();
    }
    names.into_iter().map(|name| Label { name: Arc::from(name), keeps }).collect()
}

/// `90s`, `15m`, `24h`, `7d`, within bounds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(scale)?;
    (LEAST..=MOST).contains(&seconds).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit_within_bounds() {
        for (text, seconds) in [("60s", 60), ("1m", 60), ("24h", 86_400), ("90d", MOST)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "59s", "91d", "1w", "1.5h", "+1h", "-1h", "1 h", "1é", "99999999999999999999d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
