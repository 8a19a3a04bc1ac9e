//! The gateway's signing identity: where its keys come from, when they change, and which may still be asked for.
//!
//! [`Identity`] implements [`crate::keys::Signer`] for whoever signs and [`crate::keys::PublicKeySource`] for
//! whoever verifies. The keys come from a [`Material`]; `local` is the embedded one, a trust domain persisted in
//! a directory that only this user can enter. Nothing here ever falls back to a key that is not persisted (I3):
//! a directory that is missing something, unreadable, wide open or another user's is an error that names the fix.
//!
//! layer: L3

mod config;
mod describe;
mod error;
mod local;
mod material;
mod ring;
mod service;

pub use config::{Config, Kind, Local};
pub use describe::{KeyDescription, KeyRole};
pub use error::IdentityError;
pub use material::{Material, Published, PublishedKey, RetiredKey};
pub use service::Identity;
