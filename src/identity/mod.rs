//! The gateway's signing identity: where its keys come from, when they change, and which may still be asked for.
//!
//! [`Identity`] implements [`crate::keys::Signer`] for whoever signs and [`crate::keys::PublicKeySource`] for
//! whoever verifies. The keys come from a [`Material`]: `spire` takes the SVIDs that a SPIRE agent streams, `local`
//! is the embedded one, a trust domain persisted in a directory that only this user can enter. Which of them it is
//! stands in the configuration and never changes while the gateway runs. Nothing here ever falls back to another
//! key (I3): an agent that can't be reached, a directory that is missing something, unreadable, wide open or
//! another user's is an error that names the fix.
//!
//! layer: L3

mod config;
mod describe;
mod error;
mod local;
mod material;
mod pem_file;
mod ring;
mod service;
mod spire;
mod store;
mod tls;
mod web;

pub use config::{Config, Kind, Local, Spire};
pub use describe::{KeyDescription, KeyRole};
pub use error::IdentityError;
pub use material::{Material, PublicHalf, Published, PublishedKey};
pub use service::Identity;
pub use spire::SpireError;
pub use tls::{Peers, SpiffeTls, TlsError};
pub use web::{CertificateError, CertificateFiles, WebCertificate};
