//! The two processes under test, and what they need on disk.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Address, Target};

const CHANCERY: &str = env!("CARGO_BIN_EXE_chancery");

const POLICIES: &str = r#"
@id("local")
permit (principal, action, resource);

@id("no-writing")
@reason("this bench does not write")
forbid (principal, action == Mcp::Action::"demo/write_file", resource);

@id("small-sums")
forbid (principal, action == Mcp::Action::"demo/add", resource) when { context.input.a > 1000000000 };
"#;

/// A running tool server, and a running gateway before it.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    server: Process,
    gateway: Process,
    direct: Target,
    tcp: Target,
}

/// A child that does not outlive us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Stage {
    /// Starts both and waits until they can be reached.
    pub(crate) fn set(durability: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new(CHANCERY)
            .args(["demo-server", "--http", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .map(Process)
            .expect("the demo server starts");
        let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
        let url =
            lines.find_map(|line| line.ok().filter(|l| l.starts_with("http://"))).expect("the server's URL");
        // Keep its stderr flowing.
        std::thread::spawn(move || lines.for_each(drop));

        let config = format!(
            "listen:\n  tcp: \"127.0.0.1:0\"\n  unix: ./chancery.sock\n  address_file: ./addresses\n\
             servers:\n  demo:\n    url: \"{url}\"\n\
             policies: ./policies.cedar\n\
             log:\n  dir: ./log\n  durability: {durability}\n\
             identity:\n  local:\n    dir: ./identity\n\
             admission:\n  peer: {{}}\n  bootstrap:\n    file: ./bootstrap.secret\n\
             state_dir: ./state\n"
        );
        fs::write(dir.path().join("policies.cedar"), POLICIES).unwrap();
        fs::write(dir.path().join("chancery.yaml"), config).unwrap();
        let gateway = Command::new(CHANCERY)
            .args(["serve", "-c", "chancery.yaml"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .map(Process)
            .expect("the gateway starts");
        let mut stage = Self { direct: target(&url, None), tcp: target(&url, None), dir, server, gateway };
        stage.wait_for_gateway();
        stage
    }

    fn wait_for_gateway(&mut self) {
        let (addresses, since) = (self.dir.path().join("addresses"), Instant::now());
        let listed = loop {
            let ended = self.gateway.0.try_wait().unwrap();
            if ended.is_some() || since.elapsed() > Duration::from_secs(30) {
                let said = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
                panic!("the gateway did not start: {said}");
            }
            match fs::read_to_string(&addresses) {
                Ok(listed) if listed.contains("http://") => break listed,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let url = listed.lines().find(|line| line.starts_with("http://")).unwrap();
        let secret = fs::read_to_string(self.dir.path().join("bootstrap.secret")).unwrap();
        self.tcp = target(url, Some(format!("Bearer {}", secret.trim())));
    }

    /// The tool server itself.
    pub(crate) fn direct(&self) -> Target {
        self.direct.clone()
    }

    /// The gateway over TCP, admitted by the bootstrap secret: one session at a time.
    pub(crate) fn tcp(&self) -> Target {
        self.tcp.clone()
    }

    /// The gateway over its Unix socket, admitted by the kernel's word on this process.
    pub(crate) fn unix(&self) -> Target {
        let socket: PathBuf = self.dir.path().join("chancery.sock");
        Target { address: Address::Unix(socket), path: self.tcp.path.clone(), authorization: None }
    }

    /// What is measured.
    pub(crate) fn describe(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("{} on {cores} cores", Path::new(CHANCERY).display())
    }

    /// CPU time that the gateway has taken so far: user and system, in the kernel's ticks of 10 ms.
    pub(crate) fn gateway_cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.gateway.0.id())).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 of proc_pid_stat(5); the first one here is field 3.
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Ends both; the gateway in order, so that what it says at its end is not lost.
    pub(crate) fn strike(mut self) {
        let pid = i32::try_from(self.gateway.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
        let status = self.gateway.0.wait().unwrap();
        assert!(status.success(), "the gateway ended with {status}");
        drop(self.server);
    }
}

/// A URL of the form `http://host:port/path`.
fn target(url: &str, authorization: Option<String>) -> Target {
    let rest = url.trim().strip_prefix("http://").expect("a URL");
    let (address, path) = rest.split_once('/').expect("a path");
    Target { address: Address::Tcp(address.parse().unwrap()), path: format!("/{path}"), authorization }
}
