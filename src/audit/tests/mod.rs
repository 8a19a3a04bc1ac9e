//! Tampering of every kind, and honest logs of every kind.

mod archived;
mod forgery;
mod rotation;
mod sessions;

use crate::attest::predicate::{RefusalCount, RefusalSummary};
use crate::attest::testing::{
    Bench, POLICY, Script, announce, await_recovery, close, later, payload, policy_set, seal,
};
use crate::attest::{AppendError, Config, Durability, Predicate, policy_file_name};
use crate::audit::{AuditError, Check, Report, verify};
use crate::domain::decision::Effect;
use crate::domain::digest::Sha256Digest;
use crate::keys::testing::Authority;
use crate::keys::{ActiveKey, SignerError};

fn check(bench: &Bench) -> Report {
    verify(&bench.path(), &bench.authority.bundle, &Bench::identity(), &mut ()).unwrap()
}

fn lines(bench: &Bench) -> Vec<String> {
    std::fs::read_to_string(bench.segment()).unwrap().lines().map(str::to_owned).collect()
}

fn put(bench: &Bench, lines: &[String]) {
    std::fs::write(bench.segment(), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
}

/// Two sessions side by side:
/// 1 gateway-start, 2 policy-change, 3 decision a0, 4 session-open a1, 5 decision b0, 6 session-open b1,
/// 7 a2, 8 b2, 9 a3, 10 b3, 11 session-close a4, 12 session-close b4, 13 gateway-stop.
fn two_sessions() -> Bench {
    let bench = Bench::new();
    let log = bench.open();
    let (a, b) = (Script::new(&bench.signer), Script::new(&bench.signer));
    a.open(&log);
    b.open(&log);
    for _ in 0..2 {
        a.allow(&log);
        b.allow(&log);
    }
    a.say(&log, Predicate::SessionClose(a.closing()));
    b.say(&log, Predicate::SessionClose(b.closing()));
    close(&log);
    bench
}

/// The line and the check of the first finding.
fn first(report: &Report) -> (u64, Check) {
    let finding = report.findings.first().unwrap_or_else(|| panic!("nothing was found:\n{report}"));
    (finding.line.unwrap_or(0), finding.check)
}

#[test]
fn an_honest_log_verifies_across_runs_keys_and_gaps() {
    let bench = two_sessions();
    let log = bench.open_flaky(Durability::Written);
    let script = Script::new(&bench.signer);
    script.open(&log);
    bench.disk.full();
    let lost = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap().wait();
    assert!(matches!(lost, Err(AppendError::Storage(_))));
    bench.disk.works();
    await_recovery(&log);
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(7200))));
    script.allow(&log);
    bench.signer.hold(Err(SignerError::Crypto));
    let lost = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap().wait();
    assert!(matches!(lost, Err(AppendError::Signer(_))));
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(9000))));
    await_recovery(&log);
    script.allow(&log);
    close(&log);
    let report = check(&bench);
    assert!(report.ok, "{report}");
    assert_eq!((report.counts.runs, report.counts.sessions, report.counts.keys), (2, 3, 3));
    assert_eq!((report.counts.allowed, report.counts.denied, report.counts.unclosed), (9, 0, 1));
    assert_eq!(report.counts.kinds["gap"], 2);
    assert_eq!(report.counts.kinds["key-change"], 2);
    let notes: Vec<_> = report.notes.iter().map(|note| note.about).collect();
    assert_eq!(notes, ["gap", "gap", "unclosed_sessions"]);
    let ends = [
        "1 record was refused: the log could not be written",
        "1 record was refused: there was no signing key",
        "1 session has no record of its end",
    ];
    for (note, end) in report.notes.iter().zip(ends) {
        assert!(note.message.ends_with(end), "{report}");
    }
}

#[test]
fn every_flipped_byte_is_found_in_its_record() {
    let bench = two_sessions();
    let whole = std::fs::read(bench.segment()).unwrap();
    let mut line = 1;
    for at in 0..whole.len() - 1 {
        if at % 53 == 0 || whole[at] == b'\n' {
            let mut altered = whole.clone();
            altered[at] ^= 1 << (at % 7);
            std::fs::write(bench.segment(), altered).unwrap();
            let report = check(&bench);
            assert!(!report.ok, "byte {at} of line {line}");
            assert_eq!(first(&report).0, line, "byte {at}: {report}");
        }
        line += u64::from(whole[at] == b'\n');
    }
    std::fs::write(bench.segment(), whole).unwrap();
    assert!(check(&bench).ok);
}

#[test]
fn dropped_repeated_moved_and_truncated_records_are_named() {
    type Tamper = fn(&mut Vec<String>);
    let cases: [(&str, Tamper, (u64, Check)); 10] = [
        ("a decision dropped", |l| drop(l.remove(6)), (8, Check::Sequence)),
        ("a session's last record dropped", |l| drop(l.remove(11)), (12, Check::Count)),
        (
            "a session dropped whole",
            |l| {
                for at in [10, 8, 6, 3, 2] {
                    l.remove(at);
                }
            },
            (8, Check::Count),
        ),
        ("a decision repeated", |l| l.insert(9, l[8].clone()), (10, Check::Sequence)),
        (
            "a decision repeated after its session's end",
            |l| l.insert(11, l[8].clone()),
            (12, Check::Sequence),
        ),
        ("two of one session swapped", |l| l.swap(6, 8), (7, Check::Sequence)),
        ("the start dropped", |l| drop(l.remove(0)), (1, Check::Gateway)),
        ("the start repeated", |l| l.insert(5, l[0].clone()), (6, Check::Gateway)),
        ("the policy's announcement dropped", |l| drop(l.remove(1)), (2, Check::Policy)),
        ("a record after the stop", |l| l.swap(11, 12), (12, Check::Count)),
    ];
    for (what, tamper, expected) in cases {
        let bench = two_sessions();
        let mut altered = lines(&bench);
        tamper(&mut altered);
        put(&bench, &altered);
        let report = check(&bench);
        assert_eq!(first(&report), expected, "{what}: {report}");
    }
}

#[test]
fn one_altered_record_is_one_finding_and_blames_no_other() {
    let bench = two_sessions();
    let mut altered = lines(&bench);
    let own = payload(&altered[6]).replace("\"allow\"", "\"allow\" ");
    let key = bench.signer.current_key();
    let sealed = seal(&own, key.id().as_str(), &bench.authority.key("/gw", later(0), later(60)));
    altered[6] = sealed;
    put(&bench, &altered);
    let report = check(&bench);
    assert_eq!(first(&report), (7, Check::Signature));
    assert_eq!(report.findings_total, 1, "{report}");
    let text = report.findings[0].to_string();
    assert!(text.starts_with("records/00000000.intoto.jsonl:7 decision #2 of session "), "{text}");
    assert!(text.ends_with("signature: the signature does not verify"), "{text}");
}

#[test]
fn a_tail_cut_off_within_a_record_is_noted_and_a_gap_within_the_log_is_found() {
    let bench = two_sessions();
    let whole = std::fs::read(bench.segment()).unwrap();
    std::fs::write(bench.segment(), &whole[..whole.len() - 9]).unwrap();
    let report = check(&bench);
    assert!(report.ok, "{report}");
    assert!(report.notes.iter().any(|note| note.message.contains("after record 12")), "{report}");
    // The next run cuts it and goes on; then the end that the crash took is told in a signed record.
    close(&bench.open());
    let report = check(&bench);
    assert!(report.ok, "{report}");
    assert!(report.notes.iter().any(|note| note.about == "torn_tail_cut"), "{report}");
    // Cutting whole records off an ended run is found at the run after it.
    let mut altered = lines(&bench);
    altered.remove(11);
    put(&bench, &altered);
    assert_eq!(first(&check(&bench)), (12, Check::BackLink));
}

/// `line` with its payload changed, signed anew.
fn forge(line: &str, from: &str, to: &str, keyid: &str, key: &ActiveKey) -> String {
    let before = payload(line);
    let after = before.replace(from, to);
    assert_ne!(before, after, "nothing was forged");
    seal(&after, keyid, key)
}

fn archive(bench: &Bench, key: &ActiveKey) {
    let path = bench.path().join(format!("trust/chains/{}.pem", key.chain().leaf_thumbprint()));
    std::fs::write(path, key.chain().to_pem()).unwrap();
}

#[test]
fn nobody_but_the_gateway_can_forge_a_record() {
    let neighbour = |bench: &Bench| bench.authority.key("/other", later(0), later(3600));
    let impostor = |_: &Bench| Authority::new("example.org").key("/gw", later(0), later(3600));
    let stranger = |_: &Bench| Authority::new("evil.example").key("/gw", later(0), later(3600));
    let unannounced = |bench: &Bench| bench.authority.key("/gw", later(0), later(3600));
    type Make = fn(&Bench) -> std::sync::Arc<ActiveKey>;
    let cases: [(&str, Make, Check); 4] = [
        ("another workload of the trust domain", neighbour, Check::Key),
        ("the same name under another root", impostor, Check::Key),
        ("another trust domain", stranger, Check::Key),
        ("the gateway's own name, but a key that was not announced", unannounced, Check::KeyChange),
    ];
    for (what, make, expected) in cases {
        let bench = two_sessions();
        let key = make(&bench);
        archive(&bench, &key);
        let mut altered = lines(&bench);
        altered[8] = forge(&altered[8], "files/read", "files/kill", key.id().as_str(), &key);
        put(&bench, &altered);
        assert_eq!(first(&check(&bench)), (9, expected), "{what}");
        // Under the real key's name it is no better.
        let bench = two_sessions();
        let real = bench.signer.current_key().id().to_string();
        let mut altered = lines(&bench);
        altered[8] = forge(&altered[8], "files/read", "files/kill", &real, &make(&bench));
        put(&bench, &altered);
        assert_eq!(first(&check(&bench)), (9, Check::Signature), "{what}");
    }
}

#[test]
fn a_chain_swapped_in_the_archive_is_found() {
    let bench = two_sessions();
    let key = bench.signer.current_key();
    let path = bench.path().join(format!("trust/chains/{}.pem", key.chain().leaf_thumbprint()));
    let other = bench.authority.key("/gw", later(0), later(3600));
    std::fs::write(&path, other.chain().to_pem()).unwrap();
    assert_eq!(first(&check(&bench)), (1, Check::Key));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(first(&check(&bench)), (1, Check::Key));
}

#[test]
fn an_expired_key_signs_nothing_more() {
    let bench = two_sessions();
    let key = bench.signer.current_key();
    let mut altered = lines(&bench);
    let (now, then) = (later(0).to_rfc3339(), later(3601).to_rfc3339());
    altered[8] = forge(&altered[8], &now, &then, key.id().as_str(), &key);
    put(&bench, &altered);
    let report = check(&bench);
    assert_eq!(first(&report), (9, Check::Key), "{report}");
    assert!(report.findings[0].message.contains("valid from"), "{report}");
}

#[test]
fn records_of_another_log_or_run_of_the_same_gateway_are_out_of_place() {
    let bench = two_sessions();
    let honest = lines(&bench);
    let other = Config { dir: bench.path().with_file_name("other"), ..bench.config() };
    let log = bench.try_open(other.clone(), Bench::identity()).unwrap();
    announce(&log);
    Script::new(&bench.signer).play(&log, 2);
    close(&log);
    let text = std::fs::read_to_string(other.dir.join("records/00000000.intoto.jsonl")).unwrap();
    let foreign: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut spliced = honest.clone();
    spliced.insert(7, foreign[2].clone());
    put(&bench, &spliced);
    assert_eq!(first(&check(&bench)), (8, Check::Gateway));
    // A whole run of it.
    put(&bench, &[honest.clone(), foreign].concat());
    assert_eq!(first(&check(&bench)), (14, Check::BackLink));
    // The first of two runs taken away.
    put(&bench, &honest);
    close(&bench.open());
    let altered = lines(&bench);
    put(&bench, &altered[13..]);
    assert_eq!(first(&check(&bench)), (1, Check::BackLink));
}

#[test]
fn policies_are_archived_as_they_were_announced() {
    let bench = two_sessions();
    let dir = bench.path().join("policies").join(policy_set().to_string());
    let file = dir.join(policy_file_name("main.cedar", &Sha256Digest::of(POLICY.as_bytes())));
    std::fs::write(&file, "permit(principal, action, resource) when { true };").unwrap();
    assert_eq!(first(&check(&bench)), (2, Check::Policy));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(first(&check(&bench)), (2, Check::Policy));
}

#[test]
fn missing_segments_and_emptied_logs_are_found() {
    let bench = Bench::new();
    let log = bench.try_open(Config { segment_bytes: 4096, ..bench.config() }, Bench::identity()).unwrap();
    announce(&log);
    Script::new(&bench.signer).play(&log, 20);
    close(&log);
    assert!(check(&bench).ok);
    let second = bench.path().join("records/00000001.intoto.jsonl");
    let bytes = std::fs::read(&second).unwrap();
    std::fs::write(&second, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(check(&bench).findings[0].check, Check::Envelope);
    std::fs::remove_file(second).unwrap();
    assert_eq!(check(&bench).findings[0].check, Check::Segments);
    std::fs::remove_dir_all(bench.path().join("records")).unwrap();
    let nothing = verify(&bench.path(), &bench.authority.bundle, &Bench::identity(), &mut ());
    assert!(matches!(nothing, Err(AuditError::NotALog { missing: "records", .. })));
    std::fs::create_dir(bench.path().join("records")).unwrap();
    assert_eq!(check(&bench).findings[0].check, Check::Segments);
}

#[test]
fn the_log_of_another_gateway_is_not_this_ones() {
    let bench = two_sessions();
    let other = "spiffe://example.org/other".parse().unwrap();
    let report = verify(&bench.path(), &bench.authority.bundle, &other, &mut ()).unwrap();
    assert_eq!(first(&report), (0, Check::LogFile));
    assert_eq!(report.findings_total, 1, "said once, and not of every record: {report}");
    let mut altered = lines(&bench);
    altered[8] = "{}".to_owned();
    put(&bench, &altered);
    let report = verify(&bench.path(), &bench.authority.bundle, &other, &mut ()).unwrap();
    assert_eq!((report.findings_total, report.findings[1].line), (2, Some(9)), "{report}");
    let elsewhere = "spiffe://example.net/gw".parse().unwrap();
    let misuse = verify(&bench.path(), &bench.authority.bundle, &elsewhere, &mut ());
    assert!(matches!(misuse, Err(AuditError::TrustDomain { .. })));
}

#[test]
fn a_line_of_any_length_and_content_is_survived() {
    let bench = two_sessions();
    let honest = lines(&bench);
    for junk in ["x".repeat(2_000_000), "{".repeat(100_000), String::new(), "\0".repeat(70)] {
        let mut altered = honest.clone();
        altered.insert(5, junk);
        put(&bench, &altered);
        assert_eq!(first(&check(&bench)), (6, Check::Envelope));
    }
}

#[test]
fn the_report_says_how_many_requests_were_turned_away() {
    let bench = Bench::new();
    let log = bench.open();
    let row = |count| RefusalCount { listener: "tcp".to_owned(), reason: "no_evidence".to_owned(), count };
    for count in [2, 5] {
        let summary = RefusalSummary { since: later(0), until: later(1), refusals: vec![row(count)] };
        log.append_gateway(Predicate::RefusalSummary(summary)).unwrap().wait().unwrap();
    }
    close(&log);
    let report = check(&bench);
    assert!(report.ok && report.counts.turned_away == 7, "{report}");
    assert!(report.to_string().contains("refused   7 requests before admission"), "{report}");
}
