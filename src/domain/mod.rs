//! The words of chancery: values that every other part speaks in, valid by construction.
//!
//! Nothing here does I/O except the three doors to the outside that invariant I9 asks for: [`clock`],
//! [`random`] and (for the command line only) the environment, which `config` reads.
//!
//! layer: L0

pub mod admitted;
pub mod binding;
pub mod clock;
pub mod decision;
pub mod digest;
pub mod evidence;
pub mod ids;
pub mod limits;
pub mod principal;
pub mod random;
pub mod recorder;
pub mod refusal;
pub mod revision;
pub mod secret;
pub mod semconv;
pub mod unseen;
pub mod zone;
