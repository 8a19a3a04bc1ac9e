//! The command line: what is wrong is one diagnostic that names place and fix, exit code 2, nothing half-started.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::gateway::{Gateway, PATIENCE, chancery, demo_server, wait_for};

struct Place(tempfile::TempDir);

impl Place {
    /// A directory with a configuration that would start.
    fn new(extra: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(
            "chancery.yaml",
            &format!(
                "listen: {{ tcp: \"127.0.0.1:0\" }}\nservers: {{ demo: {} }}\n\
                 admission: {{ bootstrap: {{ file: secret }} }}\nlog: {{ dir: log }}\n{extra}",
                demo_server()
            ),
        );
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn serve(&self) -> Output {
        chancery(self.path()).args(["serve", "-c"]).arg(self.path().join("chancery.yaml")).output().unwrap()
    }

    /// What `serve` says when it refuses to start; nothing may be left of the attempt in the log.
    fn refused(&self, parts: &[&str]) {
        let output = self.serve();
        expect(&output, parts);
        assert!(!self.path().join("log/records").exists(), "the log was begun");
    }
}

fn expect(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"", "nothing is printed on stdout");
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert_eq!(said.matches('×').count(), 1, "one diagnostic:\n{said}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
    let place = Place::new("sesion: {}\n");
    place.refused(&["chancery.yaml:5:1", "unknown key `sesion`", "did you mean `session`?"]);
}

#[test]
fn a_tcp_listener_without_evidence_says_what_to_write() {
    let place = Place::new("");
    place.write(
        "chancery.yaml",
        &format!("listen: {{ tcp: \"127.0.0.1:0\" }}\nservers: {{ demo: {} }}\n", demo_server()),
    );
    place.refused(&["chancery.yaml:1:16", "no evidence", "admission:", "bootstrap:", "file:"]);
}

#[test]
fn a_policy_with_a_typo_is_shown_with_its_place() {
    let place = Place::new("policies: policies\n");
    place.write(
        "policies/a.cedar",
        "// mine\npermit (principal, action == Mcp::Action::\"tools/list\", resource)\nwhen { principal.sesion };\n",
    );
    place.refused(&["a.cedar:3:8", "did you mean `session`?", "here"]);
}

#[test]
fn missing_policies_are_an_error_and_not_an_empty_set() {
    Place::new("policies: nowhere\n").refused(&["nowhere", "chancery policy init"]);
}

#[test]
fn a_missing_server_command_is_named() {
    let place = Place::new("");
    let text = fs::read_to_string(place.path().join("chancery.yaml")).unwrap();
    let text = text.replace(&demo_server(), "{ command: no-such-program }");
    place.write("chancery.yaml", &text);
    place.refused(&["demo", "no-such-program", "install `no-such-program`"]);
}

#[test]
fn a_port_in_use_is_named_and_leaves_the_log_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new("");
    let text = fs::read_to_string(place.path().join("chancery.yaml")).unwrap();
    place.write("chancery.yaml", &text.replace("127.0.0.1:0", &address));
    place.refused(&[&address, "listen.tcp"]);
}

#[test]
fn the_log_of_another_gateway_is_refused_and_untouched() {
    let gateway = Gateway::start("");
    let (_, _, theirs) = gateway.stop();
    let log = theirs.path().join("log");
    let before =
        fs::read(fs::read_dir(log.join("records")).unwrap().next().unwrap().unwrap().path()).unwrap();

    let place = Place::new("");
    let text = fs::read_to_string(place.path().join("chancery.yaml")).unwrap();
    place.write("chancery.yaml", &text.replace("dir: log", &format!("dir: {}", log.display())));
    expect(&place.serve(), &["is the log of spiffe://", "choose another directory"]);
    let after = fs::read(fs::read_dir(log.join("records")).unwrap().next().unwrap().unwrap().path()).unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_log_that_is_in_use_is_refused() {
    let gateway = Gateway::start("");
    let config = gateway.dir.path().join("chancery.yaml");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("mcp.sock", "second.sock")
        .replace("addresses", "second");
    let second = gateway.dir.path().join("second.yaml");
    fs::write(&second, text).unwrap();
    let output = chancery(gateway.dir.path()).args(["serve", "-c"]).arg(second).output().unwrap();
    expect(&output, &["in use by process"]);
}

#[test]
fn a_wide_open_or_unreadable_bootstrap_secret_is_named_with_the_chmod() {
    let place = Place::new("");
    assert!(
        chancery(place.path())
            .args(["bootstrap", "new"])
            .arg(place.path().join("secret"))
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::set_permissions(place.path().join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    place.refused(&["mode 0644", "chmod 600"]);
    fs::remove_file(place.path().join("secret")).unwrap();
    fs::create_dir(place.path().join("secret")).unwrap();
    place.refused(&["not a regular file", "chancery bootstrap new"]);
}

#[test]
fn wide_open_signing_keys_are_refused_with_the_chmod() {
    let (_, _, dir) = Gateway::start("identity: { local: { dir: identity } }\n").stop();
    let identity = dir.path().join("identity");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("chancery.yaml");
    let serve = || chancery(dir.path()).args(["serve", "-c"]).arg(&config).output().unwrap();
    expect(&serve(), &["is open to others", "chmod 700"]);
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o700)).unwrap();
    let key = identity.join("root.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    expect(&serve(), &["is open to others", "chmod 600"]);
}

#[test]
fn bad_command_lines_are_misuse() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&["run"][..], &["serve"], &["no-such-command"], &["run", "--name", "UPPER", "--", "x"]]
    {
        let output = chancery(home.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"");
    }
    let output = chancery(home.path()).args(["run", "--", "/no/such/server"]).output().unwrap();
    expect(&output, &["/no/such/server", "write the path of a program that exists"]);
    let output = chancery(home.path()).args(["run", "-c", "/no/such.yaml", "--", "sh"]).output().unwrap();
    expect(&output, &["/no/such.yaml"]);
}

#[test]
fn listening_addresses_are_told_in_one_stable_line_each_and_the_end_is_orderly() {
    let gateway = Gateway::start("");
    let (authority, dir) = (gateway.authority(), gateway.dir.path().to_owned());
    let (code, said, _dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("chancery: listening on http://{authority}/mcp/demo\n")), "{said}");
    let socket = dir.join("mcp.sock");
    assert!(
        said.contains(&format!("chancery: listening on unix:{}:/mcp/demo\n", socket.display())),
        "{said}"
    );
    assert!(said.contains("no policies are loaded") && said.contains("`policies:`"), "{said}");
    assert!(!socket.exists() && !dir.join("addresses").exists(), "what is gone is not announced");
}

#[test]
fn a_stopped_gateway_starts_again_on_its_own_log_and_keeps_its_identity() {
    let (_, _, dir) = Gateway::start("").stop();
    let (_, _, dir) = Gateway::start_in(dir).stop();
    let records = crate::gateway::records(&dir.path().join("log"));
    let kinds = |kind: &str| records.iter().filter(|record| crate::gateway::is_kind(record, kind)).count();
    assert_eq!((kinds("gateway-start"), kinds("gateway-stop")), (2, 2));
}

#[test]
fn many_runs_of_one_user_have_logs_of_their_own_and_one_identity() {
    let home = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_chancery");
    // A configuration that says nothing of the log leaves it at that.
    let file = home.path().join("chancery.yaml");
    fs::write(&file, "refusal_summary: 60s\n").unwrap();
    let configured = ["-c", file.to_str().unwrap()];
    let mut runs: Vec<_> = [&[][..], &configured, &configured]
        .into_iter()
        .map(|words| {
            let mut command = chancery(home.path());
            command
                .arg("run")
                .args(words)
                .args(["--", program, "demo-server"])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let logs = home.path().join("state/chancery/logs/run");
    wait_for("three logs", || {
        let begun = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().join("log.json").exists();
        let count = fs::read_dir(&logs)
            .map_or(0, |entries| entries.filter(|_| true).filter_map(|e| begun(e).then_some(())).count());
        (count == 3).then_some(())
    });
    for run in &mut runs {
        drop(run.stdin.take());
        assert_eq!(wait_for("its end", || run.try_wait().unwrap()).code(), Some(0));
    }
    let owner = |entry: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(entry.unwrap().path().join("log.json")).unwrap()
    };
    let ids: Vec<String> = fs::read_dir(&logs).unwrap().map(owner).collect();
    let id = |text: &String| text.split('"').find(|word| word.starts_with("spiffe://")).unwrap().to_owned();
    assert_eq!(id(&ids[0]), id(&ids[1]));
    assert_eq!(id(&ids[1]), id(&ids[2]));
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_start_goes_on_with_the_log() {
    let gateway = Gateway::start("limits: { grace: 600s, request_read: 600s }\n");
    let authority = gateway.authority();
    // A call whose body never comes: the drain waits for it. The interim answer says that it is being read.
    let mut stream = std::net::TcpStream::connect(&authority).unwrap();
    let head = format!(
        "POST /mcp/demo HTTP/1.1\r\nHost: {authority}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        gateway.bearer()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
    gateway.signal("TERM");
    let first = std::time::Instant::now();
    wait_for("the listener's end", || std::net::TcpStream::connect(&authority).err());
    // A second one at once may be a wrapper's copy of the first.
    wait_for("a second signal to count", || (first.elapsed() > Duration::from_millis(600)).then_some(()));
    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(143), "{said}");
    let (code, said, _dir) = Gateway::start_in(dir).stop();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_new_bootstrap_secret_says_whether_it_replaced_one() {
    let home = tempfile::tempdir().unwrap();
    let new = || {
        let output =
            chancery(home.path()).args(["bootstrap", "new"]).arg(home.path().join("secret")).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let said = new();
    assert!(said.contains("made a bootstrap secret") && !said.contains("the old one"), "{said}");
    let said = new();
    assert!(said.contains("replaced") && said.contains("the old one admits nobody any more"), "{said}");
}

#[test]
fn a_log_directory_that_holds_something_else_is_refused_with_the_fix() {
    let place = Place::new("");
    place.write("log/notes.txt", "mine");
    place.refused(&["is not empty and holds no log", "choose an empty directory"]);
}
