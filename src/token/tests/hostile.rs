//! Tokens that issuing would not have written, most of them with a good signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Bench, GATEWAY, now, payload_of, secs};
use crate::token::{MAX_TOKEN_BYTES, TokenError};

#[test]
fn headers_that_issuing_would_not_write_are_refused() {
    let bench = Bench::new();
    let (verifier, payload, kid) =
        (bench.verifier(), payload_of(&bench.issue()), bench.key.0.id().to_string());
    let jwk = serde_json::to_string(&crate::keys::Jwk::of_leaf(
        bench.key.0.id(),
        bench.key.0.public_key(),
        bench.key.0.chain(),
    ))
    .unwrap();
    let with = |extra: &str| format!(r#"{{"alg":"ES256","typ":"mcp-session+jwt","kid":"{kid}"{extra}}}"#);
    let plain = |alg: &str, typ: &str, kid: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
    let typ = "mcp-session+jwt";
    let foreign = kid.replace("example.org", "example.com");
    let unknown = format!("{GATEWAY}#{}", "A".repeat(43));
    let table = [
        ("alg none", plain("none", typ, &kid), TokenError::Algorithm),
        ("alg HS256", plain("HS256", typ, &kid), TokenError::Algorithm),
        ("alg ES384 with a P-256 key", plain("ES384", typ, &kid), TokenError::Algorithm),
        ("alg in another case", plain("es256", typ, &kid), TokenError::Algorithm),
        ("typ JWT", plain("ES256", "JWT", &kid), TokenError::Type),
        ("typ at+jwt", plain("ES256", "at+jwt", &kid), TokenError::Type),
        ("typ in another case", plain("ES256", "MCP-Session+JWT", &kid), TokenError::Type),
        ("typ as a media type", plain("ES256", "application/mcp-session+jwt", &kid), TokenError::Type),
        ("a kid of another gateway", plain("ES256", typ, &foreign), TokenError::ForeignKey),
        ("a kid that nobody knows", plain("ES256", typ, &unknown), TokenError::UnknownKey),
        ("a kid that is a path", plain("ES256", typ, "../../etc/passwd"), TokenError::KeyId),
        ("a kid that is empty", plain("ES256", typ, ""), TokenError::KeyId),
        ("a kid with a suffix", plain("ES256", typ, &format!("{kid}x")), TokenError::KeyId),
        ("a kid of a kilobyte", plain("ES256", typ, &"k".repeat(1024)), TokenError::KeyId),
        ("no typ", format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), TokenError::Header),
        ("no kid", format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), TokenError::Header),
        ("no alg", format!(r#"{{"typ":"{typ}","kid":"{kid}"}}"#), TokenError::Header),
        ("crit", with(r#","crit":["exp"]"#), TokenError::Header),
        ("an empty crit", with(r#","crit":[]"#), TokenError::Header),
        ("crit null", with(r#","crit":null"#), TokenError::Header),
        ("jwk", with(&format!(r#","jwk":{jwk}"#)), TokenError::Header),
        ("jku", with(r#","jku":"https://evil.example/jwks""#), TokenError::Header),
        ("x5u", with(r#","x5u":"https://evil.example/x5u""#), TokenError::Header),
        ("x5c", with(r#","x5c":["AAAA"]"#), TokenError::Header),
        ("x5t#S256", with(r#","x5t#S256":"AAAA""#), TokenError::Header),
        ("b64 false (RFC 7797)", with(r#","b64":false"#), TokenError::Header),
        ("zip", with(r#","zip":"DEF""#), TokenError::Header),
        ("cty (a nested token)", with(r#","cty":"JWT""#), TokenError::Header),
        ("alg twice", with(r#","alg":"none""#), TokenError::Header),
        ("kid twice, once escaped", with(r#","k\u0069d":"x""#), TokenError::Header),
        ("alg as a list", with("").replace(r#""ES256""#, r#"["ES256"]"#), TokenError::Header),
        ("alg null", with("").replace(r#""ES256""#, "null"), TokenError::Header),
        ("a list", format!(r#"["ES256","{typ}","{kid}"]"#), TokenError::Header),
        ("bytes after it", with("") + "{}", TokenError::Header),
        ("space before it", " ".to_owned() + &with(""), TokenError::Header),
        ("nothing", String::new(), TokenError::Header),
        ("not UTF-8's text", "\u{feff}".to_owned() + &with(""), TokenError::Header),
    ];
    verifier.verify(&bench.forge(&bench.header(), &payload)).expect("the forger signs properly");
    for (name, header, expected) in table {
        assert_eq!(verifier.verify(&bench.forge(&header, &payload)).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn claims_that_issuing_would_not_write_are_refused_even_with_a_good_signature() {
    let bench = Bench::new();
    let verifier = bench.verifier();
    let good: Value = serde_json::from_str(&payload_of(&bench.issue())).unwrap();
    let set = |pointer: &str, value: Value| {
        let mut claims = good.clone();
        *claims.pointer_mut(pointer).unwrap() = value;
        claims.to_string()
    };
    let add = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims.to_string()
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        claims.to_string()
    };
    let audience = good["aud"][0].clone();
    let text = good.to_string();
    let twice = |extra: &str| format!("{},{extra}}}", &text[..text.len() - 1]);
    let mut table = vec![
        ("another issuer", set("/iss", json!("spiffe://example.org/other")), TokenError::Issuer),
        ("an issuer that only begins alike", set("/iss", json!(format!("{GATEWAY}/x"))), TokenError::Issuer),
        ("issuers", set("/iss", json!([GATEWAY])), TokenError::Claims),
        ("no issuer", set("/iss", json!(null)), TokenError::Claims),
        ("a number as subject", set("/sub", json!(1)), TokenError::Claims),
        ("subjects", set("/sub", json!(["a"])), TokenError::Claims),
        ("an audience as a string", set("/aud", audience), TokenError::Claims),
        (
            "another audience",
            set("/aud", json!(["spiffe://example.org/chancery/mcp/other"])),
            TokenError::Audience,
        ),
        ("no audience", set("/aud", json!([])), TokenError::Audience),
        ("numbers as audience", set("/aud", json!([1])), TokenError::Claims),
        ("another server", set("/mcp/server", json!("other")), TokenError::Audience),
        ("a server that is no name", set("/mcp/server", json!("../files")), TokenError::Claims),
        ("exp as text", set("/exp", json!("1772367300")), TokenError::Claims),
        ("exp as a fraction", set("/exp", json!(1_772_367_300.5)), TokenError::Claims),
        ("exp negative", set("/exp", json!(-1)), TokenError::Times),
        ("exp after the year 9999", set("/exp", json!(253_402_300_800_i64)), TokenError::Times),
        (
            "exp above 64 bits",
            text.replace(&good["exp"].to_string(), "18446744073709551616"),
            TokenError::Claims,
        ),
        ("exp with an exponent", text.replace(&good["exp"].to_string(), "2e9"), TokenError::Claims),
        ("exp after its key's end", set("/exp", json!(secs(86_401).as_secs())), TokenError::OutsideKey),
        ("iat before its key's beginning", set("/iat", json!(secs(-61).as_secs())), TokenError::OutsideKey),
        ("nbf before its key's beginning", set("/nbf", json!(secs(-61).as_secs())), TokenError::OutsideKey),
        ("exp before iat", set("/exp", json!(now().as_secs() - 1)), TokenError::Times),
        ("nbf in the future", set("/nbf", json!(now().as_secs() + 6)), TokenError::NotYetValid),
        ("iat in the future", set("/iat", json!(now().as_secs() + 6)), TokenError::NotYetValid),
        ("iat negative", set("/iat", json!(-5)), TokenError::Times),
        ("jti no UUID", set("/jti", json!("1")), TokenError::Claims),
        ("sid no UUID", set("/sid", json!(1)), TokenError::Claims),
        ("two methods", set("/amr", json!(["peer", "bootstrap"])), TokenError::Claims),
        ("no method", set("/amr", json!([])), TokenError::Claims),
        ("an unknown binding", set("/cnf", json!({"kind": "none"})), TokenError::Claims),
        ("an empty binding", set("/cnf", json!({})), TokenError::Claims),
        ("a binding with more", set("/cnf/uid", json!(-1)), TokenError::Claims),
        ("an unknown claim", add("admin", json!(true)), TokenError::Claims),
        ("exp twice", twice(r#""exp":9999999999"#), TokenError::Claims),
        ("sub twice, once escaped", twice(r#""s\u0075b":"root""#), TokenError::Claims),
        (
            "cnf's kind twice",
            text.replace(r#""kind":"peer""#, r#""kind":"peer","kind":"bootstrap""#),
            TokenError::Claims,
        ),
        ("cnf's uid twice", text.replace(r#""uid":1000"#, r#""uid":1000,"uid":0"#), TokenError::Claims),
        ("a list", format!("[{text}]"), TokenError::Claims),
        ("bytes after it", format!("{text} {{}}"), TokenError::Claims),
        ("nothing", String::new(), TokenError::Claims),
        ("deep nesting", "{\"a\":".repeat(400) + "1" + &"}".repeat(400), TokenError::Claims),
    ];
    for claim in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "cnf", "amr", "mcp", "policy"] {
        table.push((claim, without(claim), TokenError::Claims));
    }
    verifier.verify(&bench.forge(&bench.header(), &text)).expect("the forger signs properly");
    for (name, payload, expected) in table {
        assert_ne!(payload, text, "{name} changes something");
        assert_eq!(verifier.verify(&bench.forge(&bench.header(), &payload)).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn texts_that_are_no_compact_jws_are_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let table = [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts, as JWE", format!("{token}..")),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("a line break", format!("{header}.{payload}\n.{signature}")),
        ("space around it", format!(" {token}")),
        ("standard base64", token.replacen('_', "/", 1).replacen('-', "+", 1)),
        ("a NUL", format!("{token}\0")),
        ("not ASCII", format!("{header}.{payload}.ü")),
        ("a JSON serialisation", format!(r#"{{"payload":"{payload}"}}"#)),
        ("one that is too long", format!("{}.{payload}.{signature}", "A".repeat(MAX_TOKEN_BYTES))),
    ];
    for (name, text) in table {
        // A text without `-` and `_` would make the standard alphabet's row no change.
        if text != token {
            assert!(
                matches!(verifier.verify(&text), Err(TokenError::Malformed | TokenError::Header)),
                "{name}"
            );
        }
    }
    // The last character of 86 has four bits that mean nothing; other values of them are another spelling.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sibling = alphabet.chars().nth(alphabet.find(last).unwrap() | 1).unwrap();
    assert_ne!(sibling, last);
    let respelled = format!("{header}.{payload}.{}{sibling}", &signature[..signature.len() - 1]);
    assert_eq!(verifier.verify(&respelled).unwrap_err(), TokenError::Malformed);
}

#[test]
fn signatures_that_are_not_of_these_bytes_by_this_key_are_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let good = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = bench.key.0.sign(signed.as_bytes()).unwrap().der().to_vec();
    let hmac = {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bench.key.0.public_key().point());
        aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
    };
    let table = [
        ("none", Vec::new()),
        ("DER where r ‖ s belongs", der),
        ("an HMAC with the public key", hmac),
        ("zeroes (CVE-2022-21449)", vec![0; 64]),
        ("63 bytes", good[..63].to_vec()),
        ("65 bytes", [&good[..], &[0]].concat()),
        ("r and s swapped", [&good[32..], &good[..32]].concat()),
        ("96 bytes", vec![1; 96]),
    ];
    for (name, bytes) in table {
        let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verifier.verify(&text).unwrap_err(), TokenError::Signature, "{name}");
    }
    let other = Bench::new();
    let theirs = other.forge(&bench.header(), &payload_of(&issued));
    assert_eq!(verifier.verify(&theirs).unwrap_err(), TokenError::Signature, "another key under our kid");
    let their_own = other.issue();
    assert_eq!(verifier.verify(their_own.token.expose()).unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn a_token_altered_in_one_character_is_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    for index in 0..token.len() {
        let mut bytes = token.as_bytes().to_vec();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(std::str::from_utf8(&bytes).unwrap()).is_err(), "character {index}");
        assert!(verifier.verify(&token[..index]).is_err(), "the first {index}");
    }
}
