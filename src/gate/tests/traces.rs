//! What telemetry and the operator's log are told.

use std::io;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::observe::{DecisionFacts, MessageFacts, Observer, Span, TraceContext};
use super::*;

/// Writes down what it is told.
#[derive(Debug, Default, Clone)]
struct Notes(Arc<Mutex<Vec<String>>>);

const OWN: [u8; 8] = [0xee; 8];

#[derive(Debug)]
struct Noted {
    notes: Notes,
    name: String,
    parent: Option<TraceContext>,
}

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().push(note);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Observer for Notes {
    fn begin(&self, facts: &MessageFacts<'_>) -> Option<Box<dyn Span>> {
        let name = format!("{} {}", facts.method, facts.tool.unwrap_or("-"));
        Some(Box::new(Noted { notes: self.clone(), name, parent: facts.parent }))
    }
}

impl Span for Noted {
    fn context(&self) -> Option<TraceContext> {
        self.parent.map(|parent| TraceContext { span_id: OWN, ..parent })
    }

    fn decided(&mut self, facts: &DecisionFacts<'_>) {
        let policies = facts.policies.join(",");
        let reasons = facts.reasons.iter().map(|reason| format!(" ({reason})")).collect::<String>();
        self.notes.add(format!("{}: {} {policies}{reasons}", self.name, facts.effect.as_str()));
    }

    fn child(&self, name: &'static str) -> Option<Box<dyn Span>> {
        let name = format!("{} > {name}", self.name);
        Some(Box::new(Self { notes: self.notes.clone(), name, parent: None }))
    }

    fn end(self: Box<Self>, error: Option<&str>) {
        self.notes.add(format!("{}: end {}", self.name, error.unwrap_or("ok")));
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn sent(parent: &str) -> String {
    format!("00-{TRACE}-{parent}-01")
}

#[tokio::test]
async fn a_senders_traceparent_gets_our_span_in_place_and_both_digests_are_recorded() {
    let notes = Notes::default();
    let world = World::with(Terms { observer: Arc::new(notes.clone()), ..Terms::default() });
    let open = world.http().await;
    let mut message = call(1, "read", "/public/a");
    message["params"]["_meta"] = json!({"traceparent": sent("00f067aa0ba902b7")});
    let outgoing = forwarded(open.client(&message).await);
    let expected = message.to_string().replace("00f067aa0ba902b7", "eeeeeeeeeeeeeeee");
    assert_eq!(outgoing.bytes, expected);
    let header = ("traceparent", sent("eeeeeeeeeeeeeeee"));
    assert!(outgoing.headers.contains(&header), "{:?}", outgoing.headers);
    let _answer = delivered(open.server(&result(1)).await);
    assert_eq!(
        notes.all().into_iter().filter(|note| note.contains("read")).collect::<Vec<_>>(),
        [
            "tools/call read > policy.evaluate: end ok",
            "tools/call read > attest.append: end ok",
            "tools/call read: allow read",
            "tools/call read > upstream: end ok",
            "tools/call read: end ok",
        ]
    );
    let records = world.verified().await;
    let call = records.iter().find(|record| record["method"] == "tools/call").unwrap();
    assert_eq!(call["trace"], json!({"traceId": TRACE, "spanId": "eeeeeeeeeeeeeeee"}));
    assert_ne!(call["request"]["received"], call["request"]["forwarded"]);
}

#[tokio::test]
async fn a_policys_reason_reaches_the_span_as_it_does_the_caller_and_the_record() {
    let notes = Notes::default();
    let world = World::with(Terms { observer: Arc::new(notes.clone()), ..Terms::default() });
    let open = world.http().await;
    let told = replied(open.call(1, "write", "/public/a").await);
    assert_eq!(told["error"]["message"], "This folder is read-only.");
    assert_eq!(told["error"]["data"]["reasons"][0]["policyId"], "no-writes");
    let decided = "tools/call write: deny no-writes (This folder is read-only.)".to_owned();
    assert!(notes.all().contains(&decided), "{:?}", notes.all());
    let records = world.verified().await;
    let record = records.iter().find(|record| record["method"] == "tools/call").unwrap();
    let policy = &record["policies"][0];
    assert_eq!(
        (&policy["id"], &policy["reason"]),
        (&json!("no-writes"), &json!("This folder is read-only."))
    );
}

#[tokio::test]
async fn a_header_goes_on_as_a_header_and_adds_nothing_to_the_message() {
    let world = World::new();
    let open = world.http().await;
    let header = sent("00f067aa0ba902b7").parse::<crate::wire::Traceparent>().unwrap();
    let arrival = Arrival { trace: Some(header.into()) };
    let message = call(1, "read", "/public/a").to_string();
    let verdict = open.session.from_client(&open.admitted, frame(message.clone()), &arrival).await;
    let outgoing = forwarded(verdict);
    assert_eq!(outgoing.bytes, message);
    assert!(outgoing.headers.contains(&("traceparent", sent("00f067aa0ba902b7"))));
}

#[tokio::test]
async fn a_span_ends_with_its_request_however_that_ends() {
    let notes = Notes::default();
    let world = World::with(Terms { observer: Arc::new(notes.clone()), ..Terms::default() });
    let open = world.http().await;
    let _denied = replied(open.call(1, "write", "/public/a").await);
    drop(open.call(2, "read", "/public/a").await);
    let _waiting = forwarded(open.call(3, "read", "/public/b").await);
    open.session.close(CloseReason::Client).await;
    let ends: Vec<_> = notes
        .all()
        .into_iter()
        .filter(|note| note.starts_with("tools/call") && note.contains("end") && !note.contains('>'))
        .collect();
    assert_eq!(
        ends,
        ["tools/call write: end forbidden", "tools/call read: end withdrawn", "tools/call read: end client"]
    );
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_operator_reads_one_line_for_each_decision_and_no_secret() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    // With a single dispatcher alive, tracing asks only the thread that meets a line first whether it is wanted, and
    // remembers its answer; that may be the thread of another test.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::new();
    let open = world.http().await;
    let token = open.session.token().unwrap();
    let _allowed = forwarded(open.call(1, "read", "/public/hunter2").await);
    let denied = replied(open.call(2, "write", "/public/hunter2").await);
    let _unpermitted = replied(open.call(3, "read", "/private/hunter2").await);
    let _thief = world.gate.resume(token.expose(), &secret(9), &server());
    world.verified().await;
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let of = |id: &Value| text.lines().filter(|line| line.contains(id.as_str().unwrap())).count();
    let data = &denied["error"]["data"];
    assert_eq!(of(&data["decisionId"]), 1, "{text}");
    let line = text.lines().find(|line| line.contains(data["decisionId"].as_str().unwrap())).unwrap();
    for part in [
        "tools/call",
        "tool=\"write\"",
        "effect=\"deny\"",
        "forbidden",
        "no-writes",
        data["attestation"].as_str().unwrap(),
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let advice = text.lines().find(|line| line.contains("suggestion=")).unwrap();
    for part in ["policies whose condition did not hold: read; ", "with any arguments; narrow it with `when`"]
    {
        assert!(advice.contains(part), "{part} in {advice}");
    }
    assert!(!text.contains("hunter2") && !text.contains(token.expose()), "{text}");
}
