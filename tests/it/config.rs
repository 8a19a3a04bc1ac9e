//! The configuration file: its schema, the examples, and what a user sees of a mistake.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use chancery::config::{Config, Environment, Purpose, json_schema};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chancery() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env_remove("SPIFFE_ENDPOINT_SOCKET");
    command
}

/// `CHANCERY_BLESS=1` writes the file anew.
#[test]
fn the_checked_in_schema_is_the_one_that_the_types_generate() {
    let path = root().join("schemas/config.schema.json");
    if std::env::var_os("CHANCERY_BLESS").is_some() {
        fs::write(&path, json_schema()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    assert_eq!(there, json_schema(), "run: chancery config schema > schemas/config.schema.json");
    let printed = chancery().args(["config", "schema"]).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(printed).unwrap(), there);
}

#[test]
fn every_example_names_the_schema_and_is_in_order() {
    let env = Environment::of([("HOME", "/home/ada")]);
    let mut seen = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "# yaml-language-server: $schema=../schemas/config.schema.json",
            "{}",
            path.display()
        );
        Config::load(&path, Purpose::Serve, &env)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        // Their commands and files may not be on this machine, which is told as that and as no mistake of theirs.
        let checked = chancery().args(["config", "check"]).arg(&path).env("HOME", "/home/ada").assert();
        let output = checked.get_output();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() != Some(2) && said.contains(" is "), "{}: {said}", path.display());
    }
    assert!(seen >= 3);
}

#[test]
fn an_unknown_key_is_shown_with_file_line_caret_and_the_key_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chancery.yaml");
    let text = "# yaml\nlisten:\n  tcpp: \"127.0.0.1:0\"\nserver:\n  s: { command: x }\n";
    fs::write(&file, text).unwrap();
    let assert = chancery().args(["config", "check"]).arg(&file).env("HOME", dir.path()).assert().code(2);
    let shown = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    for part in [
        &format!("2 mistakes in {}", file.display()),
        &format!("{}:3:3", file.display()),
        "unknown key `tcpp`",
        "did you mean `tcp`?",
        &format!("{}:4:1", file.display()),
        "did you mean `servers`?",
        "here",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
}

#[test]
fn what_keeps_serve_from_starting_is_told_by_check_already() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chancery.yaml");
    let tail = "listen: { tcp: \"127.0.0.1:0\" }\nadmission: { bootstrap: { file: secret } }\n\
                servers: { a: { command: sh } }\npolicies: rules\n";
    fs::write(&file, tail).unwrap();
    let check = |code: i32| {
        let assert =
            chancery().args(["config", "check"]).arg(&file).env("HOME", dir.path()).assert().code(code);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap().replace("\n", "")
    };
    fs::write(dir.path().join("secret"), "open to all").unwrap();
    let said = check(1);
    assert!(said.contains("can't read the policies at ") && said.contains("secret"), "{said}");
    assert!(!said.contains("is in order"), "{said}");
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::remove_file(dir.path().join("secret")).unwrap();
    assert!(check(0).contains("is in order"));
    assert!(!dir.path().join("secret").exists(), "a check writes nothing");
}

#[test]
fn several_servers_with_a_secret_for_one_session_are_warned_about_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chancery.yaml");
    let said = |listen: &str, admission: &str, servers: &str, more: &[&str]| {
        let text =
            format!("listen: {{ {listen} }}\nadmission: {{ {admission} }}\nservers: {{ {servers} }}\n");
        fs::write(&file, text).unwrap();
        let mut command = chancery();
        let checked =
            command.args(["config", "check"]).arg(&file).args(more).env("HOME", dir.path()).assert().code(0);
        String::from_utf8(checked.get_output().stderr.clone()).unwrap()
    };
    let (tcp, secret) = ("tcp: \"127.0.0.1:0\"", "bootstrap: { file: secret }");
    let (one, two) = ("a: { command: sh }", "a: { command: sh }, b: { command: sh }");
    let warned = said(tcp, secret, two, &[]);
    assert!(warned.contains("2 servers are served") && warned.contains("peer: {}"), "{warned}");
    assert!(warned.contains("chancery policy check -c"), "it says what it did not look at: {warned}");
    let both = format!("{secret}, peer: {{}}");
    for fine in [
        said(tcp, secret, one, &[]),
        said(tcp, secret, two, &["--run"]),
        said("unix: sock", "peer: {}", two, &[]),
        said(&format!("{tcp}, unix: sock"), &both, two, &[]),
    ] {
        assert!(!fine.contains("servers are served"), "{fine}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_once() {
    let checked = chancery().args(["config", "check", "nowhere.yaml"]).assert().code(2);
    let said = String::from_utf8(checked.get_output().stderr.clone()).unwrap();
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}
