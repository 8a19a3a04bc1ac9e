//! The gateway's own entry in a result's `_meta`.

use super::error::{Malformed, WireError};
use super::frame::Frame;
use super::{strict, walk};
use crate::domain::limits::Limits;

/// The same response with `"<key>":<value_json>` as the last member of `result._meta`, which is added at the result's
/// end if it is missing; every other byte stays as it was.
///
/// # Errors
/// The frame is no result, its `_meta` is no object or holds `key` already, `value_json` is not one JSON value, or
/// the whole is over the limits.
pub fn insert_result_meta(
    frame: &Frame,
    key: &str,
    value_json: &str,
    limits: &Limits,
) -> Result<Frame, WireError> {
    let refused = |what: &'static str| WireError::new(Malformed::Outcome, what).with_id(frame.id().cloned());
    let result = frame.result().ok_or_else(|| refused("not a result"))?;
    strict::check(value_json.as_bytes(), limits.depth)?;
    let entry = format!("{}:{value_json}", serde_json::Value::from(key));
    let (object, entry) = match walk::member(result, "_meta") {
        Some(meta) if meta.raw.first() != Some(&b'{') => {
            return Err(refused("`result._meta` must be an object"));
        }
        Some(meta) => (meta, entry),
        None => (walk::Item { at: 0, raw: result }, format!("\"_meta\":{{{entry}}}")),
    };
    let comma = if walk::members(object.raw).next().is_some() { "," } else { "" };
    let at = frame.result_at() + object.end() - 1;
    let (head, tail) = frame.bytes().split_at_checked(at).ok_or_else(|| refused("not a result"))?;
    // Read again: a `key` that was there already, or a twin of it, is found here.
    Frame::parse([head, comma.as_bytes(), entry.as_bytes(), tail].concat(), limits)
}
