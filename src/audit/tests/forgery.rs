//! Logs forged by another workload of the same trust domain: its SVID is valid, its chain lies in the archive, and
//! still it is not the gateway.

use std::sync::Arc;

use super::{archive, check, first, lines, put, two_sessions};
use crate::attest::testing::{Bench, Script, announce, close, later, payload, seal};
use crate::audit::{Check, Report};
use crate::domain::digest::Sha256Digest;
use crate::keys::testing::{Authority, LeafSpec, RootSpec};
use crate::keys::{ActiveKey, CertificateChain};

const GATEWAY: &str = "spiffe://example.org/gw";
const OTHER: &str = "spiffe://example.org/other";

fn other(bench: &Bench) -> Arc<ActiveKey> {
    bench.authority.key("/other", later(0), later(3600))
}

/// The gateway's name before the thumbprint of `key`.
fn under_our_name(key: &ActiveKey) -> String {
    format!("{GATEWAY}#{}", key.chain().leaf_thumbprint().to_base64url())
}

/// `line` as `key` signs it under this key id, every mention of the gateway's own key replaced by that id.
fn sign_as(bench: &Bench, line: &str, keyid: &str, key: &ActiveKey) -> String {
    let ours = bench.signer.current_key();
    let text = payload(line).replace(ours.id().as_str(), keyid);
    let thumbprint = |key: &ActiveKey| key.chain().leaf_thumbprint().to_string();
    seal(&text.replace(&thumbprint(&ours), &thumbprint(key)), keyid, key)
}

/// One finding at `line`, which names `words`; `more` records share it.
fn found(report: &Report, line: u64, more: u64, words: &[&str]) {
    assert_eq!((first(report), report.findings_total), ((line, Check::Key), 1), "{report}");
    let finding = &report.findings[0];
    assert_eq!(finding.more.as_ref().map_or(0, |more| more.records), more, "{report}");
    for word in words {
        assert!(finding.message.contains(word), "{word}: {report}");
    }
}

#[test]
fn a_whole_log_of_another_workload_is_named_as_its_own() {
    let authority = Authority::new("example.org");
    let key = authority.key("/other", later(0), later(3600));
    let bench = Bench::with(authority, key.clone());
    let log = bench.try_open(bench.config(), OTHER.parse().unwrap()).unwrap();
    announce(&log);
    Script::new(&bench.signer).play(&log, 2);
    close(&log);
    let report = check(&bench);
    assert_eq!((first(&report), report.findings_total), ((0, Check::LogFile), 1), "{report}");
    assert!(report.findings[0].message.contains(OTHER), "{report}");

    // log.json claims to be ours.
    let file = bench.path().join("log.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(OTHER, GATEWAY)).unwrap();
    let words = [&*format!("signed by {}, another workload's key, not by {GATEWAY}", key.id())];
    found(&check(&bench), 1, 7, &words);
    // Every record does, too.
    let honest = lines(&bench);
    let claim = |keyid: &str| {
        let seal = |line: &String| seal(&payload(line).replace(OTHER, GATEWAY), keyid, &key);
        put(&bench, &honest.iter().map(seal).collect::<Vec<_>>());
    };
    claim(key.id().as_str());
    found(&check(&bench), 1, 7, &words);
    // And the key id.
    claim(&under_our_name(&key));
    let named = format!("is of {OTHER}: another workload's key");
    found(&check(&bench), 1, 7, &["it claims to be of spiffe://example.org/gw", &named]);
}

#[test]
fn some_records_of_another_workload_in_the_middle_are_one_finding_and_the_rest_is_not_blamed() {
    for claims_our_name in [false, true] {
        let bench = two_sessions();
        let key = other(&bench);
        archive(&bench, &key);
        let keyid = if claims_our_name { under_our_name(&key) } else { key.id().to_string() };
        let mut altered = lines(&bench);
        for line in &mut altered[6..9] {
            *line = sign_as(&bench, line, &keyid, &key);
        }
        put(&bench, &altered);
        found(&check(&bench), 7, 2, &[OTHER, "another workload's key"]);
        // The announcement of the policies, a session's opening.
        let mut altered = lines(&bench);
        put(&bench, &{
            altered[1] = sign_as(&bench, &altered[1], &keyid, &key);
            altered[3] = sign_as(&bench, &altered[3], &keyid, &key);
            altered
        });
        found(&check(&bench), 2, 4, &[OTHER]);
    }
}

#[test]
fn a_key_change_to_another_workloads_key_hands_nothing_over() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.open(&log);
    let ours = bench.signer.current_key();
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(7200))));
    script.allow(&log);
    script.allow(&log);
    close(&log);
    // 1 gateway-start, 2 policy-change, 3 decision, 4 session-open, 5 key-change, 6 and 7 decisions, 8 gateway-stop.
    assert!(check(&bench).ok);
    let honest = lines(&bench);
    let key = other(&bench);
    archive(&bench, &key);
    for keyid in [key.id().to_string(), under_our_name(&key)] {
        let mut altered = honest.clone();
        for line in &mut altered[4..] {
            *line = sign_as(&bench, line, &keyid, &key);
        }
        put(&bench, &altered);
        found(&check(&bench), 5, 3, &[OTHER, "another workload's key"]);
        // Even where our own key announces it, which takes our own key.
        let announced = payload(&altered[4]);
        altered[4] = seal(&announced, ours.id().as_str(), &ours);
        put(&bench, &altered);
        assert_eq!(first(&check(&bench)), (5, Check::KeyChange));
    }
}

#[test]
fn another_workloads_chain_under_the_name_of_ours_is_named() {
    let bench = two_sessions();
    let (ours, key) = (bench.signer.current_key(), other(&bench));
    let path = bench.path().join(format!("trust/chains/{}.pem", ours.chain().leaf_thumbprint()));
    std::fs::write(&path, key.chain().to_pem()).unwrap();
    let named = format!("is of {OTHER}: another workload's key");
    found(&check(&bench), 1, 12, &[&named]);
    // Signed by that very key: our key id, its certificate.
    let forged: Vec<_> =
        lines(&bench).iter().map(|line| seal(&payload(line), ours.id().as_str(), &key)).collect();
    put(&bench, &forged);
    found(&check(&bench), 1, 12, &[&named]);
    // Its leaf behind ours is only an intermediate that leads nowhere, so the signature does not hold.
    let both = [ours.chain().to_pem(), key.chain().to_pem()].concat();
    std::fs::write(&path, both).unwrap();
    assert_eq!(first(&check(&bench)), (1, Check::Signature));
}

/// A log of our name by a key whose chain is `chain`, beside the bundle that `rogue` would have us believe.
fn forged(chain: &CertificateChain, pair: &rcgen::KeyPair, rogue: &Authority, spec: &LeafSpec) -> Report {
    let bench = two_sessions();
    let own = rogue.certify(spec, pair);
    let key = ActiveKey::new(&pair.serialize_der(), own, rogue.bundle.clone(), spec.from).unwrap();
    let keyid = format!("{GATEWAY}#{}", chain.leaf_thumbprint().to_base64url());
    let file = |kind: &str, digest: String| bench.path().join(format!("trust/{kind}/{digest}.pem"));
    std::fs::write(file("chains", chain.leaf_thumbprint().to_string()), chain.to_pem()).unwrap();
    std::fs::write(file("bundles", rogue.bundle.thumbprint().to_string()), rogue.bundle.to_pem()).unwrap();
    let forged: Vec<_> = lines(&bench).iter().map(|line| sign_as(&bench, line, &keyid, &key)).collect();
    put(&bench, &forged);
    check(&bench)
}

#[test]
fn a_leaf_of_our_name_from_whoever_is_no_authority_of_the_bundle_proves_nothing() {
    let spec = LeafSpec::of(GATEWAY, later(0), later(3600));
    let pair = rcgen::KeyPair::generate().unwrap();
    let rogue = Authority::new("example.org");

    // An intermediate of another root. The log's own archive explains it, in words that don't ask to believe it.
    let below = rogue.intermediate(&RootSpec::of("example.org"));
    let report = forged(&below.certify(&spec, &pair), &pair, &rogue, &spec);
    let root = rogue.bundle.root_facts().next().unwrap().thumbprint.to_string();
    found(&report, 1, 12, &[&root[..16], "is not in it"]);
    for word in [&*root, "believe it only if", "the log is forged"] {
        assert!(report.to_string().contains(word), "{word}: {report}");
    }
}

#[test]
fn another_workloads_leaf_is_no_authority_of_its_own_ca() {
    let bench = two_sessions();
    let spec = LeafSpec::of(GATEWAY, later(0), later(3600));
    let pair = rcgen::KeyPair::generate().unwrap();
    let chain = bench.authority.misused(&LeafSpec::of(OTHER, later(0), later(3600))).certify(&spec, &pair);
    let own = bench.authority.certify(&spec, &pair);
    let key = ActiveKey::new(&pair.serialize_der(), own, bench.authority.bundle.clone(), spec.from).unwrap();
    let keyid = format!("{GATEWAY}#{}", chain.leaf_thumbprint().to_base64url());
    let path = bench.path().join(format!("trust/chains/{}.pem", chain.leaf_thumbprint()));
    std::fs::write(path, chain.to_pem()).unwrap();
    let honest = lines(&bench);
    put(&bench, &honest.iter().map(|line| sign_as(&bench, line, &keyid, &key)).collect::<Vec<_>>());
    let report = check(&bench);
    found(&report, 1, 12, &["does not vouch for the key", "none in the log's archive did"]);
    assert!(report.to_string().contains("if none signed it, the log is forged"), "{report}");
}

#[test]
fn a_forger_of_a_thousand_names_and_kinds_fills_neither_memory_nor_the_report() {
    let bench = two_sessions();
    let key = other(&bench);
    let honest = lines(&bench);
    let forged = |n: usize| {
        let text = payload(&honest[6]).replace(":decision:", &format!(":kind{n}:"));
        let keyid = match n % 3 {
            0 => format!("{OTHER}{n}#{}", "x".repeat(43)),
            1 => format!("{GATEWAY}#{}", Sha256Digest::of(&n.to_be_bytes()).to_base64url()),
            _ => "y".repeat(100_000) + &n.to_string(),
        };
        seal(&text, &keyid, &key)
    };
    let all: Vec<String> = honest.iter().cloned().chain((0..1500).map(forged)).collect();
    put(&bench, &all);
    let report = check(&bench);
    assert!(report.findings.len() <= 100 && report.findings_total > 900, "{}", report.findings_total);
    assert!(report.counts.kinds.len() <= 64);
    assert!(report.findings.iter().all(|finding| finding.message.len() < 4096));
    let long = payload(&honest[6]).replace(":decision:", &format!(":{}:", "k".repeat(100_000)));
    put(&bench, &[seal(&long, key.id().as_str(), &key)]);
    assert_eq!(first(&check(&bench)), (1, Check::Statement));
}
