//! What is wrong with a configuration file: every mistake with its place and its fix.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::domain::unseen::{masked, visible};

/// The file that is being read.
#[derive(Debug, Clone)]
pub(super) struct Source(Arc<NamedSource<String>>);

impl Source {
    /// Under the name that the user gave it. It is shown on terminals: what would move a cursor there is masked.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self(Arc::new(NamedSource::new(visible(name), masked(text)).with_language("YAML")))
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        self.0.inner()
    }
}

/// One mistake.
#[derive(Debug, Clone)]
pub struct Mistake {
    source: Source,
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

impl Mistake {
    /// One at `span`.
    pub(super) fn new(source: &Source, span: &Range<usize>, message: String, help: Option<String>) -> Self {
        let (message, help) = (visible(&message), help.map(|help| visible(&help)));
        Self { source: source.clone(), span: span.clone(), message, help }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        self.source.0.name()
    }

    /// Line and column, both from 1, the column in characters.
    pub fn position(&self) -> (usize, usize) {
        let text = self.source.text();
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.bytes().filter(|b| *b == b'\n').count() + 1, column)
    }

    /// What to do about it.
    pub fn fix(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source.0)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let at = LabeledSpan::new(Some("here".to_owned()), self.span.start, self.span.len());
        Some(Box::new(std::iter::once(at)))
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {path}: {why}")]
    #[diagnostic(help("name a file that exists: -c FILE; examples are in examples/"))]
    Read {
        /// Which.
        path: String,
        /// Why; in the text, so no `source` that would be shown once more.
        why: std::io::Error,
    },
    /// A case file can't be read.
    #[error("can't read the case file {path}: {why}")]
    #[diagnostic(help("name a file that exists: --cases FILE"))]
    ReadCases {
        /// Which.
        path: String,
        /// Why; in the text, so no `source` that would be shown once more.
        why: std::io::Error,
    },
    /// One mistake.
    #[error(transparent)]
    #[diagnostic(transparent)]
    One(Mistake),
    /// Several.
    #[error("{} mistakes in {}", .0.len(), .0.first().map_or("", Mistake::file))]
    Many(#[related] Vec<Mistake>),
    /// There is no place for state.
    #[error("there is no directory for state: neither XDG_STATE_HOME nor HOME is set to an absolute path")]
    #[diagnostic(help(
        "set HOME, or write `state_dir`, `identity.local.dir` and `log.dir` in the configuration"
    ))]
    NoStateDir,
}

/// Mistakes as they are found.
#[derive(Debug)]
pub(super) struct Mistakes {
    source: Source,
    found: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn new(source: Source) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Notes one at `span`.
    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let help: String = help.into();
        let help = (!help.is_empty()).then_some(help);
        self.found.push(Mistake::new(&self.source, span, message.into(), help));
    }

    /// Whether there are none yet.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the file; an error if there are any.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        self.found.sort_by_key(|mistake| mistake.span.start);
        match self.found.pop() {
            None => Ok(()),
            Some(last) if self.found.is_empty() => Err(ConfigError::One(last)),
            Some(last) => {
                self.found.push(last);
                Err(ConfigError::Many(self.found))
            }
        }
    }
}
