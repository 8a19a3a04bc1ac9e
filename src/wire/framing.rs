//! Message boundaries on stdio: one message a line, bounded.

use std::collections::VecDeque;

/// A line longer than the limit; it was dropped up to its end, and the lines after it are read as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {limit} bytes")]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// Cuts a stream of bytes into lines. Iterate after each [`LineBuffer::push`] until it yields `None`; more may come.
///
/// Blank lines are skipped and a CR before the LF is cut off. Between pushes it holds at most one unfinished line,
/// never more than the limit.
#[derive(Debug)]
pub struct LineBuffer {
    limit: usize,
    partial: Vec<u8>,
    overlong: bool,
    ready: VecDeque<Result<Vec<u8>, TooLong>>,
}

impl LineBuffer {
    /// Lines may be `limit` bytes long, without their end.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), overlong: false, ready: VecDeque::new() }
    }

    /// Takes what was read.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.extend(line);
            self.end_line();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes);
    }

    /// The stream ended: what stands without a line's end is a line too.
    pub fn finish(&mut self) {
        self.end_line();
    }

    fn extend(&mut self, bytes: &[u8]) {
        // One byte more than the limit is kept for the CR of a CRLF.
        if self.overlong || self.partial.len() + bytes.len() > self.limit.saturating_add(1) {
            self.overlong = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.overlong) || line.len() > self.limit {
            self.ready.push_back(Err(TooLong { limit: self.limit }));
        } else if !line.trim_ascii().is_empty() {
            self.ready.push_back(Ok(line));
        }
    }
}

impl Iterator for LineBuffer {
    type Item = Result<Vec<u8>, TooLong>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Result<String, TooLong>> {
        let mut buffer = LineBuffer::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            buffer.push(chunk);
            out.extend(buffer.by_ref());
        }
        buffer.finish();
        out.extend(buffer);
        out.into_iter().map(|line| line.map(|l| String::from_utf8(l).unwrap())).collect()
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let expected: Vec<_> = ["ab", "cd", "e"].map(|l| Ok(l.to_owned())).into();
        assert_eq!(lines(&[b"ab\ncd\r\n\n \t\r\ne"], 10), expected);
        assert_eq!(lines(&[b"a", b"b\nc", b"d\r", b"\n", b"e"], 10), expected);
    }

    #[test]
    fn an_overlong_line_is_dropped_once_and_the_next_is_read() {
        let too_long = Err(TooLong { limit: 3 });
        assert_eq!(lines(&[b"abcd\nabc\n"], 3), [too_long.clone(), Ok("abc".to_owned())]);
        assert_eq!(
            lines(&[b"ab", b"cd", b"ef", b"\r\nabc\r\n"], 3),
            [too_long.clone(), Ok("abc".to_owned())]
        );
        assert_eq!(lines(&[b"abcd"], 3), [too_long]);
        assert_eq!(lines(&[b"abc\r"], 3), [Ok("abc".to_owned())]);
    }

    #[test]
    fn an_endless_line_holds_no_memory() {
        let mut buffer = LineBuffer::new(1000);
        for _ in 0..10_000 {
            buffer.push(&[b'x'; 1000]);
            assert!(buffer.partial.capacity() <= 2002);
        }
    }

    proptest! {
        #[test]
        fn cutting_differently_changes_nothing(text in "[ab\r\n]{0,60}", at in 0usize..60) {
            let at = at.min(text.len());
            let (head, tail) = text.as_bytes().split_at(at);
            prop_assert_eq!(lines(&[head, tail], 5), lines(&[text.as_bytes()], 5));
        }
    }
}
