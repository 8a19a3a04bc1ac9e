//! What becomes of a call's arguments: the value that policies see, or why there is none.

use cedar_policy::RestrictedExpression as Expr;

use super::checker::Verdict;
use super::engine::ToolEntry;
use super::input::{Input, InputError, convert};
use super::json::Json;
use super::opaque::Opaque;
use super::rules::Breaches;

/// Arguments that were judged.
#[derive(Debug)]
pub(super) struct Judged {
    /// The value of `context.input`.
    pub(super) value: Expr,
    /// What has no exact value in it.
    pub(super) opaque: Vec<Opaque>,
    /// What does not fit the tool's schema, where that is only recorded.
    pub(super) breach: Option<InputError>,
}

/// Judges `arguments` by the tool's own schema and converts them.
///
/// # Errors
/// If they don't fit and that is to be refused; and always for what others could read as other arguments.
pub(super) fn judge(tool: &ToolEntry, arguments: &Json<'_>) -> Result<Judged, InputError> {
    let Input { value, opaque, mut misfits } = convert(&tool.input, arguments)?;
    let first = (!misfits.is_empty()).then(|| misfits.swap_remove(0));
    let breach = match tool.definition.checker().check(arguments) {
        // What fits the schema and not its type is left out of what policies see.
        Verdict::Fits => None,
        // The type's own words are better.
        Verdict::Breach(error) => Some(first.unwrap_or(error)),
        Verdict::Unknown => first,
    };
    match (breach, tool.breaches) {
        (Some(error), Breaches::Refuse) => Err(error),
        (breach, _) => Ok(Judged { value, opaque, breach }),
    }
}
