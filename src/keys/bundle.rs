//! Trust bundles: the roots of one SPIFFE trust domain, as PEM and as SPIFFE's JSON.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::{Deserialize, Serialize};
use x509_parser::public_key::PublicKey as ParsedKey;

use super::chain::{MAX_CERTIFICATE_BYTES, encode_certificate};
use super::jwk::Jwk;
use super::public_key::PublicKey;
use super::svid::{self, SvidError};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{IdError, SpiffeId};

/// Most roots in one bundle, and in all that a verifier brings together (a CA that rotates daily, for years).
const MAX_ROOTS: usize = 64;
const MAX_UNION: usize = 4096;

/// Why a text is no trust bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a trust domain's name.
    #[error(transparent)]
    TrustDomain(#[from] IdError),
    /// Not PEM, or a block that is no certificate.
    #[error("the trust bundle is not PEM with certificates only: {0}")]
    Pem(String),
    /// Not the JSON of SPIFFE Trust Domain and Bundle §4.
    #[error("the trust bundle is not SPIFFE bundle JSON: {0}")]
    Json(String),
    /// An entry without exactly one certificate, or with another key than its certificate (§4.2.2).
    #[error("entry {0} of the trust bundle does not hold exactly one certificate with the entry's own key")]
    Entry(usize),
    /// A certificate can't be read.
    #[error("root {index} of the trust bundle: {error}")]
    Root {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong.
        error: SvidError,
    },
    /// A certificate that may not sign certificates.
    #[error("root {0} of the trust bundle is not a CA certificate")]
    NotCa(usize),
    /// A root that names another trust domain.
    #[error("root {index} of the trust bundle is of `{found}`, not of `{expected}`")]
    OtherDomain {
        /// Which, counted from 0.
        index: usize,
        /// What it names.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// No root.
    #[error("the trust bundle holds no certificate")]
    Empty,
    /// Too many roots.
    #[error("a trust bundle has 1 to {MAX_ROOTS} roots, this one has {0}")]
    Count(usize),
    /// Too many roots in several bundles.
    #[error("the trust bundles have more than {MAX_UNION} roots between them")]
    Union,
}

/// The roots that vouch for the SVIDs of one trust domain.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    trust_domain: String,
    roots: Vec<Root>,
    thumbprint: Sha256Digest,
    sequence: Option<u64>,
    refresh_hint: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) thumbprint: Sha256Digest,
    der: CertificateDer<'static>,
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// What there is to say of a root.
#[derive(Debug, Clone)]
pub struct RootFacts {
    /// SHA-256 of its DER.
    pub thumbprint: Sha256Digest,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when, that second included.
    pub not_after: Timestamp,
    /// `ES256`, `ES384` or `RSA`.
    pub algorithm: &'static str,
    /// Its key, where it is one that chancery's own signatures can be made with.
    pub key: Option<PublicKey>,
}

/// SPIFFE Trust Domain and Bundle §4: a JWKS with two members more.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    keys: Vec<Jwk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spiffe_sequence: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spiffe_refresh_hint: Option<u64>,
}

impl TrustBundle {
    /// From the roots' DER. They are kept sorted and without duplicates, so equal bundles are equal texts.
    ///
    /// # Errors
    /// A name that is none, no root, more than 64, one that is no CA certificate or of another trust domain.
    pub fn from_ders(
        trust_domain: &str,
        ders: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, BundleError> {
        let id: SpiffeId = format!("spiffe://{trust_domain}").parse()?;
        if id.trust_domain() != trust_domain {
            let why = "a trust domain's name has no path";
            return Err(IdError::SpiffeId { id: id.to_string(), why }.into());
        }
        let ders: Vec<Vec<u8>> = ders.into_iter().take(MAX_ROOTS + 1).collect();
        if ders.is_empty() {
            return Err(BundleError::Empty);
        }
        if ders.len() > MAX_ROOTS {
            return Err(BundleError::Count(ders.len()));
        }
        let mut roots = Vec::with_capacity(ders.len());
        for (index, der) in ders.into_iter().enumerate() {
            roots.push(Root::read(index, der, id.trust_domain())?);
        }
        Ok(Self::of(id.trust_domain().to_owned(), roots))
    }

    fn of(trust_domain: String, mut roots: Vec<Root>) -> Self {
        roots.sort_by_key(|root| root.thumbprint);
        roots.dedup_by(|a, b| a.der == b.der);
        let pem: String = roots.iter().map(|root| encode_certificate(&root.der)).collect();
        let thumbprint = Sha256Digest::of(pem.as_bytes());
        Self { trust_domain, roots, thumbprint, sequence: None, refresh_hint: None }
    }

    /// All roots of several bundles of one trust domain, as a verifier needs them for what was signed over a long
    /// time. Each root counts in its own time only, as ever.
    ///
    /// # Errors
    /// No bundle, another trust domain, or more than 4,096 roots.
    pub fn union(bundles: impl IntoIterator<Item = Self>) -> Result<Self, BundleError> {
        let mut bundles = bundles.into_iter();
        let Some(Self { trust_domain, mut roots, .. }) = bundles.next() else {
            return Err(BundleError::Empty);
        };
        for bundle in bundles {
            if bundle.trust_domain != trust_domain {
                let (found, expected) = (bundle.trust_domain, trust_domain);
                return Err(BundleError::OtherDomain { index: roots.len(), found, expected });
            }
            roots.extend(bundle.roots);
            if roots.len() > MAX_UNION {
                roots.sort_by_key(|root| root.thumbprint);
                roots.dedup_by(|a, b| a.der == b.der);
            }
            if roots.len() > MAX_UNION {
                return Err(BundleError::Union);
            }
        }
        Ok(Self::of(trust_domain, roots))
    }

    /// From one root that names its own trust domain (X509-SVID §4.2).
    ///
    /// # Errors
    /// It names none, or as [`TrustBundle::from_ders`].
    pub fn of_root(der: Vec<u8>) -> Result<Self, BundleError> {
        let certificate = svid::parse(&der).map_err(|error| BundleError::Root { index: 0, error })?;
        let uris = svid::uri_names(&certificate).map_err(|error| BundleError::Root { index: 0, error })?;
        let [uri] = uris.as_slice() else {
            return Err(BundleError::Root { index: 0, error: SvidError::UriNames(uris.len()) });
        };
        let trust_domain = uri.parse::<SpiffeId>()?.trust_domain().to_owned();
        Self::from_ders(&trust_domain, [der])
    }

    /// From PEM. A block that is no certificate (a private key, say) is an error.
    ///
    /// # Errors
    /// Not PEM, or as [`TrustBundle::from_ders`].
    pub fn from_pem(trust_domain: &str, text: &str) -> Result<Self, BundleError> {
        let blocks = pem::parse_many(text).map_err(|e| BundleError::Pem(e.to_string()))?;
        if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
            return Err(BundleError::Pem(format!("it has a block `{}`", other.tag())));
        }
        Self::from_ders(trust_domain, blocks.into_iter().map(pem::Pem::into_contents))
    }

    /// From SPIFFE's bundle JSON; keys for other uses than `x509-svid` are passed over (§4.2.1).
    ///
    /// # Errors
    /// Not such JSON, an entry without exactly one certificate, or as [`TrustBundle::from_ders`].
    pub fn from_spiffe_json(trust_domain: &str, text: &str) -> Result<Self, BundleError> {
        let document: Document = serde_json::from_str(text).map_err(|e| BundleError::Json(e.to_string()))?;
        let mut ders = Vec::new();
        for (index, jwk) in document.keys.iter().enumerate() {
            if jwk.usage.as_deref() != Some("x509-svid") {
                continue;
            }
            let [certificate] = jwk.x5c.as_slice() else { return Err(BundleError::Entry(index)) };
            let Ok(der) = STANDARD.decode(certificate) else { return Err(BundleError::Entry(index)) };
            let stated = jwk_of_root(&der).map_err(|error| BundleError::Root { index, error })?;
            let same = stated.kty == jwk.kty && stated.x == jwk.x && stated.y == jwk.y && stated.n == jwk.n;
            if !same {
                return Err(BundleError::Entry(index));
            }
            ders.push(der);
        }
        let mut bundle = Self::from_ders(trust_domain, ders)?;
        bundle.sequence = document.spiffe_sequence;
        bundle.refresh_hint = document.spiffe_refresh_hint;
        Ok(bundle)
    }

    /// From either form, told apart by the first character that is not white space.
    ///
    /// # Errors
    /// As the form's own reader.
    pub fn parse(trust_domain: &str, text: &str) -> Result<Self, BundleError> {
        if text.trim_start().starts_with('{') {
            Self::from_spiffe_json(trust_domain, text)
        } else {
            Self::from_pem(trust_domain, text)
        }
    }

    /// The trust domain's name, without scheme.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The roots' DER.
    pub fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(|root| root.der.as_ref())
    }

    /// What there is to say of each root.
    pub fn root_facts(&self) -> impl Iterator<Item = RootFacts> {
        self.roots.iter().map(|root| {
            let key = svid::parse(&root.der).and_then(|c| Ok(PublicKey::from_spki(c.public_key())?)).ok();
            RootFacts {
                thumbprint: root.thumbprint,
                not_before: root.not_before,
                not_after: root.not_after,
                algorithm: key.as_ref().map_or("RSA", |key| key.algorithm().as_str()),
                key,
            }
        })
    }

    /// When the last of the roots ends.
    pub fn not_after(&self) -> Timestamp {
        self.roots.iter().map(|root| root.not_after).max().unwrap_or(Timestamp::from_secs(0))
    }

    /// As PEM; the same roots give the same text.
    pub fn to_pem(&self) -> String {
        self.roots().map(encode_certificate).collect()
    }

    /// As SPIFFE's bundle JSON.
    ///
    /// # Errors
    /// A root whose key is neither RSA, P-256 nor P-384.
    pub fn to_spiffe_json(&self) -> Result<String, BundleError> {
        let mut keys = Vec::with_capacity(self.roots.len());
        for (index, root) in self.roots.iter().enumerate() {
            let mut jwk = jwk_of_root(&root.der).map_err(|error| BundleError::Root { index, error })?;
            jwk.usage = Some("x509-svid".to_owned());
            jwk.x5c = vec![STANDARD.encode(&root.der)];
            keys.push(jwk);
        }
        // §4.1.1 and §4.1.2: a sequence that only grows, and how often to look again, in seconds.
        let document = Document {
            keys,
            spiffe_sequence: Some(self.sequence.unwrap_or(1)),
            spiffe_refresh_hint: Some(self.refresh_hint.unwrap_or(300)),
        };
        serde_json::to_string_pretty(&document).map_err(|e| BundleError::Json(e.to_string()))
    }

    /// SHA-256 of [`TrustBundle::to_pem`]: the digest of the file as which it is archived.
    pub const fn thumbprint(&self) -> Sha256Digest {
        self.thumbprint
    }

    /// The roots that were valid at `at`; webpki itself does not look at an anchor's validity.
    pub(super) fn valid_at(&self, at: Timestamp) -> impl Iterator<Item = &Root> {
        let second = at.as_secs();
        let valid =
            move |root: &&Root| root.not_before.as_secs() <= second && second <= root.not_after.as_secs();
        self.roots.iter().filter(valid)
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.roots().eq(other.roots())
    }
}

impl Eq for TrustBundle {}

impl Root {
    fn read(index: usize, der: Vec<u8>, trust_domain: &str) -> Result<Self, BundleError> {
        let fail = |error| BundleError::Root { index, error };
        if der.len() > MAX_CERTIFICATE_BYTES {
            let why = format!("it is larger than {MAX_CERTIFICATE_BYTES} bytes");
            return Err(fail(SvidError::Unreadable(why)));
        }
        let certificate = svid::parse(&der).map_err(fail)?;
        let unreadable = |e: x509_parser::error::X509Error| fail(SvidError::Unreadable(e.to_string()));
        let ca = certificate.basic_constraints().map_err(unreadable)?.is_some_and(|basic| basic.value.ca);
        let signs =
            certificate.key_usage().map_err(unreadable)?.is_none_or(|usage| usage.value.key_cert_sign());
        if !ca || !signs {
            return Err(BundleError::NotCa(index));
        }
        // X509-SVID §4.2: a signing certificate may carry its trust domain's SPIFFE ID.
        for uri in svid::uri_names(&certificate).map_err(fail)? {
            let id: SpiffeId = uri.parse()?;
            if id.trust_domain() != trust_domain {
                let (found, expected) = (id.trust_domain().to_owned(), trust_domain.to_owned());
                return Err(BundleError::OtherDomain { index, found, expected });
            }
        }
        let (not_before, not_after) = svid::validity(&certificate);
        let der = CertificateDer::from(der);
        let anchor = match webpki::anchor_from_trusted_cert(&der) {
            Ok(anchor) => anchor.to_owned(),
            Err(error) => return Err(fail(SvidError::Unreadable(error.to_string()))),
        };
        let thumbprint = Sha256Digest::of(&der);
        Ok(Self { thumbprint, der, anchor, not_before, not_after })
    }
}

/// The numbers of a root's key as a JWK.
fn jwk_of_root(der: &[u8]) -> Result<Jwk, SvidError> {
    let certificate = svid::parse(der)?;
    let parsed = certificate.public_key().parsed();
    if let Ok(ParsedKey::RSA(rsa)) = parsed {
        let number = |bytes: &[u8]| {
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
            Some(URL_SAFE_NO_PAD.encode(bytes.get(start..).unwrap_or_default()))
        };
        return Ok(Jwk { n: number(rsa.modulus), e: number(rsa.exponent), ..Jwk::empty("RSA") });
    }
    Ok(Jwk::of_key(&PublicKey::from_spki(certificate.public_key())?))
}
