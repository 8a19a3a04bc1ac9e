//! Certificate chains and the proof that one leads to a trust bundle.

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, KeyUsage};

use super::bundle::{Root, TrustBundle};
use super::public_key::PublicKey;
use super::svid::{self, SvidError};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{KeyId, SpiffeId};

/// Longest chain, and largest certificate in bytes: both far above what SPIRE issues.
const MAX_CERTIFICATES: usize = 8;
pub(super) const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// How many roots are tried at once.
const ROOTS_AT_ONCE: usize = 16;

/// The algorithms that may stand under a certificate: those of SPIRE's CA key types.
const ACCEPTED: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Why a chain proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate, or too many, or a huge one.
    #[error("a chain has 1 to {MAX_CERTIFICATES} certificates of at most {MAX_CERTIFICATE_BYTES} bytes each")]
    Size,
    /// Not PEM, or a block that is no certificate.
    #[error("the chain is not PEM with certificates only: {0}")]
    Pem(String),
    /// The leaf is no SVID that may sign.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The leaf is of another trust domain than the bundle.
    #[error("the leaf is of trust domain `{leaf}`, the bundle of `{bundle}`")]
    TrustDomain {
        /// The leaf's.
        leaf: String,
        /// The bundle's.
        bundle: String,
    },
    /// The leaf was not valid at that moment.
    #[error("the leaf is valid from {not_before} to {not_after}, not at {at}")]
    Validity {
        /// The moment asked for.
        at: Timestamp,
        /// The leaf's first moment.
        not_before: Timestamp,
        /// The leaf's last moment.
        not_after: Timestamp,
    },
    /// No path to a root of the bundle that was valid at that moment.
    #[error("the chain does not lead to a root of the trust bundle: {0}")]
    Path(webpki::Error),
}

/// A chain as it was handed over, leaf first, without the root. Nothing is proven by having one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// A leaf that a trust bundle vouches for, at the moment it was asked for.
#[derive(Debug, Clone)]
pub struct VerifiedLeaf {
    /// Whose key it is.
    pub spiffe_id: SpiffeId,
    /// The key.
    pub key: PublicKey,
    /// The key's id.
    pub key_id: KeyId,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when, that second included.
    pub not_after: Timestamp,
    /// Thumbprint (SHA-256 of the DER) of the root that vouches for it.
    pub root: Sha256Digest,
    /// From when this very path holds, root and intermediates included.
    pub from: Timestamp,
    /// Until when it does, that second included.
    pub to: Timestamp,
}

impl CertificateChain {
    /// From DER certificates, leaf first.
    ///
    /// # Errors
    /// None, more than 8, or one over 16 KiB.
    pub fn from_ders(ders: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, ChainError> {
        let mut ders = ders.into_iter().take(MAX_CERTIFICATES + 1).map(CertificateDer::from);
        let leaf = ders.next().ok_or(ChainError::Size)?;
        let chain = Self { leaf, intermediates: ders.collect() };
        let too_large = chain.ders().any(|der| der.len() > MAX_CERTIFICATE_BYTES);
        if too_large || chain.intermediates.len() >= MAX_CERTIFICATES {
            return Err(ChainError::Size);
        }
        Ok(chain)
    }

    /// From PEM, leaf first. A block that is no certificate is an error.
    ///
    /// # Errors
    /// Not PEM, another kind of block, or as [`CertificateChain::from_ders`].
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        let blocks = pem::parse_many(text).map_err(|e| ChainError::Pem(e.to_string()))?;
        if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
            return Err(ChainError::Pem(format!("it has a block `{}`", other.tag())));
        }
        Self::from_ders(blocks.into_iter().map(pem::Pem::into_contents))
    }

    /// As PEM, leaf first.
    pub fn to_pem(&self) -> String {
        self.ders().map(encode_certificate).collect()
    }

    /// The certificates' DER, leaf first.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.leaf).chain(&self.intermediates).map(AsRef::as_ref)
    }

    /// SHA-256 of the leaf's DER, the `x5t#S256` half of its key id.
    pub fn leaf_thumbprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.leaf)
    }

    /// The leaf's own first and last moment; nothing vouches for them yet.
    ///
    /// # Errors
    /// The leaf can't be read.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), ChainError> {
        Ok(svid::validity(&svid::parse(&self.leaf)?))
    }

    /// The leaf's own word; nothing vouches for it yet.
    ///
    /// # Errors
    /// It is no SVID that may sign.
    pub fn unverified(&self) -> Result<Unverified, ChainError> {
        let leaf = svid::read_leaf(&self.leaf)?;
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        Ok(Unverified { spiffe_id: leaf.spiffe_id, not_before, not_after })
    }

    /// Whose the leaf is and how long, whatever its key and its uses: for one that TLS has verified.
    ///
    /// # Errors
    /// It does not name one workload.
    pub fn named(&self) -> Result<Unverified, ChainError> {
        let certificate = svid::parse(&self.leaf)?;
        let spiffe_id = svid::workload(&certificate)?;
        let (not_before, not_after) = svid::validity(&certificate);
        Ok(Unverified { spiffe_id, not_before, not_after })
    }

    /// Checks that the leaf is an SVID of the bundle's trust domain which may sign, and that the chain leads to one
    /// of the bundle's roots, everything valid at `at` (the time of signing, not now).
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, bundle: &TrustBundle, at: Timestamp) -> Result<VerifiedLeaf, ChainError> {
        let leaf = svid::read_leaf(&self.leaf)?;
        if leaf.spiffe_id.trust_domain() != bundle.trust_domain() {
            return Err(ChainError::TrustDomain {
                leaf: leaf.spiffe_id.trust_domain().to_owned(),
                bundle: bundle.trust_domain().to_owned(),
            });
        }
        // Whole seconds, as X.509 counts: the second of `notAfter` still belongs to the certificate.
        let second = at.as_secs();
        if second < leaf.not_before.as_secs() || second > leaf.not_after.as_secs() {
            let (not_before, not_after) = (leaf.not_before, leaf.not_after);
            return Err(ChainError::Validity { at, not_before, not_after });
        }
        let time =
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(second).unwrap_or(0)));
        let roots: Vec<&Root> = bundle.valid_at(at).collect();
        let path = self.path(&roots, time).map_err(ChainError::Path)?;
        let from = path.from.max(leaf.not_before);
        let to = path.to.min(leaf.not_after);
        let key_id = KeyId::new(&leaf.spiffe_id, &self.leaf_thumbprint().to_base64url());
        Ok(VerifiedLeaf {
            spiffe_id: leaf.spiffe_id,
            key: leaf.key,
            key_id,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            root: path.root,
            from,
            to,
        })
    }

    /// A path to one of `roots`, and how long it holds. They are tried a few at a time: webpki gives up after 100
    /// signatures, which many roots of one name (a CA's generations) would use up.
    /// That the chain leads to a root of `bundle` at `at`, whatever its leaf's key is good for; until when it does, as
    /// far as the certificates say.
    ///
    /// # Errors
    /// The leaf is no workload's of the bundle's trust domain or not valid at `at`, or there is no path to a root.
    pub fn leads_to(&self, bundle: &TrustBundle, at: Timestamp) -> Result<Timestamp, ChainError> {
        let leaf = self.named()?;
        let (found, expected) = (leaf.spiffe_id.trust_domain(), bundle.trust_domain());
        if found != expected {
            return Err(ChainError::TrustDomain { leaf: found.to_owned(), bundle: expected.to_owned() });
        }
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        if at.as_secs() < not_before.as_secs() || at.as_secs() > not_after.as_secs() {
            return Err(ChainError::Validity { at, not_before, not_after });
        }
        let second = std::time::Duration::from_secs(u64::try_from(at.as_secs()).unwrap_or(0));
        let roots: Vec<&Root> = bundle.valid_at(at).collect();
        let path = self.path(&roots, UnixTime::since_unix_epoch(second)).map_err(ChainError::Path)?;
        Ok(path.to.min(not_after))
    }

    fn path(&self, roots: &[&Root], time: UnixTime) -> Result<Path, webpki::Error> {
        let certificate = EndEntityCert::try_from(&self.leaf)?;
        // Without an extended key usage anything goes; with one, `read_leaf` asked for both already.
        let usage = KeyUsage::client_auth();
        let mut failure = webpki::Error::UnknownIssuer;
        for roots in roots.chunks(ROOTS_AT_ONCE) {
            let anchors: Vec<_> = roots.iter().map(|root| root.anchor.clone()).collect();
            let verified = certificate.verify_for_usage(
                ACCEPTED,
                &anchors,
                &self.intermediates,
                time,
                usage,
                None,
                None,
            );
            let path = match verified {
                Ok(path) => path,
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            let same = |root: &&&Root| root.anchor == *path.anchor();
            let Some(root) = roots.iter().find(same) else { return Err(webpki::Error::UnknownIssuer) };
            let (mut from, mut to) = (root.not_before, root.not_after);
            for certificate in path.intermediate_certificates() {
                let der = certificate.der();
                let Ok(certificate) = svid::parse(&der) else { return Err(webpki::Error::BadDer) };
                let (not_before, not_after) = svid::validity(&certificate);
                (from, to) = (from.max(not_before), to.min(not_after));
            }
            return Ok(Path { root: root.thumbprint, from, to });
        }
        Err(failure)
    }

    /// This chain with the intermediates of `other` that it lacks, if `other` is of the same leaf: an intermediate CA
    /// may be renewed while the leaf stays.
    pub fn joined(&self, other: &Self) -> Option<Self> {
        if self.leaf != other.leaf {
            return None;
        }
        let more = other.intermediates.iter().filter(|der| !self.intermediates.contains(der));
        Self::from_ders(self.ders().chain(more.map(AsRef::as_ref)).map(<[u8]>::to_vec)).ok()
    }
}

/// What a leaf says of itself. Whoever can write a certificate can write this.
#[derive(Debug, Clone)]
pub struct Unverified {
    /// Whose key it claims to be.
    pub spiffe_id: SpiffeId,
    /// From when it claims to be valid.
    pub not_before: Timestamp,
    /// Until when it claims to be, that second included.
    pub not_after: Timestamp,
}

/// A way from the leaf to a root.
struct Path {
    root: Sha256Digest,
    from: Timestamp,
    to: Timestamp,
}

/// One certificate as PEM with LF line ends.
pub(super) fn encode_certificate(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}
