//! Tool servers that demand SPIFFE mTLS: each side shows its own SVID and asks for the other's. The TLS in front of
//! the tool server is made by the same type that the gateway's own listeners use.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use chancery::identity::Peers;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, wait_for};
use crate::puppet::{PERMIT_ALL, configured};
use crate::raw::Client;
use crate::spire::{ID, kid_of, leaf_of, workload};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

const TOOLS: &str = "spiffe://example.org/tools";

/// What a gateway's handshakes looked like from the server's side.
#[derive(Debug, Default)]
struct Seen {
    /// The client's leaf of each handshake that held.
    leaves: Vec<Vec<u8>>,
    /// What was wrong with the others.
    refused: Vec<String>,
}

/// A real tool server with TLS in front of it.
struct Protected {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    cut: Arc<Mutex<CancellationToken>>,
    server: Child,
    _runtime: Runtime,
    _dir: TempDir,
}

impl Drop for Protected {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

impl Protected {
    /// With the SVID that `agent` hands out, for clients that are among `clients`.
    fn start(agent: &Agent, clients: Peers) -> Self {
        let (server, behind) = tool_server();
        let dir = tempfile::tempdir().unwrap();
        let (identity, runtime) = workload(agent, dir.path());
        // What follows needs the runtime: the material is watched on it.
        let _entered = runtime.enter();
        let tls = Arc::new(identity.tls().unwrap().server(&clients).unwrap());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let (noted, cuts) = (Arc::clone(&seen), Arc::clone(&cut));
        runtime.spawn(async move {
            // Held, as the stream of SVIDs ends with it.
            let _identity = identity;
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, noted) = (Arc::clone(&tls), Arc::clone(&noted));
                let cut = cuts.lock().unwrap().clone();
                tokio::spawn(cut.run_until_cancelled_owned(forward(stream, tls, behind, noted)));
            }
        });
        Self { address, seen, cut, server, _runtime: runtime, _dir: dir }
    }

    fn url(&self) -> String {
        format!("https://{}/mcp", self.address)
    }

    /// Cuts all connections, so that the next request makes a handshake.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().leaves.clone()
    }

    fn refused(&self) -> Vec<String> {
        self.seen.lock().unwrap().refused.clone()
    }
}

/// Ends TLS, notes who came, and hands the bytes to the tool server.
async fn forward(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    behind: SocketAddr,
    noted: Arc<Mutex<Seen>>,
) {
    let mut stream = match TlsAcceptor::from(tls).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return noted.lock().unwrap().refused.push(error.to_string()),
    };
    let leaf = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().to_vec();
    noted.lock().unwrap().leaves.push(leaf);
    let mut server = TcpStream::connect(behind).await.unwrap();
    tokio::io::copy_bidirectional(&mut stream, &mut server).await.ok();
}

/// The demo's tools over plain HTTP, and where.
fn tool_server() -> (Child, SocketAddr) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["demo-server", "--http"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    (server, address.unwrap_or_else(|| panic!("{line}")).parse().unwrap())
}

/// A gateway with the identity that `agent` gives, in front of `server`, which must be `id`.
fn gateway(agent: &Agent, server: &Protected, id: &str) -> Gateway {
    let (socket, url) = (agent.endpoint(), server.url());
    let servers = format!("  far: {{ url: \"{url}\", spiffe_id: \"{id}\" }}");
    let identity = format!("identity: {{ spire: {{ socket: \"{socket}\" }}, publish_ahead: 1s }}");
    Gateway::start_in(configured(&servers, PERMIT_ALL, &identity))
}

/// An agent that hands out one SVID of `id`.
fn agent(authority: &Authority, id: &str) -> Agent {
    Agent::serving(authority.svid(&Leaf::of(id)))
}

#[test]
fn a_tool_server_that_demands_mtls_sees_the_gateways_svid_and_after_a_rotation_the_new_one() {
    let authority = Authority::new("example.org");
    let (first, second) = (authority.svid(&Leaf::of(ID)), authority.svid(&Leaf::of(ID)));
    let (ours, theirs) = (Agent::serving(first.clone()), agent(&authority, TOOLS));
    let server = Protected::start(&theirs, Peers::Exactly(vec![ID.parse().unwrap()]));
    let gateway = gateway(&ours, &server, TOOLS);
    let client = Client::open(&gateway, "/mcp/far", "2025-11-25");
    let sum = || {
        let answer = client.call(1, "add", r#"{"a":1,"b":2}"#);
        (answer.status == 200 && answer.message()["result"]["content"][0]["text"] == "3").then_some(())
    };
    sum().unwrap();
    assert!(server.leaves().iter().all(|leaf| *leaf == leaf_of(&first)), "another certificate was shown");

    ours.serve(second.clone());
    wait_for("a handshake with the new SVID", || {
        server.cut();
        sum();
        server.leaves().last().filter(|leaf| **leaf == leaf_of(&second)).map(drop)
    });
    wait_for("a call after it", sum);
    assert!(server.refused().is_empty(), "{:?}", server.refused());
}

#[test]
fn an_authority_that_is_revoked_while_a_tool_server_is_waited_for_signs_nothing() {
    let (old, new) = (Authority::new("example.org"), Authority::new("example.org"));
    let (ours, next) = (agent(&old, ID), new.svid(&Leaf::of(ID)));
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (socket, url) = (ours.endpoint(), format!("https://{}/mcp", silent.local_addr().unwrap()));
    let servers = format!("  far: {{ url: \"{url}\", spiffe_id: \"{TOOLS}\" }}");
    let more = format!("identity: {{ spire: {{ socket: \"{socket}\" }} }}\nlimits: {{ handshake: 3s }}");
    let gateway = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let waiting = silent.accept().unwrap();
            ours.serve(next.clone());
            waiting
        });
        let gateway = Gateway::start_in(configured(&servers, PERMIT_ALL, &more));
        waiting.join().unwrap();
        gateway
    });
    assert!(gateway.signers().iter().all(|signer| *signer == kid_of(&next)), "{:?}", gateway.signers());
}

#[test]
fn a_tool_server_with_another_spiffe_id_gets_no_byte_of_a_request() {
    let authority = Authority::new("example.org");
    let (ours, theirs) = (agent(&authority, ID), agent(&authority, "spiffe://example.org/impostor"));
    let server = Protected::start(&theirs, Peers::TrustDomains(vec!["example.org".to_owned()]));
    let gateway = gateway(&ours, &server, TOOLS);
    let said = wait_for("the refusal in the log", || {
        Some(gateway.said()).filter(|said| said.contains("spiffe://example.org/impostor"))
    });
    assert!(said.contains("far"), "{said}");
    assert!(!server.refused().is_empty() && server.leaves().is_empty(), "{:?}", server.seen.lock().unwrap());
}

#[test]
fn a_tool_server_of_another_trust_domain_or_of_a_false_authority_is_refused() {
    let (authority, other) = (Authority::new("example.org"), Authority::new("example.net"));
    let forger = Authority::new("example.org");
    let ours = agent(&authority, ID);
    // The other side believes ours, so that only we can refuse.
    let foreign = X509SvidResponse::from(other.svid(&Leaf::of("spiffe://example.net/tools")));
    let foreign = foreign.federated("example.org", authority.root().to_vec());
    let forged = forger.svid(&Leaf::of(TOOLS)).bundle(&[forger.root(), authority.root()]);
    for (id, update) in [("spiffe://example.net/tools", foreign), (TOOLS, forged.into())] {
        let theirs = Agent::serving(update);
        let server = Protected::start(&theirs, Peers::TrustDomains(vec!["example.org".to_owned()]));
        let gateway = gateway(&ours, &server, id);
        wait_for("the refusal", || (!server.refused().is_empty()).then_some(()));
        assert!(server.leaves().is_empty(), "{id}");
        drop(gateway);
    }
}

#[test]
fn a_listener_lets_in_only_the_clients_that_it_names() {
    let authority = Authority::new("example.org");
    let (ours, theirs) = (agent(&authority, ID), agent(&authority, TOOLS));
    let server =
        Protected::start(&theirs, Peers::Exactly(vec!["spiffe://example.org/agent".parse().unwrap()]));
    let gateway = gateway(&ours, &server, TOOLS);
    let refused = wait_for("the refusal", || server.refused().first().cloned());
    assert!(refused.contains(ID), "{refused}");
    assert!(server.leaves().is_empty());
    drop(gateway);
}
