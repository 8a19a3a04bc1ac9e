//! The transports: they carry bytes between clients, the gate and tool servers, and decide nothing.
//!
//! `downstream` yields frames from a client, `relay` takes them to the gate's session and sends what a permit
//! holds over a `Link` of `upstream`; answers come back the same way. Nothing goes to a tool server but by a
//! [`Permit`](crate::gate::Permit), except the gateway's own [`upstream::probe`] at start.
//!
//! layer: L4

pub mod config;
pub mod downstream;
mod relay;
pub mod upstream;

pub use downstream::http::{BindError, Listeners, Published, ServeParts, serve};
pub use downstream::stdio::{RunParts, run};
