//! The integration tests: they drive the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail by panicking too"
)]

mod admission;
mod catalogue;
mod cli;
mod config;
mod demo;
mod durability;
mod gateway;
mod keys;
mod telemetry;
mod verify;
mod policy;
