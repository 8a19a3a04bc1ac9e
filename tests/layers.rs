//! The house's rules (`docs/architecture.md`): which module may import which, and what only one place may do.
//!
//! Each rule is a function over the repository's files; one test runs it on the files, another on planted violations,
//! so that a rule which catches nothing is noticed.

#![allow(clippy::indexing_slicing, reason = "a rule that panics is a failed test")]

#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/source.rs"]
mod source;

use std::path::Path;

use source::Source;

type Rule = fn(&[Source]) -> Vec<String>;

/// Runs `rule` on the repository.
fn holds(rule: Rule) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = [
        "src",
        "tests",
        "docs",
        "benches",
        "fuzz",
        "examples",
        "policies",
        "schemas",
        "README.md",
        "SECURITY.md",
        "Cargo.toml",
    ];
    let sources = source::read(root, &entries);
    assert!(sources.iter().any(|s| s.path == "src/lib.rs"), "the repository was not found");
    let found = rule(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Runs `rule` on planted files and says on which lines it found something.
fn catches(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let mut sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    source::blank_test_modules(&mut sources);
    let place = |finding: String| finding.split(": ").next().unwrap_or_default().to_owned();
    rule(&sources).into_iter().map(place).collect()
}

#[test]
fn every_module_names_its_layer() {
    holds(rules::every_module_names_its_layer);
    let caught = catches(
        rules::every_module_names_its_layer,
        &[
            ("src/gate/mod.rs", "//! Gate.\n//!\n//! layer: L3\n"),
            ("src/wire/mod.rs", "//! Wire.\n//!\n//! layer: L2\n"),
            ("src/keys.rs", "//! Keys.\n"),
            ("src/novel/mod.rs", "//! New.\n//! layer: L3\n"),
            ("src/gate/permit.rs", "//! Permit.\n"),
        ],
    );
    assert_eq!(caught, ["src/wire/mod.rs:1", "src/keys.rs:1", "src/novel/mod.rs:1"]);
}

#[test]
fn imports_go_down() {
    holds(rules::imports_go_down);
    let gate = "use crate::wire::Frame;\nuse crate::gate::x;\nuse crate::audit::Report;\nuse crate::{domain::ids, proxy::{a, b},\n app};\n";
    let caught = catches(
        rules::imports_go_down,
        &[
            ("src/gate/mod.rs", gate),
            (
                "src/gate/a.rs",
                "fn f() -> crate::cli::Exit { \"crate::cli\"; /* crate::app */ todo() } // crate::app\n",
            ),
            ("src/gate/b.rs", "use crate::*;\nuse super::super::wire;\npub(crate) fn f() {}\n"),
            (
                "src/gate/c.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::app::x;\n    use super::*;\n}\nuse crate::config::X;\n",
            ),
            ("src/gate/mod.rs", "use super::cli;\n#[cfg(test)]\nmod probe;\n"),
            ("src/gate/probe.rs", "use crate::app::x;\n"),
            ("src/gate/tests/more.rs", "use crate::app::x;\nuse super::super::x;\n"),
            ("src/gate/d.rs", "use crate::nonesuch::x;\nuse anothercrate::x;\n"),
        ],
    );
    let expected = [
        "src/gate/mod.rs:3",
        "src/gate/mod.rs:4",
        "src/gate/mod.rs:5",
        "src/gate/a.rs:1",
        "src/gate/b.rs:2",
        "src/gate/b.rs:1",
        "src/gate/c.rs:6",
        "src/gate/mod.rs:1",
        "src/gate/tests/more.rs:2",
        "src/gate/d.rs:1",
    ];
    assert_eq!(caught, expected);
}

#[test]
fn long_files_say_why() {
    holds(rules::long_files_say_why);
    let long = |first: &str| format!("{first}\n{}", "\n".repeat(400));
    let caught = catches(
        rules::long_files_say_why,
        &[
            ("src/a.rs", &long("// long: one table, easier to read whole")),
            ("src/b.rs", &long("//! The table (long: easier to read whole).")),
            ("src/c.rs", &long("// long: ")),
            ("src/d.rs", &long("//! The table.")),
            ("docs/e.md", &long("# Long")),
            ("src/f.rs", &"\n".repeat(400)),
            ("tests/g.rs", &long("")),
        ],
    );
    assert_eq!(caught, ["src/c.rs:1", "src/d.rs:1", "tests/g.rs:1"]);
}

#[test]
fn the_environment_has_one_door() {
    holds(rules::the_environment_has_one_door);
    let read =
        "use std::env;\nfn f() { env::var(\"HOME\"); }\nconst V: &str = env!(\"CARGO_PKG_VERSION\");\n";
    let files =
        [("src/gate/a.rs", read), ("src/config/a.rs", read), ("src/cli/a.rs", read), ("tests/it/a.rs", read)];
    assert_eq!(catches(rules::the_environment_has_one_door, &files), ["src/gate/a.rs:1", "src/gate/a.rs:2"]);
}

#[test]
fn time_has_one_door() {
    holds(rules::time_has_one_door);
    let read = "let a = Instant::now();\nlet b = std::time::SystemTime::now();\nlet c = OffsetDateTime::now_utc();\n";
    let files = [("src/token/a.rs", read), ("src/domain/clock.rs", read), ("src/token/tests.rs", read)];
    assert_eq!(catches(rules::time_has_one_door, &files), ["src/token/a.rs:2", "src/token/a.rs:3"]);
}

#[test]
fn randomness_has_one_door() {
    holds(rules::randomness_has_one_door);
    let read = "use aws_lc_rs::rand::SystemRandom;\nlet id = Uuid::new_v4();\nlet operand::x = 1;\n";
    let files = [("src/token/a.rs", read), ("src/domain/random.rs", read)];
    let expected = ["src/token/a.rs:1", "src/token/a.rs:1", "src/token/a.rs:2"];
    assert_eq!(catches(rules::randomness_has_one_door, &files), expected);
}

#[test]
fn private_keys_are_made_in_identity_alone() {
    holds(rules::private_keys_are_made_in_identity_alone);
    let made = "let a = ActiveKey::new(&der);\nlet b = rcgen::KeyPair::generate();\nlet c: ActiveKey = d;\n";
    let files = [
        ("src/token/a.rs", made),
        ("src/identity/local.rs", made),
        ("src/attest/mod.rs", "#[cfg(test)]\npub(crate) mod testing;\n"),
        ("src/attest/testing.rs", made),
        ("src/proxy/tls.rs", "let key = rustls::sign::CertifiedKey::from_der(chain, key, &provider);\n"),
        ("src/app/other.rs", "let source = spiffe::X509Source::new().await;\n"),
    ];
    assert_eq!(
        catches(rules::private_keys_are_made_in_identity_alone, &files),
        ["src/token/a.rs:1", "src/token/a.rs:2", "src/proxy/tls.rs:1", "src/app/other.rs:1"]
    );
}

#[test]
fn verifiers_reach_no_private_key() {
    holds(rules::verifiers_reach_no_private_key);
    let named = "use crate::keys::{PublicKey, Signer};\nfn f(key: &ActiveKey) {}\nuse crate::keys::*;\n";
    let files = [
        ("src/audit/chain.rs", named),
        ("src/token/verify.rs", named),
        ("src/token/verify/cache.rs", "use crate::identity::Identity;\n"),
        ("src/token/issue.rs", named),
    ];
    let caught = catches(rules::verifiers_reach_no_private_key, &files);
    assert_eq!(caught.len(), 7, "{caught:?}");
    assert!(!caught.iter().any(|c| c.starts_with("src/token/issue")));
}

#[test]
fn cedar_stays_in_policy() {
    holds(rules::cedar_stays_in_policy);
    let files = [
        ("src/gate/a.rs", "use cedar_policy::Decision;\n"),
        ("src/policy/a.rs", "use cedar_policy::Decision;\n"),
    ];
    assert_eq!(catches(rules::cedar_stays_in_policy, &files), ["src/gate/a.rs:1"]);
}

#[test]
fn no_path_of_the_builders_machine() {
    holds(rules::no_path_of_the_builders_machine);
    let folder = ["/wo", "rk"].concat();
    let text = format!(
        "{folder}/shared\n`{folder}`\nspiffe://a{folder}\n{folder}load\n{}/x\n",
        ["/tm", "p/w"].concat()
    );
    let files = [("docs/a.md", &*text), ("tests/interop/a.ts", &text)];
    let caught = catches(rules::no_path_of_the_builders_machine, &files);
    let expected = ["docs/a.md:5", "docs/a.md:1", "docs/a.md:2"];
    assert_eq!(caught[..3], expected);
    assert_eq!(caught.len(), 6);
}

#[test]
fn what_is_no_code_is_not_taken_for_code() {
    let text = "let a = \"crate::x\"; // crate::x\nlet b = r#\"crate::\"x\"#; /* a /* crate::x */ b */ let c = '\"'; let d: &'a str = b\"\\\"crate::x\";\n#[cfg(test)] use crate::x;\ncrate::y\n";
    let source = Source::new("src/a/b.rs", text);
    assert_eq!(source.code.matches("crate::").count(), 2);
    assert_eq!(source.shipped.matches("crate::").count(), 1);
    assert!(source.shipped.contains("&'a str") && source.shipped.contains("let d"));
    assert_eq!(source.code.lines().count(), text.lines().count());
}
