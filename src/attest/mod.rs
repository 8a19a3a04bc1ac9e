//! The attestation log: one signed, hash-linked record for each decision, written before what it permits happens.
//!
//! [`Log::append`] gives a record its place in its [`Chain`] and queues it; one writer thread signs what is queued
//! ([`dsse`] envelopes around in-toto [`Statement`]s), writes it with one write and one `fdatasync` for all, and then
//! hands out the [`Receipt`]s. The records of the gateway itself (runs, keys, policies, gaps) stand on a chain of
//! their own, which only the writer extends.
//!
//! - No receipt without a record as durable as configured (I1); a batch that fails is cut off again whole, the chains
//!   go back, and until a record can be written nothing is promised. The first record then tells of the gap (I3).
//! - Chains and bundles are archived before the first record that needs them, policy sources before the record
//!   that names them (I4).
//! - Sequence numbers of a chain are contiguous in the order of the file, whatever failed in between.
//!
//! layer: L2

mod archive;
mod chain;
mod config;
mod directory;
mod draft;
pub mod dsse;
mod entry;
mod error;
mod gateway;
mod identity_token;
mod issued;
mod labels;
mod log;
pub mod predicate;
mod prospect;
mod queue;
mod read;
mod receipt;
#[cfg(test)]
mod schema;
mod segment;
mod state;
mod statement;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use archive::{Announcement, PolicySource, policy_file_name};
pub use chain::Chain;
pub use config::{Config, Durability};
pub use directory::{FORMAT, Layout, LogFile, in_use};
pub use error::{AppendError, LogError, StorageError};
pub use log::Log;
pub use predicate::{CloseReason, Direction, Predicate, clip};
pub use read::{Place, ReadError, StoredRecord, StoredRecords};
pub use receipt::{PendingReceipt, Receipt};
pub use statement::{
    ChainId, GatewayInfo, Link, PREDICATE_PREFIX, PREDICATE_SUFFIX, STATEMENT_TYPE, Statement, Subject,
};
