//! The policy files' text, as the configuration found them, and the single policies in it.

use std::sync::Arc;

use crate::domain::decision::PolicySetDigest;
use crate::domain::digest::Sha256Digest;

use super::diagnostic::{PolicyDiagnostic, Severity, Warning};

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, as it shall stand in diagnostics and in the ids of policies without `@id`.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

/// All policy files, in the order in which they count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySources {
    /// The files.
    pub files: Vec<SourceFile>,
}

impl PolicySources {
    /// One file's worth.
    pub fn single(name: &str, text: &str) -> Self {
        Self { files: vec![SourceFile { name: name.into(), text: text.into() }] }
    }

    /// The set's digest: SHA-256 over the 32-byte digests of its policies, in order. A policy's digest is the SHA-256
    /// of its own text, from its first token to its `;`: file names and the space between policies don't count.
    pub fn digest(&self) -> PolicySetDigest {
        let digests: Vec<Sha256Digest> = self.statements().map(|statement| statement.digest()).collect();
        let parts: Vec<&[u8]> = digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
        Sha256Digest::of_parts(&parts)
    }

    /// The single policies, in order.
    pub(super) fn statements(&self) -> impl Iterator<Item = Statement<'_>> {
        self.files.iter().flat_map(|file| {
            let (mut at, mut line) = (0, 1);
            std::iter::from_fn(move || {
                let (start, end) = next_statement(&file.text, at)?;
                let lines =
                    |from, to| file.text.get(from..to).map_or(0, |text: &str| text.matches('\n').count());
                let first = line + lines(at, start);
                line = first + lines(start, end);
                at = end;
                Some(Statement { file, start, line: first, text: file.text.get(start..end)? })
            })
        })
    }
}

/// The text of one policy, where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) file: &'a SourceFile,
    /// Byte offset of its first token in the file.
    pub(super) start: usize,
    /// The line of its first token, from 1.
    pub(super) line: usize,
    pub(super) text: &'a str,
}

impl Statement<'_> {
    pub(super) fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.text.as_bytes())
    }

    /// A warning about the policy `id`, which this is; `span` is an offset and a length in its text.
    pub(super) fn warning(
        &self,
        id: &Arc<str>,
        span: Option<(usize, usize)>,
        message: String,
        help: Option<String>,
    ) -> Warning {
        let (at, length) = span.unwrap_or((0, self.text.len()));
        PolicyDiagnostic {
            severity: Severity::Warning,
            file: Arc::clone(&self.file.name),
            text: Arc::clone(&self.file.text),
            span: Some((self.start + at, length)),
            message,
            help,
            policy: Some(Arc::clone(id)),
            unknown_name: false,
        }
    }
}

/// The next text that ends with a `;` outside of strings and comments, from its first token on; what stands after the
/// last `;` counts as one too, so that Cedar's parser complains of it.
fn next_statement(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut start = None;
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while bytes.get(at).is_some_and(|b| !matches!(b, b'\n' | b'\r')) {
                    at += 1;
                }
                continue;
            }
            b'"' => {
                start.get_or_insert(at);
                at += 1;
                while bytes.get(at).is_some_and(|b| *b != b'"') {
                    at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
            }
            b';' => return Some((start.unwrap_or(at), at + 1)),
            b if b.is_ascii_whitespace() => {}
            _ => {
                start.get_or_insert(at);
            }
        }
        at += 1;
    }
    start.map(|start| (start, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        PolicySources::single("f", text).statements().map(|s| s.text.to_owned()).collect()
    }

    #[test]
    fn policies_are_told_apart_by_semicolons_outside_of_strings_and_comments() {
        let text = "// a; b\n@reason(\"no; \\\" ; really\") permit (principal, action, resource) // x;\n;\n\nforbid(a);// y\rx";
        assert_eq!(texts(text).len(), 3);
        assert!(texts(text)[0].starts_with("@reason") && texts(text)[0].ends_with(';'));
        assert_eq!(texts(text)[1..], ["forbid(a);", "x"]);
        assert!(texts("// nothing\n\n").is_empty());
    }

    #[test]
    fn the_digest_ignores_file_names_and_space_between_policies_but_not_order() {
        let digest = |text: &str| PolicySources::single("f", text).digest();
        let one = digest("permit (principal, action, resource);\nforbid (principal, action, resource);");
        let mut moved = PolicySources::single("a", "\n permit (principal, action, resource); // yes\n");
        moved.files.extend(PolicySources::single("b", "forbid (principal, action, resource);").files);
        assert_eq!(one, moved.digest());
        assert_ne!(one, digest("forbid (principal, action, resource);permit (principal, action, resource);"));
    }
}
