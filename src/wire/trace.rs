//! W3C trace context's `traceparent`, as MCP senders put it into `params._meta`.

use std::fmt;
use std::str::FromStr;

/// Length of a version-00 `traceparent`, in characters.
pub(super) const TRACEPARENT_LEN: usize = 55;
/// Where the parent id stands in it.
pub(super) const PARENT_ID_AT: usize = 36;

/// A `traceparent` of version 00: `00-<trace id>-<parent id>-<flags>` (W3C Trace Context §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// The span that caused this message; not all zero.
    pub parent_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// The text is no `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00 (W3C Trace Context)")]
pub struct NotTraceparent;

impl FromStr for Traceparent {
    type Err = NotTraceparent;

    fn from_str(text: &str) -> Result<Self, NotTraceparent> {
        let mut fields = text.split('-');
        let (Some("00"), Some(trace), Some(parent), Some(flags), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(NotTraceparent);
        };
        let trace_id: [u8; 16] = hex(trace).ok_or(NotTraceparent)?;
        let parent_id: [u8; 8] = hex(parent).ok_or(NotTraceparent)?;
        let [flags] = hex(flags).ok_or(NotTraceparent)?;
        if trace_id == [0; 16] || parent_id == [0; 8] {
            return Err(NotTraceparent);
        }
        Ok(Self { trace_id, parent_id, flags })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, parent) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.parent_id));
        write!(f, "00-{trace:032x}-{parent:016x}-{:02x}", self.flags)
    }
}

/// Lower-case hex of exactly `N` bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != N {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_round_trips_and_anything_else_is_refused() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed: Traceparent = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(&text[PARENT_ID_AT..PARENT_ID_AT + 16], "00f067aa0ba902b7");
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-001",
        ] {
            assert_eq!(bad.parse::<Traceparent>(), Err(NotTraceparent), "{bad}");
        }
    }
}
