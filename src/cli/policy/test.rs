//! `chancery policy test`: cases beside the policies, held against them, and which policies no case decides. Exit code 0
//! when all pass, 1 when one fails or coverage is demanded and missing, 2 when it could not look.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::excerpt::excerpt;
use super::given::{Given, cases, compiled};
use super::story::{Story, headline};
use super::verdict::{Verdict, judge, request};
use super::{json, print};
use crate::cli::{Exit, Failure};
use crate::config::{Case, CaseFile, Mistake, case_schema};
use crate::domain::unseen::visible;
use crate::policy::{Considered, Engine, Outcome, PolicyPlace};

/// Arguments of `chancery policy test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy file or directory; by default those of the configuration, else `policies`. May be given more than once.
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
    /// Case file, or a directory of them; by default the `*.cases.yaml` beside the policies. May be given more than once.
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Exit with 1 if there is a policy that no case decides.
    #[arg(long)]
    require_coverage: bool,
    /// Print the JSON Schema of case files, for editors, and do nothing else.
    #[arg(long)]
    schema: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if args.schema {
        print(&case_schema())?;
        return Ok(Exit::Done);
    }
    let found = args.given.find(&args.policies)?;
    let files = cases(&args.cases, &found.policies)?;
    if files.iter().all(|file| file.cases.is_empty()) {
        return Err(Failure::misuse(miette::miette!(
            help = "write some into a file `*.cases.yaml` beside the policies; `chancery policy init` begins one",
            "there are no cases"
        )));
    }
    let engine = compiled(&found.policies, &found.catalogue)?;
    let run = Run::of(&engine, &files);
    let beside = shadow_cases(args, &found.shadow, &files)?;
    let candidate = match beside.is_empty() {
        true => None,
        false => Some(compiled(&found.shadow, &found.catalogue)?),
    };
    let shadow = candidate.as_ref().map(|engine| Run::of(engine, &beside));
    let short = |run: &Run<'_>| run.failed() > 0 || (args.require_coverage && !run.uncovered.is_empty());
    let exit = match short(&run) || shadow.as_ref().is_some_and(short) {
        true => Exit::Findings,
        false => Exit::Done,
    };
    if args.json {
        let report = run.report();
        let shadow = shadow.as_ref().map(|shadow| Box::new(shadow.report()));
        let passed = report.passed && shadow.as_ref().is_none_or(|shadow| shadow.passed);
        print(&json(&Report { passed, shadow, ..report })?)?;
        return Ok(exit);
    }
    run.complain();
    print(&run.summary())?;
    if let Some(shadow) = &shadow {
        shadow.complain();
        print(&format!("\nThe shadow set:\n{}", shadow.summary()))?;
    }
    Ok(exit)
}

/// The cases beside the shadow set that are not beside the active one too, unless others were asked for.
fn shadow_cases(args: &Args, shadow: &[PathBuf], active: &[CaseFile]) -> Result<Vec<CaseFile>, Failure> {
    let mut files = if args.cases.is_empty() { cases(&[], shadow)? } else { Vec::new() };
    files.retain(|file| active.iter().all(|other| other.name != file.name));
    Ok(files)
}

/// All cases with what came of them.
struct Run<'a> {
    verdicts: Vec<(&'a CaseFile, &'a Case, Verdict)>,
    policies: usize,
    uncovered: Vec<PolicyPlace>,
}

impl<'a> Run<'a> {
    fn of(engine: &Engine, files: &'a [CaseFile]) -> Self {
        let cases = files.iter().flat_map(|file| file.cases.iter().map(move |case| (file, case)));
        let verdicts: Vec<_> = cases.map(|(file, case)| (file, case, judge(engine, case))).collect();
        let mut deciding = BTreeSet::new();
        for (_, _, verdict) in &verdicts {
            let ruling = &verdict.explanation.ruling;
            let failed = ruling.failures.iter().map(|failure| &failure.policy);
            for policy in ruling.determining.iter().chain(&ruling.shadow).chain(failed) {
                deciding.insert(policy.id.to_string());
            }
        }
        let mut uncovered = engine.places();
        let policies = uncovered.len();
        uncovered.retain(|place| !deciding.contains(&*place.reference.id));
        Self { verdicts, policies, uncovered }
    }

    fn failed(&self) -> usize {
        self.verdicts.iter().filter(|(.., verdict)| verdict.missed.is_some()).count()
    }

    /// Says of each case that did not come out as expected what the policies made of it.
    fn complain(&self) {
        for (file, case, verdict) in &self.verdicts {
            if let (None, Some(hint)) = (&verdict.missed, &verdict.explanation.hint) {
                let told = format!("{}:{}: case `{}`: {hint}", file.name, case.line(), case.name);
                eprintln!("chancery: {}", visible(&told));
            }
            if let Some(missed) = &verdict.missed {
                eprintln!("{:?}", miette::Report::new(missed.clone()));
                let told = format!("{}: {}", request(case), headline(&verdict.explanation.ruling));
                eprintln!("  {}\n", visible(&told));
                for failure in &verdict.explanation.ruling.failures {
                    eprintln!("  `{}`: {}\n", failure.policy.id, failure.message);
                }
                let considered = &verdict.explanation.considered;
                let elsewhere = |c: &&Considered| matches!(c.outcome, Outcome::OutOfScope(_));
                // Where nothing else is about it, those for somebody else are why.
                let all = considered.iter().all(|c| elsewhere(&c));
                for considered in considered.iter().filter(|c| all || !elsewhere(c)) {
                    eprintln!("{}", excerpt(considered));
                }
            }
        }
    }

    fn summary(&self) -> String {
        let mut out = String::new();
        let mut file = "";
        for (of, case, verdict) in &self.verdicts {
            if file != of.name {
                file = &of.name;
                out.push_str(&format!("{file}\n"));
            }
            let word = if verdict.missed.is_some() { "FAILED" } else { "ok" };
            out.push_str(&format!("  {word:<6}  {}\n", case.name));
        }
        let (all, failed) = (self.verdicts.len(), self.failed());
        let cases = if all == 1 { "1 case".to_owned() } else { format!("{all} cases") };
        out.push_str(&format!("\n{cases}, {} passed, {failed} failed\n", all - failed));
        let decided = self.policies - self.uncovered.len();
        out.push_str(&format!("{decided} of {} policies decided a case", self.policies));
        out.push_str(if self.uncovered.is_empty() { "\n" } else { "; none is decided by\n" });
        for place in &self.uncovered {
            let effect = if place.forbid { "forbid" } else { "permit" };
            let id = &place.reference.id;
            out.push_str(&format!("  {effect} `{id}`  {}:{}\n", place.file, place.line));
        }
        out
    }

    fn report(&self) -> Report<'_> {
        let cases = self.verdicts.iter().map(|(file, case, verdict)| CaseReport {
            file: &file.name,
            line: case.line(),
            name: &case.name,
            passed: verdict.missed.is_none(),
            missed: verdict.missed.as_ref().map(Mistake::to_string),
            help: verdict.missed.as_ref().and_then(Mistake::fix),
            request: request(case),
            listed: verdict.listed,
            decision: Story::of(&verdict.explanation),
        });
        let uncovered = self.uncovered.iter().map(|place| Uncovered {
            id: &place.reference.id,
            effect: if place.forbid { "forbid" } else { "permit" },
            file: &place.file,
            line: place.line,
        });
        Report {
            passed: self.failed() == 0,
            cases: cases.collect(),
            failed: self.failed(),
            coverage: Coverage { policies: self.policies, undecided: uncovered.collect() },
            shadow: None,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether all cases passed, those of the shadow set too.
    passed: bool,
    /// How many did not.
    failed: usize,
    cases: Vec<CaseReport<'a>>,
    coverage: Coverage<'a>,
    /// The same of the configuration's shadow set, where it has cases of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Box<Self>>,
}

#[derive(Debug, Serialize)]
struct CaseReport<'a> {
    file: &'a str,
    line: usize,
    name: &'a str,
    passed: bool,
    /// What is other than expected.
    missed: Option<String>,
    /// What to do about it.
    help: Option<&'a str>,
    /// The request in a few words.
    request: String,
    /// Whether lists show it, where that is expected.
    listed: Option<bool>,
    decision: Story<'a>,
}

#[derive(Debug, Serialize)]
struct Coverage<'a> {
    policies: usize,
    /// Policies that decided no case.
    undecided: Vec<Uncovered<'a>>,
}

#[derive(Debug, Serialize)]
struct Uncovered<'a> {
    id: &'a str,
    effect: &'static str,
    file: &'a str,
    line: usize,
}
