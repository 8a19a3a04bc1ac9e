//! An issuer of bearer tokens to test against: real keys, real tokens, and its documents over HTTP on loopback.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// A key pair of an issuer.
pub(crate) struct Key {
    kid: String,
    pair: Pair,
}

impl Key {
    /// A P-256 key.
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Es256(pair) }
    }

    /// An RSA key of 2048 bits.
    pub(crate) fn rs256(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    /// An Ed25519 key.
    pub(crate) fn eddsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::EdDsa(Ed25519KeyPair::generate().unwrap()) }
    }

    /// Its public half.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
            Pair::Rs256(pair) => {
                let key = pair.public_key();
                let [n, e] = [key.modulus(), key.exponent()]
                    .map(|n| BASE64.encode(n.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "n": n, "e": e })
            }
            Pair::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        let alg = match &self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Rs256(_) => "RS256",
            Pair::EdDsa(_) => "EdDSA",
        };
        json!({ "alg": alg, "kid": self.kid, "typ": "at+jwt" })
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// A token of these very texts.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let mut token = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, token.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::EdDsa(pair) => pair.sign(token.as_bytes()).as_ref().to_vec(),
        };
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        token
    }
}

/// An answer: status, headers, body.
type Answer = (u16, String, String);

#[derive(Default)]
struct State {
    pages: HashMap<String, Answer>,
    asked: Vec<String>,
}

/// A server of pages on loopback, which ends with the process.
#[derive(Clone)]
pub(crate) struct Issuer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Issuer {
    /// Serves nothing yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Self { addr: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&issuer.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || answer(&stream, &state));
            }
        });
        issuer
    }

    /// Its name.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Publishes these keys, found by OpenID Connect's discovery.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        let metadata = json!({ "issuer": self.url(), "jwks_uri": format!("{}/keys", self.url()) });
        self.page("/.well-known/openid-configuration", 200, "", &metadata.to_string());
        self.page("/keys", 200, "", &jwks(keys));
    }

    /// Serves a page; `headers` end with a line feed each.
    pub(crate) fn page(&self, path: &str, status: u16, headers: &str, body: &str) {
        let page = (status, headers.replace('\n', "\r\n"), body.to_owned());
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// From now on every page is an error.
    pub(crate) fn fail(&self) {
        self.state.lock().unwrap().pages.clear();
    }

    /// What was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

/// A JWK set.
pub(crate) fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(line)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        state.pages.get(&path).cloned()
    };
    let (status, headers, body) = page.unwrap_or((503, String::new(), String::new()));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok();
}
