//! Answers to list requests: what they hold, and the same with some entries cut out.

use super::error::{Malformed, WireError};
use super::frame::Frame;
use super::walk::{self, Item};
use super::{keys, text};
use crate::domain::limits::Limits;

/// Keeps those entries of `result.<key>` for which `keep(name, raw entry)` holds; every other byte stays as it was.
/// The name is what a call would say: `uri` for `resources`, `uriTemplate` for `resourceTemplates`, else `name`.
/// An entry without one, or with a twin of that key, is cut out unasked. Returns the number of entries cut out.
///
/// # Errors
/// `result.<key>` is there but is no array.
pub fn filter(
    frame: &Frame,
    key: &str,
    limits: &Limits,
    mut keep: impl FnMut(&str, &[u8]) -> bool,
) -> Result<(Frame, usize), WireError> {
    let Some(list) = list(frame, key)? else { return Ok((frame.clone(), 0)) };
    // What stands between two delimiters goes or stays as a whole, white space included.
    let (mut kept, mut removed) = (Vec::with_capacity(list.raw.len()), 0);
    let mut from = 1;
    for entry in walk::elements(list.raw) {
        let rest = list.raw.get(entry.end()..).unwrap_or_default();
        let to = entry.end() + rest.iter().position(|b| matches!(b, b',' | b']')).unwrap_or(rest.len());
        if name(entry.raw, key).is_some_and(|name| keep(&name, entry.raw)) {
            if !kept.is_empty() {
                kept.push(b',');
            }
            kept.extend_from_slice(list.raw.get(from..to).unwrap_or_default());
        } else {
            removed += 1;
        }
        from = to + 1;
    }
    if removed == 0 {
        return Ok((frame.clone(), 0));
    }
    let mut bytes = Vec::with_capacity(frame.bytes().len());
    bytes.extend_from_slice(frame.bytes().get(..=list.at).unwrap_or_default());
    bytes.append(&mut kept);
    bytes.extend_from_slice(frame.bytes().get(list.end() - 1..).unwrap_or_default());
    Ok((Frame::parse(bytes, limits)?, removed))
}

/// The entries of `result.<key>` by name, as [`filter`] sees them. None if there is no such key.
///
/// # Errors
/// `result.<key>` is there but is no array.
pub fn entries<'a>(frame: &'a Frame, key: &str) -> Result<Vec<(String, &'a [u8])>, WireError> {
    let Some(list) = list(frame, key)? else { return Ok(Vec::new()) };
    Ok(walk::elements(list.raw).filter_map(|entry| Some((name(entry.raw, key)?, entry.raw))).collect())
}

/// `result.nextCursor`, decoded.
pub fn next_cursor(frame: &Frame) -> Option<String> {
    let cursor = walk::member(frame.result()?, "nextCursor")?;
    text::decode(cursor.raw).map(Into::into)
}

/// Whether a list request asks for another page than the first.
pub fn has_cursor(frame: &Frame) -> bool {
    frame.params().is_some_and(|params| walk::member(params, "cursor").is_some_and(|at| at.raw != b"null"))
}

/// The array at `result.<key>`, placed in the frame's bytes.
fn list<'a>(frame: &'a Frame, key: &str) -> Result<Option<Item<'a>>, WireError> {
    let Some(list) = frame.result().and_then(|result| walk::member(result, key)) else { return Ok(None) };
    if list.raw.first() != Some(&b'[') {
        let what = format!("`result.{key}` must be an array");
        return Err(WireError::new(Malformed::Outcome, what).with_id(frame.id().cloned()));
    }
    Ok(Some(Item { at: frame.result_at() + list.at, raw: list.raw }))
}

/// What a call would say to mean this entry of `list`.
fn name(entry: &[u8], list: &str) -> Option<String> {
    let naming = match list {
        "resources" => "uri",
        "resourceTemplates" => "uriTemplate",
        _ => "name",
    };
    let mut found = None;
    for (key, value) in walk::members(entry) {
        let key = text::decode(key.raw)?;
        if keys::is_twin(&key, naming) {
            return None;
        }
        if key == naming {
            found = Some(text::decode(value.raw)?.into_owned());
        }
    }
    found
}
