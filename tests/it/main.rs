//! The integration tests: they drive the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod admission;
mod anonymous;
mod attacks;
mod bindings;
mod catalogue;
mod cli;
mod config;
mod demo;
mod docs;
mod durability;
mod forged_tokens;
mod forward_identity;
mod gateway;
mod http;
mod keys;
mod leaks;
mod limits;
mod list_changed;
mod mtls;
mod mtls_admission;
mod mtls_revocation;
mod oidc;
mod paged;
mod pinning;
mod policy;
mod policy_authors;
mod policy_cases;
mod policy_drift;
mod policy_words;
mod puppet;
mod races;
mod raw;
mod recipes;
mod reload;
mod run_files;
mod session_cli;
mod session_open;
mod shadow_set;
mod spire;
mod spire_agent;
mod spire_choice;
mod spire_outage;
mod spire_restart;
mod spire_rotation;
mod spire_start;
mod spire_updates;
mod state;
mod stdio;
mod telemetry;
mod upstream;
mod verify;
mod web_tls;

#[path = "../support/mod.rs"]
mod support;
