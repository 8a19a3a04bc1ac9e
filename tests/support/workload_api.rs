//! The SPIFFE Workload API on a Unix socket, as SPIRE's agent serves it, steered by a test.
//!
//! An [`Agent`] has one answer at a time: an update, a refusal, or silence. Whoever opens a stream gets it, and
//! whenever the test gives another, every open stream does. Stopping and starting it again is an agent's restart.

use std::convert::Infallible;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::codegen::tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::messages::{X509SvidRequest, X509SvidResponse};

/// What whoever asks is told.
enum Answer {
    /// This, and the stream stays open.
    Update(X509SvidResponse),
    /// The stream ends with this.
    Refusal(Status),
    /// Nothing yet: the stream stays open.
    Silence,
}

type Update = Result<X509SvidResponse, Status>;

/// What the test and the server share.
struct State {
    answer: Answer,
    streams: Vec<mpsc::UnboundedSender<Update>>,
    asked: usize,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap()
}

/// A running server.
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// An agent with a socket in a directory of its own.
pub(crate) struct Agent {
    _dir: TempDir,
    socket: PathBuf,
    shared: Shared,
    running: Option<Running>,
}

impl Agent {
    /// Serves `update` to whoever asks.
    pub(crate) fn serving(update: impl Into<X509SvidResponse>) -> Self {
        let mut agent = Self::absent();
        agent.serve(update);
        agent.start();
        agent
    }

    /// Tells whoever asks that it has no identity, as an agent without an entry for the workload does.
    pub(crate) fn refusing() -> Self {
        let mut agent = Self::absent();
        agent.withdraw();
        agent.start();
        agent
    }

    /// Takes requests and answers none of them.
    pub(crate) fn silent() -> Self {
        let mut agent = Self::absent();
        agent.start();
        agent
    }

    /// Not started: its socket does not exist.
    pub(crate) fn absent() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let state = State { answer: Answer::Silence, streams: Vec::new(), asked: 0 };
        Self { _dir: dir, socket, shared: Arc::new(Mutex::new(state)), running: None }
    }

    /// The socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The socket as `SPIFFE_ENDPOINT_SOCKET` names it.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Hands this to every open stream, and to those that come.
    pub(crate) fn serve(&self, update: impl Into<X509SvidResponse>) {
        let update = update.into();
        let mut state = lock(&self.shared);
        state.streams.retain(|stream| stream.send(Ok(update.clone())).is_ok());
        state.answer = Answer::Update(update);
    }

    /// Ends every open stream with this, and those that come.
    pub(crate) fn refuse(&self, status: &Status) {
        let mut state = lock(&self.shared);
        for stream in state.streams.drain(..) {
            stream.send(Err(status.clone())).ok();
        }
        state.answer = Answer::Refusal(status.clone());
    }

    /// What SPIRE's agent says when the workload's entry is gone.
    pub(crate) fn withdraw(&self) {
        self.refuse(&Status::permission_denied("no identity issued"));
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        let mut state = lock(&self.shared);
        state.streams.retain(|stream| !stream.is_closed());
        state.streams.len()
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        lock(&self.shared).asked
    }

    /// Starts, also after it was stopped: on the same socket, with the same answer.
    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        // As SPIRE's agent does with what an earlier one left behind.
        fs::remove_file(&self.socket).ok();
        let listener = UnixListener::bind(&self.socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = WorkloadApi(Arc::clone(&self.shared));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let incoming = UnixListenerStream::new(listener);
                let serving = tonic::transport::Server::builder().serve_with_incoming(service, incoming);
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = stopped => {}
                }
            });
            // Dropping the runtime cuts all connections, as the end of a process does.
        });
        self.running = Some(Running { stop, thread });
    }

    /// Ends as by SIGTERM: connections are cut, the socket is removed.
    pub(crate) fn stop(&mut self) {
        self.crash();
        fs::remove_file(&self.socket).ok();
    }

    /// Ends as by SIGKILL: connections are cut, the socket's file stays.
    pub(crate) fn crash(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.send(()).ok();
            thread.join().unwrap();
            lock(&self.shared).streams.clear();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.send(()).ok();
            thread.join().ok();
        }
    }
}

/// The gRPC service, by its paths: the package-less names that the SPIFFE specification gives them.
#[derive(Clone)]
struct WorkloadApi(Shared);

impl Service<http::Request<Body>> for WorkloadApi {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fetch = FetchX509Svid(Arc::clone(&self.0));
        Box::pin(async move {
            if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
                return Ok(Status::unimplemented("only FetchX509SVID is served").into_http());
            }
            let codec = ProstCodec::<X509SvidResponse, X509SvidRequest>::default();
            Ok(tonic::server::Grpc::new(codec).server_streaming(fetch, request).await)
        })
    }
}

/// The one method.
struct FetchX509Svid(Shared);

impl Service<Request<X509SvidRequest>> for FetchX509Svid {
    type Response = Response<UnboundedReceiverStream<Update>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<X509SvidRequest>) -> Self::Future {
        let answer = self.open(&request);
        Box::pin(async move { answer })
    }
}

impl FetchX509Svid {
    fn open(
        &self,
        request: &Request<X509SvidRequest>,
    ) -> Result<Response<UnboundedReceiverStream<Update>>, Status> {
        // SPIFFE Workload Endpoint §3: the header proves that no browser or proxy was tricked into asking.
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        let mut state = lock(&self.0);
        state.asked += 1;
        let (sender, receiver) = mpsc::unbounded_channel();
        match &state.answer {
            Answer::Refusal(status) => return Err(status.clone()),
            Answer::Update(update) => drop(sender.send(Ok(update.clone()))),
            Answer::Silence => {}
        }
        state.streams.push(sender);
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }
}
