//! `chancery policy diff`: what other policies change: by their ids, in cases, and in the recorded decisions of a log.
//! And which tools are not what they were. Exit code 0 when no decision flips and no tool differs, 1 when one does, 2 when
//! it could not look.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::changed_lines::changed_lines;
use super::drifted::{Sides, ToolsReport, compiled_for, drifted};
use super::given::{Given, cases, compiled};
use super::past::{Hindsights, Past, records};
use super::story::headline;
use super::verdict::judge;
use super::{json, print};
use crate::cli::{Exit, Failure};
use crate::config::CaseFile;
use crate::policy::{Engine, SetChanges};

/// Most groups of records that are shown to people.
const MAX_SHOWN: usize = 100;

/// Arguments of `chancery policy diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policies as they are: file or directory.
    old: PathBuf,
    /// The policies as they shall be.
    new: PathBuf,
    /// Case file, or a directory of them; by default the `*.cases.yaml` beside the new policies, else beside the old.
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Directory of a log: its decisions are held against the new policies.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Exit with 1 also if a recorded decision could flip, depending on what is not recorded.
    #[arg(long, requires = "log")]
    deny_possible: bool,
    /// Ask the configured servers for their tools, and tell which are not the approved ones and so are held back. Exit
    /// with 1 if any is.
    #[arg(long, requires = "config")]
    drift: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// Whether a case or a recorded decision would flip.
    flips: bool,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
    /// How many cases there are.
    cases: usize,
    flipped_cases: Vec<FlippedCase>,
    /// How the tools differ.
    tools: ToolsReport<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogReport>,
}

#[derive(Debug, Serialize)]
struct FlippedCase {
    file: String,
    line: usize,
    name: String,
    before: String,
    now: String,
}

/// How the decisions of a log would come out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogReport {
    decisions: usize,
    same: usize,
    would_flip: usize,
    /// It depends on arguments, or on something else that is not recorded.
    could_flip: usize,
    /// Not decided by policies, or not told by the record.
    elsewhere: usize,
    flips: Vec<Alike>,
}

/// Decisions that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Alike {
    /// Whether it is certain.
    certain: bool,
    /// What was decided.
    was: String,
    principal: String,
    action: String,
    resource: String,
    count: usize,
    /// The id of the first of them.
    decision: String,
}

/// What decisions that are alike have in common: whether they only could flip, what was decided, principal, action and
/// resource.
type Kind = (bool, String, String, String, String);

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let sides = Sides::of(&args.given, args.drift, &args.old, &args.new)?;
    let old = compiled(std::slice::from_ref(&args.old), &sides.before)?;
    let (new, misfits) = compiled_for(&args.new, &sides)?;
    let differ = drifted(&sides);
    let mut files = cases(&args.cases, std::slice::from_ref(&args.new))?;
    if files.is_empty() {
        files = cases(&args.cases, std::slice::from_ref(&args.old))?;
    }
    let past = args.log.as_ref().map(|dir| records(dir)).transpose()?;
    let tools = ToolsReport::of(&differ, &sides, &new, &misfits, &files, past.as_ref());
    let log = past.as_ref().map(|records| {
        let mut hindsights = Hindsights::new(records, &new);
        let mut report = LogReport { decisions: records.decisions.len(), ..LogReport::default() };
        let mut alike: BTreeMap<Kind, (usize, String)> = BTreeMap::new();
        for decision in &records.decisions {
            let past = hindsights.of(decision);
            *match past {
                Past::Same => &mut report.same,
                Past::Flips => &mut report.would_flip,
                Past::Open => &mut report.could_flip,
                Past::Elsewhere => &mut report.elsewhere,
            } += 1;
            if matches!(past, Past::Flips | Past::Open) {
                let (was, who) = (decision.effect.clone(), decision.principal.clone());
                // What is certain comes first.
                let key = (past == Past::Open, was, who, decision.action.clone(), decision.resource.clone());
                alike.entry(key).or_insert_with(|| (0, decision.decision_id.clone())).0 += 1;
            }
        }
        for ((open, was, principal, action, resource), (count, decision)) in alike {
            let certain = !open;
            report.flips.push(Alike { certain, was, principal, action, resource, count, decision });
        }
        report
    });
    let flipped_cases = flipped(&old, &new, &files);
    let changes = new.changes_since(Some(&old));
    let would = log.as_ref().is_some_and(|log| log.would_flip > 0);
    let could = args.deny_possible && log.as_ref().is_some_and(|log| log.could_flip > 0);
    let ids = |ids: &[std::sync::Arc<str>]| ids.iter().map(|id| id.to_string()).collect();
    let SetChanges { added, removed, changed } = &changes;
    let report = Report {
        flips: would || !flipped_cases.is_empty(),
        added: ids(added),
        removed: ids(removed),
        changed: ids(changed),
        cases: files.iter().map(|file| file.cases.len()).sum(),
        flipped_cases,
        tools,
        log,
    };
    print(&match args.json {
        true => json(&report)?,
        false => format!("{}{}", shown(&report, &old, &new), report.tools.text(&differ)),
    })?;
    Ok(if report.flips || could || !report.tools.same { Exit::Findings } else { Exit::Done })
}

/// The text of the policy with this id.
fn source(engine: &Engine, id: &str) -> String {
    let place = engine.places().into_iter().find(|place| *place.reference.id == *id);
    place.and_then(|place| place.text.get(place.span).map(str::to_owned)).unwrap_or_default()
}

fn flipped(old: &Engine, new: &Engine, files: &[CaseFile]) -> Vec<FlippedCase> {
    let mut found = Vec::new();
    for (file, case) in files.iter().flat_map(|file| file.cases.iter().map(move |case| (file, case))) {
        let (before, now) = (judge(old, case), judge(new, case));
        let word = |listed: bool| if listed { "listed" } else { "hidden" }.to_owned();
        let (was, is) = match (before.listed, now.listed) {
            (Some(was), Some(is)) if was != is => (word(was), word(is)),
            (Some(_), _) => continue,
            _ if before.explanation.ruling.effect == now.explanation.ruling.effect => continue,
            _ => (headline(&before.explanation.ruling), headline(&now.explanation.ruling)),
        };
        found.push(FlippedCase {
            file: file.name.clone(),
            line: case.line(),
            name: case.name.clone(),
            before: was,
            now: is,
        });
    }
    found
}

fn shown(report: &Report<'_>, old: &Engine, new: &Engine) -> String {
    let mut out = String::new();
    for (sign, ids) in [('+', &report.added), ('-', &report.removed), ('~', &report.changed)] {
        for id in ids {
            out.push_str(&format!("{sign} {id}\n"));
            if sign == '~' {
                out.push_str(&changed_lines(&source(old, id), &source(new, id)));
            }
        }
    }
    if out.is_empty() {
        out.push_str("the policies are the same\n");
    }
    let (cases, flipped) = (report.cases, report.flipped_cases.len());
    out.push_str(&format!("\n{flipped} of {cases} cases flip\n"));
    for case in &report.flipped_cases {
        out.push_str(&format!(
            "  {} → {}  {} ({}:{})\n",
            case.before, case.now, case.name, case.file, case.line
        ));
    }
    if let Some(log) = &report.log {
        out.push_str(&format!(
            "\n{} recorded decisions: {} stay, {} would flip, {} could flip (it depends on arguments or other things that\n\
             are not recorded), {} were not made by policies or not recorded whole\n",
            log.decisions, log.same, log.would_flip, log.could_flip, log.elsewhere
        ));
        for alike in log.flips.iter().take(MAX_SHOWN) {
            let word = if alike.certain { "would" } else { "could" };
            let other = if alike.was == "allow" { "deny" } else { "allow" };
            out.push_str(&format!(
                "  {word} flip  {} → {other}  {}×  {}  {} on {}  first {}\n",
                alike.was, alike.count, alike.principal, alike.action, alike.resource, alike.decision
            ));
        }
        if log.flips.len() > MAX_SHOWN {
            out.push_str(&format!("  and {} more kinds; --json has all\n", log.flips.len() - MAX_SHOWN));
        }
    }
    out
}
