//! The Workload API's messages for X.509, as `workload.proto` of the SPIFFE specification numbers them.
//!
//! Everything in an [`X509Svid`] is bytes, so that a test can send what no proper agent would.

use std::collections::HashMap;

/// What a workload asks: nothing, its identity is what the agent sees.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidRequest {}

/// One complete answer: it replaces the one before.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
    /// Revocation lists, DER.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) crl: Vec<Vec<u8>>,
    /// By the foreign trust domain's SPIFFE ID: concatenated DER certificates.
    #[prost(map = "string, bytes", tag = "3")]
    pub(crate) federated_bundles: HashMap<String, Vec<u8>>,
}

/// One identity with its key.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509Svid {
    /// A string on the wire; as bytes it need not be UTF-8.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) spiffe_id: Vec<u8>,
    /// Concatenated DER certificates, leaf first.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    /// PKCS#8 DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    /// Concatenated DER certificates of the SVID's own trust domain.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) hint: String,
}

impl X509SvidResponse {
    /// These SVIDs, in this order.
    pub(crate) fn of(svids: impl IntoIterator<Item = X509Svid>) -> Self {
        Self { svids: svids.into_iter().collect(), ..Self::default() }
    }

    /// With a foreign trust domain's bundle.
    pub(crate) fn federated(mut self, trust_domain: &str, bundle: Vec<u8>) -> Self {
        self.federated_bundles.insert(format!("spiffe://{trust_domain}"), bundle);
        self
    }
}

impl From<X509Svid> for X509SvidResponse {
    fn from(svid: X509Svid) -> Self {
        Self::of([svid])
    }
}

impl X509Svid {
    /// With an operator's hint.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.hint);
        self
    }

    /// With another bundle: roots one after the other.
    pub(crate) fn bundle(mut self, roots: &[&[u8]]) -> Self {
        self.bundle = roots.concat();
        self
    }
}
