//! Certificate authorities of trust domains, and the X.509-SVIDs that they issue: real certificates by `rcgen`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm,
};

use super::messages::X509Svid;

/// A key and its certificates, as an agent hands them to a workload.
#[derive(Clone)]
pub(crate) struct Issued {
    /// DER, leaf first, without the root.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub(crate) key: Vec<u8>,
}

/// What a leaf says. A new one is a proper SVID; tests spoil one thing at a time.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) algorithm: &'static SignatureAlgorithm,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) is_ca: IsCa,
    pub(crate) usages: Vec<KeyUsagePurpose>,
}

impl Leaf {
    /// P-256, valid from half a minute ago for an hour, as SPIRE issues them.
    pub(crate) fn of(spiffe_id: &str) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![spiffe_id.to_owned()],
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            not_before: now - Duration::from_secs(30),
            not_after: now + Duration::from_secs(3600),
            is_ca: IsCa::ExplicitNoCa,
            usages: vec![KeyUsagePurpose::DigitalSignature],
        }
    }

    /// With a key of another kind.
    pub(crate) fn algorithm(mut self, algorithm: &'static SignatureAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Ending this long from now, in whole seconds as certificates count.
    pub(crate) fn ending_in(mut self, time: Duration) -> Self {
        self.not_after = SystemTime::now() + time;
        self
    }

    /// Valid from then to then.
    pub(crate) fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }
}

/// An authority that issues: a root, or an intermediate below one.
pub(crate) struct Authority {
    trust_domain: String,
    root: Vec<u8>,
    /// The certificates between a leaf and the root, the issuer's own first.
    below_root: Vec<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new root of a trust domain. Two of the same trust domain are two roots, as before and after a rotation.
    pub(crate) fn new(trust_domain: &str) -> Self {
        let (params, key) = (signing_params(trust_domain, "root"), KeyPair::generate().unwrap());
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        Self { trust_domain: trust_domain.to_owned(), root, below_root: Vec::new(), issuer }
    }

    /// An authority below this one: what it issues carries its certificate in the chain.
    pub(crate) fn intermediate(&self) -> Self {
        let (params, key) =
            (signing_params(&self.trust_domain, "intermediate"), KeyPair::generate().unwrap());
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let below_root = std::iter::once(own).chain(self.below_root.iter().cloned()).collect();
        let (trust_domain, root) = (self.trust_domain.clone(), self.root.clone());
        Self { trust_domain, root, below_root, issuer: Issuer::new(params, key) }
    }

    /// The root's DER.
    pub(crate) fn root(&self) -> &[u8] {
        &self.root
    }

    /// The root's PEM, as `spire-server bundle show` prints it.
    pub(crate) fn root_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.root.clone()))
    }

    /// A key and its chain.
    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate_for(leaf.algorithm).unwrap();
        let mut params = params(leaf.not_before, leaf.not_after, "leaf");
        params.subject_alt_names =
            leaf.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
        params.is_ca = leaf.is_ca;
        params.key_usages.clone_from(&leaf.usages);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = std::iter::once(own).chain(self.below_root.iter().cloned()).collect();
        Issued { chain, key: key.serialize_der() }
    }

    /// The same as the Workload API hands it over, with this authority's root as its bundle.
    pub(crate) fn svid(&self, leaf: &Leaf) -> X509Svid {
        let Issued { chain, key } = self.issue(leaf);
        X509Svid {
            spiffe_id: leaf.uris.first().cloned().unwrap_or_default().into_bytes(),
            x509_svid: chain.concat(),
            x509_svid_key: key,
            bundle: self.root.clone(),
            hint: String::new(),
        }
    }
}

/// A signing certificate names its trust domain (X509-SVID §4.2).
fn signing_params(trust_domain: &str, name: &str) -> CertificateParams {
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    let mut params = params(now - day, now + day, name);
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://{trust_domain}").as_str().try_into().unwrap())];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Names are numbered, so that two roots of a trust domain differ by name as well as by key.
fn params(not_before: SystemTime, not_after: SystemTime, name: &str) -> CertificateParams {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (not_before.into(), not_after.into());
    params.distinguished_name = DistinguishedName::new();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    params.distinguished_name.push(DnType::CommonName, format!("{name} {number}"));
    params
}
