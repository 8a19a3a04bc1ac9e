//! Accepts connections and speaks HTTP/1.1 on them, each bounded in time and memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::Resource;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checks::AllowList;
use super::listen::Listeners;
use super::{Server, ServerTls};
use crate::admission::{Admission, ConnectionPeer, ConnectionSvid, Listener, Origin};
use crate::domain::refusal::AdmissionRefusal;

/// Connections of one listener at once, at most; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Headers of one request.
const HEADERS: usize = 64;
/// Bytes of one request's head, and the size of a connection's buffer.
const HEAD: usize = 32 * 1024;
/// After an error that is the process's, such as too many open files.
const BACKOFF: Duration = Duration::from_millis(100);
/// How often a connection's certificate is looked at while nothing is asked on it.
const BELIEVED: Duration = Duration::from_secs(5);
/// How long a connection may take to end after that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What every connection of one run shares.
#[derive(Clone)]
struct Context {
    server: Arc<Server>,
    allow: Arc<AllowList>,
    shutdown: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    slots: Arc<Semaphore>,
}

/// Accepts until `shutdown`. Connections run on `connections`; `cut` ends them at once.
pub(super) async fn accept(
    server: &Arc<Server>,
    listeners: Listeners,
    server_tls: Option<ServerTls>,
    shutdown: &CancellationToken,
    connections: &TaskTracker,
    cut: &CancellationToken,
) {
    let Listeners { config, tcp, tls, unix } = listeners;
    let each = share(rustix::process::getrlimit(Resource::Nofile).current);
    let context = |allow| Context {
        server: Arc::clone(server),
        allow: Arc::new(allow),
        shutdown: shutdown.clone(),
        cut: cut.clone(),
        connections: connections.clone(),
        // Of its own: whoever holds all of one listener's keeps nobody from the other.
        slots: Arc::new(Semaphore::new(each)),
    };
    let tcp = async {
        if let Some((listener, bound)) = tcp {
            context(AllowList::tcp(&config, bound)).tcp(listener).await;
        }
    };
    let tls = async {
        let context = |bound| context(AllowList::tcp(&config, bound));
        match (tls, server_tls) {
            (Some((listener, bound)), Some(ServerTls::Svid(tls))) => {
                context(bound).tls(listener, tls, false).await;
            }
            (Some((listener, bound)), Some(ServerTls::Web(tls, certificate))) => {
                connections.spawn(certificate.watch(shutdown.clone()));
                context(bound).tls(listener, tls, true).await;
            }
            _ => {}
        }
    };
    let unix = async {
        if let Some((listener, file)) = unix {
            context(AllowList::unix(&config)).unix(listener).await;
            drop(file);
        }
    };
    tokio::select! {
        _ = futures_util::future::join3(tcp, tls, unix) => shutdown.cancelled().await,
        () = shutdown.cancelled() => {}
    }
}

impl Context {
    async fn tcp(self, listener: TcpListener) {
        while let Some(slot) = self.slot().await {
            match listener.accept().await {
                Ok((stream, from)) => {
                    // Without it small answers may wait for the other side's delayed acknowledgement.
                    stream.set_nodelay(true).ok();
                    self.serve(stream, Origin::Tcp(from), slot);
                }
                Err(error) => failed(&error).await,
            }
        }
    }

    /// `web`: who the client is, its requests say.
    async fn tls(self, listener: TcpListener, mut tls: rustls::ServerConfig, web: bool) {
        // What is spoken on the connection; a client that insists on anything else is told so in the handshake.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        while let Some(slot) = self.slot().await {
            match listener.accept().await {
                Ok((stream, from)) => {
                    stream.set_nodelay(true).ok();
                    let (context, acceptor) = (self.clone(), acceptor.clone());
                    self.connections.spawn(async move {
                        let shutdown = context.shutdown.clone();
                        let shaken = shutdown.run_until_cancelled(context.handshake(&acceptor, stream)).await;
                        let shaken = shaken.map(|shaken| {
                            let stream = shaken?;
                            let origin = if web { Origin::Web(from) } else { Origin::Tls(svid(&stream)?) };
                            Ok::<_, String>((stream, origin))
                        });
                        match shaken {
                            Some(Ok((stream, origin))) => context.serve(stream, origin, slot),
                            Some(Err(why)) => {
                                let refusals = context.server.admission.refusals();
                                refusals.count(Listener::Tls, AdmissionRefusal::TlsHandshake);
                                tracing::debug!(%from, why, "a TLS handshake failed");
                            }
                            None => {}
                        }
                    });
                }
                Err(error) => failed(&error).await,
            }
        }
    }

    async fn handshake(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let accepted = tokio::time::timeout(self.server.limits.request_read, acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_slow| "it took too long".to_owned())?;
        stream.map_err(|error| error.to_string())
    }

    async fn unix(self, listener: UnixListener) {
        while let Some(slot) = self.slot().await {
            match listener.accept().await {
                Ok((stream, _)) => match ConnectionPeer::of(&stream) {
                    Ok(peer) => self.serve(stream, Origin::Unix(peer), slot),
                    Err(error) => tracing::debug!(%error, "a peer without credentials was cut off"),
                },
                Err(error) => failed(&error).await,
            }
        }
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    fn serve<S>(&self, stream: S, origin: Origin, slot: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { server, allow, shutdown, cut, .. } = self.clone();
        let limits = server.limits.clone();
        let (listener, refusals) = (origin.listener(), Arc::clone(server.admission.refusals()));
        let origin = Arc::new(origin);
        let (admission, of) = (Arc::clone(&server.admission), Arc::clone(&origin));
        let service = service_fn(move |request| {
            let (server, allow, origin) = (Arc::clone(&server), Arc::clone(&allow), Arc::clone(&origin));
            async move { Ok::<_, Infallible>(server.handle(&origin, &allow, request).await) }
        });
        self.connections.spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(limits.request_read);
            http.max_headers(HEADERS).max_buf_size(HEAD);
            let connection = http.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = let_down(&admission, &of) => {
                    // With the streams that are open; what is asked anew meanwhile is told why.
                    tracing::debug!("a connection ends: its client's certificate is not believed any more");
                    tokio::time::timeout(LAST_WORDS, &mut connection).await.unwrap_or(Ok(()))
                }
                () = shutdown.cancelled() => {
                    // What is under way is finished, and nothing after it.
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = &mut connection => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                if error.is_parse() {
                    // Its sender was told so; nobody else hears of it.
                    refusals.count(listener, AdmissionRefusal::Unreadable);
                }
                tracing::debug!(%error, "a connection broke off");
            }
            drop(slot);
        });
    }
}

/// Who the client has proved to be.
fn svid(stream: &TlsStream<TcpStream>) -> Result<ConnectionSvid, String> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    if chain.is_empty() {
        return Err("there is no client certificate".to_owned());
    }
    ConnectionSvid::of(chain.iter().map(AsRef::as_ref)).map_err(|error| error.to_string())
}

/// Ends when what the connection's client has proved to be is not believed any more.
async fn let_down(admission: &Admission, origin: &Origin) {
    let mut ticks = tokio::time::interval(BELIEVED);
    loop {
        ticks.tick().await;
        if !admission.holds(origin) {
            return;
        }
    }
}

/// How many connections one listener may have. Half of the files that the process may open is for two listeners,
/// however many strangers come; the other is for the tool servers and the log (I10).
fn share(open_files: Option<u64>) -> usize {
    let quarter = open_files.and_then(|files| usize::try_from(files / 4).ok());
    quarter.unwrap_or(CONNECTIONS).clamp(16, CONNECTIONS)
}

async fn failed(error: &std::io::Error) {
    tracing::debug!(%error, "a connection was not accepted");
    tokio::time::sleep(BACKOFF).await;
}
