//! Walks through text that was scanned before. On any other text it stops early; it never panics and never loops.

/// The members of a JSON object: raw keys with their quotes and raw values, each with where it begins in `object`.
pub(super) fn members(object: &[u8]) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
    let mut walk = Walk { bytes: object, at: 0 };
    let mut open = walk.eat(b'{');
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let key = walk.value()?;
        if !walk.eat(b':') {
            return None;
        }
        let value = walk.value()?;
        open = walk.eat(b',');
        Some((key, value))
    })
}

/// The elements of a JSON array, each with where it begins in `array`.
pub(super) fn elements(array: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut walk = Walk { bytes: array, at: 0 };
    let mut open = walk.eat(b'[');
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let value = walk.value()?;
        open = walk.eat(b',');
        Some(value)
    })
}

/// The value of the member `key` of a JSON object.
pub(super) fn member<'a>(object: &'a [u8], key: &str) -> Option<Item<'a>> {
    members(object).find(|(k, _)| super::text::decode(k.raw).as_deref() == Some(key)).map(|(_, value)| value)
}

/// A value as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// Where it begins.
    pub(super) at: usize,
    /// Its bytes.
    pub(super) raw: &'a [u8],
}

impl Item<'_> {
    /// One past its last byte.
    pub(super) fn end(&self) -> usize {
        self.at + self.raw.len()
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.bytes.get(self.at) == Some(&byte);
        if found {
            self.at += 1;
            self.space();
        }
        found
    }

    /// The value that begins here, up to its last byte.
    fn value(&mut self) -> Option<Item<'a>> {
        self.space();
        let start = self.at;
        let mut open = 0usize;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    open = open.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if open > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.scalar()?,
            }
            if open == 0 {
                return Some(Item { at: start, raw: self.bytes.get(start..self.at)? });
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
        }
    }

    fn scalar(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let ends = |b: &u8| {
            matches!(b, b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'{' | b'[')
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then_some(())
    }
}
