//! Whom a token is for.

use crate::domain::ids::SpiffeId;

/// The `aud` of tokens for sessions with `server`: what the configuration says, else the gateway's SPIFFE ID
/// followed by the server's route, `spiffe://example.org/chancery/mcp/files`.
pub fn audience_of(configured: Option<&str>, gateway: &SpiffeId, server: &str) -> String {
    configured.map_or_else(|| format!("{gateway}/mcp/{server}"), str::to_owned)
}
