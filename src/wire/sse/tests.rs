use proptest::prelude::*;

use super::*;

fn decode(chunks: &[&[u8]]) -> Vec<Event> {
    let mut decoder = Decoder::new(1000);
    chunks.iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect()
}

fn event(id: Option<&str>, event: Option<&str>, data: &str, retry: Option<u64>) -> Event {
    Event { id: id.map(Into::into), event: event.map(Into::into), data: data.into(), retry }
}

#[test]
fn the_examples_of_the_standard_decode_as_it_says() {
    let cases: &[(&str, Vec<Event>)] = &[
        ("data: YHOO\ndata: +2\ndata: 10\n\n", vec![event(None, None, "YHOO\n+2\n10", None)]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
            vec![event(Some("1"), None, "first event", None), event(Some(""), None, "second event", None)],
        ),
        ("data\n\ndata\ndata\n\ndata:", vec![event(None, None, "\n", None)]),
        (
            "data:test\n\ndata: test\n\n",
            vec![event(None, None, "test", None), event(None, None, "test", None)],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(&decode(&[text.as_bytes()]), expected, "{text:?}");
    }
}

#[test]
fn line_ends_byte_order_mark_and_odd_fields_are_read_as_the_standard_says() {
    let one = vec![event(Some("7"), Some("message"), "x", Some(5))];
    for text in [
        "\u{feff}id:7\nevent: message\ndata:x\nretry: 5\n\n",
        "id:7\revent: message\rdata:x\rretry: 5\r\r",
        "id:7\r\nevent: message\r\ndata:x\r\nretry: 5\r\n\r\n",
        "id:7\nid:a\0b\nevent: message\ndata:x\nretry: 5\nretry: -1\nretry: x\nDATA: y\nother\n\n",
    ] {
        assert_eq!(decode(&[text.as_bytes()]), one, "{text:?}");
    }
    assert_eq!(decode(&["data: a\n\n\u{feff}data: b\n\n".as_bytes()]), vec![event(None, None, "a", None)]);
}

#[test]
fn the_first_event_that_only_carries_an_id_is_passed_on_but_is_no_message() {
    let events = decode(&[b"id: s-1\ndata:\n\n:ping\n\nevent: x\ndata: {}\n\n"]);
    assert_eq!(events, [event(Some("s-1"), None, "", None), event(None, Some("x"), "{}", None)]);
    assert!(!events.iter().any(Event::is_message));
    assert!(Event::of(b"{}".to_vec()).is_message());
}

#[test]
fn an_event_without_end_is_refused_and_the_decoder_stays_failed() {
    for line in ["data: 0123456789\n", "data: 0123456789", "x", "id: 0123456789\r\n"] {
        let mut decoder = Decoder::new(100);
        let pushed = (0..1000).find_map(|_| decoder.push(line.as_bytes()).err());
        assert_eq!(pushed, Some(SseError::TooLarge { limit: 100 }), "{line:?}");
        assert!(decoder.push(b"\n\ndata: x\n\n").is_err());
        assert!(decoder.line.len() <= 100 && decoder.event.data.len() <= 100);
    }
}

#[test]
fn keep_alive_comments_never_add_up_to_an_event_too_large() {
    let mut decoder = Decoder::new(100);
    for _ in 0..1000 {
        assert_eq!(decoder.push(b": keep-alive\n").unwrap(), []);
    }
    assert_eq!(decoder.push(b"data: x\n\n").unwrap(), [Event::of(b"x".to_vec())]);
}

#[test]
fn a_forged_field_adds_no_line_and_a_typed_event_never_becomes_a_message() {
    let forged = event(Some("1\ndata: {}"), Some("a\rb"), "x", None);
    assert_eq!(&*forged.encode(), b"event: a b\ndata: x\n\n");
    let odd = event(None, Some("a\0"), "x", None);
    assert_eq!(decode(&[&odd.encode()]), [odd]);
}

proptest! {
    #[test]
    fn an_event_reads_back_as_it_was_written(
        id in proptest::option::of("[a-z:]{0,5}"),
        kind in proptest::option::of("[a-z]{1,5}"),
        data in "[a{}: \n]{1,20}",
        retry in proptest::option::of(any::<u64>()),
    ) {
        let written = event(id.as_deref(), kind.as_deref(), &data, retry);
        prop_assert_eq!(decode(&[&written.encode()]), vec![written]);
    }

    #[test]
    fn cutting_a_stream_differently_changes_nothing(text in "(data|id|:|[a\r\n\u{feff}]| ){0,40}", at in 0usize..80) {
        let (head, tail) = text.as_bytes().split_at(at.min(text.len()));
        prop_assert_eq!(decode(&[head, tail]), decode(&[text.as_bytes()]));
    }
}
