//! `chancery policy check`: every finding at once, for people or for machines. Exit code 1 when the set is refused, or
//! has a warning under `--deny-warnings`.

use std::path::PathBuf;

use serde::Serialize;

use super::given::{Found as Looked, Given};
use super::{json, print};
use crate::app;
use crate::cli::report::{Finding, start};
use crate::cli::{Exit, Failure};
use crate::policy::{Catalogue, Engine, PolicyDiagnostic, Severity};

/// Arguments of `chancery policy check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy file or directory; by default those of the configuration, else `policies`. May be given more than once.
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// Name the tools that no policy permits, not only their number.
    #[arg(long, short)]
    verbose: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let Looked { policies, shadow, catalogue, provable } = args.given.find(&args.policies)?;
    // Without any tools nothing can be said of names.
    let blind = catalogue.servers.is_empty() && catalogue.unanswered.is_empty();
    let (engine, mut findings) = checked(&policies, &catalogue, blind)?;
    findings.extend(app::overlooked(&policies, &shadow));
    if engine.as_ref().is_some_and(Engine::is_empty) {
        findings.push(no_policies(&policies));
    }
    if let (Some(engine), Some(provable)) = (&engine, &provable) {
        findings.extend(engine.unprovable(provable));
    }
    let mut refused = engine.is_none();
    let mut candidate = None;
    if !shadow.is_empty() {
        findings.extend(app::overlooked(&shadow, &policies));
        let (engine, mut found) = checked(&shadow, &catalogue, blind)?;
        refused |= engine.is_none();
        for finding in &mut found {
            finding.message.insert_str(0, "shadow set: ");
        }
        findings.extend(found);
        candidate = engine;
    }
    let alike = catalogue.lookalikes();
    // One name on two servers may well be meant; two that only look the same are not.
    let odd = alike.iter().any(|pair| !pair.same);
    refused |= args.deny_warnings && (!findings.is_empty() || odd);
    let alike: Vec<String> = alike.iter().map(ToString::to_string).collect();
    let exit = if refused { Exit::Findings } else { Exit::Done };
    if args.json {
        let report = Report::of(engine.as_ref(), &findings, &alike);
        print(&json(&report)?)?;
        return Ok(exit);
    }
    for pair in &alike {
        eprintln!("chancery: {pair}");
    }
    let (errors, warnings) = counted(&findings);
    for finding in findings {
        eprintln!("{:?}", miette::Report::new(Finding::new(finding)));
    }
    if let Some(engine) = engine {
        let tools = catalogue.servers.values().map(Vec::len).sum();
        let tools = (!blind).then_some(tools);
        let summary = summary(engine.len(), warnings, tools);
        let reach = reach(&engine, &catalogue, args.verbose);
        print(&format!("{summary}\n{reach}policy set {}\n", engine.digest()))?;
    }
    if let Some(candidate) = candidate {
        let (count, digest) = (candidate.len(), candidate.digest());
        print(&format!(
            "shadow set: {count} {}, policy set {digest}\n",
            if count == 1 { "policy" } else { "policies" }
        ))?;
    }
    if errors > 0 {
        eprintln!("{}", refusal(errors, warnings));
    }
    Ok(exit)
}

/// A set without policies is safe, and hardly ever what was meant.
fn no_policies(paths: &[PathBuf]) -> PolicyDiagnostic {
    let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let looked = looked.join(", ");
    PolicyDiagnostic {
        severity: Severity::Warning,
        file: looked.clone().into(),
        text: "".into(),
        span: None,
        message: format!("there is no policy in {looked}, so every call is refused"),
        help: Some(
            "policies stand in files whose names end with `.cedar`; `chancery policy init` writes the first ones"
                .to_owned(),
        ),
        policy: None,
        unknown_name: false,
    }
}

/// How many errors there are, and how many warnings.
fn counted(findings: &[PolicyDiagnostic]) -> (usize, usize) {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    (errors, findings.len() - errors)
}

/// One line on a set that is refused.
fn refusal(errors: usize, warnings: usize) -> String {
    let several = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let warned = if warnings == 0 { String::new() } else { format!(" and {}", several(warnings, "warning")) };
    format!("{}{warned}: a gateway would not take these policies over", several(errors, "error"))
}

/// One set and what is found in it. Where there is an engine, all findings are warnings.
fn checked(
    paths: &[PathBuf],
    catalogue: &Catalogue,
    blind: bool,
) -> Result<(Option<Engine>, Vec<PolicyDiagnostic>), Failure> {
    let sources = app::policies::load(paths).map_err(|error| start(error.into()))?;
    let (engine, findings) = match Engine::compile(&sources, catalogue) {
        Ok((engine, warnings)) => {
            let mut warnings = engine.readdressed(warnings);
            warnings.extend(engine.lint());
            warnings.extend(engine.pointless());
            (Some(engine), warnings)
        }
        Err(findings) => (None, findings),
    };
    Ok((engine, findings.into_iter().filter(|finding| !(blind && finding.unknown_name)).collect()))
}

/// One line on a set that is accepted; `tools` are those that it was checked against, if there were any servers.
fn summary(policies: usize, warnings: usize, tools: Option<usize>) -> String {
    let warned = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    let policies = match policies {
        0 => return format!("there are no policies, so every call is refused{warned}"),
        1 => "1 policy is in order".to_owned(),
        count => format!("{count} policies are in order"),
    };
    let against = match tools {
        None => {
            "without any tools: what they say of tools was not checked; add `-- COMMAND`, `-c FILE` or `--tools FILE`".into()
        }
        Some(1) => "against 1 tool".to_owned(),
        Some(tools) => format!("against {tools} tools"),
    };
    format!("{policies}{warned}, {against}")
}

/// The tools that no policy could permit, in one line for each server: how many, and which if that is asked for. It is no
/// warning: most tools are not meant for anybody.
fn reach(engine: &Engine, catalogue: &Catalogue, verbose: bool) -> String {
    let unpermitted = engine.unpermitted();
    let mut out = String::new();
    for (server, tools) in &catalogue.servers {
        let prefix = format!("{server}/");
        let none: Vec<&str> = unpermitted.iter().filter_map(|tool| tool.strip_prefix(&prefix)).collect();
        if !none.is_empty() && !engine.is_empty() {
            let (count, all) = (none.len(), tools.len());
            let names =
                if verbose { format!(": {}", none.join(", ")) } else { " (--verbose names them)".to_owned() };
            out.push_str(&format!("no policy permits {count} of {all} tools of `{server}`{names}\n"));
        }
    }
    out
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// Whether a gateway would take it over.
    valid: bool,
    errors: usize,
    warnings: usize,
    policies: Option<usize>,
    policy_set: Option<String>,
    schema: Option<String>,
    /// Tools that no policy could permit.
    unpermitted: Vec<String>,
    findings: Vec<Found<'a>>,
    /// Tools that could be taken for each other.
    lookalikes: &'a [String],
}

/// One finding; line and column count from 1, offset and length are in bytes.
#[derive(Debug, Serialize)]
struct Found<'a> {
    severity: &'static str,
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    offset: Option<usize>,
    length: Option<usize>,
    policy: Option<&'a str>,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> Report<'a> {
    fn of(engine: Option<&Engine>, findings: &'a [PolicyDiagnostic], lookalikes: &'a [String]) -> Self {
        let found = |finding: &'a PolicyDiagnostic| Found {
            severity: finding.severity.as_str(),
            file: &finding.file,
            line: finding.position().map(|(line, _)| line),
            column: finding.position().map(|(_, column)| column),
            offset: finding.span.map(|(offset, _)| offset),
            length: finding.span.map(|(_, length)| length),
            policy: finding.policy.as_deref(),
            message: &finding.message,
            help: finding.help.as_deref(),
        };
        let (errors, warnings) = counted(findings);
        Self {
            valid: engine.is_some() && errors == 0,
            errors,
            warnings,
            policies: engine.map(Engine::len),
            policy_set: engine.map(|engine| engine.digest().to_string()),
            schema: engine.map(|engine| engine.schema_digest().to_string()),
            unpermitted: engine.map(Engine::unpermitted).unwrap_or_default(),
            findings: findings.iter().map(found).collect(),
            lookalikes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_policies_warnings_and_tools() {
        assert_eq!(summary(2, 1, Some(14)), "2 policies are in order, 1 warning, against 14 tools");
        assert_eq!(summary(1, 0, Some(1)), "1 policy is in order, against 1 tool");
        assert_eq!(summary(0, 0, Some(14)), "there are no policies, so every call is refused");
        assert!(refusal(2, 1).starts_with("2 errors and 1 warning: "));
        assert!(refusal(1, 0).starts_with("1 error: "));
        assert!(summary(3, 2, None).starts_with("3 policies are in order, 2 warnings, without any tools: "));
    }
}
