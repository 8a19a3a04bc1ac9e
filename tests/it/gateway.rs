//! A running `chancery serve` for tests: its own directory, its own state, a real tool server behind it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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
    stderr: Option<std::thread::JoinHandle<String>>,
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
        let mut child = command.args(["serve", "-c"]).arg(dir.path().join("chancery.yaml")).spawn().unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                text.push_str(&line);
                line.clear();
            }
            text
        });
        let mut gateway = Self { dir, child, stderr: Some(stderr) };
        let addresses = gateway.dir.path().join("addresses");
        wait_for("the address file", || {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("it ended: {status}\n{}", gateway.stderr.take().unwrap().join().unwrap());
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
        format!("Bearer {}", fs::read_to_string(self.dir.path().join("secret")).unwrap().trim())
    }

    /// Every record's payload, as far as it is written.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        records(&self.dir.path().join("log"))
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
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

    /// Asks it to end, waits, and returns its exit code and what it said.
    pub(crate) fn stop(mut self) -> (Option<i32>, String, TempDir) {
        self.signal("TERM");
        let status = wait_for("its end", || self.child.try_wait().unwrap());
        let said = self.stderr.take().unwrap().join().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "", "nothing is printed");
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (status.code(), said, dir)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Every record's payload in a log directory.
pub(crate) fn records(log: &Path) -> Vec<serde_json::Value> {
    use base64::Engine as _;
    let mut files: Vec<PathBuf> =
        fs::read_dir(log.join("records")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let payload = |line: &String| {
        let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
        let payload = envelope["payload"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
    };
    lines.iter().map(payload).collect()
}

/// Whether a record is of this kind.
pub(crate) fn is_kind(record: &serde_json::Value, kind: &str) -> bool {
    record["predicateType"] == format!("urn:chancery:attestation:{kind}:v1")
}
