//! What a scanned message is: JSON-RPC 2.0 as MCP uses it, strictly.

use std::sync::Arc;

use super::error::{Malformed, WireError};
use super::frame::Kind;
use super::id::{MAX_ID_BYTES, MAX_ID_INTEGER, RequestId};
use super::methods::{self, Class};
use super::place::{Place, Slot, Slots, Span};
use super::{scan, strict, text};
use crate::domain::limits::Limits;

/// Longest method, in bytes once decoded.
const MAX_METHOD_BYTES: usize = 256;

/// A string of the message: where it stands, or decoded if something in it was escaped.
#[derive(Debug)]
pub(super) enum Text {
    Absent,
    Plain(Span),
    Decoded(Arc<str>),
}

impl Text {
    fn read(slots: &Slots, slot: Slot, bytes: &[u8]) -> Self {
        let span = slots.span(slot);
        match span.of(bytes).and_then(text::decode) {
            None => Self::Absent,
            Some(std::borrow::Cow::Owned(text)) => Self::Decoded(text.into()),
            Some(std::borrow::Cow::Borrowed(_)) => {
                Self::Plain(Span { start: span.start + 1, end: span.end - 1 })
            }
        }
    }

    pub(super) fn of<'a>(&'a self, bytes: &'a [u8]) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Plain(span) => {
                std::str::from_utf8(bytes.get(span.start as usize..span.end as usize).unwrap_or_default())
                    .ok()
            }
            Self::Decoded(text) => Some(text),
        }
    }
}

/// What was found in a message; spans are into its bytes.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) class: Class,
    pub(super) id: Option<RequestId>,
    pub(super) slots: Slots,
    pub(super) method: Text,
    pub(super) name: Text,
    pub(super) uri: Text,
    pub(super) protocol_version: Text,
}

impl Envelope {
    /// Reads the message once. CR and LF outside strings are spaces afterwards.
    pub(super) fn read(bytes: &mut [u8], limits: &Limits) -> Result<Self, WireError> {
        if bytes.len() > limits.message_bytes {
            let limit = limits.message_bytes;
            return Err(WireError::new(Malformed::TooLarge, format!("a message of more than {limit} bytes")));
        }
        match bytes.trim_ascii_start().first() {
            Some(b'[') => {
                return Err(WireError::new(
                    Malformed::Batch,
                    "batches are not part of this protocol revision",
                ));
            }
            Some(b'{') => {}
            _ => {
                strict::normalised(bytes, limits.depth)?;
                return Err(WireError::new(Malformed::NotAnObject, "a message is a JSON object"));
            }
        }
        let scanned =
            scan::scan(bytes, limits.depth, Place::Envelope).map_err(|f| strict::error(f, bytes))?;
        let id = read_id(scanned.slots.of(Slot::Id, bytes));
        if let Some(fault) = scanned.fault {
            let id = if scanned.ambiguous { None } else { id.ok().flatten() };
            return Err(strict::error(fault, bytes).with_id(id));
        }
        Self::build(scanned.slots, id.clone(), bytes).map_err(|e| e.with_id(id.ok().flatten()))
    }

    fn build(
        slots: Slots,
        id: Result<Option<RequestId>, WireError>,
        bytes: &[u8],
    ) -> Result<Self, WireError> {
        let (id, has_id) = (id?, slots.of(Slot::Id, bytes).is_some());
        if slots.of(Slot::Version, bytes).and_then(text::decode).as_deref() != Some("2.0") {
            return Err(WireError::new(Malformed::Version, "`jsonrpc` must be \"2.0\""));
        }
        let has = |slot| slots.of(slot, bytes).is_some();
        let method = Text::read(&slots, Slot::Method, bytes);
        let name = method.of(bytes).unwrap_or_default();
        let class = methods::classify(name);
        let kind = match (has(Slot::Method), has(Slot::Result), has(Slot::Error), has(Slot::Params)) {
            (true, false, false, _) => call_kind(name, id.is_some(), has_id)?,
            (false, true, false, false) => Kind::Response,
            (false, false, true, false) => Kind::Error,
            _ => {
                let what = "a message has exactly one of `method`, `result` and `error`, and `params` only with `method`";
                return Err(WireError::new(Malformed::Shape, what));
            }
        };
        match kind {
            Kind::Request | Kind::Notification => check_params(&slots, class, bytes)?,
            Kind::Response if id.is_none() => {
                return Err(WireError::new(Malformed::IdPresence, "a result needs the id of its request"));
            }
            Kind::Response => {
                is_object(&slots, Slot::Result, bytes, Malformed::Outcome, "`result` must be an object")?
            }
            Kind::Error => {
                is_object(&slots, Slot::Error, bytes, Malformed::Outcome, "`error` must be an object")?
            }
        }
        let version = match kind {
            Kind::Response => Slot::ResultProtocolVersion,
            _ => Slot::ParamsProtocolVersion,
        };
        Ok(Self {
            kind,
            class,
            id,
            method,
            name: Text::read(&slots, Slot::Name, bytes),
            uri: Text::read(&slots, Slot::Uri, bytes),
            protocol_version: Text::read(&slots, version, bytes),
            slots,
        })
    }
}

/// An id as it stands; `None` for null and for none at all.
pub(super) fn read_id(raw: Option<&[u8]>) -> Result<Option<RequestId>, WireError> {
    let bad = || {
        WireError::new(
            Malformed::Id,
            "an id is a string of at most 256 bytes or an integer within ±(2^53 − 1)",
        )
    };
    match raw {
        None | Some(b"null") => Ok(None),
        Some(raw @ [b'"', ..]) => match text::decode(raw) {
            Some(text) if text.len() <= MAX_ID_BYTES => Ok(Some(RequestId::String(text.into()))),
            _ => Err(bad()),
        },
        Some(b"-0") => Err(bad()),
        Some(raw) => {
            let number = std::str::from_utf8(raw).ok().and_then(|t| t.parse::<i64>().ok());
            let number = number.filter(|n| n.unsigned_abs() <= MAX_ID_INTEGER.unsigned_abs());
            number.map(|n| Some(RequestId::Integer(n))).ok_or_else(bad)
        }
    }
}

fn call_kind(method: &str, id: bool, has_id: bool) -> Result<Kind, WireError> {
    if method.is_empty() || method.len() > MAX_METHOD_BYTES {
        return Err(WireError::new(Malformed::Method, "`method` must be a string of 1 to 256 bytes"));
    }
    match (id, methods::is_notification(method)) {
        (false, _) if has_id => {
            Err(WireError::new(Malformed::IdPresence, "the id of a request must not be null"))
        }
        (true, true) => Err(WireError::new(Malformed::IdPresence, "a notification has no id")),
        (false, false) if methods::is_request(method) => {
            Err(WireError::new(Malformed::IdPresence, "this method is a request and needs an id"))
        }
        (true, false) => Ok(Kind::Request),
        (false, _) => Ok(Kind::Notification),
    }
}

/// `params` must be an object, and name what the method acts on.
fn check_params(slots: &Slots, class: Class, bytes: &[u8]) -> Result<(), WireError> {
    if slots.of(Slot::Params, bytes).is_some() {
        is_object(slots, Slot::Params, bytes, Malformed::Params, "`params` must be an object")?;
    }
    let is_string = |slot| matches!(slots.of(slot, bytes), Some([b'"', ..]));
    let named = matches!(class, Class::ToolCall | Class::PromptGet);
    if named && !is_string(Slot::Name) {
        return Err(WireError::new(Malformed::Params, "`params.name` must be a string"));
    }
    if named && !matches!(slots.of(Slot::Arguments, bytes), None | Some(b"null" | [b'{', ..])) {
        return Err(WireError::new(Malformed::Params, "`params.arguments` must be an object"));
    }
    if matches!(class, Class::ResourceRead | Class::ResourceSubscribe) && !is_string(Slot::Uri) {
        return Err(WireError::new(Malformed::Params, "`params.uri` must be a string"));
    }
    Ok(())
}

fn is_object(
    slots: &Slots,
    slot: Slot,
    bytes: &[u8],
    reason: Malformed,
    message: &'static str,
) -> Result<(), WireError> {
    match slots.of(slot, bytes) {
        Some([b'{', ..]) => Ok(()),
        _ => Err(WireError::new(reason, message)),
    }
}
