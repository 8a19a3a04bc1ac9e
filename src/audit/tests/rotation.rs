//! Keys and CAs that come, go and come back, each vouched for in its own time only.

use std::sync::Arc;

use super::{check, first, lines, put};
use crate::attest::testing::{Bench, Script, await_recovery, close, kind, later, statements};
use crate::attest::{AppendError, Log};
use crate::audit::{Check, Report, verify};
use crate::domain::clock::Timestamp;
use crate::domain::decision::Effect;
use crate::keys::testing::{Authority, LeafSpec, RootSpec};
use crate::keys::{ActiveKey, KeyError, SignerError, TrustBundle};

const DAY: u64 = 24 * 3600;

pub(super) fn against(bench: &Bench, bundles: &[&TrustBundle]) -> Report {
    let union = TrustBundle::union(bundles.iter().copied().cloned()).unwrap();
    verify(&bench.path(), &union, &Bench::identity(), &mut ()).unwrap()
}

/// A CA of a day, as SPIRE's is by default.
fn authority(from: Timestamp, to: Timestamp) -> Authority {
    Authority::of("example.org", &RootSpec { from, to, ..RootSpec::of("example.org") })
}

fn gateway(from: Timestamp, to: Timestamp) -> LeafSpec {
    LeafSpec::of("spiffe://example.org/gw", from, to)
}

/// The log of two CAs' time: root A signs key 1, the bundle becomes {A, B}, B signs key 2, the bundle becomes {B}.
pub(super) struct Rotated {
    pub(super) bench: Bench,
    pub(super) a: Arc<TrustBundle>,
    pub(super) b: Arc<TrustBundle>,
}

impl Rotated {
    /// Lines: 1 gateway-start, 2 policy-change, 3 decision, 4 session-open under {A}; 5 key-change, 6 decision under
    /// {A, B}; 7 key-change, 8 decision under key 2; 9 key-change, 10 session-renew, 11 decision under {B};
    /// 12 gateway-stop.
    pub(super) fn new() -> Self {
        let (old, new) = (authority(later(0), later(DAY)), authority(later(DAY / 2), later(2 * DAY)));
        let both = TrustBundle::union([(*old.bundle).clone(), (*new.bundle).clone()]).unwrap();
        let of_key = |authority: &Authority, spec: &LeafSpec, bundles: &[&TrustBundle]| {
            let (chain, pkcs8) = authority.leaf(spec);
            let key = |bundle: &&TrustBundle| {
                ActiveKey::new(&pkcs8, chain.clone(), Arc::new((*bundle).clone()), spec.from)
                    .map(Arc::new)
                    .unwrap()
            };
            bundles.iter().map(key).collect::<Vec<_>>()
        };
        let first = of_key(&old, &gateway(later(0), later(DAY)), &[&old.bundle, &both]);
        let second = of_key(&new, &gateway(later(DAY / 2), later(2 * DAY)), &[&both, &new.bundle]);
        let (a, b) = (old.bundle.clone(), new.bundle.clone());
        let bench = Bench::with(old, first[0].clone());
        let log = bench.open();
        let mut script = Script::new(&bench.signer);
        script.open(&log);
        let hold = |at: u64, key: &Arc<ActiveKey>| {
            bench.clock.set(later(at));
            bench.signer.hold(Ok(key.clone()));
        };
        hold(60, &first[1]);
        script.deny(&log);
        hold(DAY / 2 + 60, &second[0]);
        script.deny(&log);
        hold(DAY + 60, &second[1]);
        script.renew(&log, &bench.signer.current_key(), later(DAY + 60));
        script.allow(&log);
        close(&log);
        Self { bench, a, b }
    }

    fn archived(&self) -> Vec<TrustBundle> {
        let dir = std::fs::read_dir(self.bench.path().join("trust/bundles")).unwrap();
        let text = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(entry.unwrap().path()).unwrap()
        };
        dir.map(|entry| TrustBundle::from_pem("example.org", &text(entry)).unwrap()).collect()
    }
}

#[test]
fn a_log_over_a_rotation_of_keys_and_ca_verifies_with_all_bundles_of_its_time() {
    let log = Rotated::new();
    let kinds: Vec<_> = statements(&log.bench.segment()).iter().map(|s| kind(s).to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "key-change").count(), 3, "{kinds:?}");
    let report = against(&log.bench, &[&log.a, &log.b]);
    assert!(report.ok, "{report}");
    let archived = log.archived();
    assert_eq!(archived.len(), 3);
    let report = against(&log.bench, &archived.iter().collect::<Vec<_>>());
    assert!(report.ok, "{report}");

    let root = |bundle: &TrustBundle| bundle.root_facts().next().unwrap().thumbprint.to_string();
    let said: Vec<_> = report.keys.iter().map(|key| (key.root.clone(), key.records)).collect();
    assert_eq!(said, [(root(&log.a), 6), (root(&log.b), 6)]);
    let first = &report.keys[0];
    assert_eq!((&*first.not_before, &*first.not_after), (&*later(0).to_rfc3339(), &*later(DAY).to_rfc3339()));
    let (from, to) = (later(0).to_rfc3339(), later(60).to_rfc3339());
    assert_eq!((first.first.as_deref(), first.last.as_deref()), (Some(&*from), Some(&*to)));
    let shown = report.to_string();
    assert!(shown.contains(&format!(": 6 records from {from} to {to}")), "{shown}");
}

#[test]
fn with_one_ca_only_the_other_ones_key_is_one_finding_that_says_why_and_what_to_give() {
    let log = Rotated::new();
    for (given, missing, line, more) in [(&log.b, &log.a, 1, 5), (&log.a, &log.b, 7, 5)] {
        let report = against(&log.bench, &[given]);
        assert_eq!((first(&report), report.findings_total), ((line, Check::Key), 1), "{report}");
        let finding = &report.findings[0];
        assert_eq!((report.counts.runs, report.counts.sessions), (1, 1), "{report}");
        assert_eq!(finding.more.as_ref().map(|more| more.records), Some(more), "{report}");
        let facts = missing.root_facts().next().unwrap();
        let words = [
            format!("the root {} (valid from {} to {})", facts.thumbprint, facts.not_before, facts.not_after),
            "the CA has rotated since".to_owned(),
            "--trust-bundle may be repeated".to_owned(),
            "trust/bundles/".to_owned(),
            "believe it only if".to_owned(),
        ];
        assert!(finding.message.contains("does not vouch for the key #"), "{report}");
        let [lacks] = &*report.missing else { panic!("one root is missing: {report}") };
        for word in words {
            assert!(lacks.to_string().contains(&word), "{word}: {report}");
        }
        assert!(report.to_string().contains(&format!("\nmissing   {lacks}\nNOT VERIFIED")), "{report}");
        // The copy that it names does hold that root.
        let copy = log.bench.path().join(&lacks.root.as_ref().unwrap().copy);
        let copy = TrustBundle::from_pem("example.org", &std::fs::read_to_string(copy).unwrap()).unwrap();
        assert!(copy.root_facts().any(|root| root.thumbprint == facts.thumbprint));
        assert!(against(&log.bench, &[given, &copy]).ok);
    }
}

#[test]
fn a_hundred_thousand_records_of_an_unknown_root_would_be_one_finding() {
    let bench = Bench::new();
    let log = bench.open();
    Script::new(&bench.signer).play(&log, 300);
    close(&log);
    let elsewhere = Authority::new("example.org");
    let report = against(&bench, &[&elsewhere.bundle]);
    assert_eq!((report.findings_total, report.findings.len()), (1, 1), "{report}");
    let more = report.findings[0].more.as_ref().unwrap();
    assert_eq!((more.records, more.line), (305, 306), "{report}");
    assert!(
        report.to_string().contains("(and 305 more records, the last at records/00000000.intoto.jsonl:306)")
    );
    // Without an archived bundle that could explain it, that is said instead.
    std::fs::remove_dir_all(bench.path().join("trust/bundles")).unwrap();
    let report = against(&bench, &[&elsewhere.bundle]);
    assert_eq!(report.findings_total, 1, "{report}");
    assert!(report.findings[0].message.contains("none in the log's archive did"), "{report}");
    assert!(report.missing[0].to_string().contains("the log is forged"), "{report}");
}

#[test]
fn a_missing_root_of_many_keys_is_explained_once_and_each_key_found_in_few_words() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    for at in 1..=6 {
        bench.clock.set(later(at));
        bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(3600))));
        script.deny(&log);
    }
    close(&log);
    let elsewhere = Authority::new("example.org");
    let report = against(&bench, &[&elsewhere.bundle]);
    assert_eq!(report.findings_total, 7, "{report}");
    let longest = report.findings.iter().map(|finding| finding.message.len()).max().unwrap();
    assert!(longest < 250, "{longest}: {report}");
    let shown = report.to_string();
    assert_eq!(shown.matches("--trust-bundle may be repeated").count(), 1, "{shown}");
    assert_eq!((report.missing.len(), report.missing[0].keys.len()), (1, 7), "{report}");
    assert!(shown.contains(" and 3 more, and is not in the given trust bundle"), "{shown}");
}

#[test]
fn the_time_of_a_keys_records_begins_before_it_ends_whatever_their_order() {
    let bench = Bench::new();
    let log = bench.open();
    let scripts = [90, 60, 30].map(|at| (later(at), Script::new(&bench.signer)));
    for (at, script) in &scripts {
        bench.clock.set(*at);
        script.deny(&log);
    }
    close(&log);
    let report = check(&bench);
    assert!(report.ok, "{report}");
    let key = &report.keys[0];
    let times = [&key.first, &key.last].map(|time| time.clone().unwrap());
    assert_eq!(times, [later(0).to_rfc3339(), later(90).to_rfc3339()], "{report}");
}

#[test]
fn a_root_counts_in_its_own_time_only_however_many_are_given() {
    // The leaf claims two days; its root ends after one. A root of the next day changes nothing.
    let (short, next) = (authority(later(0), later(DAY)), authority(later(DAY), later(3 * DAY)));
    let key = short.key("/gw", later(0), later(2 * DAY));
    let bench = Bench::with(short, key);
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.deny(&log);
    script.deny(&log);
    bench.clock.set(later(DAY + 60));
    let late = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap().wait();
    assert!(matches!(late, Err(AppendError::Validity)), "nobody could verify it");
    bench.clock.set(later(0));
    await_recovery(&log);
    close(&log);
    // 1 gateway-start, 2 policy-change, 3 and 4 decisions, 5 gap, 6 gateway-stop.
    let (now, then, key) = (later(0).to_rfc3339(), later(DAY + 60).to_rfc3339(), bench.signer.current_key());
    let mut all = lines(&bench);
    for line in &mut all[3..] {
        *line = super::forge(line, &now, &then, key.id().as_str(), &key);
    }
    put(&bench, &all);
    let report = against(&bench, &[&bench.authority.bundle, &next.bundle]);
    assert_eq!((first(&report), report.findings_total), ((4, Check::Key), 1), "{report}");
    assert_eq!(report.findings[0].more.as_ref().unwrap().records, 2, "{report}");
    // From the start as well.
    put(&bench, &all[3..]);
    let report = against(&bench, &[&bench.authority.bundle, &next.bundle]);
    assert_eq!(first(&report), (1, Check::Key), "{report}");
    let (from, to) = (later(0), later(DAY));
    assert!(report.findings[0].message.contains(&format!("held from {from} to {to} only")), "{report}");
}

#[test]
fn a_run_that_says_it_was_before_the_one_that_it_follows_is_noted() {
    // Whoever got hold of a key that signs no more could still write a run of its time behind today's.
    let key = |bench: &Bench, from| bench.authority.key("/gw", later(from), later(from + 1000));
    let bench = Bench::new();
    for (from, noted) in [(0, false), (1500, false), (500, true)] {
        bench.clock.set(later(from));
        bench.signer.hold(Ok(key(&bench, from)));
        let log = bench.open();
        Script::at(&bench.signer, later(from)).play(&log, 1);
        close(&log);
        let report = against(&bench, &[&bench.authority.bundle]);
        assert!(report.ok, "{report}");
        let clock = report.notes.iter().find(|note| note.about == "clock");
        assert_eq!(clock.is_some(), noted, "{report}");
        if let Some(note) = clock {
            assert!(note.message.contains("1000000 ms"), "{report}");
        }
    }
}

#[test]
fn between_two_roots_with_one_key_there_is_no_time_that_neither_covers() {
    // A CA may renew its root with the same key: a leaf then holds under either, but not in between.
    let key = rcgen::KeyPair::generate().unwrap();
    let generation = |from, to| {
        let spec = RootSpec { from, to, ..RootSpec::of("example.org") };
        Authority::keyed("example.org", &spec, rcgen::KeyPair::try_from(key.serialize_der()).unwrap())
    };
    let (early, late) = (generation(later(0), later(100)), generation(later(200), later(3600)));
    let unknown = generation(later(0), later(3600));
    let key = early.key("/gw", later(0), later(3600));
    let bench = Bench::with(early, key.clone());
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.deny(&log);
    for (at, authority) in [(250, &late), (150, &unknown), (260, &late)] {
        bench.clock.set(later(at));
        bench.signer.hold(
            key.under(authority.bundle.clone(), later(at))
                .map(Arc::new)
                .map_err(|_other_bundle| SignerError::Crypto),
        );
        script.deny(&log);
    }
    close(&log);
    // 1 gateway-start, 2 policy-change, 3 decision; 4 key-change, 5 decision; 6 key-change, 7 decision in between.
    let report = against(&bench, &[&bench.authority.bundle, &late.bundle]);
    assert_eq!((first(&report), report.findings_total), ((6, Check::Key), 1), "{report}");
    assert_eq!(report.findings[0].more.as_ref().unwrap().records, 1, "{report}");
}

#[test]
fn a_hundred_generations_of_one_ca_do_not_wear_verification_out() {
    let bench = Bench::new();
    close(&bench.open());
    let others: Vec<Authority> = (0..150).map(|_| Authority::new("example.org")).collect();
    let mut bundles: Vec<&TrustBundle> = others.iter().map(|other| &*other.bundle).collect();
    bundles.push(&bench.authority.bundle);
    assert!(against(&bench, &bundles).ok);
}

#[test]
fn p_384_keys_an_intermediate_and_an_rsa_root_sign_logs_that_verify() {
    let rsa = RootSpec { algorithm: &rcgen::PKCS_RSA_SHA256, ..RootSpec::of("example.org") };
    let plain = RootSpec::of("example.org");
    let p384 = LeafSpec { algorithm: &rcgen::PKCS_ECDSA_P384_SHA384, ..gateway(later(0), later(3600)) };
    let p256 = gateway(later(0), later(3600));
    let root = Authority::new("example.org");
    let below = root.intermediate(&plain).intermediate(&plain);
    let cases = [
        ("P-384", Authority::new("example.org"), &p384),
        ("two intermediates", below, &p256),
        ("an RSA root", Authority::of("example.org", &rsa), &p256),
        (
            "a P-384 key, an intermediate and an RSA root",
            Authority::of("example.org", &rsa).intermediate(&plain),
            &p384,
        ),
    ];
    for (what, authority, spec) in cases {
        let key = authority.key_under(spec, &authority.bundle);
        let bench = Bench::with(authority, key);
        let log = bench.open();
        Script::new(&bench.signer).play(&log, 2);
        close(&log);
        assert!(check(&bench).ok, "{what}: {}", check(&bench));
        let mut altered = lines(&bench);
        altered.swap(3, 4);
        put(&bench, &altered);
        assert!(!check(&bench).ok, "{what}");
    }
}

/// Loses the signer, so that a gap begins.
fn outage(bench: &Bench, log: &Log, script: &Script) {
    bench.signer.hold(Err(SignerError::Withdrawn("by the test".to_owned())));
    let lost = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap().wait();
    assert!(matches!(lost, Err(AppendError::Signer(_))));
}

#[test]
fn a_key_that_returns_and_bundles_that_change_in_an_outage_verify() {
    let authority = Authority::new("example.org");
    let other = Authority::new("example.org");
    let both = TrustBundle::union([(*authority.bundle).clone(), (*other.bundle).clone()]).unwrap();
    let spec = gateway(later(0), later(3600));
    let (chain, pkcs8) = authority.leaf(&spec);
    let under = |bundle: &TrustBundle| -> Result<Arc<ActiveKey>, KeyError> {
        ActiveKey::new(&pkcs8, chain.clone(), Arc::new(bundle.clone()), spec.from).map(Arc::new)
    };
    let (a, a_with_both) = (under(&authority.bundle).unwrap(), under(&both).unwrap());
    let b = authority.key("/gw", later(0), later(3600));
    let bench = Bench::with(authority, a.clone());
    let log = bench.open();
    let script = Script::new(&bench.signer);
    let back = |key: &Arc<ActiveKey>| {
        bench.signer.hold(Ok(key.clone()));
        await_recovery(&log);
        script.deny(&log);
    };
    script.open(&log);
    outage(&bench, &log, &script);
    back(&a_with_both);
    for key in [&b, &a, &b] {
        bench.signer.hold(Ok(key.clone()));
        script.deny(&log);
    }
    outage(&bench, &log, &script);
    back(&a);
    outage(&bench, &log, &script);
    back(&a);
    close(&log);
    let report = check(&bench);
    assert!(report.ok, "{report}");
    let statements = statements(&bench.segment());
    let kinds: Vec<_> = statements.iter().map(kind).skip(4).collect();
    let rotations = ["key-change", "decision"].repeat(3);
    let expected = [
        &["gap", "key-change", "decision"][..],
        &rotations,
        &["gap", "key-change", "decision", "gap", "decision", "gateway-stop"],
    ];
    assert_eq!(kinds, expected.concat());
    assert_eq!(report.keys.len(), 2);
}
