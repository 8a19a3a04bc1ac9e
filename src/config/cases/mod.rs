//! Case files: what policies are expected to say of requests, in YAML beside the policies (`*.cases.yaml`).
//!
//! As with the configuration, every mistake of a file is told at once with its place; the shapes are in `raw`.

mod raw;
mod resolve;

use std::ops::Range;
use std::path::Path;

use crate::domain::clock::Timestamp;
use crate::policy::{Direction, SessionFacts, State};

use super::diagnostic::{Mistakes, Source};
use super::{ConfigError, Mistake, located, strict, unreadable};

/// How the names of case files end.
pub const CASE_FILES: &str = ".cases.yaml";
/// Largest case file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A case file.
#[derive(Debug)]
pub struct CaseFile {
    /// Its name, as it was given.
    pub name: String,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Who asks, in which session.
    pub facts: SessionFacts,
    /// What the principal did before.
    pub state: State,
    /// When.
    pub now: Timestamp,
    /// What is asked.
    pub asked: CaseAction,
    /// What the policies should say.
    pub expect: Expect,
    /// The policies that should decide, sorted; `None`: whichever.
    pub by: Option<Vec<String>>,
    source: Source,
    expect_at: Range<usize>,
    by_at: Range<usize>,
    asked_at: Range<usize>,
    server_at: Range<usize>,
}

/// A place of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasePlace {
    /// What it expects.
    Expect,
    /// The policies that it names.
    By,
    /// The tool or the method.
    Asked,
    /// The server, which may be named for the whole file.
    Server,
}

/// What a case asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseAction {
    /// To open the session.
    Open,
    /// To call a tool.
    Call {
        /// The tool.
        tool: String,
        /// JSON text.
        arguments: String,
    },
    /// Any other method.
    Method {
        /// The JSON-RPC method.
        method: String,
        /// The prompt's name or the resource's URI.
        target: Option<String>,
        /// Who sends it.
        from: Direction,
    },
}

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is allowed.
    Allow,
    /// It is denied, for this reason if one is given.
    Deny(Option<&'static str>),
    /// Its tool, prompt or resource stands in lists.
    Listed,
    /// It does not.
    Hidden,
}

impl Case {
    /// That something else than the expected came out, at the place where it is written.
    pub fn missed(&self, message: String, at: CasePlace, help: Option<String>) -> Mistake {
        let span = match at {
            CasePlace::By if !self.by_at.is_empty() => &self.by_at,
            CasePlace::Expect | CasePlace::By => &self.expect_at,
            CasePlace::Asked => &self.asked_at,
            CasePlace::Server => &self.server_at,
        };
        Mistake::new(&self.source, span, message, help)
    }

    /// The line where its expectation stands, from 1.
    pub fn line(&self) -> usize {
        Mistake::new(&self.source, &self.expect_at, String::new(), None).position().0
    }
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or all its mistakes.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let read = |why| ConfigError::ReadCases { path: name.clone(), why };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_FILE {
            return Err(read(std::io::Error::other("it is larger than 16 MiB")));
        }
        Self::parse(&name, &std::fs::read_to_string(path).map_err(read)?)
    }

    /// Reads `text`, which is called `name` in diagnostics.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let source = Source::new(name, text);
        let mut mistakes = Mistakes::new(source.clone());
        let hint = "`chancery policy test --schema` prints what belongs here";
        let cases = match serde_yaml::from_str::<located::At<located::Node>>(text) {
            Ok(node) => {
                strict::check(&node, &value(), &mut mistakes);
                mistakes.is_empty().then(|| serde_yaml::from_str::<raw::File>(text))
            }
            Err(error) => Some(Err(error)),
        };
        let cases = match cases {
            Some(Ok(file)) => resolve::cases(&file, &source, &mut mistakes),
            Some(Err(error)) => {
                unreadable(text, &error, hint, &mut mistakes);
                Vec::new()
            }
            None => Vec::new(),
        };
        mistakes.finish()?;
        Ok(Self { name: name.to_owned(), cases })
    }
}

fn value() -> serde_json::Value {
    schemars::schema_for!(raw::File).to_value()
}

/// The JSON Schema of case files as text, ending in a newline.
pub fn case_schema() -> String {
    format!("{:#}\n", value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let told = |mistake: &Mistake| {
            let (line, column) = mistake.position();
            format!("{line}:{column} {mistake} ({})", mistake.fix().unwrap_or("-"))
        };
        match CaseFile::parse("x.cases.yaml", text).unwrap_err() {
            ConfigError::One(one) => vec![told(&one)],
            ConfigError::Many(many) => many.iter().map(told).collect(),
            other => vec![other.to_string()],
        }
    }

    #[test]
    fn every_mistake_of_a_case_file_is_told_with_its_place() {
        let text = "server: files\ncases:\n  - name: a\n    tol: x\n    expect: allow\n";
        assert_eq!(mistakes(text), ["4:5 unknown key `tol` (did you mean `tool`?)"]);
        let text = "cases:\n  - { name: a, tool: read, expect: maybe }\n  - { name: b, tool: f/t, method: ping, expect: allow, now: noon }\n  \
                    - { name: c, expect: deny, tool: f/t, principal: { id: alice } }\n  - { name: a, expect: listed, method: tools/list, server: f }\n";
        insta::assert_snapshot!(mistakes(text).join("\n"));
    }

    #[test]
    fn a_case_takes_what_it_does_not_say_from_the_file() {
        let text = "server: files\nnow: 2026-01-02T03:04:05Z\ntime_zone: Europe/Berlin\nprincipal: { uid: 7, groups: [a] }\n\
                    usage: { calls: 5 }\ncases:\n  - { name: a, tool: read, arguments: { n: 1, s: null }, expect: allow }\n  \
                    - { name: b, tool: other/read, arguments: '{\"n\":1e400}', expect: forbidden, by: [b, a],\n      \
                    principal: { id: 'spiffe://example.org/x/y' }, session: { age: 60, calls: 2, labels: [z, l] } }\n";
        let file = CaseFile::parse("x.cases.yaml", text).unwrap();
        let [a, b] = &file.cases[..] else { panic!("{file:?}") };
        assert_eq!(
            (a.facts.principal.as_str(), a.facts.uid, a.facts.server.as_str()),
            ("peer:7:-", Some(7), "files")
        );
        assert_eq!(
            (a.facts.groups.as_slice(), a.state.all.calls, a.state.utc_offset),
            (&["a".to_owned()][..], 5, 3600)
        );
        assert_eq!(
            a.asked,
            CaseAction::Call { tool: "read".into(), arguments: r#"{"n":1,"s":null}"#.into() }
        );
        assert_eq!((a.expect, a.by.as_ref(), a.line()), (Expect::Allow, None, 7));
        assert_eq!(b.facts.groups, ["spiffe://example.org", "spiffe://example.org/x"]);
        assert_eq!((b.facts.server.as_str(), b.now.since(b.facts.opened).as_secs()), ("other", 60));
        assert_eq!(b.asked, CaseAction::Call { tool: "read".into(), arguments: r#"{"n":1e400}"#.into() });
        assert_eq!(
            (b.expect, b.by.clone().unwrap()),
            (Expect::Deny(Some("forbidden")), vec!["a".to_owned(), "b".into()])
        );
        assert_eq!((b.state.session_calls, b.state.session_labels[0].to_string()), (2, "l".to_owned()));
    }
}
