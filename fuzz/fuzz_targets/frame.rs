//! Whatever we accept, `serde_json` reads the same way; no splice changes another byte; nothing panics.
#![no_main]

use chancery::domain::limits::Limits;
use chancery::wire::{Frame, Kind, batch, framing, lists, meta, strict};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { message_bytes: 64 * 1024, depth: 16, ..Limits::default() };
    let _ = strict::check(data, 16);
    if let Ok(parts) = batch::split(data.to_vec(), &limits) {
        assert!(parts.len() <= limits.in_flight);
    }
    let mut lines = framing::LineBuffer::new(100);
    lines.push(data);
    assert!(lines.all(|line| line.is_err() || line.is_ok_and(|l| l.len() <= 100)));

    let frame = match Frame::parse(data.to_vec(), &limits) {
        Ok(frame) => frame,
        Err(error) => {
            let reply = Frame::parse(error.reply().to_vec(), &limits).expect("our own reply is a message");
            assert_eq!((reply.kind(), reply.id()), (Kind::Error, error.id.as_ref()));
            return;
        }
    };
    assert_eq!(frame.bytes().len(), data.len());
    for (ours, theirs) in frame.bytes().iter().zip(data) {
        assert!(ours == theirs || (*ours == b' ' && matches!(theirs, b'\r' | b'\n')));
    }
    assert!(!frame.bytes().contains(&b'\n') && !frame.bytes().contains(&b'\r'));
    assert!(serde_json::from_slice::<&RawValue>(frame.bytes()).is_ok());

    for raw in [frame.params(), frame.arguments(), frame.result(), frame.error(), frame.progress_token()] {
        assert!(raw.is_none_or(|raw| serde_json::from_slice::<&RawValue>(raw).is_ok()));
    }
    let _ = (frame.name(), frame.uri(), frame.client_info(), frame.cancelled_id(), frame.protocol_version());

    let again = Frame::parse(frame.bytes().to_vec(), &limits).expect("a frame's bytes are a message");
    assert_eq!((again.id(), again.method(), again.params()), (frame.id(), frame.method(), frame.params()));
    let traced = frame.with_trace_parent_id([1; 8]);
    assert_eq!(traced.bytes().len(), frame.bytes().len());
    assert!(Frame::parse(traced.bytes().to_vec(), &limits).is_ok());
    if let Ok((all, 0)) = lists::filter(&frame, "tools", &limits, |_, _| true) {
        assert_eq!(all.bytes(), frame.bytes());
    }
    if let Ok((none, _)) = lists::filter(&frame, "tools", &limits, |_, _| false) {
        assert!(lists::entries(&none, "tools").is_ok_and(|left| left.is_empty()));
    }
    let _ = meta::insert_result_meta(&frame, "chancery/session", "{}", &limits);
});
