//! Evidence from a client's X.509-SVID: who proved to be whom when a TLS connection was made.
//!
//! The handshake proves that the client holds the key, and that its certificate leads to the bundle of its trust
//! domain. A connection may outlive that, so at every request the leaf must still be valid, its chain must lead to the
//! bundle of this moment, and its SPIFFE ID must be one that configuration lets in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::MtlsEvidence;
use crate::domain::ids::{IdError, SpiffeId};
use crate::domain::refusal::AdmissionRefusal;
use crate::keys::{CertificateChain, ChainError, TrustBundle};

/// The trust domains that are believed now, as the listener's TLS believes them.
pub trait TrustDomains: Send + Sync + fmt::Debug {
    /// The roots of this one, if there are any.
    fn bundle(&self, trust_domain: &str) -> Option<Arc<TrustBundle>>;
}

/// The certificate that a connection's client has proved to hold. Made after the handshake, from what it verified.
#[derive(Debug, Clone)]
pub struct ConnectionSvid {
    evidence: MtlsEvidence,
    chain: Arc<CertificateChain>,
    not_before: Timestamp,
    not_after: Timestamp,
    /// The bundle that the chain was last found to lead to, and until when it does.
    led_to: Arc<Mutex<Option<(Sha256Digest, Timestamp)>>>,
}

impl ConnectionSvid {
    /// Reads the chain that the client has shown, the leaf first.
    ///
    /// # Errors
    /// The leaf does not name one workload (X509-SVID §2, §4.1), or the chain is too long.
    pub fn of<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, ChainError> {
        let chain = CertificateChain::from_ders(chain.into_iter().map(<[u8]>::to_vec))?;
        let named = chain.named()?;
        let evidence = MtlsEvidence::new(named.spiffe_id, chain.leaf_thumbprint());
        let (not_before, not_after) = (named.not_before, named.not_after);
        Ok(Self { evidence, chain: Arc::new(chain), not_before, not_after, led_to: Arc::default() })
    }

    /// Whether its chain leads to `bundle`. Looked at anew when the bundle is another one than the last time, or a
    /// certificate of the path has ended since.
    fn leads_to(&self, bundle: &TrustBundle, now: Timestamp) -> bool {
        let mut known = self.led_to.lock();
        if known.is_some_and(|(thumbprint, to)| thumbprint == bundle.thumbprint() && now <= to) {
            return true;
        }
        let found = self.chain.leads_to(bundle, now);
        if let Err(error) = &found {
            tracing::debug!(id = %self.spiffe_id(), %error, "a connection's certificate is not believed any more");
        }
        *known = found.ok().map(|to| (bundle.thumbprint(), to));
        known.is_some()
    }

    /// Whose it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.evidence.spiffe_id
    }

    /// Digest of its DER.
    pub fn leaf_sha256(&self) -> Sha256Digest {
        self.evidence.leaf_sha256
    }
}

/// Which workloads are let in. Both lists narrow: where both stand, both must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MtlsConfig {
    /// Trust domains; empty: those of `spiffe_ids`.
    pub trust_domains: Vec<String>,
    /// SPIFFE IDs; empty: every one of `trust_domains`.
    pub spiffe_ids: Vec<SpiffeIdPattern>,
    /// Policies know a workload by its SPIFFE ID alone, not by the folders of its path.
    pub without_groups: bool,
}

impl MtlsConfig {
    /// The trust domains that anyone could come from, each once.
    pub fn domains(&self) -> Vec<String> {
        let mut domains = match self.trust_domains.is_empty() {
            false => self.trust_domains.clone(),
            true => self.spiffe_ids.iter().map(|id| id.trust_domain().to_owned()).collect(),
        };
        domains.sort();
        domains.dedup();
        domains
    }

    /// Whether configuration lets this workload in. With both lists empty nobody is.
    pub fn allows(&self, id: &SpiffeId) -> bool {
        let (domains, ids) = (&self.trust_domains, &self.spiffe_ids);
        let by_domain = domains.iter().any(|domain| domain == id.trust_domain());
        let by_id = ids.iter().any(|pattern| pattern.fits(id));
        match (domains.is_empty(), ids.is_empty()) {
            (true, true) => false,
            (false, true) => by_domain,
            (true, false) => by_id,
            (false, false) => by_domain && by_id,
        }
    }
}

/// One SPIFFE ID, or all below a folder: `spiffe://a.org/ns/prod/agent`, `spiffe://a.org/ns/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpiffeIdPattern {
    /// This one.
    Exactly(SpiffeId),
    /// Those whose path goes on below this one, by one segment or more.
    Below(SpiffeId),
}

impl SpiffeIdPattern {
    /// The trust domain of all that fit.
    pub fn trust_domain(&self) -> &str {
        let (Self::Exactly(id) | Self::Below(id)) = self;
        id.trust_domain()
    }

    /// Whether `id` is among them.
    pub fn fits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exactly(one) => one == id,
            // A valid SPIFFE ID has neither empty segments nor `.` and `..`.
            Self::Below(folder) => {
                id.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }
}

impl FromStr for SpiffeIdPattern {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(folder) = text.strip_suffix("/*") {
            return folder.parse().map(Self::Below);
        }
        let id: SpiffeId = text.parse()?;
        if id.as_str().len() == "spiffe://".len() + id.trust_domain().len() {
            let why = "it names a trust domain; for all of its workloads write `/*` after it";
            return Err(IdError::SpiffeId { id: text.to_owned(), why });
        }
        Ok(Self::Exactly(id))
    }
}

/// Judges one request of a connection with `svid`, at `now`; the moment is the end of what was shown.
pub(super) fn judge(
    config: &MtlsConfig,
    believed: Option<&dyn TrustDomains>,
    svid: &ConnectionSvid,
    now: Timestamp,
) -> Result<(MtlsEvidence, Timestamp), AdmissionRefusal> {
    if now < svid.not_before || now > svid.not_after {
        return Err(AdmissionRefusal::SvidExpired);
    }
    if !admits(config, believed, svid.spiffe_id()) {
        return Err(AdmissionRefusal::SvidNotAllowed);
    }
    let bundle = believed.and_then(|believed| believed.bundle(svid.spiffe_id().trust_domain()));
    if !bundle.is_some_and(|bundle| svid.leads_to(&bundle, now)) {
        return Err(AdmissionRefusal::SvidNotBelieved);
    }
    let mut evidence = svid.evidence.clone();
    if config.without_groups {
        evidence.groups = Arc::default();
    }
    Ok((evidence, svid.not_after))
}

/// Whether anyone could be let in as `id` now.
pub(super) fn admits(config: &MtlsConfig, believed: Option<&dyn TrustDomains>, id: &SpiffeId) -> bool {
    config.allows(id) && believed.is_some_and(|believed| believed.bundle(id.trust_domain()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    fn config(domains: &[&str], ids: &[&str]) -> MtlsConfig {
        MtlsConfig {
            trust_domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            spiffe_ids: ids.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            without_groups: false,
        }
    }

    #[test]
    fn a_pattern_fits_whole_segments_only() {
        for (pattern, text, fits) in [
            ("spiffe://a.org/ns/x", "spiffe://a.org/ns/x", true),
            ("spiffe://a.org/ns/x", "spiffe://a.org/ns/xy", false),
            ("spiffe://a.org/ns/x", "spiffe://a.org/ns/x/y", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/x", true),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns/x/y", true),
            ("spiffe://a.org/ns/*", "spiffe://a.org/ns", false),
            ("spiffe://a.org/ns/*", "spiffe://a.org/nsx/y", false),
            ("spiffe://a.org/*", "spiffe://a.org/x", true),
            ("spiffe://a.org/*", "spiffe://a.org.evil.net/x", false),
            ("spiffe://a.org/*", "spiffe://b.org/x", false),
        ] {
            assert_eq!(pattern.parse::<SpiffeIdPattern>().unwrap().fits(&id(text)), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "*",
            "/*",
            "spiffe://*",
            "spiffe://a.org",
            "spiffe://a.org/n*",
            "spiffe://a.org/*/x",
            "spiffe://a.org//*",
        ] {
            assert!(bad.parse::<SpiffeIdPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn both_lists_narrow_and_two_empty_ones_let_nobody_in() {
        let agent = id("spiffe://a.org/ns/agent");
        assert!(!config(&[], &[]).allows(&agent));
        assert!(config(&["a.org"], &[]).allows(&agent));
        assert!(config(&[], &["spiffe://a.org/ns/*"]).allows(&agent));
        assert!(!config(&["a.org"], &["spiffe://a.org/other/*"]).allows(&agent));
        assert!(!config(&["b.org"], &["spiffe://a.org/ns/*"]).allows(&agent));
        assert_eq!(
            config(&[], &["spiffe://b.org/x", "spiffe://a.org/*", "spiffe://b.org/y"]).domains(),
            ["a.org", "b.org"]
        );
    }
}
