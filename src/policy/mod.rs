//! Decides, with Cedar, whether a message may go on: bytes and values in, a ruling out.
//!
//! [`Engine::compile`] takes the policy files' text and the known tools and yields an immutable snapshot; each
//! message is then one [`Engine::decide`]. Nothing here reads a file, the clock or the environment.
//!
//! - Deny by default: an empty set denies everything, `forbid` wins, a `forbid` that can't be evaluated denies (I5).
//! - Policies are validated strictly against a Cedar schema that is generated from the tools' own JSON Schemas, so a
//!   misspelt attribute is an error with a position and not a rule that never matches.
//! - Arguments are read from their own bytes with exact numbers; what Cedar can't hold exactly is never rounded: the
//!   call is refused when a policy depends on it. The tool's own JSON Schema judges whether they fit.
//!
//! Only this module imports Cedar.
//!
//! layer: L2

mod addressed;
mod advice;
mod catalogue;
mod changes;
mod checker;
mod clauses;
mod compile;
mod decide;
mod diagnostic;
mod engine;
mod entities;
mod explain;
mod format;
mod glob;
mod hindsight;
mod hint;
mod host;
mod index;
mod input;
mod inputs;
mod join;
mod json;
mod judge;
mod label;
mod lint;
mod lookalikes;
mod mapper;
mod methods;
mod names;
mod narrow;
mod never;
mod number;
mod observed;
mod opaque;
mod path;
mod pin;
mod places;
mod query;
mod reachable;
mod reads;
mod recompile;
mod redundant;
mod residual;
mod rules;
mod schema;
mod shadow;
mod slips;
mod sources;
mod spelling;
mod starter;
mod state;
mod store;
mod subschemas;
mod target;
mod types;
mod unmet;
mod uri;
mod validate;
mod visible;

pub use catalogue::{Annotations, Catalogue, DefinitionError, ToolDefinition};
pub use changes::SetChanges;
pub use decide::is_gateway_check;
pub use diagnostic::{PolicyDiagnostic, Severity, Warning};
pub use engine::{Engine, ToolEntry};
pub use entities::{SessionEntities, SessionFacts};
pub use explain::{Clause, Considered, Explanation, Outcome, Part, PolicyPlace, Truth};
pub use format::{FormatError, LINE_WIDTH, laid_out, schema_json};
pub use hindsight::{Hindsight, Recorded};
pub use hint::{Hint, Misnamed};
pub use lookalikes::Lookalike;
pub use names::nearest;
pub use pin::Pin;
pub use query::{Action, Direction, Listed, Query};
pub use reachable::Provable;
pub use rules::{ArgumentRules, Breaches, InputRule, InputRuleError, Meaning};
pub use schema::remark;
pub use sources::{PolicySources, SourceFile};
pub use starter::{Starter, Who, starter};
pub use state::{Calls, State, StateReads};
pub use store::EngineStore;

#[cfg(test)]
mod tests;
