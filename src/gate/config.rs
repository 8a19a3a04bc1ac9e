//! Settings of the gate.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::zone::Zone;

use super::meter::Allowance;
use crate::domain::ids::ServerName;
use crate::token::IdentityConfig;

/// How a call of a tool that the caller can't see is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HiddenTools {
    /// Like a tool that does not exist, unless a policy that decided gives a `@reason` for the caller.
    #[default]
    AsUnknown,
    /// As a denial, code 403.
    AsDenied,
}

/// Settings of a [`super::Gate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a session may live at most. On stdio the pipe is the session, and this does not apply.
    pub max_lifetime: Duration,
    /// A session without a message for this long is collected; not on stdio.
    pub idle_timeout: Duration,
    /// Whose clocks policies see.
    pub zone: Zone,
    /// How hidden tools answer.
    pub hidden_tools: HiddenTools,
    /// Maintenance traffic of one session.
    pub standing: Allowance,
    /// Refusals that one principal may cause to be recorded; more are refused without a record, and counted (I10).
    pub refusals: Allowance,
    /// The tool servers that are told who calls them, and under which name each is told.
    pub forward_identity: BTreeMap<ServerName, IdentityConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_lifetime: Duration::from_secs(12 * 3600),
            idle_timeout: Duration::from_secs(3600),
            zone: Zone::default(),
            hidden_tools: HiddenTools::default(),
            standing: Allowance::default(),
            refusals: Allowance { burst: 2_000, per_second: 100 },
            forward_identity: BTreeMap::new(),
        }
    }
}
