//! Strangers at a running gateway: what they can't do to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::gateway::{Gateway, PATIENCE, chancery, demo_server, is_kind, wait_for};
use crate::puppet::{PERMIT_ALL, configured};
use crate::raw::{Client, initialize, send, tcp};

const STRANGERS: usize = 100_000;
const BATCH: usize = 500;

/// Reads `count` responses of a keep-alive connection and hands each head to `each`.
fn read_responses(stream: &mut TcpStream, count: usize, buffer: &mut Vec<u8>, mut each: impl FnMut(&str)) {
    let mut seen = 0;
    let mut chunk = [0; 64 * 1024];
    while seen < count {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if buffer.len() < end + 4 + length {
                break;
            }
            buffer.drain(..end + 4 + length);
            each(&head);
            seen += 1;
            if seen == count {
                return;
            }
        }
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the connection ended after {seen} of {count}");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// Sends `count` requests without evidence on one connection, `BATCH` at a time.
fn knock(authority: &str, count: usize) {
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "POST /mcp/demo HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
    );
    let batch = request.repeat(BATCH);
    let mut buffer = Vec::new();
    for _ in 0..count / BATCH {
        stream.write_all(batch.as_bytes()).unwrap();
        read_responses(&mut stream, BATCH, &mut buffer, |head| {
            assert!(head.starts_with("http/1.1 401"), "{head}");
        });
    }
}

#[test]
fn a_hundred_thousand_strangers_grow_neither_log_nor_memory() {
    let gateway = Gateway::start("refusal_summary: 1s\n");
    let authority = gateway.authority();
    // What a first few connections and the allocator cost is not what is asked.
    knock(&authority, 5_000);
    let settled = |count: u64| {
        let summaries = gateway.records().into_iter().filter(|record| is_kind(record, "refusal-summary"));
        let rows = summaries.flat_map(|record| record["predicate"]["refusals"].as_array().unwrap().clone());
        let total: u64 = rows.map(|row| row["count"].as_u64().unwrap()).sum();
        (total == count).then_some(())
    };
    wait_for("the first summary", || settled(5_000));
    let (records, memory) = (gateway.records().len(), gateway.memory());
    let begin = std::time::Instant::now();
    knock(&authority, STRANGERS);
    wait_for("all of them in summaries", || settled(5_000 + STRANGERS as u64));
    let intervals = begin.elapsed().as_secs() as usize + 2;
    let grown = gateway.records().len() - records;
    assert!(grown <= intervals, "{grown} records in {intervals} intervals");
    let more = gateway.memory().saturating_sub(memory);
    assert!(more < 8 * 1024, "{more} KiB more after {STRANGERS} requests");

    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    let summary = crate::gateway::records(&dir.path().join("log"))
        .into_iter()
        .find(|record| is_kind(record, "refusal-summary"))
        .unwrap();
    let row = &summary["predicate"]["refusals"][0];
    assert_eq!((row["listener"].as_str(), row["reason"].as_str()), (Some("tcp"), Some("no_evidence")));
}

#[test]
fn what_was_refused_in_the_last_interval_is_summed_up_at_the_end() {
    let gateway = Gateway::start("refusal_summary: 1h\n");
    knock(&gateway.authority(), BATCH);
    let (_, said, dir) = gateway.stop();
    let warning = format!("{BATCH} requests were turned away before admission: tcp no_evidence {BATCH}");
    assert_eq!(said.matches(&warning).count(), 1, "{said}");
    assert_eq!(said.matches("turned away").count(), 1, "nothing for each request: {said}");
    let records = crate::gateway::records(&dir.path().join("log"));
    let summaries: Vec<_> = records.iter().filter(|record| is_kind(record, "refusal-summary")).collect();
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0]["predicate"]["refusals"][0]["count"], BATCH);
}

#[test]
fn without_refusals_no_summary_is_written() {
    let (_, _, dir) = Gateway::start("").stop();
    let records = crate::gateway::records(&dir.path().join("log"));
    assert!(!records.iter().any(|record| is_kind(record, "refusal-summary")));
    assert!(is_kind(records.last().unwrap(), "gateway-stop"));
}

#[test]
fn a_bootstrap_secret_is_made_at_the_first_start_and_never_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = Gateway::start("");
    let secret = gateway.dir.path().join("secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&secret).unwrap();
    assert!(gateway.bearer().ends_with(text.trim()));
    let (_, said, _dir) = gateway.stop();
    assert!(said.contains(&format!("made a bootstrap secret in {}", secret.display())), "{said}");
    assert!(!said.contains(text.trim()), "{said}");
}

#[test]
fn strangers_who_hold_every_connection_leave_files_for_the_rest_and_the_other_listener_free() {
    let dir = Gateway::configured("");
    let plain = chancery(dir.path());
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let gateway = Gateway::start_by(limited, dir);
    let authority = gateway.authority();
    let held: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(&authority).unwrap()).collect();
    // Once it has as many as it takes, the others wait in the kernel's queue.
    let mut files = 0;
    wait_for("an end of what it takes", || {
        let before = std::mem::replace(&mut files, gateway.open_files());
        (files > 60 && files == before).then_some(())
    });
    assert!(files < 128, "{files} of 256 files are open");
    let mut local = std::os::unix::net::UnixStream::connect(gateway.dir.path().join("mcp.sock")).unwrap();
    local.set_read_timeout(Some(PATIENCE)).unwrap();
    local.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    local.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
}

#[test]
fn a_secret_past_its_age_is_told_at_the_start_and_admits_nobody_until_it_is_rotated() {
    let dir = configured(&format!("  demo: {}", demo_server()), PERMIT_ALL, "refusal_summary: 1s\n");
    let path = dir.path().join("chancery.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("{ file: secret }", "{ file: secret, max_age: 30d }")).unwrap();
    let secret = dir.path().join("secret");
    let made = chancery(dir.path()).args(["bootstrap", "new"]).arg(&secret).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let month_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(31 * 86_400);
    std::fs::File::options().append(true).open(&secret).unwrap().set_modified(month_ago).unwrap();
    let path = dir.path().to_owned();
    let gateway = Gateway::start_in(dir);
    let told = format!("the bootstrap secret {} is older than", secret.display());
    gateway.says(&[&told, "chancery bootstrap new"]);

    let initialize = initialize("2025-11-25").to_string();
    let post = |bearer: &str| {
        let headers = [
            ("host", "localhost"),
            ("authorization", bearer),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        send(tcp(&gateway), "POST /mcp", &headers, initialize.as_bytes())
    };
    let refused = post(&gateway.bearer());
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
    wait_for("its count", || {
        let records = gateway.records();
        let rows = records.iter().filter(|record| is_kind(record, "refusal-summary"));
        let mut rows = rows.flat_map(|record| record["predicate"]["refusals"].as_array().unwrap());
        rows.any(|row| row["reason"] == "secret_too_old").then_some(())
    });
    let output = chancery(&path).args(["bootstrap", "new"]).arg(&secret).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(post(&gateway.bearer()).status, 200);
    assert_eq!(gateway.said().matches(&told).count(), 1, "once");
}

#[test]
fn after_a_restart_no_token_of_before_opens_anything_and_the_secret_opens_one_session() {
    let dir = configured(&format!("  demo: {}", demo_server()), PERMIT_ALL, "");
    let gateway = Gateway::start_in(dir);
    let before = Client::open(&gateway, "/mcp", "2025-11-25").session;
    let gateway = Gateway::start_in(gateway.kill());
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let headers: Vec<_> = client
        .headers()
        .into_iter()
        .map(|(name, value)| (name, if name == "mcp-session-id" { before.as_str() } else { value }))
        .collect();
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(send(tcp(&gateway), "POST /mcp", &headers, body).status, 404);
    assert_eq!(client.post(body).status, 200);
}
