//! `chancery policy format`: policy files in Cedar's own layout. `--check` writes nothing and exits with 1 if a file
//! would change.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{json, print};
use crate::app;
use crate::cli::report::{Finding, start};
use crate::cli::{Exit, Failure};
use crate::policy::{LINE_WIDTH, PolicySources, laid_out};

/// Arguments of `chancery policy format`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Policy files, or directories of them.
    #[arg(default_value = "policies", value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// Write nothing, and exit with 1 if a file would change.
    #[arg(long)]
    check: bool,
    /// Longest line.
    #[arg(long, default_value_t = LINE_WIDTH, value_name = "COLUMNS")]
    width: usize,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Files that were not in the layout.
    changed: Vec<String>,
    unchanged: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let sources = app::policies::load(&args.paths).map_err(|error| start(error.into()))?;
    let mut next = Vec::new();
    let mut report = Report { changed: Vec::new(), unchanged: Vec::new() };
    for file in &sources.files {
        let text = laid_out(&file.text, args.width).map_err(|error| {
            let alone = PolicySources { files: vec![file.clone()] };
            for finding in alone.unreadable() {
                eprintln!("{:?}", miette::Report::new(Finding::new(finding)));
            }
            let help = "see what is wrong with `chancery policy check`";
            Failure::misuse(miette::miette!(help = help, "{} can't be formatted: {error}", file.name))
        })?;
        let same = text == *file.text;
        if same { &mut report.unchanged } else { &mut report.changed }.push(file.name.to_string());
        if !same {
            next.push((Path::new(&*file.name), text));
        }
    }
    if !args.check {
        // All files could be laid out: none is written if one can't be read.
        for (path, text) in &next {
            replace(path, text).map_err(|error| {
                Failure::misuse(miette::miette!(
                    help = "make it writable",
                    "can't write {}: {error}",
                    path.display()
                ))
            })?;
        }
    }
    if args.json {
        print(&json(&report)?)?;
    } else {
        let word = if args.check { "would be changed" } else { "changed" };
        let changed: String = report.changed.iter().map(|file| format!("{file}: {word}\n")).collect();
        print(&format!("{changed}{} of {} files {word}\n", report.changed.len(), sources.files.len()))?;
    }
    Ok(if args.check && !report.changed.is_empty() { Exit::Findings } else { Exit::Done })
}

/// Puts the text whole in the place of what is there, with the same permissions.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::set_permissions(&beside, fs::metadata(path)?.permissions())?;
    fs::rename(&beside, path)
}
