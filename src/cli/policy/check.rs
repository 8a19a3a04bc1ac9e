//! `chancery policy check`: every finding at once, for people or for machines. Exit code 1 when the set is refused, or
//! has a warning under `--deny-warnings`.

use std::path::PathBuf;

use serde::Serialize;

use super::{live, print};
use crate::app;
use crate::cli::report::{Finding, start};
use crate::cli::run::server;
use crate::cli::{Exit, Failure, block_on};
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, Engine, PolicyDiagnostic, Provable};

/// Arguments of `chancery policy check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy file or directory; by default those of the configuration, else `policies`. May be given more than once.
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
    /// Configuration file: its policies are checked against its servers' tools, as they were seen last or are now.
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    config: Option<PathBuf>,
    /// The server's name in policies; by default taken from the command.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// A tool server's command and its arguments, to check against the tools that it lists now.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let Checked { paths, shadow_paths, catalogue, provable } = what(args)?;
    // Without any tools nothing can be said of names.
    let blind = catalogue.servers.is_empty() && catalogue.unanswered.is_empty();
    let (engine, mut findings) = checked(&paths, &catalogue, blind)?;
    if let (Some(engine), Some(provable)) = (&engine, &provable) {
        findings.extend(engine.unprovable(provable));
    }
    let mut refused = engine.is_none();
    if !shadow_paths.is_empty() {
        let (shadow, found) = checked(&shadow_paths, &catalogue, blind)?;
        refused |= shadow.is_none();
        findings.extend(found);
    }
    let alike = catalogue.lookalikes();
    // One name on two servers may well be meant; two that only look the same are not.
    let odd = alike.iter().any(|pair| !pair.same);
    refused |= args.deny_warnings && (!findings.is_empty() || odd);
    let alike: Vec<String> = alike.iter().map(ToString::to_string).collect();
    let exit = if refused { Exit::Findings } else { Exit::Done };
    if args.json {
        let report = Report::of(engine.as_ref(), &findings, &alike);
        let text = serde_json::to_string_pretty(&report);
        let text = text.map_err(|error| Failure::runtime(miette::miette!("{error}")))?;
        print(&format!("{text}\n"))?;
        return Ok(exit);
    }
    for pair in &alike {
        eprintln!("chancery: {pair}");
    }
    let warnings = findings.len();
    for finding in findings {
        eprintln!("{:?}", miette::Report::new(Finding::new(finding)));
    }
    if let Some(engine) = engine {
        let tools = catalogue.servers.values().map(Vec::len).sum();
        let tools = (!blind).then_some(tools);
        print(&format!("{}\npolicy set {}\n", summary(engine.len(), warnings, tools), engine.digest()))?;
    }
    Ok(exit)
}

/// One set and what is found in it. Where there is an engine, all findings are warnings.
fn checked(
    paths: &[PathBuf],
    catalogue: &Catalogue,
    blind: bool,
) -> Result<(Option<Engine>, Vec<PolicyDiagnostic>), Failure> {
    let sources = app::policies::load(paths).map_err(|error| start(error.into()))?;
    let (engine, findings) = match Engine::compile(&sources, catalogue) {
        Ok((engine, mut warnings)) => {
            warnings.extend(engine.lint());
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
            "without any tools: what they say of tools was not checked; add `-- COMMAND` or `-c FILE`".into()
        }
        Some(1) => "against 1 tool".to_owned(),
        Some(tools) => format!("against {tools} tools"),
    };
    format!("{policies}{warned}, {against}")
}

/// The policies and those of the shadow set, and what they are checked against: tools, and where the configuration is
/// known what it can prove.
struct Checked {
    paths: Vec<PathBuf>,
    shadow_paths: Vec<PathBuf>,
    catalogue: Catalogue,
    provable: Option<Provable>,
}

fn what(args: &Args) -> Result<Checked, Failure> {
    let or = |paths: Vec<PathBuf>| if args.policies.is_empty() { paths } else { args.policies.clone() };
    if let Some(file) = &args.config {
        let env = Environment::process();
        let config = Config::load(file, Purpose::Run, &env).map_err(Failure::misuse)?;
        let catalogue = block_on(app::known_tools(&config, &env))?.map_err(start)?;
        let shadow_paths = if args.policies.is_empty() { config.shadow_policies } else { Vec::new() };
        let provable = Some(app::policies::provable(&config.admission));
        return Ok(Checked { paths: or(config.policies), shadow_paths, catalogue, provable });
    }
    let (paths, shadow_paths, provable) = (or(vec!["policies".into()]), Vec::new(), None);
    if args.command.is_empty() {
        return Ok(Checked { paths, shadow_paths, catalogue: Catalogue::default(), provable });
    }
    let server = server(args.server.clone(), args.command.clone())?;
    let catalogue = Catalogue::of(server.name.clone(), block_on(live(&server))??);
    Ok(Checked { paths, shadow_paths, catalogue, provable })
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    valid: bool,
    policies: Option<usize>,
    policy_set: Option<String>,
    schema: Option<String>,
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
        Self {
            valid: engine.is_some(),
            policies: engine.map(Engine::len),
            policy_set: engine.map(|engine| engine.digest().to_string()),
            schema: engine.map(|engine| engine.schema_digest().to_string()),
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
        assert!(summary(3, 2, None).starts_with("3 policies are in order, 2 warnings, without any tools: "));
    }
}
