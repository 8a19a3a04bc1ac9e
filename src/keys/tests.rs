//! Chains, bundles and keys: what must hold, and each thing that must not.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::testing::{Authority, LeafSpec};
use super::*;
use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;

const URI: &str = "spiffe://example.org/chancery";

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn from() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn to() -> Timestamp {
    at("2026-01-02T00:00:00Z")
}

fn noon() -> Timestamp {
    at("2026-01-01T12:00:00Z")
}

#[test]
fn a_proper_svid_verifies_and_names_its_key() {
    let authority = Authority::new("example.org");
    let (chain, _) = authority.leaf(&LeafSpec::of(URI, from(), to()));
    let leaf = chain.verify(&authority.bundle, noon()).unwrap();
    assert_eq!((leaf.spiffe_id.as_str(), leaf.not_before, leaf.not_after), (URI, from(), to()));
    let thumbprint = chain.leaf_thumbprint().to_base64url();
    assert_eq!(leaf.key_id, KeyId::new(&URI.parse().unwrap(), &thumbprint));
    assert_eq!(leaf.key_id.to_string().parse::<KeyId>().unwrap(), leaf.key_id);
}

#[test]
fn validity_counts_at_the_moment_of_signing_to_the_second() {
    let authority = Authority::new("example.org");
    let (chain, _) = authority.leaf(&LeafSpec::of(URI, from(), to()));
    for moment in [from(), to(), Timestamp::from_millis(to().as_millis() + 999)] {
        chain.verify(&authority.bundle, moment).unwrap();
    }
    for moment in [
        Timestamp::from_millis(from().as_millis() - 1),
        Timestamp::from_secs(to().as_secs() + 1),
        Timestamp::from_millis(-1),
        Timestamp::from_millis(i64::MAX),
        Timestamp::from_millis(i64::MIN),
    ] {
        let error = chain.verify(&authority.bundle, moment).unwrap_err();
        assert!(matches!(error, ChainError::Validity { .. }), "{error}");
    }
}

#[test]
fn what_is_no_signing_svid_is_refused() {
    use ExtendedKeyUsagePurpose as Extended;
    use KeyUsagePurpose as Usage;
    let authority = Authority::new("example.org");
    let spec = || LeafSpec::of(URI, from(), to());
    let uris = |uris: &[&str]| LeafSpec { uris: uris.iter().map(|u| (*u).to_owned()).collect(), ..spec() };
    let usages = |key_usages: &[Usage]| LeafSpec { key_usages: key_usages.to_vec(), ..spec() };
    let extended = |extended: &[Extended]| LeafSpec { extended: extended.to_vec(), ..spec() };
    let table = [
        ("a CA", LeafSpec { is_ca: IsCa::Ca(BasicConstraints::Unconstrained), ..spec() }),
        ("two URIs", uris(&[URI, "spiffe://example.org/other"])),
        ("two URIs, one of them not SPIFFE's", uris(&[URI, "https://example.org/"])),
        ("no URI", uris(&[])),
        ("a URI of another scheme", uris(&["https://example.org/chancery"])),
        ("a malformed SPIFFE ID", uris(&["spiffe://example.org/../chancery"])),
        ("a trust domain", uris(&["spiffe://example.org"])),
        ("another trust domain", uris(&["spiffe://example.com/chancery"])),
        ("a trust domain that only begins alike", uris(&["spiffe://example.org.evil/chancery"])),
        ("no key usage", usages(&[])),
        ("no digitalSignature", usages(&[Usage::KeyEncipherment])),
        ("keyCertSign", usages(&[Usage::DigitalSignature, Usage::KeyCertSign])),
        ("cRLSign", usages(&[Usage::DigitalSignature, Usage::CrlSign])),
        ("server authentication only", extended(&[Extended::ServerAuth])),
        ("client authentication only", extended(&[Extended::ClientAuth])),
        ("an Ed25519 key", LeafSpec { algorithm: &rcgen::PKCS_ED25519, ..spec() }),
    ];
    for (name, spec) in table {
        let (chain, _) = authority.leaf(&spec);
        assert!(chain.verify(&authority.bundle, noon()).is_err(), "{name}");
    }
    let (chain, _) = authority.leaf(&extended(&[]));
    chain.verify(&authority.bundle, noon()).expect("an extended key usage is not demanded");
}

#[test]
fn a_leaf_of_another_root_is_refused_whatever_it_claims() {
    let (ours, theirs) = (Authority::new("example.org"), Authority::new("example.org"));
    let (chain, _) = theirs.leaf(&LeafSpec::of(URI, from(), to()));
    let error = chain.verify(&ours.bundle, noon()).unwrap_err();
    assert!(matches!(error, ChainError::Path(_)), "{error}");
    let with_their_root: Vec<Vec<u8>> =
        chain.ders().chain(theirs.bundle.roots()).map(<[u8]>::to_vec).collect();
    let chain = CertificateChain::from_ders(with_their_root).unwrap();
    assert!(chain.verify(&ours.bundle, noon()).is_err(), "its own root in the chain vouches for nothing");
}

#[test]
fn a_leaf_altered_in_one_byte_is_refused() {
    let authority = Authority::new("example.org");
    let (chain, _) = authority.leaf(&LeafSpec::of(URI, from(), to()));
    let der = chain.ders().next().unwrap().to_vec();
    for index in 0..der.len() {
        let mut altered = der.clone();
        altered[index] ^= 1;
        let chain = CertificateChain::from_ders([altered]).unwrap();
        assert!(chain.verify(&authority.bundle, noon()).is_err(), "byte {index}");
    }
    let mut longer = der;
    longer.push(0);
    assert!(CertificateChain::from_ders([longer]).unwrap().verify(&authority.bundle, noon()).is_err());
}

#[test]
fn a_root_vouches_only_while_it_is_valid() {
    let authority = Authority::new("example.org");
    let (early, late) = (at("2019-01-01T00:00:00Z"), at("2041-01-01T00:00:00Z"));
    let (chain, _) = authority.leaf(&LeafSpec::of(URI, early, late));
    chain.verify(&authority.bundle, noon()).unwrap();
    for moment in [at("2019-06-01T00:00:00Z"), at("2040-06-01T00:00:00Z")] {
        assert!(matches!(chain.verify(&authority.bundle, moment), Err(ChainError::Path(_))));
    }
}

#[test]
fn chains_are_bounded_and_survive_pem() {
    let authority = Authority::new("example.org");
    let (chain, _) = authority.leaf(&LeafSpec::of(URI, from(), to()));
    assert_eq!(CertificateChain::from_pem(&chain.to_pem()).unwrap(), chain);
    let der = chain.ders().next().unwrap().to_vec();
    assert_eq!(CertificateChain::from_ders([]), Err(ChainError::Size));
    assert_eq!(CertificateChain::from_ders(vec![der.clone(); 9]), Err(ChainError::Size));
    assert_eq!(CertificateChain::from_ders([vec![0; 17 * 1024]]), Err(ChainError::Size));
    assert!(CertificateChain::from_ders(vec![der; 8]).is_ok());
    assert!(
        CertificateChain::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err()
    );
    assert!(CertificateChain::from_pem("nothing").is_err());
}

#[test]
fn bundles_survive_both_forms_and_equal_bundles_are_equal_texts() {
    let (one, two) = (Authority::new("example.org"), Authority::with_uri("example.org", None));
    let ders = |order: [&Authority; 3]| order.map(|a| a.bundle.roots().next().unwrap().to_vec());
    let bundle = TrustBundle::from_ders("example.org", ders([&one, &two, &one])).unwrap();
    assert_eq!(bundle.roots().count(), 2, "a duplicate is one root");
    let other = TrustBundle::from_ders("example.org", ders([&two, &one, &two])).unwrap();
    assert_eq!((bundle.to_pem(), bundle.thumbprint()), (other.to_pem(), other.thumbprint()));
    assert_eq!(TrustBundle::parse("example.org", &bundle.to_pem()).unwrap(), bundle);
    let json = bundle.to_spiffe_json().unwrap();
    assert_eq!(TrustBundle::parse("example.org", &json).unwrap(), bundle);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["spiffe_sequence"], &value["spiffe_refresh_hint"]), (&1.into(), &300.into()));
    assert_eq!(value["keys"][0]["use"], "x509-svid");
    assert_eq!(value["keys"][0]["x5c"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_no_trust_bundle_is_refused() {
    let (ours, other) = (Authority::new("example.org"), Authority::new("example.com"));
    let (leaf, _) = ours.leaf(&LeafSpec::of(URI, from(), to()));
    let json = ours.bundle.to_spiffe_json().unwrap();
    let x = serde_json::from_str::<serde_json::Value>(&json).unwrap()["keys"][0]["x"]
        .as_str()
        .unwrap()
        .to_owned();
    let other_json = other.bundle.to_spiffe_json().unwrap();
    let other_x = serde_json::from_str::<serde_json::Value>(&other_json).unwrap()["keys"][0]["x"].clone();
    let table = [
        ("empty", String::new()),
        ("no roots", "{\"keys\":[]}".to_owned()),
        ("a leaf", leaf.to_pem()),
        ("a private key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()),
        ("another trust domain's root", other.bundle.to_pem()),
        ("the same as JSON", other_json),
        ("half of a PEM", ours.bundle.to_pem()[..200].to_owned()),
        ("another key than its certificate's", json.replace(&x, other_x.as_str().unwrap())),
        ("only keys for JWT-SVIDs", json.replace("x509-svid", "jwt-svid")),
        ("cut JSON", json[..json.len() / 2].to_owned()),
    ];
    for (name, text) in table {
        assert!(TrustBundle::parse("example.org", &text).is_err(), "{name}");
    }
    assert!(TrustBundle::parse("Example.org", &ours.bundle.to_pem()).is_err());
    assert!(TrustBundle::parse("example.org/path", &ours.bundle.to_pem()).is_err());
    TrustBundle::parse("example.org", &json).unwrap();
}

#[test]
fn both_curves_sign_and_verify_in_both_encodings() {
    let authority = Authority::new("example.org");
    for (algorithm, name, bytes) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, "ES256", 64), (&rcgen::PKCS_ECDSA_P384_SHA384, "ES384", 96)]
    {
        let (chain, pkcs8) = authority.leaf(&LeafSpec { algorithm, ..LeafSpec::of(URI, from(), to()) });
        let key = ActiveKey::new(&pkcs8, chain, authority.bundle.clone(), noon()).unwrap();
        assert_eq!(key.algorithm().as_str(), name);
        let signature = key.sign(b"message").unwrap();
        let (public, fixed) = (key.public_key(), signature.to_fixed());
        assert_eq!(fixed.len(), bytes);
        public.verify_fixed(b"message", &fixed).unwrap();
        public.verify_der(b"message", signature.der()).unwrap();
        assert_eq!(public.verify_fixed(b"massage", &fixed), Err(VerifyError::Mismatch));
        assert!(public.verify_fixed(b"message", signature.der()).is_err(), "DER is not r ‖ s");
        assert!(public.verify_der(b"message", &fixed).is_err(), "r ‖ s is not DER");
        let jwk = Jwk::of_leaf(key.id(), public, key.chain());
        let json = serde_json::to_string(&jwk).unwrap();
        let back: Jwk = serde_json::from_str(&json).unwrap();
        assert_eq!(back.public_key().unwrap(), *public);
        assert_eq!(back.x5t_s256.as_deref(), Some(key.id().thumbprint()));
        assert!(!format!("{key:?}").contains("pair"), "a key's Debug shows its id, nothing of the key");
    }
}

#[test]
fn a_private_key_must_be_the_leafs() {
    let authority = Authority::new("example.org");
    let spec = LeafSpec::of(URI, from(), to());
    let (chain, pkcs8) = authority.leaf(&spec);
    let (_, other) = authority.leaf(&spec);
    let (_, wide) = authority.leaf(&LeafSpec { algorithm: &rcgen::PKCS_ECDSA_P384_SHA384, ..spec });
    let make = |key: &[u8], at| ActiveKey::new(key, chain.clone(), authority.bundle.clone(), at);
    assert!(make(&pkcs8, noon()).is_ok());
    assert_eq!(make(&other, noon()).unwrap_err(), KeyError::Mismatch);
    assert!(matches!(make(&wide, noon()), Err(KeyError::Unreadable("P-256"))));
    assert!(matches!(make(b"rubbish", noon()), Err(KeyError::Unreadable(_))));
    assert!(matches!(make(&pkcs8, at("2027-01-01T00:00:00Z")), Err(KeyError::Chain(_))));
}

#[test]
fn a_root_that_no_verifier_would_read_back_is_refused() {
    let root = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "x".repeat(17 * 1024));
    let der = params.self_signed(&root).unwrap().der().to_vec();
    let error = TrustBundle::from_ders("example.org", [der]).unwrap_err().to_string();
    assert!(error.contains("larger than 16384 bytes"), "{error}");
}

#[test]
fn a_jwk_that_is_not_exactly_a_key_is_refused() {
    let key = Authority::new("example.org").key("/chancery", from(), to());
    let good = Jwk::of_leaf(key.id(), key.public_key(), key.chain());
    let with = |change: fn(&mut Jwk)| {
        let mut jwk = good.clone();
        change(&mut jwk);
        jwk.public_key()
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|jwk| jwk.kty = "oct".to_owned()).is_err());
    assert!(with(|jwk| jwk.alg = Some("HS256".to_owned())).is_err());
    assert!(with(|jwk| jwk.crv = Some("P-384".to_owned())).is_err());
    assert!(with(|jwk| jwk.x = None).is_err());
    assert!(with(|jwk| jwk.x.as_mut().unwrap().push('=')).is_err());
    assert!(with(|jwk| jwk.x = Some("AA".to_owned())).is_err());
    assert!(with(|jwk| jwk.y = jwk.x.clone()).is_err(), "a point off the curve");
}

#[test]
fn points_at_infinity_and_compressed_points_are_no_keys() {
    for point in [&[0][..], &[2; 33], &[4; 65], &[0; 65], &[4; 97], &[]] {
        assert!(PublicKey::from_point(Algorithm::Es256, point).is_err());
    }
}
