//! The strict scan: one pass over a JSON text (RFC 8259) that remembers where the interesting values are.
//!
//! It recurses nowhere and allocates twice, whatever the text. CR and LF outside strings are made spaces as they are
//! passed. Faults of meaning (a key twice, half a surrogate) are noted and the scan goes on, so that the id is known
//! to be the only one before an answer names it; where the text is no JSON, it ends.

use super::error::Malformed;
use super::keys::{Key, Keys};
use super::place::{Place, Slot, Slots, Span};

/// What is wrong, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: Malformed,
    pub(super) at: usize,
}

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The values that are remembered.
    pub(super) slots: Slots,
    /// The first fault of meaning; the text is JSON nevertheless.
    pub(super) fault: Option<Fault>,
    /// The fault is in the envelope itself: even the id is not to be relied on.
    pub(super) ambiguous: bool,
}

/// Scans `bytes`, whose value stands at `root`, with at most `depth` arrays and objects inside one another.
///
/// # Errors
/// The text is not one JSON value in UTF-8, or too deep, or 4 GiB and more.
pub(super) fn scan(bytes: &mut [u8], depth: usize, root: Place) -> Result<Scanned, Fault> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(Fault { reason: Malformed::TooLarge, at: 0 });
    }
    if let Err(e) = std::str::from_utf8(bytes) {
        return Err(Fault { reason: Malformed::InvalidUtf8, at: e.valid_up_to() });
    }
    let scanned = Scanned { slots: Slots::default(), fault: None, ambiguous: false };
    let stack = Vec::with_capacity(depth.min(16));
    let mut scanner = Scanner { bytes, at: 0, depth, root, stack, keys: Keys::with_capacity(64), scanned };
    scanner.run()?;
    Ok(scanner.scanned)
}

/// An array or object that is open.
struct Level {
    object: bool,
    place: Place,
    /// Where its keys begin among all keys.
    keys: usize,
    /// Its keys are to be checked when it closes.
    later: bool,
    /// What the value is that is being read, and where it began.
    slot: Slot,
    start: u32,
}

struct Scanner<'a> {
    bytes: &'a mut [u8],
    at: usize,
    depth: usize,
    root: Place,
    stack: Vec<Level>,
    keys: Keys,
    scanned: Scanned,
}

/// What comes after a value.
enum After {
    Value,
    End,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        loop {
            self.space();
            let opened = match self.peek() {
                Some(b'{') => self.open_object()?,
                Some(b'[') => self.open_array()?,
                Some(b'"') => self.string().map(|_| false)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| false)?,
                Some(b't') => self.literal(b"true").map(|()| false)?,
                Some(b'f') => self.literal(b"false").map(|()| false)?,
                Some(b'n') => self.literal(b"null").map(|()| false)?,
                _ => return Err(self.not_json()),
            };
            if !opened && matches!(self.after_value()?, After::End) {
                return Ok(());
            }
        }
    }

    /// Goes on behind a value: to the next one, or out of the arrays and objects that end here.
    fn after_value(&mut self) -> Result<After, Fault> {
        loop {
            let end = self.offset();
            let Some(level) = self.stack.last() else {
                self.space();
                return if self.at == self.bytes.len() { Ok(After::End) } else { Err(self.not_json()) };
            };
            if level.slot != Slot::None {
                self.scanned.slots.set(level.slot, Span { start: level.start, end });
            }
            let object = level.object;
            self.space();
            match (self.peek(), object) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.space();
                    self.member()?;
                    return Ok(After::Value);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(After::Value);
                }
                (Some(b'}'), true) | (Some(b']'), false) => self.close(),
                _ => return Err(self.not_json()),
            }
        }
    }

    /// Enters an object up to its first value; false if it is empty and already closed.
    fn open_object(&mut self) -> Result<bool, Fault> {
        let place = self.stack.last().map_or(self.root, |level| Place::inside(level.slot));
        self.open(true, place)?;
        if self.peek() == Some(b'}') {
            self.close();
            return Ok(false);
        }
        self.member()?;
        Ok(true)
    }

    fn open_array(&mut self) -> Result<bool, Fault> {
        self.open(false, Place::Other)?;
        if self.peek() == Some(b']') {
            self.close();
            return Ok(false);
        }
        Ok(true)
    }

    fn open(&mut self, object: bool, place: Place) -> Result<(), Fault> {
        if self.stack.len() >= self.depth {
            return Err(Fault { reason: Malformed::TooDeep, at: self.at });
        }
        self.at += 1;
        self.space();
        let keys = self.keys.len();
        self.stack.push(Level { object, place, keys, later: false, slot: Slot::None, start: 0 });
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        let Some(level) = self.stack.pop() else { return };
        if level.object
            && let Some((reason, at)) = self.keys.close(level.keys, level.place, level.later, self.bytes)
        {
            self.note(reason, at as usize, level.place);
        }
    }

    /// Reads a member's key up to its value.
    fn member(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.not_json());
        }
        let start = self.offset() + 1;
        let escaped = self.string()?;
        let key = Key::new(Span { start, end: self.offset() - 1 }, escaped);
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.not_json());
        }
        self.at += 1;
        self.space();
        let value = self.offset();
        let Some(level) = self.stack.last_mut() else { return Ok(()) };
        let place = level.place;
        level.start = value;
        level.slot = match place {
            Place::Other => Slot::None,
            _ => key.decode(self.bytes).map_or(Slot::None, |text| place.slot(text.as_bytes())),
        };
        if let Some((reason, at)) = self.keys.push(level.keys, key, place, &mut level.later, self.bytes) {
            self.note(reason, at as usize, place);
        }
        Ok(())
    }

    /// Reads a string; true if something in it is escaped.
    fn string(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | ..=0x1f)).unwrap_or(rest.len());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(Fault { reason: Malformed::ControlCharacter, at: self.at }),
                None => return Err(self.not_json()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let lone = match self.unit()? {
                    0xd800..=0xdbff if self.starts_with(b"\\u") => {
                        self.at += 1;
                        let second = self.at;
                        let paired = matches!(self.unit()?, 0xdc00..=0xdfff);
                        if !paired {
                            // The second may itself begin a pair: read it again on its own.
                            self.at = second - 1;
                        }
                        !paired
                    }
                    0xd800..=0xdfff => true,
                    _ => false,
                };
                if lone {
                    let place = self.stack.last().map_or(self.root, |level| level.place);
                    self.note(Malformed::LoneSurrogate, begin, place);
                }
            }
            _ => return Err(self.not_json()),
        }
        Ok(())
    }

    /// Reads `uXXXX`.
    fn unit(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).unwrap_or_default();
        let value = digits.iter().try_fold(0, |n, b| Some(n << 4 | char::from(*b).to_digit(16)?));
        match value {
            Some(value) if digits.len() == 4 => {
                self.at += 5;
                Ok(value)
            }
            _ => Err(self.not_json()),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += digits;
        if digits == 0 { Err(self.not_json()) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.starts_with(word) {
            return Err(self.not_json());
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while let Some(byte) = self.bytes.get_mut(self.at) {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => *byte = b' ',
                _ => return,
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn starts_with(&self, word: &[u8]) -> bool {
        self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word))
    }

    /// Where the scanner stands. Fits: `scan` refuses longer texts.
    fn offset(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    fn not_json(&self) -> Fault {
        Fault { reason: Malformed::NotJson, at: self.at }
    }

    fn note(&mut self, reason: Malformed, at: usize, place: Place) {
        self.scanned.ambiguous |= place == Place::Envelope;
        self.scanned.fault.get_or_insert(Fault { reason, at });
    }
}
