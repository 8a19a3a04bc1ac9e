//! A policy's source with what is to be said of it, each line whole.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use crate::domain::unseen::{masked, visible};
use crate::policy::{Clause, Considered, Outcome, Part, Truth};

/// One policy with its source, for people; without colours, as it may go into a file.
pub(super) fn excerpt(considered: &Considered) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    let handler =
        handler.with_width(160).with_wrap_lines(false).with_break_words(false).with_context_lines(1);
    match handler.render_report(&mut out, &Excerpt::of(considered)) {
        Ok(()) => format!("{}\n", visible(out.trim_matches('\n').trim_end())),
        Err(_unwritable) => format!("{}\n", Excerpt::of(considered).title),
    }
}

/// A policy's part in a decision.
#[derive(Debug)]
struct Excerpt {
    title: String,
    source: Lines,
    labels: Vec<LabeledSpan>,
}

impl Excerpt {
    fn of(considered: &Considered) -> Self {
        let place = &considered.place;
        let effect = if place.forbid { "forbid" } else { "permit" };
        let shadow = if place.shadow { "shadow " } else { "" };
        let word = match &considered.outcome {
            Outcome::Holds => "holds".to_owned(),
            Outcome::Unmet => "does not hold".to_owned(),
            Outcome::OutOfScope(parts) => format!("is about another {}", parts.join(" and another ")),
            Outcome::Failed(why) if place.forbid => format!("fails, and so denies: {why}"),
            Outcome::Failed(why) => format!("fails, and so does not hold: {why}"),
            Outcome::Unseen => "depends on an argument that Cedar can't hold exactly".to_owned(),
        };
        let holds = considered.outcome == Outcome::Holds;
        let told = |clause| told(clause, holds);
        let mut labels: Vec<LabeledSpan> = considered.clauses.iter().flat_map(told).collect();
        if labels.is_empty() {
            let text = place.text.get(place.span.clone()).unwrap_or_default();
            let scope = text.lines().find(|line| line.starts_with(effect)).unwrap_or(text);
            let scope = scope.lines().next().unwrap_or_default();
            let at = place.span.start + text.find(scope).unwrap_or(0);
            labels.push(LabeledSpan::new(None, at, scope.trim_end().len()));
        }
        Self {
            title: format!("{shadow}{effect} `{}` {word}", place.reference.id),
            source: Lines { name: place.file.to_string(), text: masked(&place.text) },
            labels,
        }
    }
}

/// What of a clause is worth being pointed at: what keeps its policy from holding, or what makes it hold.
fn told(clause: &Clause, holds: bool) -> Vec<LabeledSpan> {
    let label = |part: &Part, word: String| {
        let values: Vec<String> =
            part.values.iter().map(|(read, value)| format!("{read} is {value}")).collect();
        let text = if values.is_empty() { word } else { format!("{word}: {}", values.join(", ")) };
        LabeledSpan::new(Some(text), part.span.start, part.span.len())
    };
    let of = |part: &Part| match &part.truth {
        Truth::Failed(why) => Some(label(part, (*why).to_owned())),
        Truth::Known(value) if *value != clause.when && !clause.met => {
            Some(label(part, if *value { "true" } else { "false" }.to_owned()))
        }
        Truth::Known(value) if *value == clause.when && clause.met && holds => {
            Some(label(part, if *value { "true" } else { "false" }.to_owned()))
        }
        _ => None,
    };
    clause.parts.iter().filter_map(of).collect()
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Excerpt {}

impl Diagnostic for Excerpt {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A file of which whole lines are shown, and no line that nothing is said of before the first and after the last.
#[derive(Debug)]
struct Lines {
    name: String,
    text: String,
}

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (from, to) = (span.offset(), span.offset() + span.len());
        let (head, tail) = (self.text.get(..from), self.text.get(to..));
        let (Some(head), Some(tail)) = (head, tail) else { return Err(MietteError::OutOfBounds) };
        let line_start = head.rfind('\n').map_or(0, |at| at + 1);
        // Without any lines around it is asked for the very span, to name its place.
        let exact = before == 0 && after == 0;
        let (start, end) = match exact {
            true => (from, to),
            false => (line_start, to + tail.find('\n').unwrap_or(tail.len())),
        };
        let bytes = self.text.as_bytes().get(start..end).ok_or(MietteError::OutOfBounds)?;
        let line = head.bytes().filter(|byte| *byte == b'\n').count();
        let column = if exact { head.get(line_start..).unwrap_or_default().chars().count() } else { 0 };
        // As many lines as there are: whatever is said of one policy stands in one frame.
        let lines = self.text.lines().count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            bytes,
            (start, end - start).into(),
            line,
            column,
            lines,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_whole_and_places_are_exact() {
        let lines = Lines { name: "f".to_owned(), text: "one\n  two three\nfour\n".to_owned() };
        let read = |from: usize, length: usize, around: usize| {
            let span = SourceSpan::from((from, length));
            let contents = lines.read_span(&span, around, around).unwrap();
            (String::from_utf8(contents.data().to_vec()).unwrap(), contents.line(), contents.column())
        };
        assert_eq!(read(10, 5, 1), ("  two three".to_owned(), 1, 0));
        assert_eq!(read(10, 5, 0), ("three".to_owned(), 1, 6));
        assert_eq!(read(6, 12, 1), ("  two three\nfour".to_owned(), 1, 0));
        assert!(lines.read_span(&SourceSpan::from((90, 1)), 1, 1).is_err());
    }
}
