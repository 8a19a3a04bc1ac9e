//! What records say is archived of their keys, and whether it is.

use super::rotation::{Rotated, against};
use super::{check, first, forge, lines, put};
use crate::attest::testing::{Bench, Script, announce, close, later, payload, seal};
use crate::audit::Check;

#[test]
fn a_bundle_that_records_name_must_be_archived_as_it_was() {
    let log = Rotated::new();
    let named = |line: usize| {
        let statement: serde_json::Value =
            serde_json::from_str(&payload(&lines(&log.bench)[line - 1])).unwrap();
        let bundle = statement["predicate"]["key"]["bundle"].as_str().unwrap().to_owned();
        log.bench.path().join(format!("trust/bundles/{bundle}.pem"))
    };
    for line in [1, 5, 9] {
        let path = named(line);
        let whole = std::fs::read(&path).unwrap();
        for altered in [Some(&b"x"[..]), Some(b""), Some(&whole[..whole.len() - 1]), None] {
            match altered {
                Some(altered) => std::fs::write(&path, altered).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let report = against(&log.bench, &[&log.a, &log.b]);
            assert_eq!(
                (first(&report), report.findings_total),
                ((line as u64, Check::Archive), 1),
                "{report}"
            );
            assert_eq!(report.findings[0].check.as_str(), "archive");
            assert!(
                report.findings[0].message.contains(path.file_name().unwrap().to_str().unwrap()),
                "{report}"
            );
        }
        std::fs::write(&path, whole).unwrap();
    }
    // A directory in its place is no crash.
    let path = named(1);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(first(&against(&log.bench, &[&log.a, &log.b])), (1, Check::Archive));
}

#[test]
fn a_session_names_the_archived_certificates_of_its_tokens_key_whoever_signs_the_record() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    announce(&log);
    // The token is signed by a key that signs no record; the record by the next.
    let between = bench.authority.key("/gw", later(0), later(3000));
    bench.signer.hold(Ok(between.clone()));
    let script = Script::new(&bench.signer);
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(7200))));
    script.play(&log, 1);
    close(&log);
    let report = check(&bench);
    assert!(report.ok, "{report}");
    let token_key = report.keys.iter().find(|key| key.kid == between.id().as_str()).unwrap();
    assert_eq!((token_key.records, &token_key.first), (0, &None), "{report}");
    assert!(report.to_string().contains("tokens only"), "{report}");

    let chain = bench.path().join(format!("trust/chains/{}.pem", between.chain().leaf_thumbprint()));
    std::fs::remove_file(chain).unwrap();
    assert_eq!(first(&check(&bench)), (5, Check::Token));
}

#[test]
fn what_a_record_says_of_its_keys_archive_must_agree_with_the_key() {
    type Lie = fn(&mut serde_json::Value);
    let cases: [(&str, Lie, Check); 4] = [
        ("chain", |key| key["chain"] = "00".repeat(32).into(), Check::Archive),
        ("bundle", |key| key["bundle"] = "00".repeat(32).into(), Check::Archive),
        ("validity", |key| key["notAfter"] = later(9).to_rfc3339().into(), Check::Archive),
        ("kid", |key| key["kid"] = "spiffe://example.org/gw#x".into(), Check::Token),
    ];
    for (what, lie, expected) in cases {
        let bench = Bench::new();
        let log = bench.open();
        Script::new(&bench.signer).open(&log);
        drop(log);
        let mut altered = lines(&bench);
        let mut statement: serde_json::Value = serde_json::from_str(&payload(&altered[3])).unwrap();
        lie(&mut statement["predicate"]["key"]);
        let key = bench.signer.current_key();
        altered[3] = seal(&statement.to_string(), key.id().as_str(), &key);
        altered.truncate(4);
        put(&bench, &altered);
        assert_eq!(first(&check(&bench)), (4, expected), "{what}: {}", check(&bench));
    }
    let bench = Bench::new();
    close(&bench.open());
    let key = bench.signer.current_key();
    let mut altered = lines(&bench);
    let bundle = key.bundle().thumbprint().to_string();
    altered[0] = forge(&altered[0], &bundle, &"00".repeat(32), key.id().as_str(), &key);
    put(&bench, &altered);
    assert_eq!(first(&check(&bench)), (1, Check::Archive));
}

#[test]
fn what_is_no_plain_file_is_not_waited_for() {
    let bench = super::two_sessions();
    let chains = bench.path().join("trust/chains");
    let chain = std::fs::read_dir(chains).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&chain).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &chain, fifo, mode, 0).unwrap();
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(first(&check(&bench))).unwrap());
    let outcome = outcome.recv_timeout(std::time::Duration::from_secs(20)).expect("it hangs");
    assert_eq!(outcome, (1, Check::Key));
}
