//! A command's failure: one diagnostic for a person, on stderr, and the exit code that goes with it.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, Report, SourceCode};

use super::exit::Exit;
use crate::app::StartError;
use crate::domain::unseen::{masked, visible};
use crate::policy::{PolicyDiagnostic, Severity};

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    report: Report,
    exit: Exit,
}

impl Failure {
    /// The user must change something first: command line, configuration, policy, key file. Exit code 2.
    pub(crate) fn misuse(report: impl Into<Report>) -> Self {
        Self { report: report.into(), exit: Exit::Misuse }
    }

    /// It failed while it ran. Exit code 1.
    pub(crate) fn runtime(report: impl Into<Report>) -> Self {
        Self { report: report.into(), exit: Exit::Findings }
    }

    /// Prints the diagnostic to stderr and says how to exit.
    pub(crate) fn print(self) -> Exit {
        eprintln!("{:?}", self.report);
        self.exit
    }
}

/// A report is misuse unless said otherwise.
impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::misuse(report)
    }
}

/// Misuse that says how to mend it.
pub(crate) fn with_help(error: &dyn std::error::Error, help: impl std::fmt::Display) -> Failure {
    Failure::misuse(miette::miette!(help = help.to_string(), "{}", chain(error)))
}

/// Why a gateway did not start: misuse, with the fix.
pub(crate) fn start(error: StartError) -> Failure {
    match error {
        StartError::Policies(diagnostics) => Failure::misuse(policies(diagnostics)),
        other => match other.help() {
            Some(help) => with_help(&other, help),
            None => Failure::misuse(miette::miette!("{}", chain(&other))),
        },
    }
}

/// What is wrong with policies, each finding with its excerpt and caret.
pub(crate) fn policies(diagnostics: Vec<PolicyDiagnostic>) -> Report {
    let mut findings: Vec<Finding> = diagnostics.into_iter().map(Finding::new).collect();
    match findings.pop() {
        Some(only) if findings.is_empty() => only.into(),
        Some(last) => {
            findings.push(last);
            Findings(findings).into()
        }
        None => miette::miette!("the policies are not in order"),
    }
}

/// Several findings.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} findings in the policies", .0.len())]
struct Findings(#[related] Vec<Finding>);

/// One finding in a policy file.
#[derive(Debug)]
pub(crate) struct Finding {
    source: NamedSource<String>,
    finding: PolicyDiagnostic,
}

impl Finding {
    /// For printing.
    pub(crate) fn new(mut finding: PolicyDiagnostic) -> Self {
        finding.message = visible(&finding.message);
        finding.help = finding.help.map(|help| visible(&help));
        Self { source: NamedSource::new(visible(&finding.file), masked(&finding.text)), finding }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Finding {}

impl Diagnostic for Finding {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.finding.span.map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (offset, length) = self.finding.span?;
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), offset, length))))
    }
}

/// An error and its causes on one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// How diagnostics look: wide lines and whole words, so that paths stay in one piece.
pub(crate) fn install() {
    // It can only fail when a hook is there already, which then stays.
    drop(miette::set_hook(Box::new(|_| {
        Box::new(miette::MietteHandlerOpts::new().width(160).break_words(false).wrap_lines(false).build())
    })));
}
