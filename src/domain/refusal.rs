//! Why a message or a request was not served: stable labels for machines, in errors, metrics and attestations.

use std::fmt;

macro_rules! reasons {
    ($(#[$top:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $label:literal,)* }) => {
        $(#[$top])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons!(
    /// Why an admitted message was denied.
    DenyReason {
        /// A `forbid` matched.
        Forbidden => "forbidden",
        /// No `permit` matched.
        NotPermitted => "not_permitted",
        /// A `forbid` could not be evaluated for this request (I5).
        ForbidError => "forbid_error",
        /// The tool is not in the catalogue.
        UnknownTool => "unknown_tool",
        /// The tool's definition is not the one that was approved.
        ToolQuarantined => "tool_quarantined",
        /// The arguments do not fit the tool's schema, or can't be represented exactly.
        InvalidInput => "invalid_input",
        /// No policies are loaded.
        NoPolicy => "no_policy",
        /// The message could not be read strictly (I2).
        Malformed => "malformed",
        /// A request with this id is already under way.
        DuplicateId => "duplicate_id",
        /// The record of the decision could not be written (I1).
        AttestationFailed => "attestation_failed",
        /// There is no signing identity at the moment (I3).
        SignerUnavailable => "signer_unavailable",
        /// The session was revoked, superseded or has ended.
        SessionOver => "session_over",
        /// The evidence of the request is not that of the session: a handle in other hands.
        EvidenceMismatch => "evidence_mismatch",
        /// A limit of the session or of the gateway.
        Limited => "limited",
        /// The tool server is gone or did not answer.
        UpstreamUnavailable => "upstream_unavailable",
    }
);

reasons!(
    /// Why a request was turned away before admission, or at the door of a session; counted, never stored one by one (I10).
    AdmissionRefusal {
        /// No evidence at all.
        NoEvidence => "no_evidence",
        /// A bearer that is no live bootstrap secret.
        WrongSecret => "wrong_secret",
        /// The bootstrap secret, past the age that configuration lets it have.
        SecretTooOld => "secret_too_old",
        /// The peer is not one that the configuration lets in.
        PeerNotAllowed => "peer_not_allowed",
        /// The kernel did not tell who the peer is.
        PeerUnknown => "peer_unknown",
        /// The TLS handshake failed: no certificate, one that is not believed, or no TLS at all.
        TlsHandshake => "tls_handshake",
        /// The client's SPIFFE ID is not one that the configuration lets in, or its trust domain is not believed any more.
        SvidNotAllowed => "svid_not_allowed",
        /// The certificate of the connection is not valid at this moment.
        SvidExpired => "svid_expired",
        /// The chain of the connection's certificate does not lead to the trust bundle of this moment: its CA was revoked.
        SvidNotBelieved => "svid_not_believed",
        /// The `Host` or `Origin` header is not on the allow-list (DNS rebinding).
        Origin => "origin_not_allowed",
        /// A bearer token that is malformed, forged, or of nobody that is believed.
        InvalidToken => "invalid_token",
        /// A bearer token of a configured issuer, by its own word, whose time is over.
        TokenExpired => "token_expired",
        /// A bearer token of a configured issuer, by its own word, for another audience.
        TokenAudience => "token_audience",
        /// A bearer token that is valid and lacks a scope.
        InsufficientScope => "insufficient_scope",
        /// A bearer token whose key no issuer has.
        UnknownKey => "unknown_key",
        /// A bearer token whose issuer's keys can't be fetched at the moment.
        IssuerUnavailable => "issuer_unavailable",
        /// More guesses than the rate limit lets through.
        RateLimited => "rate_limited",
        /// What is no HTTP request, or one with a head that is too long.
        Unreadable => "unreadable",
        /// A session token that is none of ours: forged, altered, or signed by a key that we don't publish.
        InvalidSession => "invalid_session_token",
        /// No live session is named: its token has outlived it, is another route's, or is missing.
        NoSession => "no_session",
        /// A live session's token with evidence that it is not bound to.
        ForeignSession => "session_of_another",
    }
);
