//! Verifies an attestation log offline, against a trust bundle and an identity that the caller brings.
//!
//! [`verify()`] reads the log once, line by line; what it remembers grows with sessions, not with records. Nothing in
//! the directory is believed because it lies there: archived chains must lead to the caller's bundle, and every
//! record must be signed by the caller's gateway. Only public keys are touched (invariant I8), nothing is written.
//!
//! layer: L3

mod archived;
mod content;
mod lines;
mod missing;
mod policies;
mod read;
mod report;
mod run;
mod session;
mod trust;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

pub use missing::{Missing, MissingRoot};
pub use report::{Check, Counts, Finding, KeyUse, Note, RecordRef, Report};
pub use verify::{AuditError, Progress, verify};
