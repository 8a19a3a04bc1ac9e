//! Exit codes: 0 done, 1 findings or a failure at run time, 2 misuse (command line, configuration, policies).

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done as asked.
    Done,
    /// It ran, and what it looked at is not in order (or it failed at run time): 1.
    Findings,
    /// Misuse: bad command line, configuration, policy, key file: 2. Nothing was started.
    Misuse,
    /// What the child said (`chancery run`); 128 + n when signal n ended it, as shells report it.
    Child(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Findings => 1,
            Exit::Misuse => 2,
            Exit::Child(code) => code,
        })
    }
}
