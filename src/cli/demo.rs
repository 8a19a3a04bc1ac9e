//! `chancery demo`: the whole of it at work, with nothing but this binary.
//!
//! A gateway (this binary's `serve`, in a process of its own) stands in front of a real tool server (its
//! `demo-server`); a real client of the official Rust SDK makes calls through it over HTTP. Then everything is
//! stopped, the log is verified from disk, and a copy of it is tampered with. Nothing leaves the machine.

mod evidence;
mod play;
mod proof;
mod stage;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use miette::miette;

use self::evidence::Record;
use self::play::Scene;
use self::stage::Stage;
use super::{Exit, Failure};

/// How long the calls may take in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Arguments of `chancery demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to put everything; it must not exist yet or be empty [default: a new directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let stage = Stage::prepare(args.dir)?;
    let mut out = std::io::stdout().lock();
    let told = tell(&stage, &mut out);
    let told = told.map_err(|error| Failure::runtime(miette!("the demonstration failed: {error}")))?;
    if told.is_empty() {
        return Ok(Exit::Done);
    }
    let list = told.iter().map(|line| format!("\n  - {line}")).collect::<String>();
    Err(Failure::runtime(miette!(
        help = format!(
            "everything is still in {}; the gateway's own words are in gateway.log",
            stage.dir().display()
        ),
        "not everything went as it should:{list}"
    )))
}

/// Why the demonstration could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The console or a file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Said(String),
}

/// Plays it all; the list of what did not go as it should.
fn tell(stage: &Stage, out: &mut impl Write) -> Result<Vec<String>, DemoError> {
    let mut wrong = Vec::new();
    writeln!(
        out,
        "A gateway, a tool server behind it and a client in front of it, all in {}\n",
        stage.dir().display()
    )?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let scenes = runtime.block_on(async {
        let gateway = stage.start().await?;
        let played = tokio::time::timeout(PATIENCE, play::play(&gateway)).await;
        let stopped = gateway.stop().await;
        let scenes = match played {
            Ok(played) => played?,
            Err(_) => return Err(DemoError::Said("the calls did not come to an end".into())),
        };
        stopped?;
        Ok(scenes)
    })?;
    runtime.shutdown_background();

    let records = evidence::read(&stage.log())?;
    let rows = evidence::matched(&scenes, &records, &mut wrong);
    writeln!(out, "{}\n", table(&scenes, &rows))?;
    wrong.extend(stage.untouched());

    let proof = proof::verify(stage, &stage.log())?;
    writeln!(
        out,
        "Everything is stopped. The log, read from disk: {} records, {} allowed, {} denied: {}",
        proof.report.counts.records,
        proof.report.counts.allowed,
        proof.report.counts.denied,
        if proof.report.ok { "verified" } else { "NOT VERIFIED" },
    )?;
    wrong.extend(proof.report.findings.iter().map(|finding| format!("verification found: {finding}")));

    let tampered = proof::tamper(stage, &records)?;
    let found = proof::verify(stage, &tampered.dir)?;
    writeln!(out, "\nA copy of it with one bit changed ({}):", tampered.place)?;
    match found.report.findings.first() {
        Some(finding) => writeln!(out, "  detected: {finding}")?,
        None => wrong.push("the changed bit was not detected".to_owned()),
    }
    let names_it = found.report.findings.first().is_some_and(|f| tampered.is_named_by(f));
    if !found.report.ok && !names_it {
        wrong.push("the first finding does not name the record that was changed".to_owned());
    }
    std::fs::remove_dir_all(&tampered.dir)?;

    writeln!(
        out,
        "\nFor a client's configuration (put your own server after `--`, your own policies beside it):"
    )?;
    writeln!(out, "  {}", stage.client_configuration())?;
    writeln!(out, "To verify this log again:")?;
    writeln!(out, "  {}", proof.command)?;
    Ok(wrong)
}

/// What was called and what became of it.
fn table(scenes: &[Scene], rows: &[Option<&Record>]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["call", "decision", "policy", "reason", "attestation"]);
    if table.width().is_none() {
        table.set_width(120);
    }
    for (scene, row) in scenes.iter().zip(rows) {
        let Some(record) = row else {
            table.add_row([scene.call.as_str(), "no record", "", "", ""]);
            continue;
        };
        let color = if record.allowed { Color::Green } else { Color::Red };
        let policies = if record.policies.is_empty() {
            "(none permits it)".to_owned()
        } else {
            record.policies.join(", ")
        };
        table.add_row([
            Cell::new(&scene.call),
            Cell::new(if record.allowed { "allow" } else { "deny" }).fg(color),
            Cell::new(policies),
            Cell::new(record.reason.as_deref().unwrap_or_default()),
            Cell::new(record.digest.to_string().chars().take(16).collect::<String>()),
        ]);
    }
    table
}
