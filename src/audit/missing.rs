//! What the caller's bundle lacks: said once for each root, however many keys are under it.

use std::fmt;

use serde::Serialize;

use super::archived::Found;
use crate::domain::digest::Sha256Digest;

/// Roots, and keys of each, that are kept. Their findings name all keys.
const KEPT: usize = 100;

/// Keys of a root that are shown to people.
const SHOWN_KEYS: usize = 4;

/// Keys that the given bundle does not vouch for, and what would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// The root that signed their chains, by the log's own account; none where no archived root did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<MissingRoot>,
    /// The keys' thumbprints (base64url), as findings name them; the first of them.
    pub keys: Vec<String>,
    /// How many more keys there are, of those that are remembered.
    pub more_keys: u64,
}

/// A root that is not in the given bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRoot {
    /// SHA-256 of its certificate.
    pub sha256: String,
    /// From when it is valid.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// The log's own copy of a bundle that holds it, relative to the log's directory.
    pub copy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.keys.len().min(SHOWN_KEYS);
        let keys: Vec<_> = self.keys.iter().take(SHOWN_KEYS).map(|key| format!("#{key}")).collect();
        let keys = keys.join(", ");
        let more = match self.more_keys + (self.keys.len() - shown) as u64 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let Some(root) = &self.root else {
            return write!(
                f,
                "no root of the given trust bundle, and none in the log's archive, signed the chain of {keys}{more}. Give \
                 the trust bundle that was in force then (--trust-bundle may be repeated); if none signed it, the log is \
                 forged"
            );
        };
        let MissingRoot { sha256, not_before, not_after, copy } = root;
        write!(
            f,
            "the root {sha256} (valid from {not_before} to {not_after}) signed the chain of {keys}{more}, and is not in \
             the given trust bundle, as when the CA has rotated since. Give the trust bundle of that time too \
             (--trust-bundle may be repeated). The log has a copy, {copy}: believe it only if that root is in what you \
             kept elsewhere; if it never was in your CA's bundle, the log is forged"
        )
    }
}

/// Adds a key to those that nothing given vouches for.
pub(super) fn add(all: &mut Vec<Missing>, key: &Sha256Digest, found: Option<&Found>) {
    let key = key.to_base64url();
    let root = found.map(|found| found.root.to_string());
    let same = |known: &&mut Missing| known.root.as_ref().map(|root| &root.sha256) == root.as_ref();
    if let Some(known) = all.iter_mut().find(same) {
        if known.keys.len() < KEPT {
            known.keys.push(key);
        } else {
            known.more_keys += 1;
        }
    } else if all.len() < KEPT {
        let root = found.map(|found| MissingRoot {
            sha256: found.root.to_string(),
            not_before: found.not_before.to_rfc3339(),
            not_after: found.not_after.to_rfc3339(),
            copy: format!("trust/bundles/{}.pem", found.bundle),
        });
        all.push(Missing { root, keys: vec![key], more_keys: 0 });
    }
}
