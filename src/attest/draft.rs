//! A batch that is being put together: signed envelopes, and where the gateway's own chain would stand after it.

use std::sync::Arc;

use super::chain::Position;
use super::dsse;
use super::error::{AppendError, MAX_PAYLOAD};
use super::gateway::KeyRef;
use super::predicate::Predicate;
use super::statement::{self, ChainId, GatewayInfo, Statement};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::keys::ActiveKey;

/// A key that is archived and may sign records.
#[derive(Debug, Clone)]
pub(super) struct Signing {
    pub(super) key: Arc<ActiveKey>,
    pub(super) reference: KeyRef,
}

impl Signing {
    /// Whether `key` is this very one, with the same bundle.
    pub(super) fn is(&self, key: &Arc<ActiveKey>) -> bool {
        Arc::ptr_eq(&self.key, key)
    }
}

/// See the module.
pub(super) struct Draft {
    signing: Signing,
    position: Position,
    gateway: GatewayInfo,
    clock: Clock,
    bytes: Vec<u8>,
    records: u64,
}

impl Draft {
    pub(super) const fn new(
        signing: Signing,
        position: Position,
        gateway: GatewayInfo,
        clock: Clock,
    ) -> Self {
        Self { signing, position, gateway, clock, bytes: Vec::new(), records: 0 }
    }

    /// Signs a session's record. `time` is the one that it states.
    ///
    /// # Errors
    /// The certificate, or what stands above it, does not cover `time`, so nobody could verify the record later; or the
    /// key failed.
    pub(super) fn sign(&mut self, time: Timestamp, payload: &[u8]) -> Result<(), AppendError> {
        let key = &self.signing.key;
        let (from, to) = (key.leaf().from, key.leaf().to);
        if time.as_secs() < from.as_secs() || time.as_secs() > to.as_secs() {
            return Err(AppendError::Validity);
        }
        let signature = key.sign(&dsse::pae(dsse::PAYLOAD_TYPE, payload))?;
        dsse::write(&mut self.bytes, payload, key.id().as_str(), signature.der());
        self.records += 1;
        Ok(())
    }

    /// Adds a record to the gateway's own chain, and says where it stands.
    ///
    /// # Errors
    /// As [`Draft::sign`], or the record can't be encoded or is too large; the draft is then as before.
    pub(super) fn own(&mut self, predicate: Predicate) -> Result<(Sha256Digest, u64), AppendError> {
        let link = self.position.link();
        let time = self.clock.now();
        let chain = ChainId::Gateway(self.gateway.run);
        let payload =
            statement::encode(&Statement::new(predicate, &link), chain, &link, time, &self.gateway)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(AppendError::TooLarge(payload.len()));
        }
        self.sign(time, &payload)?;
        let digest = Sha256Digest::of(&payload);
        self.position = self.position.after(digest);
        Ok((digest, link.seq))
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    pub(super) fn into_key(self) -> Signing {
        self.signing
    }
}
