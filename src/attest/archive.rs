//! What a verifier needs besides the records, kept with them: chains, bundles and policy sources (invariant I4).

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use super::directory::{self, Layout};
use super::error::StorageError;
use super::gateway::{KeyRef, PolicyFile};
use super::predicate::clip;
use crate::domain::digest::Sha256Digest;
use crate::keys::{CertificateChain, PublicSvid};

/// One policy file, or the schema, as it was loaded.
#[derive(Debug, Clone)]
pub struct PolicySource {
    /// Its name or path.
    pub name: String,
    /// Its text.
    pub text: std::sync::Arc<str>,
}

/// The chains and bundles of `trust/`. The last few keys are remembered, so that one in use costs no look at the disk.
#[derive(Debug)]
pub(super) struct TrustArchive {
    layout: Layout,
    kept: VecDeque<KeyRef>,
}

/// How many keys are remembered: the one in use, the one before, and what an agent may still come back to.
const REMEMBERED: usize = 8;

impl TrustArchive {
    pub(super) const fn new(layout: Layout) -> Self {
        Self { layout, kept: VecDeque::new() }
    }

    /// Archives a key's chain and the bundle in force, and names them.
    pub(super) fn keep(&mut self, key: &PublicSvid) -> Result<KeyRef, StorageError> {
        let reference = KeyRef::of(key);
        if self.kept.contains(&reference) {
            return Ok(reference);
        }
        keep_chain(&self.layout.chain(&reference.chain), key.chain())?;
        keep(&self.layout.bundle(&reference.bundle), key.bundle().to_pem().as_bytes())?;
        self.kept.truncate(REMEMBERED - 1);
        self.kept.push_front(reference.clone());
        Ok(reference)
    }
}

/// One leaf may come again with another way up (an intermediate CA was renewed). Records of either time need their
/// own, so the file gains certificates and loses none.
fn keep_chain(path: &Path, chain: &CertificateChain) -> Result<(), StorageError> {
    let there = fs::read_to_string(path).ok().and_then(|text| CertificateChain::from_pem(&text).ok());
    let joined = there.and_then(|there| there.joined(chain));
    keep(path, joined.as_ref().unwrap_or(chain).to_pem().as_bytes())
}

/// Archives the sources of a policy set, and names them.
pub(super) fn policies(
    layout: &Layout,
    set: &Sha256Digest,
    sources: &[PolicySource],
) -> Result<Vec<PolicyFile>, StorageError> {
    let dir = layout.policies(set);
    directory::make_dir(&dir)?;
    let mut files = Vec::with_capacity(sources.len());
    for source in sources {
        let sha256 = Sha256Digest::of(source.text.as_bytes());
        let name = clip(&source.name);
        keep(&dir.join(policy_file_name(&name, &sha256)), source.text.as_bytes())?;
        files.push(PolicyFile { name, sha256 });
    }
    directory::sync_dir(layout.dir().join("policies").as_path())?;
    Ok(files)
}

/// The name under which a policy file is archived: the first 16 digits of its digest, and what of the last part of
/// its own name is harmless. Two files of one name, or two versions of one, don't collide.
pub fn policy_file_name(name: &str, sha256: &Sha256Digest) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let keep = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain: String = last.chars().filter(keep).take(64).collect();
    let digest = sha256.to_string();
    format!("{}-{plain}", digest.get(..16).unwrap_or(&digest))
}

/// Writes a file unless it is there with just this content.
fn keep(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    match fs::read(path) {
        Ok(there) if there == content => Ok(()),
        _ => directory::write_atomically(path, content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archived_policy_never_leaves_its_directory() {
        let digest = Sha256Digest::of(b"x");
        for name in ["../../etc/passwd", "/", "..", "a/b.cedar", "a\0b", "ü.cedar"] {
            let stored = policy_file_name(name, &digest);
            assert!(!stored.contains('/') && stored.len() > 16 && !stored.starts_with('.'), "{stored}");
        }
        assert!(policy_file_name("dir/main.cedar", &digest).ends_with("-main.cedar"));
    }
}
