//! The integration tests: they drive the real binary.

mod admission;
mod cli;
mod config;
mod gateway;
mod keys;
mod verify;
