//! Where public keys come from, asked by key id.

use super::public_key::PublicKey;
use crate::domain::clock::Timestamp;

/// A public key with the validity of the certificate that vouches for it. What it signed outside of that counts
/// for nothing, whoever holds the private half by then.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// The key.
    pub key: PublicKey,
    /// From when its certificate is valid.
    pub not_before: Timestamp,
    /// Until when, that second included.
    pub not_after: Timestamp,
}

/// Finds public keys by their `kid`. The gateway's own keys are found in process, never by an HTTP call to
/// itself; a key is never taken from a token's header.
///
/// Whoever verifies gets one of these and nothing else (invariant I8). It gives public keys:
///
/// ```
/// # use chancery::keys::PublicKeySource;
/// fn verifier(keys: &dyn PublicKeySource, signature: &[u8]) -> bool {
///     keys.find("kid").is_some_and(|known| known.key.verify_fixed(b"message", signature).is_ok())
/// }
/// ```
///
/// What it gives can't sign:
///
/// ```compile_fail,E0599
/// # use chancery::keys::PublicKeySource;
/// fn verifier(keys: &dyn PublicKeySource) -> bool {
///     keys.find("kid").is_some_and(|known| known.key.sign(b"message").is_ok())
/// }
/// ```
///
/// Nor does it lead to what can, although the same object may stand behind both:
///
/// ```compile_fail,E0599
/// # use chancery::keys::{PublicKeySource, Signer as _};
/// fn verifier(keys: &dyn PublicKeySource) -> bool {
///     keys.current().is_ok()
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use chancery::keys::{PublicKeySource, Signer};
/// fn takes_a_signer(_: &(impl Signer + ?Sized)) {}
/// fn verifier(keys: &dyn PublicKeySource) {
///     takes_a_signer(keys);
/// }
/// ```
pub trait PublicKeySource: Send + Sync + std::fmt::Debug {
    /// The key of that id, if it is known. It may be one whose certificate has ended: compare the times.
    /// `kid` comes from outside: an implementation does no I/O for it.
    fn find(&self, kid: &str) -> Option<KnownKey>;
}
