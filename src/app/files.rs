//! The files that a configuration names, looked at by the same functions as at a start: `config check` tells what
//! would keep `serve` from starting on this machine. Nothing is started, asked or written.

use super::command;
use super::error::StartError;
use super::policies;
use crate::admission::bootstrap;
use crate::config::{Config, Environment};
use crate::domain::clock::Clock;
use crate::identity::WebCertificate;
use crate::proxy::config::ServerKind;
use crate::proxy::upstream::Connector;

/// Everything about policies' paths, commands, credentials, the bootstrap secret and the TLS listener's certificate for
/// which `serve` would not start. A secret that is not there yet is none: `serve` makes it.
pub fn missing(config: &Config, env: &Environment) -> Vec<StartError> {
    let mut found: Vec<StartError> = Vec::new();
    found.extend(policies::load(&config.policies).err().map(StartError::from));
    for (name, server) in &config.servers {
        match &server.kind {
            ServerKind::Child(child) => {
                let error = command::check(child, env).err();
                found.extend(error.map(|source| StartError::Command { server: name.clone(), source }));
            }
            // What is shown an SVID can't be set up without the identity.
            ServerKind::Http(http) if http.spiffe_ids.is_empty() => {
                let connector = Connector::new(server.clone(), config.limits.clone(), None);
                found.extend(connector.err().map(StartError::from));
            }
            ServerKind::Http(_) => {}
        }
    }
    if let Some(secret) = config.admission.bootstrap.as_ref().filter(|secret| secret.file.exists()) {
        found.extend(bootstrap::check(&secret.file).err().map(StartError::from));
    }
    if let Some(files) = config.listen.certificate.clone() {
        found.extend(WebCertificate::open(files, Clock::system()).err().map(StartError::from));
    }
    found
}
