//! The certificate that a TLS listener shows as servers on the web do: from files that others renew.
//!
//! The files are looked at again while the listener runs, and new handshakes get what is in them as soon as it holds
//! together. What does not (a key without its certificate, one that has ended, one that others can read) is told once,
//! and the last good one stays.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::domain::clock::{Clock, Timestamp};
use crate::keys::CertificateChain;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate chain and its private key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key, which nobody else may read.
    pub key: PathBuf,
}

/// Why a certificate can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("can't read {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should, as PEM.
    #[error("{path} holds no {what} as PEM", path = .path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// A certificate, or a private key.
        what: &'static str,
    },
    /// The key can't be read without a passphrase.
    #[error("the private key {path} is encrypted", path = .path.display())]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error("the private key {path} has mode {mode:04o}: others can read it", path = .path.display())]
    WideOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is another user's.
    #[error("the private key {path} belongs to user {owner}, not to {us}", path = .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our user id.
        us: u32,
    },
    /// Certificate and key can't be used together.
    #[error("{certificate} and {key} can't be used: {why}", certificate = .files.certificate.display(), key = .files.key.display())]
    Unusable {
        /// Which.
        files: CertificateFiles,
        /// Why.
        why: String,
    },
    /// No client would take it.
    #[error("the certificate {path} is valid from {from} to {to}, not now", path = .path.display())]
    Validity {
        /// Which.
        path: PathBuf,
        /// Its first moment.
        from: Timestamp,
        /// Its last.
        to: Timestamp,
    },
}

impl CertificateError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Read { path, .. } => {
                format!("make {} readable for the user that runs chancery", path.display())
            }
            Self::Missing { .. } => {
                "let `listen.tls.certificate` name the chain, the server's own certificate first, and `.key` its \
                 private key, unencrypted (PKCS#8, PKCS#1 or SEC1)"
                    .to_owned()
            }
            Self::Encrypted { path } => format!(
                "nobody is there to type a passphrase: (umask 077; openssl pkey -in {path} -out key.pem), and name that file",
                path = path.display()
            ),
            Self::WideOpen { path, .. } => {
                format!("chmod 600 {}; if someone may have read it, have another one made", path.display())
            }
            Self::NotOurs { path, us, .. } => {
                format!("chown {us} {path}, or let chancery have a copy of its own", path = path.display())
            }
            Self::Unusable { .. } => {
                "the key must be that of the first certificate in the file: RSA, ECDSA or Ed25519".to_owned()
            }
            Self::Validity { .. } => {
                "renew it, or set this machine's clock: no client takes it as it is".to_owned()
            }
        }
    }
}

/// A certificate with its key, as its files hold them.
#[derive(Debug)]
pub struct WebCertificate {
    files: CertificateFiles,
    clock: Clock,
    held: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
}

/// What is known of the files.
#[derive(Debug)]
struct Seen {
    stamps: Option<[Stamp; 2]>,
    ends: Timestamp,
    /// What was told last.
    told: Option<String>,
}

/// Tells one state of a file from the next, behind whatever links lead to it.
type Stamp = (u64, u64, u64, i64, i64);

impl WebCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn open(files: CertificateFiles, clock: Clock) -> Result<Arc<Self>, CertificateError> {
        let stamps = stamps(&files);
        let (key, ends) = load(&files, clock.now())?;
        let seen = Mutex::new(Seen { stamps, ends, told: None });
        Ok(Arc::new(Self { files, clock, held: RwLock::new(Arc::new(key)), seen }))
    }

    /// TLS 1.2 and 1.3 with this certificate, and none asked of clients. No protocol is offered (ALPN).
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn server(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.with_no_client_auth().with_cert_resolver(Arc::<Self>::clone(self)))
    }

    /// Looks at the files again, and takes what is in them if it can be used.
    pub fn refresh(&self) {
        let mut seen = self.seen.lock();
        let stamps = stamps(&self.files);
        let now = self.clock.now();
        if stamps.is_none() || stamps != seen.stamps {
            seen.stamps = stamps;
            match load(&self.files, now) {
                Ok((key, ends)) => {
                    *self.held.write() = Arc::new(key);
                    (seen.ends, seen.told) = (ends, None);
                    tracing::info!("the TLS listener has another certificate, valid until {ends}");
                }
                Err(error) => {
                    let why = format!("the TLS listener keeps the certificate that it has: {error}");
                    tell(&mut seen.told, why, &error.help());
                }
            }
        }
        if now > seen.ends {
            let why = format!("the TLS listener's certificate has ended on {}", seen.ends);
            let file = self.files.certificate.display();
            tell(&mut seen.told, why, &format!("renew {file}: clients refuse it until then"));
        }
    }

    /// Looks at the files from time to time, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looking = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || looking.refresh()).await {
                tracing::error!(%error, "the TLS listener's certificate can't be looked at");
            }
        }
    }
}

impl ResolvesServerCert for WebCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held.read()))
    }
}

/// The same thing is told once.
fn tell(told: &mut Option<String>, why: String, help: &str) {
    if told.as_ref() != Some(&why) {
        tracing::error!(help, "{why}");
        *told = Some(why);
    }
}

fn stamps(files: &CertificateFiles) -> Option<[Stamp; 2]> {
    let stamp = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))
    };
    Some([stamp(&files.certificate)?, stamp(&files.key)?])
}

fn load(files: &CertificateFiles, now: Timestamp) -> Result<(CertifiedKey, Timestamp), CertificateError> {
    let (text, _) = read(&files.certificate)?;
    let none = |what, path: &Path| CertificateError::Missing { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| none("certificate", &files.certificate))?;
    let (text, meta) = read(&files.key)?;
    private(&files.key, &meta)?;
    if is_encrypted(&text) {
        return Err(CertificateError::Encrypted { path: files.key.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.ok().ok_or_else(|| none("private key", &files.key))?;

    let unusable = |why: String| CertificateError::Unusable { files: files.clone(), why };
    let validity = CertificateChain::from_ders(chain.iter().map(|der| der.to_vec()))
        .and_then(|chain| chain.validity())
        .map_err(|error| unusable(error.to_string()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider);
    let certified = certified.map_err(|error| unusable(error.to_string()))?;
    let (from, to) = validity;
    if now < from || now > to {
        return Err(CertificateError::Validity { path: files.certificate.clone(), from, to });
    }
    Ok((certified, to))
}

/// PKCS#8's label for it (RFC 7468 §11), or the header of the older forms (RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let mut lines = pem.split(|byte| *byte == b'\n');
    lines.any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

/// A file's bytes, wiped when they go, and what it was when they were read.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no plain file")));
    }
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, meta))
}

/// The key is for nobody else: ours with no access for others, or root's where at most our group may read it (how
/// certificates are handed to services that are not root).
fn private(path: &Path, meta: &Metadata) -> Result<(), CertificateError> {
    let us = rustix::process::geteuid().as_raw();
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    if owner != us && owner != 0 {
        return Err(CertificateError::NotOurs { path: path.to_owned(), owner, us });
    }
    let shared = if owner == us { 0o077 } else { 0o037 };
    if mode & shared != 0 {
        return Err(CertificateError::WideOpen { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
