//! `chancery policy explain`: one request, and what each policy makes of it. Exit code 0 whatever the decision is, 1 where
//! the request names what there is not.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::given::{Given, cases, compiled};
use super::past::records;
use super::recorded::Told;
use super::story::{Story, text};
use super::verdict::{Verdict, judge, request};
use super::{json, print};
use crate::cli::{Exit, Failure};
use crate::config::{Case, CaseFile, ConfigError, Mistake};
use crate::domain::clock::Clock;
use crate::domain::ids::ServerName;
use crate::policy::{Misnamed, nearest};

/// Arguments of `chancery policy explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tool that is called: `<server>/<tool>`, or its name where there is one server.
    #[arg(long, value_name = "TOOL", conflicts_with = "method")]
    tool: Option<String>,
    /// The call's arguments, as JSON.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// In place of a tool: an MCP method, or `session/open`.
    #[arg(long)]
    method: Option<String>,
    /// The prompt's name or the resource's URI.
    #[arg(long, value_name = "NAME", requires = "method")]
    target: Option<String>,
    /// The server sends the message.
    #[arg(long, requires = "method")]
    from_server: bool,
    /// Who asks: `peer:<uid>:-` (by default with your user id), `bootstrap:<uid>`, `oidc:<iss>#<sub>`, a SPIFFE ID, `anonymous`.
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// A group that the principal is in, beside those that follow from its name. May be given more than once.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Tool calls permitted so far: in the session and of the principal, all of them of this tool and within the last minute.
    #[arg(long, value_name = "COUNT")]
    calls: Option<u64>,
    /// Seconds since the session opened.
    #[arg(long, value_name = "SECONDS")]
    age: Option<u32>,
    /// A label of the principal. May be given more than once.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// The time of the request, RFC 3339; by default now.
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// In place of all these: the case of this name.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tool", "method", "principal", "groups", "calls", "age", "labels", "now"])]
    case: Option<String>,
    /// Case file for --case; by default the `*.cases.yaml` beside the policies.
    #[arg(long, value_name = "FILE", requires = "case")]
    cases: Vec<PathBuf>,
    /// In place of all these: this decision of the log at --log, under the policies that are archived there.
    #[arg(long, value_name = "ID", requires = "log", conflicts_with_all = ["tool", "method", "case"])]
    decision: Option<String>,
    /// Directory of a log, for --decision.
    #[arg(long, value_name = "DIR", requires = "decision")]
    log: Option<PathBuf>,
    /// Policy file or directory; by default those of the configuration, else `policies`. May be given more than once.
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// What `--json` prints of a request.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    /// The request in a few words.
    request: String,
    /// The time as of which it is decided, RFC 3339.
    time: String,
    #[serde(flatten)]
    story: Story<'a>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if let (Some(dir), Some(id)) = (&args.log, &args.decision) {
        return recorded(args, dir, id);
    }
    if args.tool.is_none() && args.method.is_none() && args.case.is_none() {
        return Err(Failure::misuse(miette::miette!(
            help = "name it with --tool, --method, --case or --decision",
            "which request is meant is not said"
        )));
    }
    arguments(args)?;
    let found = args.given.find(&args.policies)?;
    let file = match &args.case {
        Some(name) => chosen(name, cases(&args.cases, &found.policies)?)?,
        None => {
            let server = args.given.server_of(&found.catalogue);
            if server.is_none() && !args.tool.as_ref().is_some_and(|tool| tool.contains('/')) {
                return Err(Failure::misuse(miette::miette!(
                    help = "say it with --server NAME, or --tool SERVER/TOOL",
                    "which server is meant is not said"
                )));
            }
            let asked = asked(args, server)?;
            CaseFile::parse("(command line)", &asked).map_err(misuse)?
        }
    };
    let engine = compiled(&found.policies, &found.catalogue)?;
    let mut exit = Exit::Done;
    for case in &file.cases {
        let Verdict { explanation, .. } = judge(&engine, case);
        if explanation.hint.as_ref().is_some_and(|hint| hint.about != Misnamed::Nothing) {
            exit = Exit::Findings;
        }
        let time = case.now.to_rfc3339();
        print(&match args.json {
            true => json(&Explained { request: request(case), time, story: Story::of(&explanation) })?,
            false => format!("{}: {}\nas of {time}\n", request(case), text(&explanation)),
        })?;
    }
    Ok(exit)
}

/// Refuses arguments that are no JSON: a slip on the command line, and no question to policies. What is JSON and yet could
/// be read in two ways is theirs to refuse.
fn arguments(args: &Args) -> Result<(), Failure> {
    let Some(json) = &args.args else { return Ok(()) };
    let Err(error) = serde_json::from_str::<IgnoredAny>(json) else { return Ok(()) };
    Err(Failure::misuse(miette::miette!(
        help = r#"quote names and texts, and the whole for the shell: --args '{"path": "/srv/a"}'"#,
        "the arguments are not JSON: {error}"
    )))
}

/// One decision of a log.
fn recorded(args: &Args, dir: &Path, id: &str) -> Result<Exit, Failure> {
    arguments(args)?;
    let records = records(dir)?;
    let Some(decision) = records.decisions.iter().find(|decision| decision.decision_id == id) else {
        let help = "take the id from the denial (`decisionId`), a trace, or the log";
        return Err(Failure::misuse(miette::miette!(help = help, "the log has no decision `{id}`")));
    };
    let catalogue = args.given.find(&args.policies)?.catalogue;
    let told = Told::of(&records, decision, &catalogue, args.args.as_deref());
    print(&if args.json { json(&told)? } else { told.text() })?;
    Ok(Exit::Done)
}

/// What is wrong with a request of the command line; its text as a case would tell nobody anything.
fn misuse(error: ConfigError) -> Failure {
    let told = |mistake: &Mistake| match mistake.fix() {
        Some(fix) => Failure::misuse(miette::miette!(help = fix.to_owned(), "{mistake}")),
        None => Failure::misuse(miette::miette!("{mistake}")),
    };
    match &error {
        ConfigError::One(mistake) => told(mistake),
        ConfigError::Many(mistakes) => {
            mistakes.first().map_or_else(|| Failure::misuse(miette::miette!("{error}")), told)
        }
        _ => Failure::misuse(error),
    }
}

/// The file with only the case of this name.
fn chosen(name: &str, files: Vec<CaseFile>) -> Result<CaseFile, Failure> {
    let mut known = Vec::new();
    for mut file in files {
        known.extend(file.cases.iter().map(|case: &Case| case.name.clone()));
        file.cases.retain(|case| case.name == name);
        if !file.cases.is_empty() {
            return Ok(file);
        }
    }
    let near = nearest(name, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`? "));
    let help = if known.is_empty() {
        "there are no cases".to_owned()
    } else {
        format!("{}there are: {}", near.unwrap_or_default(), known.join(", "))
    };
    Err(Failure::misuse(miette::miette!(help = help, "there is no case `{name}`")))
}

/// The request of the command line, as a case file.
fn asked(args: &Args, server: Option<ServerName>) -> Result<String, Failure> {
    let mut case = Map::new();
    let mut put = |key: &str, value: Value| {
        case.insert(key.to_owned(), value);
    };
    put("name", "request".into());
    put("expect", "allow".into());
    if let Some(tool) = &args.tool {
        put("tool", tool.as_str().into());
        // With a server that is said, a slash is the tool's own.
        if let Some(server) = args.given.server().filter(|s| !tool.starts_with(&format!("{s}/"))) {
            put("server", server.as_str().into());
        }
        put("arguments", args.args.as_deref().unwrap_or("{}").into());
    }
    if let Some(method) = &args.method {
        put("method", method.as_str().into());
        put("from", if args.from_server { "server" } else { "client" }.into());
    }
    if let Some(target) = &args.target {
        put("target", target.as_str().into());
    }
    let now = args.now.clone().unwrap_or_else(|| Clock::system().now().to_rfc3339());
    put("now", now.into());
    let uid = rustix::process::getuid().as_raw();
    let id = args.principal.clone().unwrap_or_else(|| format!("peer:{uid}:-"));
    put("principal", serde_json::json!({ "id": id, "groups": args.groups }));
    let calls = args.calls.unwrap_or(0);
    let age = args.age.unwrap_or(0);
    put(
        "session",
        serde_json::json!({ "age": age, "calls": calls, "tool_calls": calls, "labels": args.labels }),
    );
    // Each limit is reached by so many, whatever it counts.
    let counts = serde_json::json!({ "calls": calls, "minute": calls, "hour": calls, "day": calls });
    let mut usage = counts.clone();
    if let Some(usage) = usage.as_object_mut() {
        usage.extend([("server".to_owned(), counts.clone()), ("tool".to_owned(), counts)]);
    }
    put("usage", usage);
    put("labels", args.labels.clone().into());
    let mut file = serde_json::json!({ "cases": [Value::Object(case)] });
    if let (Some(server), Some(file)) = (server, file.as_object_mut()) {
        file.insert("server".to_owned(), server.as_str().into());
    }
    serde_json::to_string_pretty(&file).map_err(|error| Failure::runtime(miette::miette!("{error}")))
}
