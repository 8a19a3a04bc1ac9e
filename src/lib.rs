//! chancery: an authorization gateway for the Model Context Protocol.
//!
//! The layers and what may import what are described in `docs/architecture.md` and enforced by `tests/layers.rs`.

pub mod admission;
pub mod app;
pub mod attest;
pub mod audit;
pub mod cli;
pub mod config;
pub mod domain;
pub mod gate;
pub mod identity;
pub mod keys;
pub mod policy;
pub mod proxy;
pub mod telemetry;
pub mod token;
pub mod wire;
