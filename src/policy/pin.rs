//! How firmly a tool server is held to the definitions that were approved.

/// What becomes of a definition that is not the approved one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pin {
    /// What a server has shown first is approved; what changes or is new afterwards is quarantined until approved.
    #[default]
    FirstUse,
    /// What the lock file has is approved, and nothing else.
    Lock,
    /// Whatever the server shows is taken over.
    Off,
}

impl Pin {
    /// The stable label, as configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Lock => "lock",
            Self::Off => "off",
        }
    }

    /// Whether definitions are held to approved ones at all.
    pub const fn holds(self) -> bool {
        !matches!(self, Self::Off)
    }
}
