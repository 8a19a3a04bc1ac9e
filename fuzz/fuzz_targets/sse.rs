//! However a stream is cut, the same events come out; they stay within the limit and survive being written again.
#![no_main]

use chancery::wire::sse::{Decoder, Event};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 256;

fn events(chunks: &[&[u8]]) -> Option<Vec<Event>> {
    let mut decoder = Decoder::new(LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(decoder.push(chunk).ok()?);
    }
    Some(events)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, data) = input;
    let (head, tail) = data.split_at(usize::from(at).min(data.len()));
    let whole = events(&[data]);
    assert_eq!(whole, events(&[head, tail]));
    for event in whole.into_iter().flatten() {
        assert!(event.data.len() <= LIMIT);
        let expected = Event { data: event.data.clone(), ..event.clone() };
        let again = events(&[&event.encode()]).unwrap_or_default();
        assert!(again.is_empty() || again == [expected]);
    }
});
