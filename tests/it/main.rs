//! The integration tests: they drive the real binary.

mod config;
mod keys;
