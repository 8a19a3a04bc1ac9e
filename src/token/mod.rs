//! The session token: a JWT that says who was admitted, bound to the evidence, issued only in the handshake.
//!
//! The gateway issues it ([`Issuer`]) and the gateway alone reads it ([`Verifier`]), so verification takes
//! nothing that issuance would not write: one algorithm per key, an exact `typ`, a header of exactly three
//! members, no key from the header, no unknown claim, no duplicate, strict base64url. A token never
//! authenticates by itself (its binding must hold for the evidence of the same request) and never widens (I6).
//! Nothing here prints a token (I7).
//!
//! Tool servers that are told who calls them get an identity token of another type ([`IdentityClaims`]), which the gateway
//! itself never reads.
//!
//! layer: L2

mod audience;
mod cache;
mod claims;
mod config;
mod error;
mod identity;
mod issue;
mod jws;
mod verify;

pub use audience::audience_of;
pub use claims::{Claims, Client, McpFacts};
pub use config::Config;
pub use error::TokenError;
pub use identity::{Actor, IDENTITY_TYP, IdentityClaims, IdentityConfig, IssuedIdentity, OnBehalfOf};
pub use issue::{Grant, IssuedToken, Issuer};
pub use jws::{MAX_TOKEN_BYTES, TYP};
pub use verify::{VerifiedToken, Verifier};

#[cfg(test)]
mod tests;
