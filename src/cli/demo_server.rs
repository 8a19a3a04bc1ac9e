//! `chancery demo-server`: a small but real MCP tool server, for the demonstration, the tests and the benches.
//!
//! It is an ordinary server on the official Rust SDK and knows nothing of chancery. Files stay below `--root`;
//! within it, it does whatever it is asked: what restricts it further is the gateway's policy.

mod files;
mod http;
mod record;
mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;

use rmcp::ServiceExt as _;

use files::Root;
use record::Recording;
use tools::DemoTools;

use super::{Exit, Failure};

/// What the demo server is told on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Directory that the file tools work in; without it they answer with an error.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Serve streamable HTTP instead of stdio, on a loopback address (default 127.0.0.1:0); prints the URL on stderr.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:0")]
    http: Option<SocketAddr>,
    /// Append every byte that arrives (on HTTP: every body, one a line) to this file before it is read.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// On HTTP: append each request's headers to this file, one `name: value` a line, an empty line after each request.
    #[arg(long, value_name = "FILE", requires = "http")]
    record_headers: Option<PathBuf>,
}

/// Why the demo server stopped.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum DemoServerError {
    /// The directory of `--root` can't be used.
    #[error("can't use {path} as the root directory")]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file of `--record` can't be written.
    #[error("can't record to {path}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The address of `--http` is not on this machine.
    #[error("{0} is not a loopback address; the demo server has no authentication and serves loopback only")]
    NotLoopback(SocketAddr),
    /// The asynchronous runtime or the listener did not start.
    #[error("can't start")]
    Start(#[source] std::io::Error),
    /// The handshake with the client failed.
    #[error("the client did not complete the handshake")]
    Handshake(#[source] Box<rmcp::service::ServerInitializeError>),
    /// The service task failed.
    #[error("the service ended abnormally")]
    Service(#[source] tokio::task::JoinError),
}

/// Serves until the client goes away (stdio) or the process is stopped (HTTP).
///
/// # Errors
/// When the arguments can't be used, the listener does not start, or the handshake fails.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match serve(args) {
        Ok(()) => Ok(Exit::Done),
        Err(error @ (DemoServerError::Handshake(_) | DemoServerError::Service(_))) => {
            Err(Failure::runtime(error))
        }
        Err(error) => Err(Failure::misuse(error)),
    }
}

fn serve(args: &Args) -> Result<(), DemoServerError> {
    let root = match &args.root {
        Some(path) => {
            Some(Root::open(path).map_err(|cause| DemoServerError::Root { path: path.clone(), cause })?)
        }
        None => None,
    };
    let recorded = |path: &PathBuf| {
        Recording::open(path).map_err(|cause| DemoServerError::Record { path: path.clone(), cause })
    };
    let recording = args.record.as_ref().map(recorded).transpose()?;
    let headers = args.record_headers.as_ref().map(recorded).transpose()?;
    let tools = DemoTools::new(root);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DemoServerError::Start)?;
    match args.http {
        Some(address) if !address.ip().is_loopback() => Err(DemoServerError::NotLoopback(address)),
        Some(address) => runtime.block_on(http::serve(address, tools, recording, headers)),
        None => {
            let ended = runtime.block_on(stdio(tools, recording));
            // A blocking read of stdin can't be interrupted; don't wait for it.
            runtime.shutdown_background();
            ended
        }
    }
}

async fn stdio(tools: DemoTools, recording: Option<Recording>) -> Result<(), DemoServerError> {
    let input = record::Tee::new(tokio::io::stdin(), recording);
    let serving = tools.serve((input, tokio::io::stdout())).await;
    match serving {
        Ok(service) => service.waiting().await.map(drop).map_err(DemoServerError::Service),
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(cause) => Err(DemoServerError::Handshake(Box::new(cause))),
    }
}
