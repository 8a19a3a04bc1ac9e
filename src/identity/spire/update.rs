//! One update of the Workload API, believed only as far as it was checked.

use std::sync::Arc;

use spiffe::{X509Context, X509Svid};

use super::choice::Choice;
use super::error::SpireError;
use crate::domain::clock::Timestamp;
use crate::keys::{
    ActiveKey, CertificateChain, ChainError, KeyError, PublicKeyError, SvidError, TrustBundle,
};

/// What an update says of the gateway's own identity.
#[derive(Debug)]
pub(super) enum Offered {
    /// A key that may sign now.
    Key(Box<ActiveKey>),
    /// An SVID that does not hold, and why. The roots beside it count all the same: they may be others because what
    /// stood on the ones before is not to be believed any more.
    Refused(Option<Arc<TrustBundle>>, SpireError),
    /// There is no SVID for it, and why.
    Nothing(String),
}

/// Reads an update. One that offers SVIDs, but not the gateway's, has taken the identity away.
pub(super) fn read(context: &X509Context, choice: &Choice, now: Timestamp) -> Offered {
    let svid = match choice.of_offered(context.svids()) {
        Ok(svid) => svid,
        Err(error) => return Offered::Nothing(error.to_string()),
    };
    let bundle = match bundle(context, svid) {
        Ok(bundle) => bundle,
        Err(error) => return Offered::Refused(None, error),
    };
    match under(svid, Arc::clone(&bundle), now) {
        Ok(key) => Offered::Key(Box::new(key)),
        Err(error) => Offered::Refused(Some(bundle), error),
    }
}

/// Joins an SVID with its own trust domain's bundle.
///
/// # Errors
/// The key is not the leaf's or of a kind that does not sign here; the chain does not lead to the bundle; the
/// leaf is no SVID that may sign; it is not valid now.
pub(super) fn key(context: &X509Context, svid: &X509Svid, now: Timestamp) -> Result<ActiveKey, SpireError> {
    under(svid, bundle(context, svid)?, now)
}

/// The roots of the SVID's own trust domain.
fn bundle(context: &X509Context, svid: &X509Svid) -> Result<Arc<TrustBundle>, SpireError> {
    let domain = svid.spiffe_id().trust_domain();
    let bundle = context.bundle_set().get(domain).ok_or_else(|| SpireError::NoBundle(domain.to_string()))?;
    let roots = bundle.authorities().iter().map(|root| root.as_bytes().to_vec());
    Ok(Arc::new(TrustBundle::from_ders(domain.as_str(), roots)?))
}

fn under(svid: &X509Svid, bundle: Arc<TrustBundle>, now: Timestamp) -> Result<ActiveKey, SpireError> {
    let chain = CertificateChain::from_ders(svid.cert_chain().iter().map(|one| one.as_bytes().to_vec()));
    let chain = chain.map_err(KeyError::Chain)?;
    ActiveKey::new(svid.private_key().as_bytes(), chain, bundle, now).map_err(|error| match error {
        KeyError::Chain(ChainError::Svid(SvidError::Key(PublicKeyError::Unsupported(found)))) => {
            SpireError::KeyType { found }
        }
        KeyError::Chain(ChainError::Validity { not_before, not_after, .. }) => {
            SpireError::Clock { not_before, not_after, now }
        }
        other => SpireError::Key(other),
    })
}
