//! What is wrong with a policy file, in a form that an author can act on: file, position, message, help.

use std::fmt;
use std::sync::Arc;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The set still works.
    Warning,
    /// The set is refused.
    Error,
}

impl Severity {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDiagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The source file's name, as given.
    pub file: Arc<str>,
    /// The file's text, for the excerpt.
    pub text: Arc<str>,
    /// Byte offset and length in `text`; `None` where the finding is about the set as a whole.
    pub span: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The policy's id, where one is known.
    pub policy: Option<Arc<str>>,
    /// Whether it is only that a server or tool is not known (yet).
    pub unknown_name: bool,
}

/// A finding that leaves the set usable.
pub type Warning = PolicyDiagnostic;

impl PolicyDiagnostic {
    /// Line and column, both from 1, the column in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        let (offset, _) = self.span?;
        let before = self.text.get(..offset)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Some((line, before.get(line_start..)?.chars().count() + 1))
    }
}

impl fmt::Display for PolicyDiagnostic {
    /// One line: `file:line:column: message (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position() {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyDiagnostic {}
