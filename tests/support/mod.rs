//! A SPIFFE Workload API to test against: what SPIRE's agent does, in this process, steered by the test.
//!
//! [`workload_api`] serves the real protocol on a Unix socket, [`authority`] makes real certificates for it, and
//! [`messages`] is what goes over the wire. Nothing in here knows chancery: the three files can be copied. [`issuer`] is an issuer of bearer tokens.

pub(crate) mod authority;
pub(crate) mod issuer;
pub(crate) mod messages;
pub(crate) mod workload_api;
