//! The policy files' text, as the configuration found them.

use std::sync::Arc;

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
}
