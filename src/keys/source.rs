//! Where public keys come from, asked by key id.

use super::public_key::PublicKey;

/// Finds public keys by their `kid`. The gateway's own keys are found in process, never by an HTTP call to
/// itself; a key is never taken from a token's header.
pub trait PublicKeySource: Send + Sync + std::fmt::Debug {
    /// The key of that id, if it is known. `kid` comes from outside: an implementation does no I/O for it.
    fn find(&self, kid: &str) -> Option<PublicKey>;
}
