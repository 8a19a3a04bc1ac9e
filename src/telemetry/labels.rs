//! Labels of metrics come from bounded sets: a stranger's method names must not become time series (I10).

use crate::domain::refusal::{AdmissionRefusal, DenyReason};
use crate::wire::methods;

/// What a label outside its set becomes; for `error.type` the semantic conventions name this very value.
pub(super) const OTHER_ERROR: &str = "_OTHER";
const OTHER_METHOD: &str = "other";

/// Error types beside [`DenyReason`]: JSON-RPC's codes and what semantic conventions give names to.
const ERRORS: [&str; 10] = [
    "jsonrpc_error",
    "withdrawn",
    "-32700",
    "-32600",
    "-32601",
    "-32602",
    "-32603",
    "tool_error",
    "timeout",
    "cancelled",
];

/// `method` if MCP defines it, else `other`.
pub(super) fn method(method: &str) -> &'static str {
    // The gateway's own action beside MCP's methods.
    let known = methods::ALL.iter().copied().chain(["session/open"]);
    known.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD)
}

/// `error` if it is one of ours or JSON-RPC's, else `_OTHER`.
pub(super) fn error(error: &str) -> &'static str {
    let denials = DenyReason::ALL.iter().map(|reason| reason.as_str());
    let refusals = AdmissionRefusal::ALL.iter().map(|reason| reason.as_str());
    denials.chain(refusals).chain(ERRORS).find(|known| *known == error).unwrap_or(OTHER_ERROR)
}

/// The kind of listener of a listener's label (`tcp:127.0.0.1:8080` → `tcp`).
pub(super) fn listener(listener: &str) -> &'static str {
    let kind = listener.split_once(':').map_or(listener, |(kind, _)| kind);
    ["tcp", "tls", "unix", "stdio", "pipe"].into_iter().find(|known| *known == kind).unwrap_or(OTHER_METHOD)
}
