//! JSON-RPC batches, which exist in revision 2025-03-26 alone.

use super::error::{Malformed, WireError};
use super::frame::Frame;
use super::{strict, walk};
use crate::domain::limits::Limits;

/// Whether the first character that is no white space opens an array.
pub fn is_batch(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// The messages of a batch, each read on its own.
///
/// # Errors
/// A batch that is not strict JSON, that is empty, or that holds more messages than a session may have under way.
pub fn split(mut bytes: Vec<u8>, limits: &Limits) -> Result<Vec<Result<Frame, WireError>>, WireError> {
    if bytes.len() > limits.message_bytes {
        let limit = limits.message_bytes;
        return Err(WireError::new(Malformed::TooLarge, format!("a batch of more than {limit} bytes")));
    }
    strict::normalised(&mut bytes, limits.depth.saturating_add(1))?;
    let batch = bytes.trim_ascii();
    if !is_batch(batch) || walk::elements(batch).next().is_none() {
        return Err(WireError::new(Malformed::Batch, "a batch is an array of at least one message"));
    }
    if walk::elements(batch).nth(limits.in_flight).is_some() {
        let most = limits.in_flight;
        return Err(WireError::new(Malformed::Batch, format!("a batch of more than {most} messages")));
    }
    Ok(walk::elements(batch).map(|message| Frame::parse(message.raw.to_vec(), limits)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_and_each_message_stands_alone() {
        let body = b"\n[ {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} ,\r\n\
            {\"jsonrpc\":\"2.0\",\"method\":\"tools/call\"}, [], 7 ]\n";
        assert!(is_batch(body));
        let parts = split(body.to_vec(), &Limits::default()).unwrap();
        let reasons: Vec<_> = parts.iter().map(|p| p.as_ref().err().map(|e| e.reason)).collect();
        let (presence, batch, object) = (Malformed::IdPresence, Malformed::Batch, Malformed::NotAnObject);
        assert_eq!(reasons, [None, Some(presence), Some(batch), Some(object)]);
        assert_eq!(&**parts[0].as_ref().unwrap().bytes(), br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    }

    #[test]
    fn an_empty_broken_or_endless_batch_is_refused_whole() {
        let limits = Limits { in_flight: 2, ..Limits::default() };
        let reason = |text: &str| split(text.into(), &limits).err().map(|e| e.reason);
        assert_eq!(reason("[]"), Some(Malformed::Batch));
        assert_eq!(reason("{}"), Some(Malformed::Batch));
        assert_eq!(reason("[1,2]"), None);
        assert_eq!(reason("[1,2,3]"), Some(Malformed::Batch));
        assert_eq!(reason("[1,]"), Some(Malformed::NotJson));
        assert_eq!(reason(r#"[{"a":1,"a":2}]"#), Some(Malformed::DuplicateKey));
    }
}
