//! Why a token was not issued or not accepted. No variant holds any part of a token (I7).

use crate::domain::random::RandomError;
use crate::keys::SignerError;

/// What went wrong, with a stable label for metrics and attestations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is nothing to sign with.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// No random bytes for the token's id.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The claims are too long for a header.
    #[error("the token would be longer than {} bytes", super::jws::MAX_TOKEN_BYTES)]
    TooLong,
    /// The evidence, the key or the lifetime ends before the token could hold for a second.
    #[error("the token would have expired at issuance")]
    NoTimeLeft,
    /// An identity token is for a tool server and never for the gateway.
    #[error(
        "the audience `{0}` is the gateway's own: write the tool server's into `forward_identity.audience`"
    )]
    OwnAudience(String),
    /// The claims could not be written.
    #[error("the claims could not be written: {0}")]
    Unwritable(String),
    /// Not three parts of unpadded base64url (RFC 7515 §7.1), or too long.
    #[error("not a compact JWS")]
    Malformed,
    /// The header is not exactly `{alg, typ, kid}` with strings: a key, `crit` or anything else in it is refused.
    #[error("the header is not exactly {{alg, typ, kid}}")]
    Header,
    /// `typ` is another.
    #[error("the token is of another type")]
    Type,
    /// `kid` is no key id.
    #[error("the key id is malformed")]
    KeyId,
    /// `kid` names another gateway's key.
    #[error("the key id names another identity than the issuer")]
    ForeignKey,
    /// No such key is known.
    #[error("the key is not known")]
    UnknownKey,
    /// `alg` is not the key's.
    #[error("the algorithm is not the key's")]
    Algorithm,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// The claims are not exactly those of a session token.
    #[error("the claims are not those of a session token")]
    Claims,
    /// `iss` is not this gateway.
    #[error("the issuer is another")]
    Issuer,
    /// `aud` does not name this gateway.
    #[error("the token is for another audience")]
    Audience,
    /// A time out of range, or times in an impossible order.
    #[error("a time is out of range")]
    Times,
    /// The token's times leave the validity of its key's certificate.
    #[error("the token's times are outside of its key's validity")]
    OutsideKey,
    /// `iat` or `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    /// The stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Signer(_) => "signer_unavailable",
            Self::Random(_) => "random_failed",
            Self::TooLong => "too_long",
            Self::NoTimeLeft => "no_time_left",
            Self::OwnAudience(_) => "own_audience",
            Self::Unwritable(_) => "unwritable",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Type => "type",
            Self::KeyId => "key_id",
            Self::ForeignKey => "foreign_key",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Times => "times",
            Self::OutsideKey => "outside_key",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}
