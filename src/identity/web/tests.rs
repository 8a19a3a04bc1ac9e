use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_767_323_045);

/// A self-signed certificate and its key, for `days` from the day before `NOW`.
fn issue(name: &str, days: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    let at = |secs: i64| time::OffsetDateTime::from_unix_timestamp(secs).unwrap();
    params.not_before = at(NOW.as_secs() - 86_400);
    params.not_after = at(NOW.as_secs() + days * 86_400);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Place {
    dir: TempDir,
    files: CertificateFiles,
}

impl Place {
    fn with((certificate, key): &(String, String)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files =
            CertificateFiles { certificate: dir.path().join("chain.pem"), key: dir.path().join("key.pem") };
        let place = Self { dir, files };
        place.put(&place.files.certificate, certificate, 0o644);
        place.put(&place.files.key, key, 0o600);
        place
    }

    /// As renewals do it: beside its place, then renamed.
    fn put(&self, path: &Path, text: &str, mode: u32) {
        let temporary = self.dir.path().join("new");
        fs::write(&temporary, text).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&temporary, path).unwrap();
    }

    fn open(&self) -> Result<Arc<WebCertificate>, CertificateError> {
        WebCertificate::open(self.files.clone(), Clock::fixed(NOW))
    }
}

fn shown(certificate: &WebCertificate) -> Vec<u8> {
    certificate.held.read().cert[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn a_renewed_certificate_is_shown_once_both_files_are_there() {
    let (first, second) = (issue("a.example", 1), issue("a.example", 90));
    let place = Place::with(&first);
    let certificate = place.open().unwrap();
    assert_eq!(shown(&certificate), der(&first.0));
    place.put(&place.files.certificate, &second.0, 0o644);
    certificate.refresh();
    assert_eq!(shown(&certificate), der(&first.0), "the key is still the old one's");
    assert!(certificate.seen.lock().told.as_ref().unwrap().contains("keeps the certificate"));
    place.put(&place.files.key, &second.1, 0o600);
    certificate.refresh();
    assert_eq!(shown(&certificate), der(&second.0));
    assert_eq!(certificate.seen.lock().told, None);
}

#[test]
fn a_bad_replacement_keeps_the_last_good_one_and_is_told() {
    let good = issue("a.example", 90);
    let ended = issue("a.example", 0);
    let later = issue("a.example", -2);
    for (what, certificate, key, mode) in [
        ("no certificate", &good.1, &good.1, 0o600),
        ("no private key", &good.0, &good.0, 0o600),
        ("can't be used", &good.0, &ended.1, 0o600),
        ("others can read it", &good.0, &good.1, 0o640),
        ("not now", &later.0, &later.1, 0o600),
    ] {
        let place = Place::with(&good);
        let held = place.open().unwrap();
        place.put(&place.files.certificate, certificate, 0o644);
        place.put(&place.files.key, key, mode);
        held.refresh();
        assert_eq!(shown(&held), der(&good.0), "{what}");
        let told = held.seen.lock().told.clone().unwrap();
        assert!(told.contains(what), "{what}: {told}");
        assert!(!told.contains("BEGIN") && !place.open().unwrap_err().help().is_empty());
        place.put(&place.files.certificate, &good.0, 0o644);
        fs::remove_file(&place.files.key).unwrap();
        held.refresh();
        assert_eq!(shown(&held), der(&good.0));
        assert!(held.seen.lock().told.as_ref().unwrap().contains("can't read"));
    }
}

#[test]
fn a_certificate_that_ends_without_a_successor_is_told() {
    let pair = issue("a.example", 1);
    let place = Place::with(&pair);
    let clock = Clock::fixed(NOW);
    let held = WebCertificate::open(place.files.clone(), clock.clone()).unwrap();
    held.refresh();
    assert_eq!(held.seen.lock().told, None);
    clock.set(NOW.plus(Duration::from_secs(2 * 86_400)));
    held.refresh();
    assert!(held.seen.lock().told.as_ref().unwrap().contains("has ended"));
}

#[test]
fn links_are_followed_to_files_and_to_nothing_else() {
    let pair = issue("a.example", 1);
    let place = Place::with(&pair);
    let link = place.dir.path().join("link.pem");
    std::os::unix::fs::symlink(&place.files.key, &link).unwrap();
    let files = CertificateFiles { key: link, ..place.files.clone() };
    let held = WebCertificate::open(files, Clock::fixed(NOW)).unwrap();
    assert_eq!(shown(&held), der(&pair.0));
    let files = CertificateFiles { key: place.dir.path().to_owned(), ..place.files.clone() };
    let error = WebCertificate::open(files, Clock::fixed(NOW)).unwrap_err();
    assert!(matches!(error, CertificateError::Read { .. }), "{error}");
}

#[test]
fn an_encrypted_key_is_called_that() {
    let (certificate, key) = issue("a.example", 1);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let error = Place::with(&(certificate.clone(), encrypted)).open().unwrap_err();
    assert!(matches!(error, CertificateError::Encrypted { .. }), "{error}");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
    let error = Place::with(&(certificate, old.to_owned())).open().unwrap_err();
    assert!(error.help().contains("openssl pkey -in "), "{error}");
}
