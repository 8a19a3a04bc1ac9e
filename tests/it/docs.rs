//! What the documents promise of the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all test functions.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "tests"] {
        rust_files(&root.join(dir), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if pair[0].ends_with("test]") || pair[0].starts_with("#[tokio::test") {
                let name = pair[1].trim_start_matches("async ").strip_prefix("fn ");
                names.extend(name.and_then(|name| name.split('(').next()).map(str::to_owned));
            }
        }
    }
    names
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let known = tests();
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in
            last.split('`').filter(|name| name.len() > 20 && name.contains('_') && !name.contains(' '))
        {
            assert!(known.contains(name), "docs/threat-model.md names `{name}`, and there is no such test");
            named += 1;
        }
    }
    assert!(named > 40, "only {named} were found");
}
