//! One decision of a log: what its record tells, and what the policies of then make of it again, where that can be
//! asked.

use serde::Serialize;
use serde_json::Value;

use super::excerpt::excerpt;
use super::past::action;
use super::story::{Story, text};
use crate::app::records::{LoggedDecision, Records};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Salt;
use crate::domain::evidence::EvidenceKind;
use crate::policy::{Action, Catalogue, Considered, Engine, Outcome, PolicyPlace, Query, SessionFacts};

/// What is told of a decision; this is what `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told<'a> {
    decision: &'a str,
    time: &'a str,
    principal: &'a str,
    action: &'a str,
    resource: &'a str,
    server: &'a str,
    effect: &'a str,
    deny_reason: Option<&'a str>,
    /// Digest of the policy set that decided.
    policy_set: String,
    /// Whether its policies are archived with the log as they were.
    archived: bool,
    /// The policies that decided.
    policies: Vec<Deciding>,
    failures: Vec<Failing<'a>>,
    /// What comes out if the policies of then are asked again.
    again: Again,
    #[serde(skip)]
    places: Vec<PolicyPlace>,
}

#[derive(Debug, Serialize)]
struct Deciding {
    id: String,
    /// Digest of its text.
    sha256: String,
    effect: Option<&'static str>,
    file: Option<String>,
    line: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Failing<'a> {
    id: &'a str,
    message: &'a str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Again {
    /// Whether they could be asked.
    asked: bool,
    /// Why not: `not_archived`, `not_recorded`, `no_arguments`, `other_tools`.
    why: Option<&'static str>,
    /// Where the call's arguments are from: `given` (whether they are those of the record can't be told) or `none` (there
    /// are none in such a request).
    arguments: Option<&'static str>,
    /// Whether the tools that are known here are those of then.
    same_tools: Option<bool>,
    /// What else is in no record, and so may differ.
    not_recorded: Vec<&'static str>,
    /// What the policies say, as `explain` tells it.
    story: Option<Value>,
    #[serde(skip)]
    text: String,
}

impl<'a> Told<'a> {
    /// Of a decision; `catalogue` are the tools that are known here.
    pub(super) fn of(
        records: &Records,
        decision: &'a LoggedDecision,
        catalogue: &Catalogue,
        arguments: Option<&str>,
    ) -> Self {
        let sources = records.sources(&decision.policy_set);
        let all = sources.as_ref().map(|sources| sources.places()).unwrap_or_default();
        let place = |sha256| all.iter().find(|place| place.reference.digest == sha256);
        let policies = decision.policies.iter().map(|policy| {
            let place = place(policy.sha256);
            Deciding {
                id: policy.id.clone(),
                sha256: policy.sha256.to_string(),
                effect: place.map(|place| if place.forbid { "forbid" } else { "permit" }),
                file: place.map(|place| place.file.to_string()),
                line: place.map(|place| place.line),
            }
        });
        let failures = decision
            .failures
            .iter()
            .map(|failure| Failing { id: &failure.policy.id, message: &failure.message });
        let again = match &sources {
            None => Again { why: Some("not_archived"), ..Again::default() },
            Some(sources) => match Engine::compile(sources, catalogue) {
                Ok((engine, _warnings)) => again(records, decision, &engine, arguments),
                Err(_findings) => Again { why: Some("other_tools"), ..Again::default() },
            },
        };
        Self {
            decision: &decision.decision_id,
            time: &decision.time,
            principal: &decision.principal,
            action: &decision.action,
            resource: &decision.resource,
            server: &decision.server,
            effect: &decision.effect,
            deny_reason: decision.deny_reason.as_deref(),
            policy_set: decision.policy_set.to_string(),
            archived: sources.is_some(),
            policies: policies.collect(),
            failures: failures.collect(),
            again,
            places: decision.policies.iter().filter_map(|policy| place(policy.sha256).cloned()).collect(),
        }
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let effect = match self.deny_reason {
            Some(reason) => format!("{} ({reason})", self.effect),
            None => self.effect.to_owned(),
        };
        let mut out = format!(
            "{} at {}\n{}: {} on {}: {effect}\n",
            self.decision, self.time, self.principal, self.action, self.resource
        );
        for failure in &self.failures {
            out.push_str(&format!("  `{}`: {}\n", failure.id, failure.message));
        }
        if !self.archived {
            out.push_str(&format!(
                "its policies are not archived with the log as they were: {}\n",
                self.policy_set
            ));
            return out;
        }
        out.push_str(&format!("decided by policy set {}, as archived with the log\n", self.policy_set));
        for place in &self.places {
            out.push('\n');
            let place = place.clone();
            out.push_str(&excerpt(&Considered { place, outcome: Outcome::Holds, clauses: Vec::new() }));
        }
        out.push('\n');
        out.push_str(&self.again.told());
        out
    }
}

impl Again {
    fn told(&self) -> String {
        match self.why {
            Some("not_recorded") => {
                return "the record does not tell what was asked, so it can't be asked again\n".to_owned();
            }
            Some("no_arguments") => {
                return "conditions can't be evaluated again without the call's arguments, which are not recorded: give them with\n\
                        --args JSON\n"
                    .to_owned();
            }
            Some(_) => {
                return "the policies of then do not fit the tools that are known here: give those of then with --tools FILE\n"
                    .to_owned();
            }
            None => {}
        }
        let mut out = String::new();
        if self.arguments == Some("given") {
            out.push_str(
                "asked again with the arguments given here; whether the call had the same can't be told: the record has\n\
                 their salted digest, and the salt is not kept\n",
            );
        }
        if self.same_tools == Some(false) {
            out.push_str(
                "the tools that are known here are not those of then; what follows may differ for that\n",
            );
        }
        if !self.not_recorded.is_empty() {
            out.push_str(&format!("not recorded: {}\n", self.not_recorded.join("; ")));
        }
        out.push_str(&format!("asked again: {}", self.text));
        out
    }
}

/// Asks the policies of then.
fn again(records: &Records, decision: &LoggedDecision, engine: &Engine, arguments: Option<&str>) -> Again {
    let failed = |why| Again { why: Some(why), ..Again::default() };
    let (Some(asked), Some(facts)) = (action(decision), records.facts(decision)) else {
        return failed("not_recorded");
    };
    let (asked, from) = match (asked, arguments) {
        (Action::ToolCall { name, .. }, Some(arguments)) => {
            (Action::ToolCall { name, arguments: Some(arguments.as_bytes()) }, "given")
        }
        (Action::ToolCall { .. }, None) => return failed("no_arguments"),
        (other, _) => (other, "none"),
    };
    let now = Timestamp::parse_rfc3339(&decision.time).unwrap_or(Timestamp::from_secs(0));
    let (state, _) = decision.state();
    let session = engine.session_principal(&facts);
    let salt = Salt::from_bytes([0; 16]);
    let explanation =
        engine.explain(&Query { session: &session, action: asked, now, state: &state, salt: &salt });
    Again {
        asked: true,
        why: None,
        arguments: Some(from),
        same_tools: Some(engine.schema_digest() == decision.schema),
        not_recorded: unrecorded(decision, &facts),
        story: serde_json::to_value(Story::of(&explanation)).ok(),
        text: text(&explanation),
    }
}

/// What the answer may be missing.
fn unrecorded(decision: &LoggedDecision, facts: &SessionFacts) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if facts.evidence == EvidenceKind::Oidc {
        missing.push("the groups of bearer tokens");
    }
    if facts.evidence == EvidenceKind::Peer {
        missing.push("the executable's path");
    }
    if decision.age().is_none() {
        missing.push("counters and labels, as no policy could see them");
    }
    missing
}
