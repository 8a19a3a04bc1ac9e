use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;

use super::testing::{Bench, NOW, Script, announce, await_recovery, close, kind, later, statements};
use super::{AppendError, Config, Durability, LogError, PolicySource, dsse};
use crate::domain::decision::Effect;
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::DenyReason;
use crate::keys::SignerError;

#[test]
fn a_receipt_names_the_record_that_is_in_the_file() {
    let bench = Bench::new();
    let log = bench.try_open(Config::at(bench.path()), Bench::identity()).unwrap();
    let script = Script::new(&bench.signer);
    let pending = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap();
    let receipt = pending.wait().unwrap();
    assert_eq!((receipt.seq(), receipt.durability()), (0, Durability::Fsync));
    let text = std::fs::read_to_string(bench.segment()).unwrap();
    let envelope = dsse::read(text.lines().last().unwrap().as_bytes()).unwrap();
    assert_eq!(Sha256Digest::of(&envelope.payload), receipt.digest());
    let key = bench.signer.current_key();
    key.public_key().verify_der(&envelope.pae(), &envelope.signature).unwrap();
    assert_eq!(envelope.keyid, key.id().as_str());
    let id = receipt.decision_id().unwrap().to_string();
    assert_eq!(statements(&bench.segment())[1]["predicate"]["decisionId"], id.as_str());
}

#[test]
fn many_appenders_at_once_keep_every_chain_contiguous() {
    let bench = Bench::new();
    let log = bench.open();
    let scripts: Vec<Script> = (0..8).map(|_| Script::new(&bench.signer)).collect();
    std::thread::scope(|scope| {
        for worker in 0..16 {
            let (log, script) = (&log, &scripts[worker % 8]);
            scope.spawn(move || {
                let pending: Vec<_> = (0..100)
                    .map(|_| {
                        log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap()
                    })
                    .collect();
                for receipt in pending {
                    receipt.wait().unwrap();
                }
            });
        }
    });
    close(&log);
    let mut next: HashMap<String, (u64, Option<String>)> = HashMap::new();
    let text = std::fs::read_to_string(bench.segment()).unwrap();
    for line in text.lines() {
        let envelope = dsse::read(line.as_bytes()).unwrap();
        let statement: serde_json::Value = serde_json::from_slice(&envelope.payload).unwrap();
        let predicate = &statement["predicate"];
        let chain = predicate["session"].as_str().unwrap_or("gateway").to_owned();
        let (seq, last) = next.entry(chain).or_default();
        assert_eq!(predicate["seq"], *seq);
        assert_eq!(predicate["previous"].as_str(), last.as_deref());
        (*seq, *last) = (*seq + 1, Some(Sha256Digest::of(&envelope.payload).to_string()));
    }
    assert_eq!(next.len(), 9);
    assert!(next.iter().all(|(chain, (count, _))| chain == "gateway" || *count == 200));
}

/// Appends until the log refuses, and says how many were refused.
fn refused_while(log: &super::Log, script: &Script, calls: usize) -> (usize, AppendError) {
    let outcome = |_| {
        let pending = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None));
        pending.and_then(|pending| pending.wait().map(drop))
    };
    let errors: Vec<AppendError> = (0..calls).filter_map(|call| outcome(call).err()).collect();
    (errors.len(), errors.into_iter().next().unwrap())
}

#[test]
fn a_full_disk_refuses_everything_leaves_no_half_record_and_heals_by_itself() {
    for fail in [super::testing::Disk::full, super::testing::Disk::broken, super::testing::Disk::stuck] {
        let bench = Bench::new();
        let log = bench.open_flaky(Durability::Fsync);
        let script = Script::new(&bench.signer);
        script.open(&log);
        let before = std::fs::read(bench.segment()).unwrap();
        fail(&bench.disk);
        let (refused, error) = refused_while(&log, &script, 7);
        assert_eq!(refused, 7);
        assert!(matches!(error, AppendError::Storage(_)), "{error}");
        assert_eq!(error.deny_reason(), DenyReason::AttestationFailed);
        assert!(log.failing().is_some());
        bench.disk.works();
        await_recovery(&log);
        script.allow(&log);
        close(&log);
        let after = std::fs::read(bench.segment()).unwrap();
        assert!(after.starts_with(&before));
        let statements = statements(&bench.segment());
        let kinds: Vec<&str> = statements.iter().map(kind).collect();
        let expected =
            ["gateway-start", "policy-change", "decision", "session-open", "gap", "decision", "gateway-stop"];
        assert_eq!(kinds, expected);
        assert_eq!(statements[4]["predicate"]["refused"], 7);
        assert_eq!(statements[4]["predicate"]["cause"], "storage");
        assert_eq!(statements[5]["predicate"]["seq"], 2);
    }
}

#[test]
fn what_was_promised_under_queued_and_lost_is_told() {
    let bench = Bench::new();
    let log = bench.open_flaky(Durability::Queued);
    let script = Script::new(&bench.signer);
    bench.disk.full();
    let pending = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap();
    assert_eq!(pending.wait().unwrap().durability(), Durability::Queued);
    while log.failing().is_none() {
        std::thread::yield_now();
    }
    bench.disk.works();
    await_recovery(&log);
    close(&log);
    let statements = statements(&bench.segment());
    let gap = statements.iter().find(|statement| kind(statement) == "gap").unwrap();
    assert_eq!(gap["predicate"]["lost"], 1);
}

#[test]
fn without_a_signer_nothing_is_promised_and_the_gap_stands_before_the_new_key() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.open(&log);
    bench.signer.hold(Err(SignerError::Withdrawn("by the test".to_owned())));
    let (refused, error) = refused_while(&log, &script, 3);
    assert_eq!((refused, error.deny_reason()), (3, DenyReason::SignerUnavailable));
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(7200))));
    await_recovery(&log);
    script.allow(&log);
    close(&log);
    let statements = statements(&bench.segment());
    let kinds: Vec<&str> = statements.iter().skip(4).map(kind).collect();
    assert_eq!(kinds, ["gap", "key-change", "decision", "gateway-stop"]);
    assert_eq!(statements[4]["predicate"]["cause"], "signer");
    assert_eq!(std::fs::read_dir(bench.path().join("trust/chains")).unwrap().count(), 2);
}

#[test]
fn a_gap_ends_however_long_the_words_of_its_cause_are() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    let key = bench.signer.current_key();
    bench.signer.hold(Err(SignerError::Withdrawn("ä".repeat(300 * 1024))));
    refused_while(&log, &script, 1);
    bench.signer.hold(Ok(key));
    await_recovery(&log);
    close(&log);
    let statements = statements(&bench.segment());
    let gap = statements.iter().find(|statement| kind(statement) == "gap").unwrap();
    let detail = gap["predicate"]["detail"].as_str().unwrap();
    assert!(detail.contains("withdrawn") && detail.len() < 1024, "{} bytes", detail.len());
}

#[test]
fn a_record_that_its_certificate_does_not_cover_is_refused() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    bench.clock.set(later(3602));
    let (_, error) = refused_while(&log, &script, 1);
    assert!(matches!(error, AppendError::Validity), "{error}");
    bench.clock.set(later(10));
    await_recovery(&log);
    close(&log);
}

#[test]
fn the_key_of_another_identity_signs_nothing() {
    let bench = Bench::new();
    let log = bench.open();
    bench.signer.hold(Ok(bench.authority.key("/other", later(0), later(7200))));
    let (_, error) = refused_while(&log, &Script::new(&bench.signer), 1);
    assert!(matches!(error, AppendError::Identity(_)), "{error}");
}

#[test]
fn a_full_queue_is_refused_at_once_and_counted() {
    let bench = Bench::new();
    let config = Config { queue: 1, ..bench.config() };
    let log = bench.try_open(config, Bench::identity()).unwrap();
    announce(&log);
    let script = Script::new(&bench.signer);
    let (mut pending, mut refused) = (Vec::new(), 0);
    while refused == 0 {
        match log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)) {
            Ok(receipt) => pending.push(receipt),
            Err(error) => {
                assert!(matches!(error, AppendError::Overload), "{error}");
                assert_eq!(error.deny_reason(), DenyReason::Limited);
                refused += 1;
            }
        }
    }
    for receipt in pending {
        receipt.wait().unwrap();
    }
    script.say(&log, super::Predicate::SessionClose(script.closing()));
    close(&log);
    let statements = statements(&bench.segment());
    let gap = statements.iter().find(|statement| kind(statement) == "gap").unwrap();
    assert_eq!((&gap["predicate"]["refused"], &gap["predicate"]["cause"]), (&1.into(), &"overload".into()));
}

#[test]
fn a_dropped_receipt_cancels_nothing() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    drop(log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap());
    close(&log);
    assert_eq!(kind(&statements(&bench.segment())[2]), "decision");
    let refused = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None));
    assert!(matches!(refused, Err(AppendError::Closed)));
}

#[test]
fn segments_follow_one_another_and_a_new_run_goes_on_where_the_old_one_ended() {
    let bench = Bench::new();
    for _ in 0..2 {
        let config = Config { segment_bytes: 8 * 1024, ..bench.config() };
        let log = bench.try_open(config, Bench::identity()).unwrap();
        announce(&log);
        Script::new(&bench.signer).play(&log, 20);
        close(&log);
    }
    let layout = super::Layout::at(bench.path());
    let segments = layout.segments().unwrap();
    assert!(segments.len() > 4);
    assert!(segments.iter().enumerate().all(|(at, (index, _))| at == *index as usize));
    let all: Vec<_> = segments.iter().flat_map(|(_, path)| statements(path)).collect();
    let starts: Vec<_> = all.iter().filter(|statement| kind(statement) == "gateway-start").collect();
    assert_eq!(starts.len(), 2);
    assert!(starts[0]["predicate"].get("after").is_none());
    assert!(starts[1]["predicate"]["after"].is_string());
}

#[test]
fn a_torn_tail_is_cut_kept_aside_and_told() {
    let bench = Bench::new();
    let log = bench.open();
    Script::new(&bench.signer).play(&log, 1);
    close(&log);
    let whole = std::fs::read(bench.segment()).unwrap();
    let half = &whole[..whole.len() / 3];
    for torn in [b"{\"payload\":\"abc".to_vec(), [&[0_u8; 4096][..], b"\n"].concat(), half.to_vec()] {
        let before = std::fs::read(bench.segment()).unwrap();
        std::fs::write(bench.segment(), [&before[..], &torn].concat()).unwrap();
        let log = bench.open();
        close(&log);
        let whole_lines = torn.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let kept = if torn.starts_with(b"{\"payload\":\"") && whole_lines > 0 { whole_lines } else { 0 };
        let statements = statements(&bench.segment());
        let start = statements.iter().rfind(|statement| kind(statement) == "gateway-start").unwrap();
        let cut = &torn[kept..];
        assert_eq!(start["predicate"]["torn_tail"], serde_json::Value::Null);
        assert_eq!(start["predicate"]["tornTail"]["bytes"], cut.len());
        assert_eq!(start["predicate"]["tornTail"]["sha256"], Sha256Digest::of(cut).to_string());
        assert!(std::fs::read(bench.segment()).unwrap().starts_with(&[&before[..], &torn[..kept]].concat()));
    }
    assert_eq!(std::fs::read_dir(bench.path().join("torn")).unwrap().count(), 3);
}

#[test]
fn the_directory_of_another_gateway_and_one_in_use_are_refused_by_name() {
    let bench = Bench::new();
    let log = bench.open();
    let error = bench.try_open(bench.config(), Bench::identity()).unwrap_err();
    assert!(matches!(error, LogError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    close(&log);
    let error = bench.try_open(bench.config(), "spiffe://example.org/other".parse().unwrap()).unwrap_err();
    assert!(matches!(error, LogError::OtherGateway { .. }));
    for part in ["spiffe://example.org/gw", "spiffe://example.org/other", "choose another directory"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    drop(bench.open());
}

#[test]
fn only_this_user_can_read_the_log() {
    let bench = Bench::new();
    let log = bench.open();
    let source = PolicySource { name: "a.cedar".to_owned(), text: "".into() };
    log.archive_policies(Sha256Digest::of(b"x"), Sha256Digest::of(b"y"), &[source]).unwrap().wait().unwrap();
    let mut open = vec![bench.path()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let meta = std::fs::metadata(&path).unwrap();
        let expected = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.permissions().mode() & 0o777, expected, "{}", path.display());
        seen += 1;
        if meta.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 8, "{seen}");
}

#[test]
fn no_record_is_larger_than_a_reader_takes() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    let huge = log.append(&script.chain, |link| {
        let mut opening = script.opening();
        opening.protocol = "x".repeat(300 * 1024);
        super::Statement::new(super::Predicate::SessionOpen(opening), link)
    });
    assert!(matches!(huge, Err(AppendError::TooLarge(_))));
    script.open(&log);
    assert_eq!(statements(&bench.segment())[2]["predicate"]["seq"], 0);
    assert_eq!(statements(&bench.segment())[2]["predicate"]["time"], NOW.to_rfc3339().as_str());
}

#[test]
fn a_directory_of_something_else_or_open_to_others_is_refused_and_untouched() {
    use std::os::unix::fs::PermissionsExt as _;

    let bench = Bench::new();
    let dir = bench.path();
    let open = || bench.try_open(bench.config(), Bench::identity());
    std::fs::create_dir_all(dir.join("policies")).unwrap();
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, LogError::NotEmpty(_)), "{error}");
    assert!(!dir.join("records").exists() && !dir.join("lock").exists());
    std::fs::remove_file(dir.join("notes.txt")).unwrap();
    assert!(matches!(open(), Err(LogError::NotEmpty(_))), "someone's policies are no log");
    // A start that was killed before log.json was written.
    std::fs::create_dir(dir.join("records")).unwrap();
    close(&open().unwrap());
    let mode = |mode| std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).unwrap();
    for wide in [0o770, 0o707] {
        mode(wide);
        let error = open().unwrap_err().to_string();
        assert!(error.contains(&format!("chmod go-w {}", dir.display())), "{error}");
    }
    mode(0o755);
    close(&open().unwrap());
}
