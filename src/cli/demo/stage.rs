//! The directory of a demonstration, and the gateway that runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use miette::miette;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::DemoError;
use crate::cli::Failure;
use crate::domain::secret::Secret;

const POLICIES: &str = include_str!("policies.cedar");
const PLANS: &str = "nobody outside is to change this\n";
/// How long the gateway may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);

/// A prepared directory: files for the tool server, policies, a configuration.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
    program: PathBuf,
}

impl Stage {
    /// Writes everything that the gateway needs.
    pub(super) fn prepare(dir: Option<PathBuf>) -> Result<Self, Failure> {
        let dir = dir.unwrap_or_else(fresh);
        let help = "choose a new directory with --dir";
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::misuse(miette!(help = help, "{} is not empty", dir.display())));
        }
        let program = std::env::current_exe();
        let stage = program.and_then(|program| Self { dir, program }.written());
        stage.map_err(|error| {
            Failure::misuse(miette!(help = help, "can't prepare the demonstration: {error}"))
        })
    }

    fn written(mut self) -> std::io::Result<Self> {
        for part in ["files/notes", "files/private", "policies"] {
            fs::create_dir_all(self.dir.join(part))?;
        }
        self.dir = self.dir.canonicalize()?;
        fs::write(self.dir.join("files/welcome.md"), "Welcome.\n")?;
        fs::write(self.dir.join("files/private/plans.md"), PLANS)?;
        fs::write(self.dir.join("policies/demo.cedar"), POLICIES)?;
        let configuration = serde_json::json!({
            "listen": { "tcp": "127.0.0.1:0", "address_file": self.dir.join("address") },
            "servers": { "files": { "command": self.program, "args": self.server_arguments() } },
            "policies": self.dir.join("policies"),
            "log": { "dir": self.log() },
            "identity": { "local": { "dir": self.dir.join("identity") } },
            "admission": { "bootstrap": { "file": self.dir.join("bootstrap.secret") } },
            "state_dir": self.dir.join("state"),
        });
        // JSON is YAML.
        fs::write(self.configuration(), format!("{configuration:#}\n"))?;
        Ok(self)
    }

    fn server_arguments(&self) -> [String; 3] {
        ["demo-server".to_owned(), "--root".to_owned(), self.dir.join("files").display().to_string()]
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The attestation log.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.dir.join("chancery.yaml")
    }

    /// The command line's program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the gateway and waits until it serves.
    pub(super) async fn start(&self) -> Result<Gateway, DemoError> {
        let words = fs::File::create(self.dir.join("gateway.log"))?;
        let child = Command::new(&self.program)
            .args(["serve", "-c"])
            .arg(self.configuration())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .kill_on_drop(true)
            .spawn()?;
        let mut gateway = Gateway { child, url: String::new(), secret: Secret::new(String::new()) };
        let begun = Instant::now();
        gateway.url = loop {
            if let Some(status) = gateway.child.try_wait()? {
                let words = fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default();
                return Err(DemoError::Said(format!("the gateway ended with {status}:\n{words}")));
            }
            let address = fs::read_to_string(self.dir.join("address")).unwrap_or_default();
            if let Some(url) = address.lines().find(|line| line.starts_with("http://")) {
                break url.to_owned();
            }
            if begun.elapsed() > PATIENCE {
                return Err(DemoError::Said("the gateway did not start in time".into()));
            }
            tokio::time::sleep(POLL).await;
        };
        let secret = fs::read_to_string(self.dir.join("bootstrap.secret"))?;
        gateway.secret = Secret::new(secret.trim().to_owned());
        Ok(gateway)
    }

    /// What is not as it was on the server's disk although the policies forbid to change it.
    pub(super) fn untouched(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let files = self.dir.join("files");
        if fs::read_to_string(files.join("private/plans.md")).ok().as_deref() != Some(PLANS) {
            wrong.push("private/plans.md was changed although the policies forbid it".to_owned());
        }
        if !files.join("welcome.md").exists() {
            wrong.push("files were deleted although no policy permits it".to_owned());
        }
        if fs::read_to_string(files.join("notes/today.md")).ok().as_deref() != Some(super::play::NOTE) {
            wrong.push("notes/today.md was not written although the policies permit it".to_owned());
        }
        wrong
    }

    /// One line of JSON for a client that speaks stdio.
    pub(super) fn client_configuration(&self) -> String {
        let mut arguments: Vec<String> = ["run", "--name", "files", "--policies"].map(str::to_owned).into();
        arguments.push(self.dir.join("policies").display().to_string());
        arguments.push("--".to_owned());
        arguments.push(self.program.display().to_string());
        arguments.extend(self.server_arguments());
        serde_json::json!({ "mcpServers": { "files": { "command": self.program, "args": arguments } } })
            .to_string()
    }
}

/// A name for a new directory among the temporary ones.
fn fresh() -> PathBuf {
    let unique = crate::domain::random::bytes::<6>().map_or_else(
        |_| std::process::id().to_string(),
        |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    );
    std::env::temp_dir().join(format!("chancery-demo-{unique}"))
}

/// A running gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    pub(super) url: String,
    pub(super) secret: Secret,
}

impl Gateway {
    /// Ends it as an operator would, and waits.
    pub(super) async fn stop(mut self) -> Result<(), DemoError> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(DemoError::Said(format!("the gateway ended with {status}"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(DemoError::Said("the gateway did not stop in time".into())),
        }
    }
}
