//! A command's failure: one diagnostic for a person, on stderr, and the exit code that goes with it.

use miette::Report;

use super::exit::Exit;

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
    #[allow(dead_code, reason = "used by commands that are filled in one by one")]
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
