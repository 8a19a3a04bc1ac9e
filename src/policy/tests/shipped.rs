//! The policies that ship in `policies/`.
