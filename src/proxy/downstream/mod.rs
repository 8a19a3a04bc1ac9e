//! The side of the clients: a pipe under `run`, HTTP under `serve`.

pub mod http;
mod pipe;
pub mod stdio;
