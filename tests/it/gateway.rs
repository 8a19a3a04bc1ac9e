//! A running `chancery serve` for tests: its own directory, its own state, a real tool server behind it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::leaks::{self, Place};
use crate::support::otlp::Mailbox;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test, with its state below `home`.
pub(crate) fn chancery(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env("HOME", home).env("XDG_STATE_HOME", home.join("state")).env("NO_COLOR", "1");
    let ours = ["CHANCERY_LOG", "SPIFFE_ENDPOINT_SOCKET"];
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") || ours.contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command of the tool server that the binary brings along, as YAML.
pub(crate) fn demo_server() -> String {
    format!("{{ command: \"{}\", args: [demo-server] }}", env!("CARGO_BIN_EXE_chancery"))
}

/// Waits until `condition` yields something; polls, because what is waited for is another process's.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A gateway that serves.
pub(crate) struct Gateway {
    /// Its directory: configuration, secret, log.
    pub(crate) dir: TempDir,
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    telemetry: Mailbox,
    /// What reaches the tool servers, where they write it down.
    upstream: Vec<fs::File>,
    searched: bool,
}

impl Gateway {
    /// Starts one with `extra` lines of configuration and waits until it listens.
    pub(crate) fn start(extra: &str) -> Self {
        Self::start_in(Self::configured(extra))
    }

    /// A directory with a configuration that has `extra` lines.
    pub(crate) fn configured(extra: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "listen: {{ tcp: \"127.0.0.1:0\", unix: mcp.sock, address_file: addresses }}\nservers:\n  demo: {}\n\
             admission: {{ bootstrap: {{ file: secret }}, peer: {{}} }}\nlog: {{ dir: log }}\n{extra}",
            demo_server()
        );
        fs::write(dir.path().join("chancery.yaml"), text).unwrap();
        dir
    }

    /// Starts one on the configuration in `dir`.
    pub(crate) fn start_in(dir: TempDir) -> Self {
        let command = chancery(dir.path());
        Self::start_by(command, dir)
    }

    /// The same by a `command` of one's own, to which the arguments are added.
    pub(crate) fn start_by(mut command: Command, dir: TempDir) -> Self {
        // One that was killed may have left it behind.
        fs::remove_file(dir.path().join("addresses")).ok();
        let telemetry = Mailbox::open();
        if !command
            .get_envs()
            .any(|(name, value)| value.is_some() && name.to_string_lossy().starts_with("OTEL_"))
        {
            // Soon: most gateways here are killed, not asked to end.
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", telemetry.endpoint())
                .env("OTEL_BSP_SCHEDULE_DELAY", "20");
            command.env("NO_PROXY", "127.0.0.1");
        }
        let upstream = recordings(&dir.path().join("chancery.yaml"));
        let mut child = command.args(["serve", "-c"]).arg(dir.path().join("chancery.yaml")).spawn().unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let text = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                text.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let mut gateway =
            Self { dir, child, said, reader: Some(reader), telemetry, upstream, searched: false };
        let addresses = gateway.dir.path().join("addresses");
        wait_for("the address file", || {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                gateway.reader.take().unwrap().join().unwrap();
                panic!("it ended: {status}\n{}", gateway.said());
            }
            addresses.exists().then_some(())
        });
        gateway
    }

    /// `host:port` of the TCP listener.
    pub(crate) fn authority(&self) -> String {
        let addresses = fs::read_to_string(self.dir.path().join("addresses")).unwrap();
        let http = addresses.lines().find_map(|line| line.strip_prefix("http://")).unwrap();
        http.split('/').next().unwrap().to_owned()
    }

    /// The `Authorization` value that admits.
    pub(crate) fn bearer(&self) -> String {
        let secret = fs::read_to_string(self.dir.path().join("secret")).unwrap();
        leaks::credential(secret.trim());
        format!("Bearer {}", secret.trim())
    }

    /// Every record's payload, as far as it is written.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        records(&self.dir.path().join("log"))
    }

    /// The id of the key that signed each record, as far as it is written.
    pub(crate) fn signers(&self) -> Vec<String> {
        let keyid =
            |envelope: &serde_json::Value| envelope["signatures"][0]["keyid"].as_str().unwrap().to_owned();
        envelopes(&self.dir.path().join("log")).iter().map(keyid).collect()
    }

    /// How many requests a listener turned away for a reason, by the summaries so far.
    pub(crate) fn turned_away(&self, listener: &str, reason: &str) -> u64 {
        let records = self.records();
        let summaries = records.iter().filter(|record| is_kind(record, "refusal-summary"));
        let rows = summaries.flat_map(|record| record["predicate"]["refusals"].as_array().unwrap());
        let rows = rows.filter(|row| row["listener"] == listener && row["reason"] == reason);
        rows.map(|row| row["count"].as_u64().unwrap()).sum()
    }

    /// What it has said on stderr.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said all of `parts`: its words come by a pipe, later than what it does.
    pub(crate) fn says(&self, parts: &[&str]) -> String {
        wait_for(&parts.join(", "), || {
            let said = self.said();
            parts.iter().all(|part| said.contains(part)).then_some(said)
        })
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// The processes that it has started and that have not ended.
    pub(crate) fn children(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = ids.filter(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
            fields.next().is_some_and(|state| state != "Z") && fields.next() == Some(parent.as_str())
        });
        ours.collect()
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Kills it, as by SIGKILL, and returns its directory.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.search();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Asks it to end, waits, and returns its exit code and what it said.
    pub(crate) fn stop(mut self) -> (Option<i32>, String, TempDir) {
        self.signal("TERM");
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let said = self.said();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "nothing is printed");
        self.search();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (status.code(), said, dir)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.said());
        } else {
            self.search();
        }
    }
}

impl Gateway {
    /// Fails if a token, a secret or an argument's value stands in anything that the gateway leaves behind, or a token or
    /// a secret in what its tool servers were sent. Every gateway of every test ends with this.
    fn search(&mut self) {
        use std::io::Seek as _;
        if std::mem::replace(&mut self.searched, true) {
            return;
        }
        leaks::search_files(self.dir.path()).unwrap_or_else(|leak| panic!("{leak}"));
        let telemetry = leaks::find(&self.telemetry.received(), Place::Trace);
        assert_eq!(telemetry, None, "in what was exported");
        assert_eq!(leaks::find(self.said().as_bytes(), Place::Trace), None, "in what the gateway said");
        for recording in &mut self.upstream {
            let mut sent = Vec::new();
            recording.rewind().and_then(|()| recording.read_to_end(&mut sent)).unwrap();
            assert_eq!(leaks::find(&sent, Place::Upstream), None, "in what a tool server was sent");
        }
    }
}

/// The files in which tool servers of this configuration write down what they are sent. Opened before anything starts:
/// a test may have removed them by the time they are searched.
fn recordings(config: &Path) -> Vec<fs::File> {
    let text = fs::read_to_string(config).unwrap();
    let mut words = text.split([' ', ',', '"', '[', ']']).filter(|word| !word.is_empty());
    let mut files = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word, "--record" | "--record-headers" | "tee") {
            let path = words.by_ref().find(|word| *word != "-a").unwrap();
            files.push(fs::File::options().create(true).append(true).read(true).open(path).unwrap());
        }
    }
    files
}

/// Every record's payload in a log directory.
pub(crate) fn records(log: &Path) -> Vec<serde_json::Value> {
    use base64::Engine as _;
    let payload = |envelope: &serde_json::Value| {
        let payload = envelope["payload"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
    };
    envelopes(log).iter().map(payload).collect()
}

/// Every record's envelope in a log directory; a line that is being written is left out.
fn envelopes(log: &Path) -> Vec<serde_json::Value> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(log.join("records")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let lines: Vec<String> = texts
        .flat_map(|text| {
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether a record is of this kind.
pub(crate) fn is_kind(record: &serde_json::Value, kind: &str) -> bool {
    record["predicateType"] == format!("urn:chancery:attestation:{kind}:v1")
}
