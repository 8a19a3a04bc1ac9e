//! The application: builds a gateway from its configuration, runs it and shuts it down in order.
//!
//! This is the only place that wires concrete types together. The order of a start: policies, commands and tools are
//! looked at (`prepare`), listeners are bound, then identity, secret and log are opened (`build`); whatever is wrong
//! is one [`StartError`] and nothing is half-started. Beside the messages go key rotation, the collection of
//! sessions, the summary of refusals (`upkeep`) and the operator's socket (`admin`); `tools` keeps in force what was approved, and
//! `reload` reads it anew when files change (`watch`).
//!
//! layer: L6

pub mod admin;
pub mod approve;
mod build;
pub mod command;
mod compiled;
pub mod drift;
mod error;
mod excerpt;
pub mod files;
mod held;
pub mod lock;
mod naming;
mod overlooked;
mod plain;
pub mod policies;
mod prepare;
pub mod records;
mod reload;
mod run;
mod serve;
mod shown;
mod signals;
mod tools;
mod upkeep;
mod watch;

pub use error::StartError;
pub use naming::server_name;
pub use overlooked::overlooked;
pub use prepare::{known_tools, live_tools};
pub use run::{own_log_dir, run};
pub use serve::serve;
