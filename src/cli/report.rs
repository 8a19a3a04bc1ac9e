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
