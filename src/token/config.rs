//! How tokens are issued, resolved by `config`.

use std::time::Duration;

/// How long tokens live and whom they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A token's lifetime; shorter where the signing certificate or the evidence ends earlier.
    pub ttl: Duration,
    /// The `aud` of every token; without one, the gateway's SPIFFE ID and the server's route.
    pub audience: Option<String>,
    /// Verified tokens that are remembered by digest.
    pub cache: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(15 * 60), audience: None, cache: 4096 }
    }
}
