//! What SPIFFE asks of a leaf certificate beyond a valid chain (X509-SVID §2 to §5).

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::public_key::{PublicKey, PublicKeyError};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{IdError, SpiffeId};

/// Why a certificate is not an X.509-SVID that may sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// Not a DER certificate, or bytes follow it.
    #[error("a certificate can't be read: {0}")]
    Unreadable(String),
    /// Not exactly one URI in the subject alternative name (X509-SVID §2).
    #[error("the leaf has {0} URI names where an SVID has exactly one")]
    UriNames(usize),
    /// The URI is no SPIFFE ID.
    #[error(transparent)]
    SpiffeId(#[from] IdError),
    /// A SPIFFE ID without a path names a trust domain, not a workload (X509-SVID §4.1).
    #[error("the leaf's SPIFFE ID {0} has no path: it names a trust domain, not a workload")]
    NoPath(SpiffeId),
    /// A CA certificate signs certificates, nothing else (X509-SVID §4.1).
    #[error("the leaf is a CA certificate")]
    Ca,
    /// The key usage is absent, lacks `digitalSignature`, or lets it sign certificates (X509-SVID §4.3).
    #[error("the leaf's key usage {0}")]
    KeyUsage(&'static str),
    /// An extended key usage without both client and server authentication (X509-SVID §4.4).
    #[error("the leaf's extended key usage lacks client or server authentication")]
    ExtendedKeyUsage,
    /// The key can't be used here.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
}

/// A leaf's own word, before anything vouches for it.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) spiffe_id: SpiffeId,
    pub(super) key: PublicKey,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Parses one certificate; nothing may follow it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(SvidError::Unreadable("bytes follow it".to_owned())),
        Err(error) => Err(SvidError::Unreadable(error.to_string())),
    }
}

/// The validity of a certificate, in the second it ends included.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    let secs = |at: x509_parser::time::ASN1Time| Timestamp::from_secs(at.timestamp());
    (secs(validity.not_before), secs(validity.not_after))
}

/// The URI names of a certificate's subject alternative name.
pub(super) fn uri_names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, SvidError> {
    let names = certificate.subject_alternative_name().map_err(|e| SvidError::Unreadable(e.to_string()))?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None }).collect())
}

/// The workload that a leaf names (X509-SVID §2, §4.1).
pub(super) fn workload(certificate: &X509Certificate<'_>) -> Result<SpiffeId, SvidError> {
    let uris = uri_names(certificate)?;
    let [uri] = uris.as_slice() else { return Err(SvidError::UriNames(uris.len())) };
    let spiffe_id: SpiffeId = uri.parse()?;
    if spiffe_id.as_str().len() == "spiffe://".len() + spiffe_id.trust_domain().len() {
        return Err(SvidError::NoPath(spiffe_id));
    }
    if certificate.basic_constraints().map_err(unreadable)?.is_some_and(|basic| basic.value.ca) {
        return Err(SvidError::Ca);
    }
    Ok(spiffe_id)
}

fn unreadable(error: x509_parser::error::X509Error) -> SvidError {
    SvidError::Unreadable(error.to_string())
}

/// Reads a leaf and checks that it is an SVID which may sign.
pub(super) fn read_leaf(der: &[u8]) -> Result<Leaf, SvidError> {
    let certificate = parse(der)?;
    let spiffe_id = workload(&certificate)?;
    let usage = certificate.key_usage().map_err(unreadable)?;
    let Some(usage) = usage else { return Err(SvidError::KeyUsage("is absent")) };
    if !usage.value.digital_signature() {
        return Err(SvidError::KeyUsage("lacks digitalSignature"));
    }
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        return Err(SvidError::KeyUsage("lets it sign certificates or revocation lists"));
    }
    let extended = certificate.extended_key_usage().map_err(unreadable)?;
    if extended.is_some_and(|extended| !extended.value.client_auth || !extended.value.server_auth) {
        return Err(SvidError::ExtendedKeyUsage);
    }
    let key = PublicKey::from_spki(certificate.public_key())?;
    let (not_before, not_after) = validity(&certificate);
    Ok(Leaf { spiffe_id, key, not_before, not_after })
}
