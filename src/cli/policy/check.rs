//! `chancery policy check`: every finding at once, for people or for machines. Exit code 1 when the set is refused.

use std::path::PathBuf;

use serde::Serialize;

use super::{live, print};
use crate::app;
use crate::cli::report::{Finding, start};
use crate::cli::run::server;
use crate::cli::{Exit, Failure, block_on};
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, Engine, PolicyDiagnostic};

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
    #[arg(long)]
    server: Option<ServerName>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// A tool server's command and its arguments, to check against the tools that it lists now.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let (paths, catalogue) = what(args)?;
    let sources = app::policies::load(&paths).map_err(|error| start(error.into()))?;
    let compiled = Engine::compile(&sources, &catalogue);
    let (engine, findings) = match compiled {
        Ok((engine, warnings)) => (Some(engine), warnings),
        Err(findings) => (None, findings),
    };
    // Without any tools nothing can be said of names.
    let blind = catalogue.servers.is_empty();
    let findings: Vec<_> = findings.into_iter().filter(|finding| !(blind && finding.unknown_name)).collect();
    let exit = if engine.is_some() { Exit::Done } else { Exit::Findings };
    if args.json {
        let report = Report::of(engine.as_ref(), &findings);
        let text = serde_json::to_string_pretty(&report);
        let text = text.map_err(|error| Failure::runtime(miette::miette!("{error}")))?;
        print(&format!("{text}\n"))?;
        return Ok(exit);
    }
    for finding in findings {
        eprintln!("{:?}", miette::Report::new(Finding::new(finding)));
    }
    if let Some(engine) = engine {
        let tools: usize = catalogue.servers.values().map(Vec::len).sum();
        let against = match (catalogue.servers.is_empty(), tools) {
            (true, _) => {
                "without any tools: what they say of tools was not checked; add `-- COMMAND` or `-c FILE`"
                    .into()
            }
            (false, 1) => "against 1 tool".to_owned(),
            (false, tools) => format!("against {tools} tools"),
        };
        print(&format!("{}, {against}\npolicy set {}\n", counted(&engine), engine.digest()))?;
    }
    Ok(exit)
}

fn counted(engine: &Engine) -> String {
    match engine.len() {
        0 => "there are no policies: every call is refused".to_owned(),
        1 => "1 policy is in order".to_owned(),
        count => format!("{count} policies are in order"),
    }
}

/// The policies and the tools that they are checked against.
fn what(args: &Args) -> Result<(Vec<PathBuf>, Catalogue), Failure> {
    let or = |paths: Vec<PathBuf>| if args.policies.is_empty() { paths } else { args.policies.clone() };
    if let Some(file) = &args.config {
        let env = Environment::process();
        let config = Config::load(file, Purpose::Run, &env).map_err(Failure::misuse)?;
        let catalogue = block_on(app::known_tools(&config, &env))?.map_err(start)?;
        return Ok((or(config.policies), catalogue));
    }
    let paths = or(vec!["policies".into()]);
    if args.command.is_empty() {
        return Ok((paths, Catalogue::default()));
    }
    let server = server(args.server.clone(), args.command.clone())?;
    Ok((paths, Catalogue::of(server.name.clone(), block_on(live(&server))??)))
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
    fn of(engine: Option<&Engine>, findings: &'a [PolicyDiagnostic]) -> Self {
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
        }
    }
}
