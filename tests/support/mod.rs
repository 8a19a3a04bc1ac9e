//! A SPIFFE Workload API to test against: what SPIRE's agent does, in this process, steered by the test.
//!
//! [`workload_api`] serves the real protocol on a Unix socket, [`authority`] makes real certificates for it, and
//! [`messages`] is what goes over the wire. Nothing in here knows chancery: the files can be
//! copied. [`issuer`] is an issuer of bearer tokens. [`leaks`] searches for secrets where none may be, [`otlp`] keeps what is
//! exported.

pub(crate) mod authority;
pub(crate) mod issuer;
pub(crate) mod leaks;
pub(crate) mod messages;
pub(crate) mod otlp;
pub(crate) mod workload_api;
