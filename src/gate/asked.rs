//! A request under way to the tool server: what becomes of its answer, and the spans that end with it.

use std::sync::Arc;

use crate::domain::clock::Stopwatch;
use crate::policy::{Listed, SessionEntities};
use crate::wire::Frame;
use crate::wire::completion::Reference;
use crate::wire::methods::Class;

use super::observe::Span;
use super::session::Shared;

/// A request under way to the tool server.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: AskedKind,
    /// Who asked, as policies saw them then: a list is filtered for them, whatever bearer came meanwhile.
    pub(super) by: Option<Arc<SessionEntities>>,
    pub(super) method: Arc<str>,
    pub(super) since: Stopwatch,
    pub(super) span: Option<Box<dyn Span>>,
    /// The child span of the time at the tool server.
    pub(super) upstream: Option<Box<dyn Span>>,
}

/// What becomes of a request's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedKind {
    /// It completes the handshake.
    Initialize,
    /// It is filtered; whether it is the list's first page.
    List(ListKind, bool),
    /// The gateway asked for itself.
    OwnTools,
    /// It passes as it is.
    Plain,
}

/// Lists that are filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Asked {
    pub(super) fn new(kind: AskedKind, method: &str) -> Self {
        Self { kind, by: None, method: method.into(), since: Stopwatch::start(), span: None, upstream: None }
    }

    /// Ends its spans where another decision takes its place; the operation goes on.
    pub(super) fn outlived(self) {
        for span in self.upstream.into_iter().chain(self.span) {
            span.end(Some("withdrawn"));
        }
    }

    /// Ends its spans; `error` is the semantic conventions' `error.type`.
    pub(super) fn end(self, shared: &Shared, error: Option<&str>) {
        if let Some(upstream) = self.upstream {
            upstream.end(error);
        }
        if let Some(span) = self.span {
            span.end(error);
        }
        shared.house.parts.recorder.operation(&self.method, error, self.since.elapsed());
    }
}

/// What a method is about besides the server: a prompt or a resource.
pub(super) fn target(class: Class, frame: &Frame) -> Option<&str> {
    match class {
        Class::PromptGet => frame.name(),
        Class::ResourceRead | Class::ResourceSubscribe => frame.uri(),
        _ => None,
    }
}

/// What a completion tells of, as an entry of a list.
pub(super) fn listed(reference: &Reference) -> Listed<'_> {
    match reference {
        Reference::Prompt(name) => Listed::Prompt(name),
        Reference::Resource(uri) => Listed::Template(uri),
    }
}

/// The list that a request asks for.
pub(super) const fn list_of(class: Class) -> Option<ListKind> {
    match class {
        Class::ToolList => Some(ListKind::Tools),
        Class::PromptList => Some(ListKind::Prompts),
        Class::ResourceList => Some(ListKind::Resources),
        Class::TemplateList => Some(ListKind::Templates),
        _ => None,
    }
}
