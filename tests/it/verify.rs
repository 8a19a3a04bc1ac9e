//! `chancery verify` on logs that the embedded identity signed: what it prints, and how it exits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use chancery::attest::predicate::{Decision, RequestRef, SessionClose};
use chancery::attest::{
    Chain, CloseReason, Config, Direction, GatewayInfo, Log, PolicySource, Predicate, Statement,
};
use chancery::domain::clock::Clock;
use chancery::domain::decision::Effect;
use chancery::domain::digest::Sha256Digest;
use chancery::domain::evidence::EvidenceKind;
use chancery::domain::ids::{DecisionId, GatewayRunId, SessionId};
use chancery::domain::random;
use chancery::domain::recorder::Silent;
use chancery::identity::{self, Identity};
use serde_json::Value;
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    identity: Arc<Identity>,
}

impl Fixture {
    /// A log with one run and one session of three decisions.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = identity::Local::in_dir(dir.path().join("identity"));
        let lead = identity::Config::DEFAULT_LEAD;
        let fixture = Self { identity: Identity::open_local(&local, lead, Clock::system()).unwrap(), dir };
        std::fs::write(fixture.bundle(), fixture.identity.bundle().to_pem()).unwrap();
        fixture.run();
        fixture
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle.pem")
    }

    fn segment(&self) -> PathBuf {
        self.log().join("records/00000000.intoto.jsonl")
    }

    fn run(&self) {
        let run = GatewayRunId::from_uuid(random::uuid_v4().unwrap());
        let gateway =
            GatewayInfo { spiffe_id: self.identity.spiffe_id().clone(), version: "0".to_owned(), run };
        let (signer, recorder) = (self.identity.clone(), Arc::new(Silent));
        let log = Log::open(Config::at(self.log()), signer, Clock::system(), recorder, gateway).unwrap();
        let (set, schema) = (Sha256Digest::of(b"set"), Sha256Digest::of(b"schema"));
        let source = PolicySource { name: "main.cedar".to_owned(), text: "".into() };
        log.archive_policies(set, schema, &[source]).unwrap().wait().unwrap();
        let chain = Chain::for_session(SessionId::from_uuid(random::uuid_v4().unwrap()));
        for _ in 0..3 {
            let decision = Decision {
                decision_id: DecisionId::from_uuid(random::uuid_v7(Clock::system().now()).unwrap()),
                effect: Effect::Allow,
                mode: "enforce",
                deny_reason: None,
                policies: Vec::new(),
                failures: Vec::new(),
                shadow: Vec::new(),
                would_flip: None,
                candidate: None,
                policy_set: set,
                schema,
                input: None,
                replaces: None,
                state: None,
                utc_offset: None,
                added_labels: Vec::new(),
                principal: "peer:1:-".to_owned(),
                action: "session/open".to_owned(),
                resource: "files".to_owned(),
                server: "files".parse().unwrap(),
                method: Some("initialize".to_owned()),
                from: Direction::Client,
                tool_definition: None,
                token: None,
                evidence: EvidenceKind::Peer,
                request: RequestRef::unrecorded(set, None),
                removed: None,
                trace: None,
            };
            let build = |link: &_| Statement::new(Predicate::Decision(decision), link);
            log.append(&chain, build).unwrap().wait().unwrap();
        }
        let close = SessionClose { reason: CloseReason::Client, allowed: 3, denied: 0, standing: 0 };
        let build = |link: &_| Statement::new(Predicate::SessionClose(close), link);
        log.append(&chain, build).unwrap().wait().unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.close());
    }

    fn verify(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.arg("verify").arg(self.log()).arg("--trust-bundle").arg(self.bundle());
        command.arg("--identity").arg(self.identity.spiffe_id().as_str());
        command
    }
}

fn stdout(command: &mut Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stdout.clone()).unwrap()
}

#[test]
fn an_honest_log_exits_0_with_either_form_of_the_bundle_and_across_restarts() {
    let fixture = Fixture::new();
    fixture.run();
    let text = stdout(&mut fixture.verify(), 0);
    assert!(text.contains("records   14 in 2 runs and 2 sessions, 1 signing key"), "{text}");
    assert!(text.contains("decisions 6 allowed, 0 denied"), "{text}");
    assert!(text.ends_with("verified  every record is signed, linked and in place\n"), "{text}");
    std::fs::write(fixture.bundle(), fixture.identity.bundle().to_spiffe_json().unwrap()).unwrap();
    let report: Value = serde_json::from_str(&stdout(fixture.verify().arg("--json"), 0)).unwrap();
    assert_eq!((&report["ok"], &report["counts"]["records"]), (&true.into(), &14.into()));
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
}

#[test]
fn several_bundles_in_either_form_count_together_and_the_wrong_one_alone_says_why() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    // Another root of the same trust domain.
    let elsewhere = fixture.dir.path().join("elsewhere.pem");
    std::fs::write(&elsewhere, root_of(&fixture)).unwrap();
    let json = fixture.dir.path().join("bundle.json");
    std::fs::write(&json, fixture.identity.bundle().to_spiffe_json().unwrap()).unwrap();
    let id = fixture.identity.spiffe_id().as_str();
    let verify = |bundles: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.arg("verify").arg(fixture.log()).args(["--identity", id]);
        for bundle in bundles {
            command.arg("--trust-bundle").arg(bundle);
        }
        command
    };
    let text = stdout(&mut verify(&[&elsewhere, &json]), 0);
    assert!(text.contains("records   7 in 1 run and 1 session, 1 signing key"), "{text}");
    assert!(text.contains("\nkey       #") && text.contains(": 7 records from "), "{text}");
    stdout(&mut verify(&[&json, &elsewhere, &json, &fixture.bundle()]), 0);
    let text = stdout(&mut verify(&[&elsewhere]), 1);
    assert!(text.contains("does not vouch for the key #"), "{text}");
    assert!(text.contains("--trust-bundle may be repeated"), "{text}");
    assert!(text.contains("(and 6 more records, the last at records/00000000.intoto.jsonl:7)"), "{text}");
    assert!(text.ends_with("NOT VERIFIED: 1 finding\n"), "{text}");
    let report: Value = serde_json::from_str(&stdout(verify(&[&json]).arg("--json"), 0)).unwrap();
    let key = &report["keys"][0];
    assert!(key["kid"].as_str().unwrap().starts_with(id), "{report}");
    assert_eq!(key["records"], 7);
    for member in ["notBefore", "notAfter", "root", "first", "last"] {
        assert!(key[member].is_string(), "{member}: {report}");
    }
    // Which file is wrong is said.
    let foreign = other.bundle();
    let output = verify(&[&json, &foreign]).assert().code(2).get_output().clone();
    let text = String::from_utf8(output.stderr).unwrap().split_whitespace().collect::<String>();
    assert!(text.replace('│', "").contains(foreign.to_str().unwrap()), "{text}");
    let output = verify(&[]).assert().code(2).get_output().clone();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--trust-bundle"));
}

/// A root that is no one's, of the fixture's trust domain.
fn root_of(fixture: &Fixture) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let uri = format!("spiffe://{}", fixture.identity.spiffe_id().trust_domain());
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.as_str().try_into().unwrap())];
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn a_flipped_byte_exits_1_and_is_named() {
    let fixture = Fixture::new();
    let mut bytes = std::fs::read(fixture.segment()).unwrap();
    let third_line = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 100;
    bytes[third_line] = if bytes[third_line] == b'A' { b'B' } else { b'A' };
    std::fs::write(fixture.segment(), bytes).unwrap();
    let text = stdout(&mut fixture.verify(), 1);
    assert!(text.contains("finding   records/00000000.intoto.jsonl:3"), "{text}");
    assert!(text.contains("NOT VERIFIED"), "{text}");
    let report: Value = serde_json::from_str(&stdout(fixture.verify().arg("--json"), 1)).unwrap();
    assert_eq!((&report["ok"], &report["findings"][0]["line"]), (&false.into(), &3.into()));
}

#[test]
fn misuse_exits_2_and_says_what_to_give() {
    let fixture = Fixture::new();
    let (log, bundle) = (fixture.log(), fixture.bundle());
    let id = fixture.identity.spiffe_id().as_str();
    let chain = std::fs::read_dir(log.join("trust/chains")).unwrap().next().unwrap().unwrap().path();
    let missing = Path::new("/nonexistent");
    let empty = fixture.dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing here\n").unwrap();
    let cases: [(&Path, &Path, &str, &str); 9] = [
        (missing, &bundle, id, "there is no directory /nonexistent"),
        (fixture.dir.path(), &bundle, id, "not a log directory"),
        (&log, &empty, id, "holds no certificate"),
        (&log, missing, id, "chancery keys bundle"),
        (&log, &log.join("log.json"), id, "not SPIFFE bundle JSON"),
        (&log, &chain, id, "not a CA certificate"),
        (&log, &bundle, "example.org/x", "not a SPIFFE ID"),
        (&log, &bundle, "spiffe://example.org/x", "is the trust bundle of `"),
        (&log, &bundle, "spiffe://example.org/x", "belong to different gateways"),
    ];
    for (log, bundle, id, expected) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.arg("verify").arg(log).arg("--trust-bundle").arg(bundle).args(["--identity", id]);
        let output = command.assert().code(2).get_output().clone();
        let text = String::from_utf8(output.stderr).unwrap();
        // Diagnostics are wrapped for the terminal.
        let flat = text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(expected), "{expected}: {text}");
        assert!(flat.contains("help: "), "{text}");
        assert!(output.stdout.is_empty());
    }
}
