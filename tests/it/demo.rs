//! `chancery demo` as a person sees it.

use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_chancery");

fn demo(dir: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.env_remove("CHANCERY_LOG").env_remove("SPIFFE_ENDPOINT_SOCKET");
    command.arg("demo").arg("--dir").arg(dir).output().unwrap()
}

/// What differs from run to run, replaced.
fn stable(text: &str, dir: &Path) -> String {
    let mut out = String::new();
    for line in text.replace(&*dir.to_string_lossy(), "DIR").replace(BINARY, "chancery").lines() {
        let words: Vec<String> = line.split(' ').map(word).collect();
        let line = words.join(" ");
        // How many records there are beside those of the calls is not the demonstration's matter.
        let counted = ["Everything", "A copy", "  detected"].iter().any(|start| line.starts_with(start));
        out.push_str(if counted { numberless(&line) } else { line }.trim_end());
        out.push('\n');
    }
    out
}

/// Every run of digits is `N`.
fn numberless(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            _ => out.push(c),
        }
    }
    out
}

fn word(word: &str) -> String {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match word.len() {
        16 if hex(word) => "0123456789abcdef".to_owned(),
        _ if word.trim_end_matches(':').len() == 36 && hex(word.trim_end_matches(':')) => word_of_uuid(word),
        _ if word.starts_with("spiffe://") => "spiffe://TRUST-DOMAIN/chancery".to_owned(),
        _ => word.to_owned(),
    }
}

fn word_of_uuid(word: &str) -> String {
    if word.ends_with(':') { "SESSION:".to_owned() } else { "SESSION".to_owned() }
}

#[test]
fn the_demonstration_shows_decisions_a_verified_log_and_a_detected_change() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().canonicalize().unwrap().join("stage");
    let output = demo(&dir);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}\n{err}");
    insta::assert_snapshot!(stable(&out, &dir));

    // The last line is a command that works.
    let command = out.lines().last().unwrap().trim();
    let verified = Command::new("sh").arg("-c").arg(command).output().unwrap();
    assert!(verified.status.success(), "{command}: {}", String::from_utf8_lossy(&verified.stdout));

    // No secret of the demonstration is in what it printed or in the gateway's words.
    let secret = std::fs::read_to_string(dir.join("bootstrap.secret")).unwrap();
    let words = std::fs::read_to_string(dir.join("gateway.log")).unwrap();
    for text in [&out, &err, &words] {
        assert!(!text.contains(secret.trim()) && !text.contains("eyJ"), "{text}");
    }
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("mine"), "mine").unwrap();
    let output = demo(home.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}
