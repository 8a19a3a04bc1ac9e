//! The demo server on streamable HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use super::DemoServerError;
use super::record::Recording;
use super::tools::DemoTools;

type Service = StreamableHttpService<DemoTools, LocalSessionManager>;

/// Serves `/mcp` until the process is stopped; the URL goes to stderr once it can be reached.
pub(super) async fn serve(
    address: SocketAddr,
    tools: DemoTools,
    recording: Option<Recording>,
    headers: Option<Recording>,
) -> Result<(), DemoServerError> {
    let listener = TcpListener::bind(address).await.map_err(DemoServerError::Start)?;
    let address = listener.local_addr().map_err(DemoServerError::Start)?;
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_max_request_body_bytes(16 * 1024 * 1024),
    );
    eprintln!("http://{address}/mcp");
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the peer is gone already: the next one may do better.
            Err(_) => continue,
        };
        drop(stream.set_nodelay(true));
        let (service, recording, headers) = (service.clone(), recording.clone(), headers.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let noted = headers.as_ref().map_or(Ok(()), |headers| note(headers, &request));
                let (service, recording) = (service.clone(), recording.clone());
                async move {
                    match noted {
                        Ok(()) => answer(service, recording, request).await,
                        Err(error) => Ok(unrecorded(&error)),
                    }
                }
            });
            let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // The peer may leave at any time.
            drop(connection.serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}

type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

/// Writes a request's headers down, as they came.
fn note(headers: &Recording, request: &Request<Incoming>) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for (name, value) in request.headers() {
        lines.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
    }
    lines.push(b'\n');
    headers.append(&lines)
}

/// A recording with holes proves nothing: what can't be written down is not served.
fn unrecorded(error: &std::io::Error) -> Answer {
    eprintln!("demo-server: the recording failed: {error}");
    let mut failed = Response::new(Full::default().boxed());
    *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    failed
}

async fn answer(
    service: Service,
    recording: Option<Recording>,
    request: Request<Incoming>,
) -> Result<Answer, hyper::Error> {
    if request.uri().path() != "/mcp" {
        let mut missing = Response::new(Full::default().boxed());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return Ok(missing);
    }
    let Some(recording) = recording else { return Ok(service.handle(request).await) };
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if !body.is_empty() {
        let line = [&body[..], b"\n"].concat();
        if let Err(error) = recording.append(&line) {
            return Ok(unrecorded(&error));
        }
    }
    Ok(service.handle(Request::from_parts(head, Full::new(body))).await)
}
