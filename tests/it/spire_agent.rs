//! The tests' own Workload API is one: the library that chancery reads SPIRE's with reads it, and it asks for what
//! SPIRE's agent asks for.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use spiffe::WorkloadApiClient;
use tonic::Code;

use crate::gateway::wait_for;
use crate::spire::ID;
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

#[tokio::test(flavor = "multi_thread")]
async fn the_spiffe_library_reads_what_the_test_serves() {
    let (authority, foreign) = (Authority::new("example.org"), Authority::new("other.org"));
    let update = X509SvidResponse::of([
        authority.svid(&Leaf::of(ID)),
        authority.intermediate().svid(&Leaf::of("spiffe://example.org/b")).hint("internal"),
    ]);
    let mut agent = Agent::serving(update.federated("other.org", foreign.root().to_vec()));
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let context = client.fetch_x509_context().await.unwrap();
    assert_eq!(context.svids()[0].spiffe_id().to_string(), ID);
    assert_eq!((context.svids()[1].hint(), context.svids()[1].cert_chain().len()), (Some("internal"), 2));
    assert_eq!(context.bundle_set().len(), 2);

    agent.withdraw();
    assert!(client.fetch_x509_context().await.unwrap_err().to_string().contains("no identity"));
    assert_eq!(agent.asked(), 2);
    agent.serve(authority.svid(&Leaf::of(ID)));
    agent.stop();
    assert!(client.fetch_x509_context().await.is_err());
    agent.start();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    assert_eq!(client.fetch_x509_context().await.unwrap().svids().len(), 1);
    wait_for("no stream", || (agent.streams() == 0).then_some(()));
}

/// The status of a call by hand; a refusal stands in the answer's head.
async fn status(agent: &Agent, path: &str, headers: &[(&str, &str)]) -> Option<Code> {
    let stream = tokio::net::UnixStream::connect(agent.socket()).await.unwrap();
    let connecting = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = connecting.await.unwrap();
    tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // One message without fields, not compressed.
    let request = request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_send_the_security_header_gets_nothing() {
    let agent = Agent::serving(Authority::new("example.org").svid(&Leaf::of(ID)));
    let (path, header) = ("/SpiffeWorkloadAPI/FetchX509SVID", "workload.spiffe.io");
    assert_eq!(status(&agent, path, &[]).await, Some(Code::InvalidArgument));
    assert_eq!(status(&agent, path, &[(header, "yes")]).await, Some(Code::InvalidArgument));
    assert_eq!(status(&agent, path, &[(header, "true")]).await, None);
    assert_eq!(agent.asked(), 1);
    let other = "/SpiffeWorkloadAPI/FetchJWTSVID";
    assert_eq!(status(&agent, other, &[(header, "true")]).await, Some(Code::Unimplemented));
}
