//! What policies ask of an agent against what admission can prove: a claim that no issuer is asked for, a group or an
//! agent that nothing makes. Cedar can't know; a `forbid` on one would be in order and protect nothing.

use std::collections::BTreeSet;

use cedar_policy::{Effect, PrincipalConstraint};
use serde_json::Value;

use super::compile::{Findings, Parsed};
use super::diagnostic::{Severity, Warning};
use super::engine::Engine;
use super::entities::TYPES;
use super::names::{nearest, place};
use super::schema::quoted;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::EvidenceKind;

/// What a configuration's admission can prove by bearer tokens; all other evidence is named in the same way everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provable {
    /// The issuers whose tokens are accepted.
    pub issuers: BTreeSet<String>,
    /// The claims that are let through as tags.
    pub claims: BTreeSet<String>,
    /// What the groups of tokens begin with in policies.
    pub group_prefixes: BTreeSet<String>,
}

impl Provable {
    /// Warns of every claim, group and agent that `engine`'s policies name by a literal and that nobody can ever have.
    pub(super) fn missed_by(&self, engine: &Engine) -> Vec<Warning> {
        let mut findings = Findings::default();
        for (statement, compiled) in engine.sources.statements().zip(&engine.policies) {
            let id = compiled.reference.id.clone();
            self.check(&Parsed::new(statement, compiled.policy.clone(), id), &mut findings);
        }
        findings.0
    }

    fn check(&self, policy: &Parsed<'_>, findings: &mut Findings) {
        let asked = Asked::of(policy);
        for tag in asked.tags.difference(&self.claims) {
            let near = nearest(tag, self.claims.iter().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.issuers.is_empty() => {
                    format!("configure the issuer in `admission.oidc`, with `claims: [{tag}]`")
                }
                None => format!("add it to the issuer's `claims` in the configuration: `claims: [{tag}]`"),
            };
            let what = format!("no `admission.oidc[].claims` lets `{tag}` through");
            asked.warn(policy, tag, &what, help, findings);
        }
        let mut seen = BTreeSet::new();
        for literal in policy.policy.entity_literals() {
            let (ty, id) = (literal.type_name(), literal.id().unescaped().to_owned());
            if !seen.insert(literal.clone()) {
                continue;
            }
            if *ty == TYPES.group && !self.makes_group(&id) {
                asked.warn(
                    policy,
                    &id,
                    &format!("no evidence makes the group `{id}`"),
                    self.near_group(&id),
                    findings,
                );
            } else if *ty == TYPES.agent && !self.makes_agent(&id) {
                let help = "an agent is `peer:<uid>:<sha256 of its executable, or ->`, `bootstrap:<uid>`, \
                            `oidc:<issuer>#<sub>` of a configured issuer, a SPIFFE ID, or `anonymous`";
                let what = format!("no evidence makes the agent `{id}`");
                asked.warn(policy, &id, &what, help.to_owned(), findings);
            }
        }
    }

    fn makes_group(&self, id: &str) -> bool {
        let longer = |prefix: &str| id.len() > prefix.len() && id.starts_with(prefix);
        KINDS.iter().any(|kind| kind.as_str() == id)
            || id.strip_prefix("uid:").is_some_and(is_uid)
            || longer("spiffe://")
            || self.group_prefixes.iter().any(|prefix| longer(prefix))
    }

    fn makes_agent(&self, id: &str) -> bool {
        let (kind, rest) = id.split_once(':').unwrap_or((id, ""));
        match kind {
            "anonymous" => id == kind,
            "spiffe" => rest.starts_with("//"),
            "bootstrap" => is_uid(rest),
            "peer" => rest.split_once(':').is_some_and(|(uid, executable)| {
                is_uid(uid) && (executable == "-" || executable.parse::<Sha256Digest>().is_ok())
            }),
            "oidc" => self.issuers.iter().any(|issuer| {
                rest.strip_prefix(issuer.as_str()).is_some_and(|rest| rest.starts_with('#') && rest.len() > 1)
            }),
            _ => false,
        }
    }

    fn near_group(&self, id: &str) -> String {
        let kind = nearest(id, KINDS.iter().map(|kind| kind.as_str())).map(str::to_owned);
        let prefixed = || {
            let name = id.rsplit([':', '/']).next().filter(|name| !name.is_empty())?;
            self.group_prefixes.first().map(|prefix| format!("{prefix}{name}"))
        };
        match kind.or_else(prefixed) {
            Some(near) => format!("did you mean `Mcp::Group::{}`?", quoted(&near)),
            None => "groups are `uid:<n>`, the kind of evidence (`peer`, `bootstrap`, `oidc`, `mtls`, `anonymous`), \
                     `spiffe://…`, and those of an issuer in `admission.oidc` that has `groups`, behind its prefix"
                .to_owned(),
        }
    }
}

const KINDS: [EvidenceKind; 5] = [
    EvidenceKind::Peer,
    EvidenceKind::Bootstrap,
    EvidenceKind::Oidc,
    EvidenceKind::Mtls,
    EvidenceKind::Anonymous,
];

fn is_uid(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|uid| uid.to_string() == text)
}

/// What one policy asks of the agent.
#[derive(Debug, Default)]
struct Asked {
    /// Every tag that it names.
    tags: BTreeSet<String>,
    /// Tags, groups and agents without which it does not apply at all.
    needed: BTreeSet<String>,
}

impl Asked {
    fn of(policy: &Parsed<'_>) -> Self {
        let mut asked = Self::default();
        if let PrincipalConstraint::Eq(entity)
        | PrincipalConstraint::In(entity)
        | PrincipalConstraint::IsIn(_, entity) = policy.policy.principal_constraint()
        {
            asked.needed.insert(entity.id().unescaped().to_owned());
        }
        for condition in policy.conditions.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let Some(body) = condition.get("body") else { continue };
            asked.visit(body);
            if condition.get("kind").is_some_and(|kind| kind == "when") {
                asked.need(body);
            }
        }
        asked
    }

    /// Every literal name of a tag.
    fn visit(&mut self, node: &Value) {
        match node {
            Value::Object(members) => {
                for (key, value) in members {
                    if matches!(key.as_str(), "hasTag" | "getTag") {
                        self.tags.extend(tag(value));
                    }
                    self.visit(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.visit(item)),
            _ => {}
        }
    }

    /// What must hold for `node` to hold.
    fn need(&mut self, node: &Value) {
        if let Some(both) = node.get("&&") {
            both.get("left").into_iter().chain(both.get("right")).for_each(|side| self.need(side));
        }
        self.needed.extend(node.get("hasTag").and_then(tag));
        let compared = node.get("in").or_else(|| node.get("=="));
        let entity = compared.and_then(|compared| compared.pointer("/right/Value/__entity/id"));
        self.needed.extend(entity.and_then(Value::as_str).map(str::to_owned));
    }

    fn warn(&self, policy: &Parsed<'_>, name: &str, what: &str, help: String, findings: &mut Findings) {
        let so = match (self.needed.contains(name), policy.policy.effect()) {
            (true, Effect::Forbid) => "this forbid protects nothing",
            (true, Effect::Permit) => "this permit lets nobody in",
            (false, _) => "what this policy says of it is true of nobody",
        };
        let message = format!("{what}, so {so}");
        let at = place(policy, name);
        findings.add(Severity::Warning, &policy.statement, at, Some(&policy.id), message, Some(help));
    }
}

fn tag(access: &Value) -> Option<String> {
    access.pointer("/right/Value").and_then(Value::as_str).map(str::to_owned)
}
