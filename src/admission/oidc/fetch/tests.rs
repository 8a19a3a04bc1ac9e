//! From which addresses documents are fetched, and from which they are not.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::admission::oidc::tests::Issuer;

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    for public in ["1.1.1.1", "9.255.0.1", "172.32.0.1", "192.169.1.1", "2606:4700::1111", "2a00::1"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for special in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2001::1",
        "::127.0.0.1",
    ] {
        assert!(!is_public(special.parse().unwrap()), "{special}");
    }
}

#[tokio::test]
async fn plain_http_and_private_addresses_are_refused_unless_configured() {
    let get = async |http, private, url: &str| {
        Fetcher::new(http, private).unwrap().get(&url.parse().unwrap()).await.unwrap_err()
    };
    assert!(matches!(get(false, true, "http://127.0.0.1:1/").await, FetchError::Insecure(_)));
    assert!(matches!(get(true, true, "ftp://127.0.0.1:1/").await, FetchError::Insecure(_)));
    for url in ["https://127.0.0.1:1/", "https://[::1]:1/", "https://2130706433:1/", "https://0x7f.1:1/"] {
        assert!(matches!(get(true, false, url).await, FetchError::Private(_)), "{url}");
    }
    // By name: only resolving shows it.
    let error = get(true, false, "http://localhost:1/").await;
    assert!(error.to_string().contains("private address"), "{error}");
    // Allowed: it gets as far as connecting.
    let error = get(true, true, "http://localhost:1/").await;
    assert!(matches!(&error, FetchError::Unanswered { cause, .. } if cause.contains("refused")), "{error}");
}

/// Fetches through a resolver that gives these answers, one after the other; also how often it was asked.
fn looking_up(allow_private: bool, answers: &[&[&str]]) -> (Fetcher, Arc<AtomicUsize>) {
    let answers: Vec<Vec<SocketAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect())
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = move |_name: Name| {
        let answer = answers[count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)].clone();
        async move { Ok(answer) }
    };
    let guard = Arc::new(Guard { allow_private, lookup });
    (Fetcher::looking_up(true, allow_private, guard).unwrap(), asked)
}

#[tokio::test]
async fn a_name_with_one_private_address_among_public_ones_is_refused_before_anything_is_connected() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url: Url = format!("http://issuer.test:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    for private in [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ] {
        for answer in [[private, "1.1.1.1"], ["1.1.1.1", private]] {
            let (fetcher, asked) = looking_up(false, &[&answer]);
            let error = fetcher.get(&url).await.unwrap_err();
            assert!(error.to_string().contains("private address"), "{answer:?}: {error}");
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        }
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let issuer = Issuer::start();
    issuer.page("/keys", 200, "", "{}");
    let port = issuer.url().rsplit_once(':').unwrap().1.to_owned();
    // Whoever asked again between check and connection would be led to where nobody is.
    let (fetcher, asked) = looking_up(true, &[&["127.0.0.1"], &["127.99.99.99"]]);
    let page = fetcher.get(&format!("http://issuer.test:{port}/keys").parse().unwrap()).await.unwrap();
    assert_eq!((page.body.as_slice(), asked.load(Ordering::SeqCst)), (b"{}".as_slice(), 1));
    assert_eq!(issuer.asked(), ["/keys"]);
}
