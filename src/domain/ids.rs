//! Identifiers, each a type of its own, checked where it enters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `[a-z0-9][a-z0-9-]{0,63}`.
    #[error("`{0}` is not a server name: use 1 to 64 of a-z, 0-9 and `-`, starting with a letter or digit")]
    ServerName(String),
    /// A name that would collide with an MCP method's first segment.
    #[error("`{0}` can't name a server: MCP methods begin with it")]
    ReservedServerName(String),
    /// Not a SPIFFE ID.
    #[error("`{id}` is not a SPIFFE ID: {why}")]
    SpiffeId {
        /// The text.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a key id of the form `<SPIFFE ID>#<x5t#S256>`.
    #[error("`{0}` is not a key id: expected `<SPIFFE ID>#<base64url SHA-256 of the leaf certificate>`")]
    KeyId(String),
    /// Not a UUID.
    #[error("`{0}` is not a UUID")]
    Uuid(String),
}

/// The first segments of MCP methods; a server of that name would make action ids ambiguous.
const METHOD_SEGMENTS: [&str; 14] = [
    "initialize",
    "ping",
    "tools",
    "prompts",
    "resources",
    "completion",
    "logging",
    "notifications",
    "sampling",
    "elicitation",
    "roots",
    "session",
    "server",
    "tasks",
];

/// The name of a configured tool server: `[a-z0-9][a-z0-9-]*`, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = text.bytes();
        let head = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let tail = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !head || !tail || text.len() > 64 {
            return Err(IdError::ServerName(text.to_owned()));
        }
        if METHOD_SEGMENTS.contains(&text) {
            return Err(IdError::ReservedServerName(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID, `spiffe://<trust domain>/<path>` (SPIFFE-ID §2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's name, without scheme.
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.strip_prefix("spiffe://").unwrap_or(&self.0);
        rest.split_once('/').map_or(rest, |(domain, _)| domain)
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = |why| IdError::SpiffeId { id: text.chars().take(256).collect(), why };
        let rest = text.strip_prefix("spiffe://").ok_or(bad("it must begin with `spiffe://`"))?;
        if text.len() > 2048 {
            return Err(bad("it is longer than 2048 bytes"));
        }
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
        let domain_ok = !domain.is_empty()
            && domain.len() <= 255
            && domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if !domain_ok {
            return Err(bad("the trust domain must be 1 to 255 of a-z, 0-9, `.`, `-` and `_`"));
        }
        for segment in path.iter().flat_map(|p| p.split('/')) {
            let charset =
                segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            if segment.is_empty() || segment == "." || segment == ".." || !charset {
                return Err(bad(
                    "each path segment must be letters, digits, `.`, `-` and `_`, not `.` or `..`",
                ));
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Names one signing key: `<SPIFFE ID>#<x5t#S256 of the leaf>`; the `kid` of a token and the `keyid` of an
/// attestation are this same string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Joins the two halves. `thumbprint` is the base64url (unpadded) SHA-256 of the leaf's DER.
    pub fn new(identity: &SpiffeId, thumbprint: &str) -> Self {
        Self(format!("{identity}#{thumbprint}").into())
    }

    /// The key id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID that it names.
    pub fn spiffe_id(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(id, _)| id)
    }

    /// The leaf's `x5t#S256`.
    pub fn thumbprint(&self) -> &str {
        self.0.split_once('#').map_or("", |(_, t)| t)
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::KeyId(text.chars().take(256).collect());
        let (id, thumbprint) = text.split_once('#').ok_or_else(bad)?;
        SpiffeId::from_str(id)?;
        let ok = thumbprint.len() == 43
            && thumbprint.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !ok {
            return Err(bad());
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that [`crate::domain::random`] made.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok(Self(uuid)),
                    Err(_) => Err(IdError::Uuid(text.chars().take(64).collect())),
                }
            }
        }
    };
}

uuid_id!(
    /// A session's id, the token's `sid`.
    SessionId
);
uuid_id!(
    /// A decision's id, a UUIDv7 so that ids sort by time.
    DecisionId
);
uuid_id!(
    /// A token's id, its `jti`.
    TokenId
);
uuid_id!(
    /// One run of the gateway process; the chain of records that belong to no session carries it.
    GatewayRunId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_round_trip_and_others_are_refused() {
        for name in ["a", "files", "a-b", "0", "github-2"] {
            assert_eq!(name.parse::<ServerName>().unwrap().to_string(), name);
        }
        for name in ["", "-a", "A", "a_b", "a/b", "ü", "a b", "tools", "session", &"a".repeat(65)] {
            assert!(name.parse::<ServerName>().is_err(), "{name}");
        }
    }

    #[test]
    fn spiffe_ids_follow_the_standard() {
        let id: SpiffeId = "spiffe://example.org/chancery/one".parse().unwrap();
        assert_eq!(id.trust_domain(), "example.org");
        for bad in [
            "spiffe://",
            "http://a/b",
            "spiffe://A/b",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a/b/",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_id_names_its_spiffe_id_and_its_leaf() {
        let id: SpiffeId = "spiffe://a/b".parse().unwrap();
        let kid = KeyId::new(&id, &"x".repeat(43));
        let back: KeyId = kid.to_string().parse().unwrap();
        assert_eq!((back.spiffe_id(), back.thumbprint()), ("spiffe://a/b", &*"x".repeat(43)));
        assert!("spiffe://a/b#short".parse::<KeyId>().is_err());
    }
}
