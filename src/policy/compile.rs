//! From text to an engine: parse, name, validate strictly, index; every finding with its place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cedar_policy::{Policy, PolicySet};
use miette::Diagnostic;
use serde_json::Value;

use crate::domain::decision::{Label, PolicyRef};
use crate::domain::digest::Sha256Digest;

use super::advice::advised;
use super::catalogue::Catalogue;
use super::diagnostic::{PolicyDiagnostic, Severity, Warning};
use super::engine::{Compiled, Engine};
use super::index::{Index, id_of};
use super::inputs::{entries, typed, unchecked};
use super::names::{Names, Verdict};
use super::reads::Reads;
use super::schema::{TypedTool, generate, with_stubs};
use super::slips::Pointed;
use super::sources::{PolicySources, Statement};
use super::state::StateReads;
use super::validate::validate;

/// The annotations that do something.
const ANNOTATIONS: [&str; 5] = ["id", "label", "label_for", "reason", "shadow"];

pub(super) type Compilation = Result<(Engine, Vec<Warning>), Vec<PolicyDiagnostic>>;

/// See [`Engine::compile`].
pub(super) fn compile(sources: &PolicySources, catalogue: &Catalogue) -> Compilation {
    let mut findings = Findings::default();
    let inputs = typed(catalogue, &mut findings);
    let schema_text = generate(inputs.iter().map(|(server, tools)| {
        let tools = tools.values().map(|(definition, input)| TypedTool { definition, input }).collect();
        (server.as_str(), tools)
    }));
    let parsed = parse(sources, &mut findings);
    unchecked(&inputs, &parsed, &mut findings);
    let tools = inputs.iter().flat_map(|(s, tools)| tools.keys().map(move |tool| (s.as_str(), *tool)));
    let unanswered = catalogue.unanswered.iter().map(|server| server.as_str());
    let names = Names::new(inputs.keys().map(|server| server.as_str()), tools, unanswered)
        .approved(catalogue.pinned.iter().map(|server| server.as_str()));
    let checked: Vec<Verdict> = parsed.iter().map(|policy| names.check(policy, &mut findings)).collect();
    let stubs: BTreeMap<&str, Option<&str>> = checked
        .iter()
        .flat_map(|verdict| &verdict.stubs)
        .map(|(id, s)| (id.as_str(), s.as_deref()))
        .collect();
    if !validate(&with_stubs(&schema_text, stubs), &parsed, &checked, &inputs, &mut findings) {
        // The names and types in it are quoted by construction; a property test holds that against hostile ones.
        findings.whole("the schema that was generated from the known tools is not valid Cedar");
        return Err(findings.0);
    }
    let policies = super::label::compiled(parsed, &mut findings);
    if findings.0.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings.0);
    }
    let engine = Engine {
        sources: sources.clone(),
        catalogue: catalogue.clone(),
        digest: sources.digest(),
        schema_digest: Sha256Digest::of(schema_text.as_bytes()),
        index: Index::new(&policies),
        state_reads: StateReads::of(policies.iter().map(|compiled| &compiled.reads)),
        enforced_reads: StateReads::of(policies.iter().filter(|c| !c.shadow).map(|c| &c.reads)),
        tools: entries(inputs, catalogue),
        schema_text,
        policies,
        candidate: None,
    };
    Ok((engine, findings.0))
}

/// All that is found, errors and warnings.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<PolicyDiagnostic>);

impl Findings {
    /// A finding in a policy; `span` is within its text, `None` for the whole of it.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        at: &Statement<'_>,
        span: Option<(usize, usize)>,
        policy: Option<&Arc<str>>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let (offset, length) = span.unwrap_or((0, at.text.len()));
        let finding = PolicyDiagnostic {
            severity,
            file: Arc::clone(&at.file.name),
            text: Arc::clone(&at.file.text),
            span: Some((at.start + offset, length)),
            message: message.into(),
            help,
            policy: policy.cloned(),
            unknown_name: false,
        };
        self.0.push(finding);
    }

    /// Marks the finding that was added last.
    pub(super) fn of_unknown_name(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.unknown_name = true;
        }
    }

    /// Says of the finding that was added last what to do about it.
    pub(super) fn helped(&mut self, help: Option<String>) {
        if let Some(last) = self.0.last_mut() {
            last.help = help;
        }
    }

    pub(super) fn whole(&mut self, message: &str) {
        self.warn(message.to_owned());
        if let Some(last) = self.0.last_mut() {
            last.severity = Severity::Error;
        }
    }

    pub(super) fn warn(&mut self, message: String) {
        self.0.push(PolicyDiagnostic {
            severity: Severity::Warning,
            file: "policies".into(),
            text: "".into(),
            span: None,
            message,
            help: None,
            policy: None,
            unknown_name: false,
        });
    }
}

/// A policy with its name and place.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) statement: Statement<'a>,
    pub(super) policy: Policy,
    pub(super) id: Arc<str>,
    /// Its conditions in Cedar's JSON format, which is made from the text each time; `None` if they have none.
    pub(super) conditions: Option<Value>,
    pub(super) reads: Reads,
}

impl<'a> Parsed<'a> {
    pub(super) fn new(statement: Statement<'a>, policy: Policy, id: Arc<str>) -> Self {
        let conditions =
            policy.to_json().ok().and_then(|mut json| json.get_mut("conditions").map(Value::take));
        let reads = Reads::of(conditions.as_ref());
        Self { statement, policy, id, conditions, reads }
    }

    pub(super) fn finish(self, labels: Vec<Label>) -> Compiled {
        Compiled {
            labels,
            reference: PolicyRef {
                id: self.id,
                digest: self.statement.digest(),
                reason: self.policy.annotation("reason").filter(|reason| !reason.is_empty()).map(Into::into),
            },
            shadow: self.policy.annotation("shadow").is_some(),
            reads: self.reads,
            forbid: self.policy.effect() == cedar_policy::Effect::Forbid,
            policy: self.policy,
        }
    }
}

impl PolicySources {
    /// What can't be read as Cedar, with its place; nothing is validated.
    pub fn unreadable(&self) -> Vec<PolicyDiagnostic> {
        let mut findings = Findings::default();
        let _parsed = parse(self, &mut findings);
        findings.0.retain(|finding| finding.severity == Severity::Error);
        findings.0
    }
}

fn parse<'a>(sources: &'a PolicySources, findings: &mut Findings) -> Vec<Parsed<'a>> {
    let mut parsed: Vec<Parsed<'a>> = Vec::new();
    let mut seen: HashMap<Arc<str>, String> = HashMap::new();
    for statement in sources.statements() {
        let policy = match Policy::parse(Some(id_of(parsed.len())), statement.text) {
            Ok(policy) => policy,
            Err(errors) => {
                for error in errors.iter() {
                    report(findings, Severity::Error, &statement, None, error);
                }
                continue;
            }
        };
        let place = format!("{}:{}", statement.file.name, statement.line);
        let id: Arc<str> = policy.annotation("id").map_or(place.as_str(), |id| id).into();
        let message = match seen.insert(Arc::clone(&id), place.clone()) {
            _ if id.is_empty() => Some("an `@id` needs a value".to_owned()),
            Some(first) if policy.annotation("id").is_some() => {
                Some(format!("the id `{id}` is already that of the policy at {first}"))
            }
            _ => None,
        };
        let span = find(&statement, "@id");
        if let Some(message) = message {
            let help = Some("ids stand in the log for good: give every policy one of its own".to_owned());
            findings.add(Severity::Error, &statement, span, Some(&id), message, help);
        }
        for (annotation, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
            let span = find(&statement, &format!("@{annotation}"));
            let help = super::names::nearest(&annotation.to_lowercase(), ANNOTATIONS)
                .map(|near| format!("did you mean `@{near}`?"));
            let message = format!("the annotation `@{annotation}` has no effect");
            findings.add(Severity::Warning, &statement, span, Some(&id), message, help);
        }
        parsed.push(Parsed::new(statement, policy, id));
    }
    check_split(sources, parsed.len(), findings);
    parsed
}

/// Cedar's own reading of each file must find the same number of policies: none may fall between two statements.
fn check_split(sources: &PolicySources, parsed: usize, findings: &mut Findings) {
    if findings.0.iter().any(|finding| finding.severity == Severity::Error) {
        return;
    }
    let whole = |file: &super::sources::SourceFile| {
        file.text.parse::<PolicySet>().ok().map(|set| set.policies().count())
    };
    let counted: Option<usize> = sources.files.iter().map(whole).sum();
    if counted.is_none_or(|counted| counted != parsed) {
        findings.whole("the policies can't be told apart; end every policy with `;`");
    }
}

/// Where `needle` stands in the policy's text.
pub(super) fn find(statement: &Statement<'_>, needle: &str) -> Option<(usize, usize)> {
    find_in(statement.text, needle)
}

/// Where `needle` stands in `text`.
pub(super) fn find_in(text: &str, needle: &str) -> Option<(usize, usize)> {
    text.find(needle).map(|at| (at, needle.len()))
}

/// Adds a finding of Cedar's with the place that it names.
pub(super) fn report(
    findings: &mut Findings,
    severity: Severity,
    at: &Statement<'_>,
    policy: Option<&Arc<str>>,
    error: &dyn Diagnostic,
) {
    let label = error.labels().and_then(|mut labels| labels.next());
    let span = label.as_ref().map(|label| (label.offset(), label.len()));
    let mut message = error.to_string();
    if let Some(rest) = message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        message = rest.1.to_owned();
    }
    if let Some(text) = label.as_ref().and_then(|label| label.label()) {
        message = format!("{message}: {text}");
    }
    let help = error.help().map(|help| help.to_string());
    let (message, help) = advised(&message, help, Pointed::of(at.text, span));
    findings.add(severity, at, span, policy, message, help);
}
