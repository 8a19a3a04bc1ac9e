//! Policy sets: announced before they decide, archived as announced.

use std::collections::HashSet;

use super::lines::read_file;
use super::read::{PolicyChange, PolicyFile};
use crate::attest::{Layout, policy_file_name};
use crate::domain::digest::Sha256Digest;

/// Most that is read of an archived policy file, in bytes.
const MAX_POLICY: u64 = 64 * 1024 * 1024;

/// The policy sets that one run announced.
#[derive(Debug, Default)]
pub(super) struct Announced {
    sets: HashSet<(Sha256Digest, Sha256Digest)>,
    /// The set announced last.
    last: Option<Sha256Digest>,
    /// An announcement may be among the records that could not be believed.
    pub(super) doubt: bool,
}

impl Announced {
    /// Of a run whose announcements may not all be known.
    pub(super) fn in_doubt() -> Self {
        Self { doubt: true, ..Self::default() }
    }

    /// Takes over an announcement, and checks that its files are archived.
    ///
    /// # Errors
    /// In words: which file is missing or altered.
    pub(super) fn announce(&mut self, layout: &Layout, change: &PolicyChange) -> Result<(), String> {
        self.sets.insert((change.policy_set, change.schema));
        let last = self.last.replace(change.policy_set);
        if !self.doubt && change.replaces.is_some() && change.replaces != last {
            return Err("it names another policy set before it than the one that decided".to_owned());
        }
        archived(layout, &change.policy_set, &change.files)?;
        match &change.shadow {
            Some(shadow) => archived(layout, &shadow.policy_set, &shadow.files),
            None => Ok(()),
        }
    }

    /// Whether a decision may name this set.
    ///
    /// # Errors
    /// In words, if it may not.
    pub(super) fn check(&self, set: Sha256Digest, schema: Sha256Digest) -> Result<(), String> {
        if self.doubt || self.sets.contains(&(set, schema)) {
            Ok(())
        } else {
            Err(format!("policy set {set} with schema {schema} was not announced in this run"))
        }
    }
}

/// Whether a set's files are archived as announced.
fn archived(layout: &Layout, set: &Sha256Digest, files: &[PolicyFile]) -> Result<(), String> {
    let dir = layout.policies(set);
    for file in files {
        let path = dir.join(policy_file_name(&file.name, &file.sha256));
        let missing = |error| format!("`{}` is not archived ({}: {error})", file.name, path.display());
        let text = read_file(&path, MAX_POLICY).map_err(missing)?;
        if Sha256Digest::of(&text) != file.sha256 {
            return Err(format!("`{}` was altered in the archive ({})", file.name, path.display()));
        }
    }
    Ok(())
}
