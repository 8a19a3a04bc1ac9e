//! The test's own Workload API, read by the library that chancery reads SPIRE's with.

use spiffe::WorkloadApiClient;

use crate::gateway::wait_for;
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

const ID: &str = "spiffe://example.org/chancery";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_spiffe_crate_reads_what_the_test_serves() {
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
