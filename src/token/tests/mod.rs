//! Everything that a session token must withstand.

mod hostile;
mod identity;
mod reference;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::domain::admitted::Admitted;
use crate::domain::binding::Binding;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{BootstrapEvidence, Evidence, PeerEvidence};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::random;
use crate::domain::revision::Revision;
use crate::keys::testing::{Authority, LeafSpec, OneKey};
use crate::keys::{ActiveKey, KnownKey, PublicKeySource, Signer};

const GATEWAY: &str = "spiffe://example.org/chancery";

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap()
}

fn secs(offset: i64) -> Timestamp {
    Timestamp::from_secs(now().as_secs() + offset)
}

/// A gateway's tokens, with everything that tests turn.
struct Bench {
    key: Arc<OneKey>,
    clock: Clock,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let key = Authority::new("example.org").signer("/chancery", secs(-60), secs(86_400));
        Self { key, clock: Clock::fixed(now()), config: Config::default() }
    }

    fn issuer(&self) -> Issuer {
        Issuer::new(self.key.clone(), self.clock.clone(), self.config.clone())
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.key.clone(), GATEWAY.parse().unwrap(), &self.config, self.clock.clone())
    }

    fn issue(&self) -> IssuedToken {
        issue(&self.issuer(), &admitted(None)).unwrap()
    }

    /// A token with the gateway's own signature over whatever header and payload are given.
    fn forge(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.key.0.sign(signed.as_bytes()).unwrap().to_fixed();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> String {
        format!(r#"{{"alg":"ES256","typ":"mcp-session+jwt","kid":"{}"}}"#, self.key.0.id())
    }
}

fn admitted(expires: Option<Timestamp>) -> Admitted {
    let peer =
        PeerEvidence { uid: 1000, gid: 1000, pid: 42, start_time: Some(7), executable: None, parent: true };
    Admitted::by(Evidence::Peer(peer), expires)
}

fn issue(issuer: &Issuer, admitted: &Admitted) -> Result<IssuedToken, TokenError> {
    issuer.issue(&Grant {
        admitted,
        session: SessionId::from_uuid(random::uuid_v4().unwrap()),
        client: Some(Client { name: "agent".to_owned(), version: "1".to_owned() }),
        protocol: Revision::LATEST,
        transport: "stdio",
        server: &"files".parse::<ServerName>().unwrap(),
        policy: Sha256Digest::of(b"policy"),
    })
}

fn payload_of(token: &IssuedToken) -> String {
    serde_json::to_string(&token.claims).unwrap()
}

#[test]
fn an_issued_token_says_who_was_admitted_and_verifies() {
    let bench = Bench::new();
    let issued = bench.issue();
    let verified = bench.verifier().verify(issued.token.expose()).unwrap();
    let claims = verified.claims();
    assert_eq!(*claims, issued.claims);
    assert_eq!((claims.iss.as_str(), claims.sub.as_str()), (GATEWAY, "peer:1000:-"));
    assert_eq!(claims.aud, ["spiffe://example.org/chancery/mcp/files"]);
    assert_eq!((claims.iat, claims.nbf, claims.exp), (now().as_secs(), now().as_secs(), secs(900).as_secs()));
    assert_eq!(claims.amr, ["peer"]);
    assert_eq!(claims.cnf, *admitted(None).binding());
    assert_eq!((verified.kid(), verified.sha256()), (issued.key.id(), issued.sha256));
    assert_eq!(issued.key.id(), bench.key.0.id(), "the kid of the token is the keyid of attestations");
    assert!(issued.token.expose().len() < MAX_TOKEN_BYTES);
}

#[test]
fn the_header_is_exactly_alg_typ_and_kid() {
    let bench = Bench::new();
    let issued = bench.issue();
    let header = issued.token.expose().split('.').next().unwrap();
    assert_eq!(String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap(), bench.header());
}

#[test]
fn a_token_ends_with_the_key_or_the_evidence_if_they_end_earlier() {
    let mut bench = Bench::new();
    assert_eq!(issue(&bench.issuer(), &admitted(Some(secs(60)))).unwrap().expires, secs(60));
    assert_eq!(issue(&bench.issuer(), &admitted(Some(now()))).unwrap_err(), TokenError::NoTimeLeft);
    bench.config.ttl = Duration::from_secs(10 * 86_400);
    assert_eq!(bench.issue().expires, secs(86_400));
}

#[test]
fn a_token_lives_until_its_exp_and_its_handle_longer() {
    let bench = Bench::new();
    let (issued, verifier) = (bench.issue(), bench.verifier());
    let token = issued.token.expose();
    bench.clock.set(secs(899));
    verifier.verify(token).unwrap();
    for seconds in [900, 901, 40_000] {
        bench.clock.set(secs(seconds));
        assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Expired, "from the cache, {seconds}");
        assert_eq!(bench.verifier().verify(token).unwrap_err(), TokenError::Expired, "{seconds}");
        verifier.verify_handle(token).unwrap();
        bench.verifier().verify_handle(token).unwrap();
    }
    bench.clock.set(secs(-5));
    verifier.verify(token).expect("within the leeway");
    bench.clock.set(secs(-6));
    assert_eq!(verifier.verify(token).unwrap_err(), TokenError::NotYetValid, "from the cache");
    assert_eq!(bench.verifier().verify_handle(token).unwrap_err(), TokenError::NotYetValid);
}

#[test]
fn a_configured_audience_is_the_only_one() {
    let mut bench = Bench::new();
    let by_route = bench.issue();
    bench.config.audience = Some("https://gateway.example".to_owned());
    let configured = bench.issue();
    assert_eq!(configured.claims.aud, ["https://gateway.example"]);
    bench.verifier().verify(configured.token.expose()).unwrap();
    assert_eq!(bench.verifier().verify(by_route.token.expose()).unwrap_err(), TokenError::Audience);
}

/// Knows its key only until it is told to forget it.
#[derive(Debug)]
struct Forgetful(Arc<OneKey>, std::sync::atomic::AtomicBool);

impl PublicKeySource for Forgetful {
    fn find(&self, kid: &str) -> Option<KnownKey> {
        if self.1.load(std::sync::atomic::Ordering::SeqCst) { None } else { self.0.find(kid) }
    }
}

#[test]
fn a_withdrawn_key_ends_tokens_that_were_verified_already() {
    let bench = Bench::new();
    let source = Arc::new(Forgetful(bench.key.clone(), false.into()));
    let verifier =
        Verifier::new(source.clone(), GATEWAY.parse().unwrap(), &bench.config, bench.clock.clone());
    let issued = bench.issue();
    verifier.verify(issued.token.expose()).unwrap();
    source.1.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(verifier.verify(issued.token.expose()).unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn the_cache_is_bounded_and_strangers_fill_nothing() {
    let mut bench = Bench::new();
    bench.config.cache = 8;
    let verifier = bench.verifier();
    let (header, issued) = (bench.header(), bench.issue());
    for index in 0..50 {
        let refused = bench.forge(&header, &format!("{{\"sub\":\"{index}\"}}"));
        assert!(verifier.verify(&refused).is_err());
    }
    assert_eq!(verifier.cached(), 0);
    for _ in 0..50 {
        verifier.verify(bench.issue().token.expose()).unwrap();
        verifier.verify(issued.token.expose()).unwrap();
        assert!(verifier.cached() <= 16);
    }
}

#[test]
fn a_p_384_identity_issues_es384() {
    let authority = Authority::new("example.org");
    let spec =
        LeafSpec { algorithm: &rcgen::PKCS_ECDSA_P384_SHA384, ..LeafSpec::of(GATEWAY, secs(-60), secs(600)) };
    let (chain, pkcs8) = authority.leaf(&spec);
    let key = ActiveKey::new(&pkcs8, chain, authority.bundle.clone(), now()).unwrap();
    let bench = Bench { key: Arc::new(OneKey(Arc::new(key))), ..Bench::new() };
    let issued = bench.issue();
    assert_eq!(issued.expires, secs(600));
    bench.verifier().verify(issued.token.expose()).unwrap();
    let es256 = bench.forge(&bench.header(), &payload_of(&issued));
    assert_eq!(bench.verifier().verify(&es256).unwrap_err(), TokenError::Algorithm);
}

#[test]
fn a_token_that_would_not_fit_into_a_header_is_not_issued() {
    let bench = Bench::new();
    let grant = Grant {
        admitted: &admitted(None),
        session: SessionId::from_uuid(random::uuid_v4().unwrap()),
        client: Some(Client { name: "n".repeat(6000), version: String::new() }),
        protocol: Revision::LATEST,
        transport: "stdio",
        server: &"files".parse().unwrap(),
        policy: Sha256Digest::of(b""),
    };
    assert_eq!(bench.issuer().issue(&grant).unwrap_err(), TokenError::TooLong);
}

#[test]
fn errors_and_debug_output_hold_nothing_of_a_token() {
    let bench = Bench::new();
    let issued = bench.issue();
    let middle = issued.token.expose().split('.').nth(1).unwrap();
    let altered = issued.token.expose().replace(middle, &middle.replace('a', "b"));
    let error = bench.verifier().verify(&altered).unwrap_err();
    for shown in [format!("{error} {error:?}"), format!("{issued:?}"), format!("{:?}", bench.issuer())] {
        assert!(!shown.contains(middle) && !shown.contains("eyJ"), "{shown}");
    }
}

#[test]
fn the_binding_of_a_bootstrap_secret_is_its_digest() {
    let bench = Bench::new();
    let secret_sha256 = Sha256Digest::of(b"secret");
    let admitted = Admitted::by(Evidence::Bootstrap(BootstrapEvidence { secret_sha256, file_uid: 5 }), None);
    let issued = issue(&bench.issuer(), &admitted).unwrap();
    assert_eq!(issued.claims.cnf, Binding::Bootstrap { secret_sha256 });
    let verified = bench.verifier().verify(issued.token.expose()).unwrap();
    assert!(verified.claims().cnf.holds_for(admitted.evidence()));
    assert!(!verified.claims().cnf.holds_for(super::tests::admitted(None).evidence()));
    assert_eq!(
        (verified.claims().sub.as_str(), &verified.claims().amr[0]),
        ("bootstrap:5", &"bootstrap".to_owned())
    );
    assert!(bench.key.current().is_ok());
}
