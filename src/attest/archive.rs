//! What a verifier needs besides the records, kept with them: chains, bundles and policy sources (invariant I4).

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use super::directory::{self, Layout};
use super::error::StorageError;
use super::gateway::{KeyRef, PolicyCause, PolicyFile, PolicySummary};
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

/// A policy set that is to decide.
#[derive(Debug)]
pub struct Announcement<'a> {
    /// Why.
    pub cause: PolicyCause,
    /// Digest of the set before, in this run.
    pub replaces: Option<Sha256Digest>,
    /// Its digest.
    pub policy_set: Sha256Digest,
    /// Digest of the Cedar schema.
    pub schema: Sha256Digest,
    /// Its files and the schema.
    pub sources: &'a [PolicySource],
    /// What changed.
    pub summary: PolicySummary,
    /// The candidate set beside it, by digest, and its files.
    pub shadow: Option<(Sha256Digest, &'a [PolicySource])>,
}

impl Default for Announcement<'_> {
    fn default() -> Self {
        let none = Sha256Digest::of(b"");
        Self {
            cause: PolicyCause::Start,
            replaces: None,
            policy_set: none,
            schema: none,
            sources: &[],
            summary: PolicySummary::default(),
            shadow: None,
        }
    }
}

/// The chains and bundles of `trust/`. The last few keys are remembered, so that one in use costs no look at the disk.
#[derive(Debug)]
pub(super) struct TrustArchive {
    layout: Layout,
    kept: VecDeque<(KeyRef, CertificateChain)>,
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
        // The same leaf may have come by another way up, which is archived as well.
        if self.kept.iter().any(|(kept, chain)| *kept == reference && chain == key.chain()) {
            return Ok(reference);
        }
        keep_chain(&self.layout.chain(&reference.chain), key.chain())?;
        keep(&self.layout.bundle(&reference.bundle), key.bundle().to_pem().as_bytes())?;
        self.kept.truncate(REMEMBERED - 1);
        self.kept.push_front((reference.clone(), key.chain().clone()));
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
    use std::sync::Arc;

    use super::*;
    use crate::attest::testing::{Bench, Script, await_recovery, close, later};
    use crate::attest::{AppendError, Predicate, Statement};
    use crate::domain::decision::Effect;
    use crate::keys::ActiveKey;
    use crate::keys::testing::{Authority, LeafSpec, RootSpec};

    #[test]
    fn a_key_in_use_is_not_archived_anew_for_each_record_even_if_handed_out_anew() {
        let bench = Bench::new();
        let log = bench.open();
        let script = Script::new(&bench.signer);
        script.open(&log);
        let key = bench.signer.current_key();
        let path = Layout::at(bench.path()).chain(&key.chain().leaf_thumbprint());
        fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            let again = key.under(Arc::clone(key.bundle()), later(0)).unwrap();
            bench.signer.hold(Ok(Arc::new(again)));
            script.allow(&log);
            script.say(&log, Predicate::SessionRenew(script.renewal(script.token.clone())));
        }
        close(&log);
        assert!(!path.exists(), "nobody looked");
    }

    #[test]
    fn a_leaf_that_comes_again_with_another_intermediate_loses_neither() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path());
        directory::make_dir(&layout.chains()).unwrap();
        directory::make_dir(&layout.bundles()).unwrap();
        let authority = Authority::new("example.org");
        let spec = LeafSpec::of("spiffe://example.org/gw", later(0), later(3600));
        let (leaf, pkcs8) = authority.leaf(&spec);
        let with = |other: &CertificateChain| {
            let ders = leaf.ders().chain(other.ders()).map(<[u8]>::to_vec);
            let chain = CertificateChain::from_ders(ders).unwrap();
            PublicSvid::from(&ActiveKey::new(&pkcs8, chain, Arc::clone(&authority.bundle), later(0)).unwrap())
        };
        let others: Vec<CertificateChain> = (0..9).map(|_| authority.leaf(&spec).0).collect();
        let path = layout.chain(&leaf.leaf_thumbprint());
        let archived = || CertificateChain::from_pem(&fs::read_to_string(&path).unwrap()).unwrap();
        for (at, other) in others.iter().enumerate().take(7) {
            TrustArchive::new(layout.clone()).keep(&with(other)).unwrap();
            assert_eq!(archived().ders().count(), at + 2);
        }
        let before = archived();
        TrustArchive::new(layout.clone()).keep(&with(&others[3])).unwrap();
        assert_eq!(archived(), before, "what is there already changes nothing");
        // More than a chain may have, or something else in its place: the way up that counts now is there.
        let latest = with(&others[8]);
        for spoilt in [None, Some("x"), Some("")] {
            if let Some(spoilt) = spoilt {
                fs::write(&path, spoilt).unwrap();
            }
            TrustArchive::new(layout.clone()).keep(&latest).unwrap();
            assert_eq!(archived(), *latest.chain());
        }
    }

    #[test]
    fn another_way_up_is_archived_although_the_leaf_was_already() {
        let bench = Bench::new();
        let first = bench.authority.intermediate(&RootSpec::of("example.org"));
        let second = bench.authority.intermediate(&RootSpec::of("example.org"));
        let spec = LeafSpec::of("spiffe://example.org/gw", later(0), later(3600));
        let (leaf, pkcs8) = first.leaf(&spec);
        let joined =
            leaf.ders().chain(second.leaf(&spec).0.ders().skip(1)).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let joined = CertificateChain::from_ders(joined).unwrap();
        let log = bench.open();
        for chain in [&leaf, &joined] {
            let bundle = Arc::clone(&bench.authority.bundle);
            let key = ActiveKey::new(&pkcs8, chain.clone(), bundle, later(0)).unwrap();
            bench.signer.hold(Ok(Arc::new(key)));
            Script::new(&bench.signer).open(&log);
        }
        close(&log);
        let archived = fs::read_to_string(Layout::at(bench.path()).chain(&leaf.leaf_thumbprint())).unwrap();
        assert_eq!(CertificateChain::from_pem(&archived).unwrap(), joined);
    }

    #[test]
    fn a_token_whose_key_can_not_be_archived_is_not_recorded() {
        let bench = Bench::new();
        let log = bench.open();
        let held = bench.signer.current_key();
        bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(1800))));
        let script = Script::new(&bench.signer);
        bench.signer.hold(Ok(held));
        let decided = log.append(&script.chain, |link| script.decision(link, Effect::Allow, None));
        decided.unwrap().wait().unwrap();
        let (chains, aside) = (bench.path().join("trust/chains"), bench.path().join("trust/aside"));
        fs::rename(&chains, &aside).unwrap();
        fs::write(&chains, "in the way").unwrap();
        let opening = || {
            let open = Predicate::SessionOpen(script.opening());
            log.append(&script.chain, |link| Statement::new(open, link))?.wait()
        };
        assert!(matches!(opening().unwrap_err(), AppendError::Storage(_)));
        fs::remove_file(&chains).unwrap();
        fs::rename(&aside, &chains).unwrap();
        await_recovery(&log);
        opening().unwrap();
        close(&log);
        assert!(Layout::at(bench.path()).chain(&script.key.chain().leaf_thumbprint()).exists());
    }

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
