//! `serve`: configured tool servers for many clients over HTTP.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::admin::server::AdminSocket;
use super::error::StartError;
use super::{build, policies, prepare, signals};
use crate::admission::peer::remarks;
use crate::attest::Log;
use crate::config::{Config, Environment};
use crate::domain::clock::Clock;
use crate::identity::{Identity, Peers, WebCertificate};
use crate::keys::Signer as _;
use crate::proxy::downstream::http::{Listeners, Published, ServeParts, ServerTls, serve as serve_http};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Serves until a signal asks for the end. `tell` gets what the operator must read, among it one line for each
/// address: `listening on http://127.0.0.1:8080/mcp/files`.
///
/// # Errors
/// What is wrong, before anything was started.
pub async fn serve(
    config: Config,
    env: &Environment,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<(), StartError> {
    let (hung_up, hangup) = mpsc::channel(1);
    let shutdown = signals::listen(hung_up)
        .map_err(|source| StartError::System { what: "signals can't be listened to", source })?;
    // A tool server or a SPIRE agent may be waited for; whoever asks for the end does not wait with us.
    let Some(prepared) = shutdown.run_until_cancelled(prepare::prepare(&config, env)).await else {
        return Ok(());
    };
    let mut prepared = prepared?;
    for remark in config.admission.peer.iter().flat_map(remarks) {
        tracing::warn!("{remark}");
    }
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    for warning in prepared.engine.unprovable(&policies::provable(&config.admission)) {
        tracing::warn!("{warning}");
    }
    if prepared.engine.is_empty() {
        tell(
            "no policies are loaded, so every call is refused: make the first (chancery policy init -- COMMAND) and \
             write `policies:` with their directory in the configuration file",
        );
    }
    // A port in use is found before the log is touched; connections wait until all of it stands.
    let listeners = Listeners::bind(&config.listen).await?;
    let admin = AdminSocket::of(&config).await?;
    let certificate = match config.listen.certificate.clone() {
        Some(files) => Some(WebCertificate::open(files, Clock::system())?),
        None => None,
    };
    if let Some(file) = &config.address_file {
        // Of a gateway that ended at once; whoever waits for the file must not read it. Mostly there is none.
        let _ = fs::remove_file(file);
    }
    let connectors = std::mem::take(&mut prepared.connectors);
    let Some(core) =
        shutdown.run_until_cancelled(build::core(&config, prepared, env, Some(hangup), tell)).await
    else {
        return Ok(());
    };
    let core = core?;
    let tls = match tls(&config, &core.identity, certificate) {
        Ok(tls) => tls,
        Err(error) => {
            core.finish().await;
            return Err(error);
        }
    };

    let addresses = addresses(&config, &listeners);
    let published = Arc::new(Public { identity: Arc::clone(&core.identity), log: core.log.clone() });
    let jwks = |base: String| Arc::from(format!("{base}/.well-known/jwks.json"));
    let base = listeners.tcp_addr().map(|addr| format!("http://{addr}"));
    // An address that stands for all of the machine's is none to call.
    let callable = listeners.tls_addr().filter(|addr| !addr.ip().is_unspecified());
    let base_tls = callable.map(|addr| format!("https://{addr}"));
    let parts = ServeParts {
        gate: Arc::clone(&core.gate),
        admission: Arc::clone(&core.admission),
        connectors,
        listeners,
        tls,
        jwks_url: base.map(jwks),
        jwks_url_tls: base_tls.map(jwks),
        published,
        bearer: config.admission.bootstrap.is_some(),
        public_url: config.listen.public_url.as_deref().map(Arc::from),
        limits: config.limits.clone(),
    };
    if let Err(error) = write_addresses(config.address_file.as_deref(), &addresses) {
        core.finish().await;
        return Err(error);
    }
    let closed = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(Arc::clone(&core.gate), closed.clone()));
    for address in &addresses {
        tell(&format!("listening on {address}"));
    }
    tracing::info!(log = %core.log.dir().display(), identity = %core.identity.spiffe_id(), "ready");
    serve_http(parts, shutdown).await;
    closed.cancel();
    if let Err(error) = admin.await {
        tracing::debug!(%error, "the admin socket did not end in order");
    }
    if let Some(file) = &config.address_file {
        // Gone already is as good.
        let _ = fs::remove_file(file);
    }
    core.finish().await;
    Ok(())
}

/// TLS for its listener, by a certificate of its own or by the gateway's SVID.
fn tls(
    config: &Config,
    identity: &Identity,
    certificate: Option<Arc<WebCertificate>>,
) -> Result<Option<ServerTls>, StartError> {
    if let Some(certificate) = certificate {
        let server = certificate.server().map_err(|error| StartError::System {
            what: "the TLS listener can't be set up",
            source: std::io::Error::other(error),
        })?;
        return Ok(Some(ServerTls::Web(server, certificate)));
    }
    let (Some(mtls), Some(tls)) = (&config.admission.mtls, identity.tls()) else { return Ok(None) };
    if config.listen.tls.is_none() {
        return Ok(None);
    }
    let domains = mtls.domains();
    for domain in domains.iter().filter(|domain| !tls.trusts(domain)) {
        tracing::warn!(
            "nobody of the trust domain `{domain}` is let in before the SPIRE agent hands over its bundle"
        );
    }
    Ok(Some(ServerTls::Svid(tls.server(&Peers::TrustDomains(domains))?)))
}

/// `http://<address>/mcp/<server>`, `https://<address>/mcp/<server>`, and `unix:<path>:/mcp/<server>`.
fn addresses(config: &Config, listeners: &Listeners) -> Vec<String> {
    let tcp = listeners.tcp_addr().map(|addr| format!("http://{addr}"));
    let unix = config.listen.unix.as_ref().map(|path| format!("unix:{}:", path.display()));
    let tls = listeners.tls_addr().map(|addr| format!("https://{addr}"));
    let bases = tcp.into_iter().chain(tls).chain(unix);
    bases.flat_map(|base| config.servers.keys().map(move |name| format!("{base}/mcp/{name}"))).collect()
}

/// Written beside its place and renamed, so that whoever waits for it reads it whole.
fn write_addresses(file: Option<&Path>, addresses: &[String]) -> Result<(), StartError> {
    let Some(path) = file else { return Ok(()) };
    let mut text = addresses.join("\n");
    text.push('\n');
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| StartError::AddressFile { path: path.to_owned(), source })
}

/// What is told to anyone.
#[derive(Debug)]
struct Public {
    identity: Arc<Identity>,
    log: Log,
}

impl Published for Public {
    fn jwks(&self) -> String {
        serde_json::to_string(&self.identity.jwks()).unwrap_or_else(|_| r#"{"keys":[]}"#.to_owned())
    }

    fn jwks_max_age(&self) -> Duration {
        self.identity.jwks_max_age()
    }

    fn ready(&self) -> Result<(), &'static str> {
        // Without a key the log can't be written either: the cause comes first.
        if self.identity.current().is_err() {
            return Err("there is no signing key at the moment");
        }
        if self.log.failing().is_some() {
            return Err("records can't be written at the moment");
        }
        Ok(())
    }
}
