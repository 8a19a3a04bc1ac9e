//! Spans of the real binary arrive at a receiver; without one, calls don't notice.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_chancery");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SECRET_ARGUMENT: &str = "an argument that no span may hold";

/// An OTLP/HTTP receiver in this process.
pub(crate) struct Receiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<Metric>>>,
    raw: Arc<Mutex<Vec<u8>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Receiver {
    /// Its base URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The latest value of a counter's point that has all these labels.
    pub(crate) fn counted(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        let metrics = self.metrics.lock().unwrap();
        let points = metrics.iter().rev().filter(|metric| metric.name == name).filter_map(|metric| {
            match &metric.data {
                Some(Data::Sum(sum)) => Some(&sum.data_points),
                _ => None,
            }
        });
        let fits = |point: &&NumberDataPoint| {
            labels.iter().all(|(key, value)| {
                let found = point.attributes.iter().find(|attribute| attribute.key == *key);
                let found = found.and_then(|attribute| attribute.value.as_ref()?.value.clone());
                found == Some(any_value::Value::StringValue((*value).to_owned()))
            })
        };
        let point = points.flatten().find(fits)?;
        match point.value {
            Some(number_data_point::Value::AsInt(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let metrics = Arc::new(Mutex::new(Vec::new()));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let kept = (Arc::clone(&spans), Arc::clone(&metrics), Arc::clone(&raw));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| receive(request, kept.clone()));
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _peer_left = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, spans, metrics, raw, _runtime: runtime }
    }
}

type Kept = (Arc<Mutex<Vec<Span>>>, Arc<Mutex<Vec<Metric>>>, Arc<Mutex<Vec<u8>>>);

async fn receive(request: Request<Incoming>, kept: Kept) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    kept.2.lock().unwrap().extend_from_slice(&body);
    match path.as_str() {
        "/v1/traces" => {
            let export = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            kept.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        }
        "/v1/metrics" => {
            let export = ExportMetricsServiceRequest::decode(body).unwrap();
            let scopes = export.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            kept.1.lock().unwrap().extend(scopes.flat_map(|scope| scope.metrics));
        }
        other => panic!("the exporter posted to {other}"),
    }
    Ok(Response::new(Full::new(Bytes::new())))
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = &span.attributes.iter().find(|kv| kv.key == key)?.value;
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `chancery run` around the demo server, spoken to line by line.
struct Gateway {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Gateway {
    fn start(home: &Path, endpoint: &str) -> Self {
        let policies = home.join("policies");
        std::fs::create_dir_all(&policies).unwrap();
        let text = r#"
            @id("all") permit (principal, action, resource);
            @id("no-sums") @reason("no sums today") forbid (principal, action == Mcp::Action::"demo/add", resource);
        "#;
        std::fs::write(policies.join("test.cedar"), text).unwrap();
        let mut command = Command::new(BINARY);
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "SPIFFE_ENDPOINT_SOCKET",
        ] {
            command.env_remove(name);
        }
        let mut child = command
            .env("XDG_STATE_HOME", home.join("state"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .args(["run", "--name", "demo", "--policies"])
            .arg(&policies)
            .arg("--log")
            .arg(home.join("log"))
            .args(["--", BINARY, "demo-server", "--record"])
            .arg(home.join("record"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(home.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut gateway = Self { child, input, output };
        let opened = gateway.ask(&json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
            },
        }));
        assert!(opened.get("result").is_some(), "{opened}");
        gateway.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        gateway
    }

    fn tell(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, message: &Value) -> Value {
        self.tell(message);
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the gateway closed its stdout");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer.get("id") == message.get("id") && answer.get("method").is_none() {
                return answer;
            }
        }
    }

    fn call(&mut self, id: u64, tool: &str, arguments: &Value) -> Value {
        self.ask(&json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {
                "name": tool, "arguments": arguments,
                "_meta": { "traceparent": format!("00-{TRACE}-{PARENT}-01") },
            },
        }))
    }

    fn finish(mut self) -> ExitStatus {
        drop(self.input.take());
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

#[test]
fn a_span_per_call_with_its_decision_arrives_at_the_receiver() {
    let home = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let mut gateway = Gateway::start(home.path(), &format!("http://{}", receiver.address));
    let allowed = gateway.call(1, "echo", &json!({ "message": SECRET_ARGUMENT }));
    assert!(allowed.get("result").is_some(), "{allowed}");
    let denied = gateway.call(2, "add", &json!({ "a": 1, "b": 2 }));
    assert_eq!(denied["error"]["code"], 403, "{denied}");
    assert!(gateway.finish().success());

    let spans = receiver.spans.lock().unwrap();
    let find = |name: &str| {
        let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} among {:?}", spans.iter().map(|s| &s.name).collect::<Vec<_>>());
        found[0]
    };
    let (echo, add) = (find("tools/call echo"), find("tools/call add"));
    for (span, effect, policy) in [(echo, "allow", "all"), (add, "deny", "no-sums")] {
        assert_eq!(span.kind(), SpanKind::Server);
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert_eq!(attribute(span, "chancery.decision.effect").as_deref(), Some(effect));
        assert!(attribute(span, "chancery.decision.policies").unwrap().contains(policy));
        assert_eq!(attribute(span, "mcp.method.name").as_deref(), Some("tools/call"));
        assert_eq!(attribute(span, "mcp.protocol.version").as_deref(), Some("2025-11-25"));
        assert_eq!(attribute(span, "network.transport").as_deref(), Some("pipe"));
        assert_eq!(attribute(span, "chancery.attestation.digest").unwrap().len(), 64);
    }
    assert_eq!(
        attribute(add, "chancery.attestation.digest").as_deref(),
        denied["error"]["data"]["attestation"].as_str()
    );
    for child in ["policy.evaluate", "attest.append", "upstream"] {
        let has = spans.iter().any(|span| span.name == child && span.parent_span_id == echo.span_id);
        assert!(has, "the call's span has no child {child}");
    }

    // The server's view: the same trace, and the gateway's span in the place of the sender's.
    let record = std::fs::read_to_string(home.path().join("record")).unwrap();
    let forwarded = record.lines().find(|line| line.contains("\"echo\"")).unwrap();
    let forwarded: Value = serde_json::from_str(forwarded).unwrap();
    let traceparent = forwarded["params"]["_meta"]["traceparent"].as_str().unwrap().to_owned();
    let ours =
        spans.iter().filter(|span| span.span_id == echo.span_id || span.parent_span_id == echo.span_id);
    let possible: Vec<String> = ours.map(|span| format!("00-{TRACE}-{}-01", hex(&span.span_id))).collect();
    assert!(possible.contains(&traceparent), "{traceparent} is none of {possible:?}");
    assert!(!record.contains("\"add\""), "the denied call reached the server");

    let metrics = receiver.metrics.lock().unwrap();
    for name in ["chancery.decisions", "chancery.policy.evaluation.duration", "mcp.server.operation.duration"]
    {
        assert!(metrics.iter().any(|metric| metric.name == name), "no metric {name}");
    }
    let raw = receiver.raw.lock().unwrap();
    for secret in [SECRET_ARGUMENT, "eyJ"] {
        assert!(
            !raw.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "telemetry holds {secret}"
        );
    }
}

/// A process that dies with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn over_http_the_trace_comes_in_by_header_and_goes_on_by_header() {
    let home = tempfile::tempdir().unwrap();
    let headers = home.path().join("headers");
    let receiver = Receiver::start();
    let mut server = Command::new(BINARY);
    server.args(["demo-server", "--http", "127.0.0.1:0", "--record-headers"]).arg(&headers);
    let mut server = Killed(server.stderr(Stdio::piped()).spawn().unwrap());
    let mut url = String::new();
    BufReader::new(server.0.stderr.take().unwrap()).read_line(&mut url).unwrap();
    std::fs::write(home.path().join("all.cedar"), r#"@id("all") permit (principal, action, resource);"#)
        .unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers: {{ demo: {{ url: \"{}\" }} }}\n\
         admission: {{ bootstrap: {{ file: secret }} }}\nlog: {{ dir: log }}\npolicies: all.cedar\n\
         telemetry: {{ otlp_endpoint: \"http://{}\" }}\n",
        url.trim(),
        receiver.address
    );
    std::fs::write(home.path().join("chancery.yaml"), text).unwrap();
    let gateway = crate::gateway::Gateway::start_in(home);
    let client = crate::raw::Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let sent = format!("00-{TRACE}-{PARENT}-01");
    let (bearer, session) = (gateway.bearer(), client.session.clone());
    let mut with_trace = client.headers();
    with_trace.push(("traceparent", &sent));
    let body =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}"#;
    let answer =
        crate::raw::send(crate::raw::tcp(&gateway), "POST /mcp/demo", &with_trace, body.as_bytes()).message();
    assert!(answer.get("result").is_some(), "{answer}");
    drop(with_trace);
    let (code, said, _home) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");

    let spans = receiver.spans.lock().unwrap();
    let call = spans.iter().find(|span| span.name == "tools/call add").unwrap();
    assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(attribute(call, "network.transport").as_deref(), Some("tcp"));
    let record = std::fs::read_to_string(&headers).unwrap();
    let ours =
        spans.iter().filter(|span| span.span_id == call.span_id || span.parent_span_id == call.span_id);
    let possible: Vec<String> =
        ours.map(|span| format!("traceparent: 00-{TRACE}-{}-01", hex(&span.span_id))).collect();
    assert!(record.lines().any(|line| possible.iter().any(|p| p == line)), "{record}\n{possible:?}");
    for secret in [bearer.trim_start_matches("Bearer "), &session, "eyJ", "authorization"] {
        assert!(!record.contains(secret), "the tool server was sent {secret}");
        assert!(!said.contains(secret), "the log on stderr holds {secret}");
    }
}

#[test]
fn with_the_receiver_dead_calls_do_not_notice() {
    let home = tempfile::tempdir().unwrap();
    // Bound, so that nobody else is there, and given back: connections are refused.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = Gateway::start(home.path(), &format!("http://{address}"));
    for id in 1..=20 {
        let answer = gateway.call(id, "echo", &json!({ "message": "hello" }));
        assert!(answer.get("result").is_some(), "{answer}");
    }
    let begun = Instant::now();
    assert!(gateway.finish().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "the end took {:?}", begun.elapsed());
}
