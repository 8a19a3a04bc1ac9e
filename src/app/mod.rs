//! The application: builds a gateway from its configuration, runs it and shuts it down in order.
//!
//! This is the only place that wires concrete types together.
//!
//! layer: L6

pub mod command;
mod naming;
pub mod policies;

pub use naming::server_name;
