//! The side of the tool servers.

mod probe;

pub use probe::{ProbeError, Probed, probe};
