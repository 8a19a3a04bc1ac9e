//! Real authorities and keys for unit tests of every module: certificates by rcgen, signatures by aws-lc-rs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::{ActiveKey, CertificateChain, KnownKey, PublicKeySource, Signer, SignerError, TrustBundle};
use crate::domain::clock::Timestamp;

/// A certificate authority of one trust domain.
pub(crate) struct Authority {
    pub(crate) trust_domain: String,
    pub(crate) bundle: Arc<TrustBundle>,
    issuer: Issuer<'static, KeyPair>,
    /// What stands between its leaves and the root.
    above: Vec<Vec<u8>>,
}

/// What a root looks like; the default is EC P-256, valid from 2020 to 2040.
pub(crate) struct RootSpec {
    pub(crate) uri: Option<String>,
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl RootSpec {
    pub(crate) fn of(trust_domain: &str) -> Self {
        Self {
            uri: Some(format!("spiffe://{trust_domain}")),
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            from: Timestamp::parse_rfc3339("2020-01-01T00:00:00Z").unwrap(),
            to: Timestamp::parse_rfc3339("2040-01-01T00:00:00Z").unwrap(),
        }
    }
}

/// What a leaf looks like; the default is a proper SVID. Tests spoil one thing at a time.
pub(crate) struct LeafSpec {
    pub(crate) uris: Vec<String>,
    pub(crate) is_ca: IsCa,
    pub(crate) key_usages: Vec<KeyUsagePurpose>,
    pub(crate) extended: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl LeafSpec {
    pub(crate) fn of(uri: &str, from: Timestamp, to: Timestamp) -> Self {
        Self {
            uris: vec![uri.to_owned()],
            is_ca: IsCa::ExplicitNoCa,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            from,
            to,
        }
    }
}

/// A signer with one key that never changes; also finds that key.
#[derive(Debug)]
pub(crate) struct OneKey(pub(crate) Arc<ActiveKey>);

impl Signer for OneKey {
    fn current(&self) -> Result<Arc<ActiveKey>, SignerError> {
        Ok(Arc::clone(&self.0))
    }
}

impl PublicKeySource for OneKey {
    fn find(&self, kid: &str) -> Option<KnownKey> {
        (self.0.id().as_str() == kid).then(|| KnownKey {
            key: self.0.public_key().clone(),
            not_before: self.0.not_before(),
            not_after: self.0.not_after(),
        })
    }
}

impl Authority {
    pub(crate) fn new(trust_domain: &str) -> Self {
        Self::of(trust_domain, &RootSpec::of(trust_domain))
    }

    pub(crate) fn with_uri(trust_domain: &str, uri: Option<&str>) -> Self {
        Self::of(trust_domain, &RootSpec { uri: uri.map(str::to_owned), ..RootSpec::of(trust_domain) })
    }

    /// A root as `spec` says.
    pub(crate) fn of(trust_domain: &str, spec: &RootSpec) -> Self {
        Self::keyed(trust_domain, spec, KeyPair::generate_for(spec.algorithm).unwrap())
    }

    /// A root with this key.
    pub(crate) fn keyed(trust_domain: &str, spec: &RootSpec, key: KeyPair) -> Self {
        let params = ca_params("root", spec);
        let root = params.self_signed(&key).unwrap();
        let bundle = TrustBundle::from_ders(trust_domain, [root.der().to_vec()]).unwrap();
        let issuer = Issuer::new(params, key);
        let trust_domain = trust_domain.to_owned();
        Self { trust_domain, bundle: Arc::new(bundle), issuer, above: Vec::new() }
    }

    /// An authority below this one, whose root stays the one in the bundle.
    pub(crate) fn intermediate(&self, spec: &RootSpec) -> Self {
        let key = KeyPair::generate_for(spec.algorithm).unwrap();
        let params = ca_params("intermediate", spec);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.below(certificate.der().to_vec(), Issuer::new(params, key))
    }

    /// A workload's own leaf misused as if it were an authority below this one.
    pub(crate) fn misused(&self, spec: &LeafSpec) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = leaf_params(spec);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.below(certificate.der().to_vec(), Issuer::new(params, key))
    }

    fn below(&self, der: Vec<u8>, issuer: Issuer<'static, KeyPair>) -> Self {
        let above = std::iter::once(der).chain(self.above.clone()).collect();
        Self { trust_domain: self.trust_domain.clone(), bundle: Arc::clone(&self.bundle), issuer, above }
    }

    /// The chain and the PKCS#8 key of a leaf.
    pub(crate) fn leaf(&self, spec: &LeafSpec) -> (CertificateChain, Vec<u8>) {
        let key = KeyPair::generate_for(spec.algorithm).unwrap();
        (self.certify(spec, &key), key.serialize_der())
    }

    /// The chain of a leaf for this key.
    pub(crate) fn certify(&self, spec: &LeafSpec, key: &KeyPair) -> CertificateChain {
        let certificate = leaf_params(spec).signed_by(key, &self.issuer).unwrap();
        let leaf = std::iter::once(certificate.der().to_vec());
        CertificateChain::from_ders(leaf.chain(self.above.clone())).unwrap()
    }

    /// A signing key as `spec` says, under this bundle.
    pub(crate) fn key_under(&self, spec: &LeafSpec, bundle: &TrustBundle) -> Arc<ActiveKey> {
        let (chain, pkcs8) = self.leaf(spec);
        Arc::new(ActiveKey::new(&pkcs8, chain, Arc::new(bundle.clone()), spec.from).unwrap())
    }

    /// A signing key for `spiffe://<trust domain><path>`.
    pub(crate) fn key(&self, path: &str, from: Timestamp, to: Timestamp) -> Arc<ActiveKey> {
        let (chain, pkcs8) =
            self.leaf(&LeafSpec::of(&format!("spiffe://{}{path}", self.trust_domain), from, to));
        Arc::new(ActiveKey::new(&pkcs8, chain, Arc::clone(&self.bundle), from).unwrap())
    }

    /// A signer that always has such a key.
    pub(crate) fn signer(&self, path: &str, from: Timestamp, to: Timestamp) -> Arc<OneKey> {
        Arc::new(OneKey(self.key(path, from, to)))
    }
}

fn leaf_params(spec: &LeafSpec) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.not_before = at(spec.from);
    params.not_after = at(spec.to);
    let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
    params.subject_alt_names = spec.uris.iter().map(uri).collect();
    params.is_ca = spec.is_ca;
    params.key_usages = spec.key_usages.clone();
    params.extended_key_usages = spec.extended.clone();
    params
}

fn ca_params(name: &str, spec: &RootSpec) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(spec.from);
    params.not_after = at(spec.to);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
    params.subject_alt_names = spec.uri.iter().map(uri).collect();
    params
}

fn at(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.as_secs()).unwrap()
}
