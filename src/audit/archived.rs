//! The archive's trust bundles: whether those that records name are there, and which of them could explain a key
//! that the caller's bundle does not vouch for. Nothing is believed because it lies here.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;

use super::lines::read_file;
use crate::attest::Layout;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::keys::{CertificateChain, TrustBundle};

/// Largest archived bundle, in bytes; most files and most roots that are looked at for an explanation.
const MAX_BUNDLE: u64 = 2 * 1024 * 1024;
const MAX_FILES: usize = 4096;
const MAX_ROOTS: usize = 2048;

/// See the module.
pub(super) struct Archived<'a> {
    layout: &'a Layout,
    trust_domain: &'a str,
    /// What was found of each bundle that a record names.
    checked: HashMap<Sha256Digest, Result<(), String>>,
    roots: OnceCell<Roots>,
}

/// The roots of all archived bundles, and a bundle that holds each.
struct Roots {
    all: Option<TrustBundle>,
    holders: HashMap<Sha256Digest, Sha256Digest>,
}

/// An archived root that signed a chain, by the log's own account.
pub(super) struct Found {
    pub(super) root: Sha256Digest,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// A bundle that holds it.
    pub(super) bundle: Sha256Digest,
}

impl<'a> Archived<'a> {
    pub(super) fn new(layout: &'a Layout, trust_domain: &'a str) -> Self {
        Self { layout, trust_domain, checked: HashMap::new(), roots: OnceCell::new() }
    }

    /// Whether the bundle is archived as it was.
    ///
    /// # Errors
    /// In words: it is missing or altered.
    pub(super) fn bundle(&mut self, thumbprint: &Sha256Digest) -> Result<(), String> {
        let layout = self.layout;
        let look = || {
            let path = layout.bundle(thumbprint);
            let file = path.display();
            match read_file(&path, MAX_BUNDLE) {
                Err(error) => {
                    Err(format!("the trust bundle that was in force is not archived ({file}: {error})"))
                }
                Ok(text) if Sha256Digest::of(&text) != *thumbprint => {
                    Err(format!("the trust bundle that was in force was altered in the archive ({file})"))
                }
                Ok(_) => Ok(()),
            }
        };
        self.checked.entry(*thumbprint).or_insert_with(look).clone()
    }

    /// Which archived root signed this chain, if one did.
    pub(super) fn root_of(&self, chain: &CertificateChain, at: Timestamp) -> Option<Found> {
        let roots = self.roots.get_or_init(|| self.load());
        let all = roots.all.as_ref()?;
        let root = chain.verify(all, at).ok()?.root;
        let facts = all.root_facts().find(|facts| facts.thumbprint == root)?;
        let bundle = *roots.holders.get(&root)?;
        Some(Found { root, not_before: facts.not_before, not_after: facts.not_after, bundle })
    }

    fn load(&self) -> Roots {
        let mut holders = HashMap::new();
        let mut bundles = Vec::new();
        let listed = fs::read_dir(self.layout.bundles()).into_iter().flatten().flatten();
        let mut names: Vec<_> = listed.take(MAX_FILES).map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        for name in names {
            let thumbprint =
                name.to_str().and_then(|name| name.strip_suffix(".pem")).and_then(|hex| hex.parse().ok());
            let Some(thumbprint) = thumbprint else { continue };
            let Ok(text) = read_file(&self.layout.bundle(&thumbprint), MAX_BUNDLE) else { continue };
            if Sha256Digest::of(&text) != thumbprint {
                continue;
            }
            let Ok(bundle) = TrustBundle::from_pem(self.trust_domain, &String::from_utf8_lossy(&text)) else {
                continue;
            };
            let before = holders.len();
            for root in bundle.roots() {
                holders.entry(Sha256Digest::of(root)).or_insert(thumbprint);
            }
            if holders.len() > before {
                bundles.push(bundle);
            }
            if holders.len() > MAX_ROOTS {
                break;
            }
        }
        Roots { all: TrustBundle::union(bundles).ok(), holders }
    }
}
