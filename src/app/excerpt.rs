//! Findings in policies and configuration as people read them, with the lines they stand in and a caret, for the log
//! of a running gateway.

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
    Severity,
};

use crate::domain::unseen::{masked, visible};
use crate::policy::{self, PolicyDiagnostic};

/// Most findings that one line of the log shows.
const MOST: usize = 20;

/// Errors first, then warnings, each with its excerpt; nothing in colour.
pub(super) fn of_policies(findings: &[PolicyDiagnostic]) -> String {
    let mut sorted: Vec<&PolicyDiagnostic> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut text = String::new();
    for finding in sorted.iter().take(MOST) {
        text.push('\n');
        text.push_str(&rendered(report(finding).as_ref()));
    }
    if sorted.len() > MOST {
        text.push_str(&format!("\nand {} more\n", sorted.len() - MOST));
    }
    text
}

fn report(finding: &PolicyDiagnostic) -> Report {
    let severity = match finding.severity {
        policy::Severity::Warning => Severity::Warning,
        policy::Severity::Error => Severity::Error,
    };
    let mut told = MietteDiagnostic::new(visible(&finding.message)).with_severity(severity);
    if let Some(help) = &finding.help {
        told = told.with_help(visible(help));
    }
    match finding.span {
        Some((offset, length)) => {
            let label = LabeledSpan::new(Some("here".to_owned()), offset, length);
            let source = NamedSource::new(&finding.file, masked(&finding.text));
            Report::new(told.with_label(label)).with_source_code(source)
        }
        None => Report::new(told),
    }
}

/// Any diagnostic, in plain characters.
pub(super) fn rendered(diagnostic: &dyn Diagnostic) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(160)
        .with_wrap_lines(false)
        .with_links(false);
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        Err(_) => format!("{diagnostic}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Catalogue, Engine, PolicySources};

    #[test]
    fn a_finding_is_shown_with_its_line_and_a_caret_and_without_colour() {
        let text = "permit (principal, action == Mcp::Action::\"tools/lsit\", resource);";
        let found = Engine::compile(&PolicySources::single("a.cedar", text), &Catalogue::default());
        let shown = of_policies(&found.unwrap_err());
        assert!(
            shown.contains("a.cedar:1:") && shown.contains("tools/lsit") && shown.contains("here"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands_and_nothing_beside_it_reaches_the_terminal() {
        let text = "// \u{1b}[8m \u{202e}\npermit (principal, action == Mcp::Action::\"tools/lsit\", resource); // \u{1b}[2J\r";
        let found = Engine::compile(&PolicySources::single("a.cedar", text), &Catalogue::default());
        let shown = of_policies(&found.unwrap_err());
        assert!(shown.contains("a.cedar:2:") && shown.contains("tools/lsit"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
    }
}
