//! Making certificates: the root once, then SVIDs from it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::SpiffeId;
use crate::domain::random;
use crate::identity::IdentityError;
use crate::identity::pem_file::PemFile;
use crate::keys::TrustBundle;

/// How far certificates begin in the past, for verifiers whose clocks are behind.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);

/// A root's validity: ten years.
const ROOT_VALIDITY: Duration = Duration::from_secs(3652 * 24 * 3600);

/// The root, with its key for the moment that something is issued.
pub(super) struct Root {
    bundle: Arc<TrustBundle>,
    certificate: CertificateDer<'static>,
    key: Zeroizing<KeyPair>,
}

impl Root {
    /// Reads a root's file: one certificate of a CA that names its trust domain, and that certificate's key.
    pub(super) fn read(file: &PemFile) -> Result<Self, IdentityError> {
        let [certificate] = file.certificates() else {
            return Err(file.damaged("it holds more than one certificate"));
        };
        let bundle = TrustBundle::of_root(certificate.clone()).map_err(|e| file.damaged(e))?;
        let key = PrivatePkcs8KeyDer::from(file.key()?);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256);
        let key = key.map_err(|_rejected| file.damaged("its key is not a PKCS#8 P-256 key"))?;
        let key = Zeroizing::new(key);
        if !bundle.root_facts().any(|root| root.key.is_some_and(|k| k.point() == key.public_key_raw())) {
            return Err(file.damaged("its key is not the certificate's"));
        }
        Ok(Self { bundle: Arc::new(bundle), certificate: certificate.clone().into(), key })
    }

    pub(super) fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.bundle)
    }

    pub(super) fn trust_domain(&self) -> &str {
        self.bundle.trust_domain()
    }

    pub(super) fn not_after(&self) -> Timestamp {
        self.bundle.not_after()
    }

    /// Issues an SVID: its file's name (the leaf's thumbprint) and text (key and chain).
    pub(super) fn issue(
        &self,
        id: &SpiffeId,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(String, Zeroizing<String>), IdentityError> {
        let mut params = params(now, now.plus(ttl).min(self.not_after()))?;
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = Zeroizing::new(KeyPair::generate()?);
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*self.key)?;
        let certificate = params.signed_by(&*key, &issuer)?;
        let name = Sha256Digest::of(certificate.der()).to_string();
        Ok((name, file_text(&key, &certificate.pem())))
    }
}

/// Makes a root: its file's text (key and certificate). Without a name, the trust domain gets a random one.
pub(super) fn new_root(
    trust_domain: Option<&str>,
    now: Timestamp,
) -> Result<Zeroizing<String>, IdentityError> {
    let random_name = || -> Result<String, IdentityError> {
        let label = u64::from_be_bytes(random::bytes()?);
        Ok(format!("{label:016x}.chancery.local"))
    };
    let trust_domain = trust_domain.map_or_else(random_name, |name| Ok(name.to_owned()))?;
    let id: SpiffeId = format!("spiffe://{trust_domain}").parse()?;
    let mut params = params(now, now.plus(ROOT_VALIDITY))?;
    // X509-SVID §4.2: a signing certificate carries its trust domain's ID. A name constraint would be welcome,
    // but verifiers at large (webpki among them) can't process one on URIs and refuse the whole chain.
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    params.distinguished_name.push(DnType::CommonName, format!("root of {trust_domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = Zeroizing::new(KeyPair::generate()?);
    let certificate = params.self_signed(&*key)?;
    Ok(file_text(&key, &certificate.pem()))
}

/// What all certificates share: validity in whole seconds, a random serial number, the organisation.
fn params(now: Timestamp, to: Timestamp) -> Result<CertificateParams, IdentityError> {
    let moment = |secs: i64| OffsetDateTime::from_unix_timestamp(secs).map_err(|_range| rcgen::Error::Time);
    let backdate = i64::try_from(BACKDATE.as_secs()).unwrap_or(0);
    let mut serial: [u8; 16] = random::bytes()?;
    // Positive and never zero (RFC 5280 §4.1.2.2), with 126 random bits.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = moment(now.as_secs() - backdate)?;
    params.not_after = moment(to.as_secs())?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "chancery");
    Ok(params)
}

fn file_text(key: &KeyPair, certificates: &str) -> Zeroizing<String> {
    let key = Zeroizing::new(key.serialize_pem());
    Zeroizing::new([&key, certificates].concat())
}
