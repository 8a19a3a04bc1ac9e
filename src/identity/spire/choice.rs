//! Which of the SVIDs that the agent offers is the gateway's.

use std::sync::Arc;

use spiffe::X509Svid;
use spiffe::x509_source::SvidPicker;

use super::error::SpireError;
use crate::domain::ids::SpiffeId;
use crate::identity::config::Spire;

/// How many of the SVIDs on offer are named, and how much of each hint: an agent may send any number and length.
const SHOWN: usize = 8;
const HINT: usize = 64;

/// What is configured; once the first SVID is there, its SPIFFE ID is part of the choice, whatever else is.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    spiffe_id: Option<SpiffeId>,
    hint: Option<String>,
    /// Whose keys were taken before, where nothing is configured.
    before: Option<SpiffeId>,
}

impl Choice {
    pub(super) fn of(config: &Spire, before: Option<SpiffeId>) -> Self {
        Self { spiffe_id: config.spiffe_id.clone(), hint: config.hint.clone(), before }
    }

    /// Whether nothing says which SVID is meant.
    pub(super) const fn is_open(&self) -> bool {
        self.spiffe_id.is_none() && self.hint.is_none()
    }

    /// The same choice for good: a gateway never changes whose identity it has.
    pub(super) fn pinned(self, spiffe_id: SpiffeId) -> Self {
        Self { spiffe_id: Some(spiffe_id), ..self }
    }

    /// The first SVID that fits (SPIFFE Workload API §5.2.1: the first is the default one). Where nothing is configured,
    /// the one of before comes first: another entry for this process must not change whose identity a gateway has.
    fn position(&self, svids: &[Arc<X509Svid>]) -> Option<usize> {
        let is = |svid: &Arc<X509Svid>, id: &SpiffeId| svid.spiffe_id().to_string() == id.as_str();
        if let Some(before) = self.before.as_ref().filter(|_| self.is_open())
            && let Some(index) = svids.iter().position(|svid| is(svid, before))
        {
            return Some(index);
        }
        svids.iter().position(|svid| {
            self.spiffe_id.as_ref().is_none_or(|id| is(svid, id))
                && self.hint.as_deref().is_none_or(|hint| svid.hint() == Some(hint))
        })
    }

    /// The gateway's SVID among `svids`.
    ///
    /// # Errors
    /// None fits; the message names what is offered.
    pub(super) fn of_offered<'a>(&self, svids: &'a [Arc<X509Svid>]) -> Result<&'a Arc<X509Svid>, SpireError> {
        self.position(svids).and_then(|index| svids.get(index)).ok_or_else(|| self.not_among(svids))
    }

    fn not_among(&self, svids: &[Arc<X509Svid>]) -> SpireError {
        let wanted_domain = self.spiffe_id.as_ref().map(SpiffeId::trust_domain);
        let domain = |svid: &Arc<X509Svid>| svid.spiffe_id().trust_domain_name().to_owned();
        if let (Some(wanted), Some(first)) = (wanted_domain, svids.first())
            && !svids.iter().any(|svid| domain(svid) == wanted)
        {
            return SpireError::TrustDomain { wanted: wanted.to_owned(), found: domain(first) };
        }
        let described = svids.iter().take(SHOWN).map(|svid| match svid.hint() {
            Some(hint) => {
                let hint: String = hint.chars().take(HINT).collect();
                format!("{} (hint `{}`)", svid.spiffe_id(), hint.escape_debug())
            }
            None => svid.spiffe_id().to_string(),
        });
        let more = svids.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("{more} more"));
        let wanted = match (&self.spiffe_id, &self.hint) {
            (Some(id), Some(hint)) => format!("{id} with hint `{hint}`"),
            (Some(id), None) => id.to_string(),
            (None, Some(hint)) => format!("with hint `{hint}`"),
            (None, None) => "at all".to_owned(),
        };
        SpireError::NotOffered { wanted, offered: described.chain(more).collect::<Vec<_>>().join(", ") }
    }
}

impl SvidPicker for Choice {
    fn pick_svid(&self, svids: &[Arc<X509Svid>]) -> Option<usize> {
        self.position(svids)
    }
}
