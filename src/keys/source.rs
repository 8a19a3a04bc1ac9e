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
pub trait PublicKeySource: Send + Sync + std::fmt::Debug {
    /// The key of that id, if it is known. It may be one whose certificate has ended: compare the times.
    /// `kid` comes from outside: an implementation does no I/O for it.
    fn find(&self, kid: &str) -> Option<KnownKey>;
}
