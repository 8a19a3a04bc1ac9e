//! Decides, with Cedar, whether a message may go on: bytes and values in, a ruling out.
//!
//! [`Engine::compile`] takes the policy files' text and the known tools and yields an immutable snapshot; each
//! message is then one [`Engine::decide`]. Nothing here reads a file, the clock or the environment.
//!
//! - Deny by default: an empty set denies everything, `forbid` wins, a `forbid` that can't be evaluated denies (I5).
//! - Policies are validated strictly against a Cedar schema that is generated from the tools' own JSON Schemas, so a
//!   misspelt attribute is an error with a position and not a rule that never matches.
//! - Arguments are read from their own bytes with exact numbers; what Cedar can't hold exactly is never rounded: the
//!   call is refused when a policy depends on it.
//!
//! Only this module imports Cedar.
//!
//! layer: L2

mod catalogue;
mod compile;
mod decide;
mod diagnostic;
mod engine;
mod entities;
mod index;
mod input;
mod json;
mod methods;
mod names;
mod number;
mod query;
mod reachable;
mod reads;
mod schema;
mod sources;
mod starter;
mod store;
mod target;
mod types;
mod visible;

pub use catalogue::{Annotations, Catalogue, DefinitionError, ToolDefinition};
pub use diagnostic::{PolicyDiagnostic, Severity, Warning};
pub use engine::{Engine, ToolEntry};
pub use entities::{SessionEntities, SessionFacts};
pub use query::{Action, Direction, Listed, Query};
pub use reachable::Provable;
pub use schema::remark;
pub use sources::{PolicySources, SourceFile};
pub use starter::{Starter, starter};
pub use store::EngineStore;

#[cfg(test)]
mod tests;
