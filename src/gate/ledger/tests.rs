//! The ledger and the log: the one is made of the other.

use std::fs;

use super::*;
use crate::attest::Durability;
use crate::attest::testing::{Bench, NOW, Script, await_recovery, close};
use crate::policy::State;

/// The calls that `Script` makes are of this principal and this tool.
const WHO: &str = "peer:1000:-";

fn calls(ledger: &Ledger) -> u64 {
    let mut state = State::default();
    ledger.account(WHO).lock().tell("files", Some("files/read"), NOW, &mut state);
    assert_eq!((state.all, state.server), (state.tool, state.tool));
    state.all.minute
}

fn open(log: &Log) -> Ledger {
    Ledger::open(log, 100, NOW).unwrap()
}

fn refusal(log: &Log) -> String {
    Ledger::open(log, 100, NOW).unwrap_err().to_string()
}

#[test]
fn what_the_log_allowed_is_counted_after_a_restart_with_and_without_the_summary() {
    let bench = Bench::new();
    let log = bench.open();
    assert_eq!(calls(&open(&log)), 0);
    // Its first decision is no other than the rest.
    Script::new(&bench.signer).play(&log, 4);
    assert_eq!(calls(&open(&log)), 5);
    Script::new(&bench.signer).play(&log, 2);
    Script::new(&bench.signer).deny(&log);
    close(&log);
    drop(log);
    let log = bench.open();
    assert_eq!(calls(&open(&log)), 8, "three more than the summary says, and no denial");
    fs::remove_file(bench.path().join("ledger.json")).unwrap();
    assert_eq!(calls(&open(&log)), 8);
    close(&log);
}

#[test]
fn a_log_of_many_segments_is_read_from_wherever_the_summary_ends() {
    let bench = Bench::new();
    let config = || crate::attest::Config { segment_bytes: 4_096, ..bench.config() };
    let mut expected = 0;
    for _ in 0..4 {
        let log = bench.try_open(config(), Bench::identity()).unwrap();
        assert_eq!(calls(&open(&log)), expected);
        Script::new(&bench.signer).play(&log, 9);
        expected += 10;
        let ledger = open(&log);
        Script::new(&bench.signer).play(&log, 9);
        expected += 10;
        ledger.save(&log, true);
        close(&log);
    }
    assert!(fs::read_dir(bench.path().join("records")).unwrap().count() > 8);
    let log = bench.try_open(config(), Bench::identity()).unwrap();
    assert_eq!(calls(&open(&log)), expected);
    close(&log);
}

#[test]
fn a_batch_that_was_cut_off_again_is_never_counted() {
    let bench = Bench::new();
    let log = bench.open_flaky(Durability::Fsync);
    let ledger = open(&log);
    let script = Script::new(&bench.signer);
    script.open(&log);
    bench.disk.broken();
    let build = |link: &_| script.decision(link, crate::domain::decision::Effect::Allow, None);
    let chain =
        crate::attest::Chain::for_session(crate::domain::ids::SessionId::from_uuid(uuid::Uuid::from_u128(4)));
    assert!(log.append(&chain, build).unwrap().wait().is_err());
    ledger.save(&log, true);
    assert_eq!(calls(&open(&log)), 1);
    bench.disk.works();
    await_recovery(&log);
    script.allow(&log);
    assert_eq!(calls(&open(&log)), 2);
    close(&log);
}

#[test]
fn a_damaged_summary_or_one_of_another_log_is_refused_and_can_be_deleted() {
    let bench = Bench::new();
    let log = bench.open();
    Script::new(&bench.signer).play(&log, 3);
    drop(open(&log));
    let path = bench.path().join("ledger.json");
    let good = fs::read_to_string(&path).unwrap();
    let one_less = good.replacen("\"calls\":4", "\"calls\":3", 1);
    assert_ne!(one_less, good);
    for bad in
        [one_less, String::new(), good.replacen("\"format\":1", "\"format\":2", 1), good[..90].to_owned()]
    {
        fs::write(&path, bad).unwrap();
        let told = refusal(&log);
        assert!(told.contains("ledger.json") && told.contains("delete it"), "{told}");
    }
    let other = Bench::new();
    let theirs = other.open();
    Script::new(&other.signer).play(&theirs, 3);
    drop(open(&theirs));
    fs::copy(other.path().join("ledger.json"), &path).unwrap();
    assert!(refusal(&log).contains("does not fit the records"));
    fs::remove_file(&path).unwrap();
    assert_eq!(calls(&open(&log)), 4);
    close(&log);
    close(&theirs);
}

#[test]
fn a_record_that_cannot_be_read_is_not_passed_over() {
    let bench = Bench::new();
    let log = bench.open();
    Script::new(&bench.signer).play(&log, 3);
    close(&log);
    drop(log);
    let text = fs::read_to_string(bench.segment()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[3] = "{}";
    fs::write(bench.segment(), lines.join("\n") + "\n").unwrap();
    let log = bench.open();
    let told = refusal(&log);
    assert!(told.contains("of segment 00000000 is no record") && told.contains("begin a new one"), "{told}");
    close(&log);
}

#[test]
fn what_has_no_effect_any_more_is_let_go_of_and_what_has_is_kept() {
    let bench = Bench::new();
    let log = bench.open();
    Script::new(&bench.signer).play(&log, 3);
    let ledger = Ledger::open(&log, 2, NOW).unwrap();
    assert!(ledger.is_full());
    ledger.account("held");
    let held = ledger.account("held");
    let later = |days: u64| NOW.plus(Duration::from_secs(days * 86_400));
    let label: Arc<str> = "pii".into();
    ledger.added(ledger.account("labelled").lock().label(&label, later(95)));
    ledger.prune(later(89));
    assert_eq!((ledger.accounts.len(), ledger.is_full()), (3, true));
    ledger.prune(later(91));
    assert_eq!((ledger.accounts.len(), ledger.is_full()), (2, false));
    drop(held);
    ledger.prune(later(96));
    assert_eq!((ledger.accounts.len(), ledger.entries.load(Ordering::Relaxed)), (0, 0));
    close(&log);
}

#[test]
fn a_decision_that_took_the_place_of_another_takes_its_count() {
    let record = |effect: &str, replaces: &str| {
        format!(
            r#"{{"predicateType":"urn:chancery:attestation:decision:v1","predicate":{{"time":"2026-01-02T03:04:05.000Z",
            "effect":"{effect}","from":"client","method":"tools/call","principal":"p","server":"s","action":"s/t"{replaces}}}}}"#
        )
    };
    let replaces = r#","replaces":"019b7ca9-8c88-7b79-a11f-a8433e1b84a1""#;
    let calls = |records: &[String]| {
        let mut book = Book::default();
        for record in records {
            book.count(record.as_bytes()).unwrap();
        }
        let (_, account) = book.into_accounts().into_iter().next().unwrap();
        let mut state = State::default();
        let now = Timestamp::parse_rfc3339("2026-01-02T03:04:06Z").unwrap();
        account.tell("s", Some("s/t"), now, &mut state);
        assert_eq!(state.all, state.tool);
        (state.all.calls, state.all.minute)
    };
    assert_eq!(calls(&[record("allow", ""), record("allow", "")]), (2, 2));
    assert_eq!(calls(&[record("allow", ""), record("allow", replaces)]), (1, 1));
    assert_eq!(calls(&[record("allow", ""), record("allow", ""), record("deny", replaces)]), (1, 1));
    assert_eq!(calls(&[record("allow", ""), record("deny", "")]), (1, 1));
}

#[test]
fn a_call_that_was_not_counted_for_want_of_room_takes_no_other_back() {
    let mut account = Account::default();
    account.count("s", "s/a", NOW);
    account.undo("s", "s/b", NOW);
    let mut state = State::default();
    account.tell("s", Some("s/a"), NOW, &mut state);
    assert_eq!(state.all.calls, 1);
}

#[test]
fn principals_without_end_do_not_fill_the_summary_for_ever() {
    let mut book = Book::default();
    let mut call = |principal: &str, time: &str| {
        let record = format!(
            r#"{{"predicateType":"urn:chancery:attestation:decision:v1","predicate":{{"time":"{time}","effect":"allow","from":"client",
            "method":"tools/call","principal":"{principal}","server":"s","action":"s/t","addedLabels":[{{"label":"l","until":"{time}"}}]}}}}"#
        );
        book.count(record.as_bytes()).unwrap();
        book.prune();
        serde_json::to_string(&book).unwrap()
    };
    call("one", "2026-01-02T03:04:05.000Z");
    // A clock that is two months ahead, and comes back.
    assert!(call("two", "2026-03-02T03:04:05.000Z").contains("\"one\""));
    assert!(call("three", "2026-01-02T03:04:06.000Z").contains("\"two\""));
    let later = call("four", "2026-08-30T03:04:05.000Z");
    assert!(!later.contains("\"one\"") && !later.contains("\"three\""), "{later}");
}

#[test]
fn segments_that_were_moved_away_are_counted_by_the_summary_or_nothing_is_served() {
    let bench = Bench::new();
    let config = || crate::attest::Config { segment_bytes: 4_096, ..bench.config() };
    let log = bench.try_open(config(), Bench::identity()).unwrap();
    Script::new(&bench.signer).play(&log, 29);
    let ledger = open(&log);
    ledger.save(&log, true);
    close(&log);
    drop(log);
    fs::remove_file(bench.segment()).unwrap();
    let log = bench.try_open(config(), Bench::identity()).unwrap();
    assert_eq!(calls(&open(&log)), 30);
    fs::remove_file(bench.path().join("ledger.json")).unwrap();
    let told = refusal(&log);
    assert!(
        told.contains("begins with segment 00000001") && told.contains("Put those segments back"),
        "{told}"
    );
    close(&log);
}
