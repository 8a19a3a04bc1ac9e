//! The rules, each a function from sources to what offends it.

use crate::source::Source;

/// Which module stands on which layer (`docs/architecture.md`); a module imports from lower ones only.
pub(crate) const LAYERS: &[(&str, u8)] = &[
    ("domain", 0),
    ("wire", 1),
    ("keys", 1),
    ("policy", 2),
    ("token", 2),
    ("attest", 2),
    ("identity", 3),
    ("admission", 3),
    ("audit", 3),
    ("gate", 3),
    ("proxy", 4),
    ("telemetry", 4),
    ("config", 5),
    ("app", 6),
    ("cli", 7),
];

/// Most lines of a file that gives no reason for more.
const MOST_LINES: usize = 400;

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn finding(source: &Source, line: usize, what: &str, fix: &str) -> String {
    format!("{}:{line}: {what}\n    fix: {fix}", source.path)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `needle` stands in `code`, not as the tail of a longer name.
fn occurrences<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = move |at: &usize| !code[..*at].ends_with(is_word) || !needle.starts_with(is_word);
    let ended =
        move |at: &usize| !needle.ends_with(is_word) || !code[at + needle.len()..].starts_with(is_word);
    code.match_indices(needle).map(|(at, _)| at).filter(whole).filter(ended)
}

/// Every module stands in the table and says its layer.
pub(crate) fn every_module_names_its_layer(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        if source.path != format!("src/{module}/mod.rs") && source.path != format!("src/{module}.rs") {
            continue;
        }
        match layer(module) {
            None => {
                let fix = "give it a layer in tests/layers/rules.rs and in docs/architecture.md";
                found.push(finding(source, 1, &format!("module `{module}` stands in no layer"), fix));
            }
            Some(layer) if !source.text.lines().any(|line| line == format!("//! layer: L{layer}")) => {
                let fix = format!("write `//! layer: L{layer}` into its module doc");
                found.push(finding(source, 1, &format!("module `{module}` does not say its layer"), &fix));
            }
            Some(_) => {}
        }
    }
    found
}

/// The first segments that follow `crate::` at `at`, groups taken apart.
fn heads(code: &str, at: usize) -> Vec<(usize, String)> {
    let rest = &code[at..];
    let start = at + (rest.len() - rest.trim_start().len());
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![(start, rest.chars().take_while(|c| is_word(*c) || *c == '*').collect())];
    };
    let (mut heads, mut depth, mut next) = (Vec::new(), 0, true);
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => next = true,
            _ if next && !c.is_whitespace() => {
                next = false;
                heads.push((
                    start + 1 + offset,
                    group[offset..].chars().take_while(|c| is_word(*c) || *c == '*').collect(),
                ));
            }
            _ => {}
        }
    }
    heads
}

/// Modules import downwards only; nothing is imported wholesale from the crate, nor from two levels up.
pub(crate) fn imports_go_down(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/")) {
        for at in occurrences(&source.code, "super::super") {
            let fix = "name the path from `crate::`";
            found.push(finding(source, line_of(&source.code, at), "`super::super`", fix));
        }
        let Some(module) = source.module() else { continue };
        let own = layer(module);
        if source.path == format!("src/{module}/mod.rs") {
            for at in occurrences(&source.shipped, "super::") {
                let fix = "write `crate::<module>`, so that the layer can be checked";
                found.push(finding(
                    source,
                    line_of(&source.shipped, at),
                    "`super::` reaches the crate's root",
                    fix,
                ));
            }
        }
        for at in occurrences(&source.shipped, "crate::") {
            for (at, head) in heads(&source.shipped, at + "crate::".len()) {
                let line = line_of(&source.shipped, at);
                if head == "*" {
                    found.push(finding(source, line, "`crate::*`", "name what is used"));
                } else if head != module && (layer(&head) >= own || layer(&head).is_none()) {
                    let level = |l: Option<u8>| l.map_or("no layer".to_owned(), |l| format!("L{l}"));
                    let what = format!("`{module}` ({}) uses `{head}` ({})", level(own), level(layer(&head)));
                    let fix = "move what both need to a lower layer, or hand it in as a value or trait";
                    found.push(finding(source, line, &what, fix));
                }
            }
        }
    }
    found
}

/// No file is longer than 400 lines without a reason on its first line.
pub(crate) fn long_files_say_why(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| s.path.ends_with(".rs")) {
        let (lines, first) = (source.text.lines().count(), source.text.lines().next().unwrap_or_default());
        let reason = first.strip_prefix("// long: ").or_else(|| {
            first.strip_prefix("//! ")?.split_once("(long: ")?.1.split_once(')').map(|(reason, _)| reason)
        });
        if lines > MOST_LINES && reason.is_none_or(|r| r.trim().is_empty()) {
            let fix = "split it, or say why not on its first line: `// long: …` or `//! … (long: …)`";
            found.push(finding(source, 1, &format!("{lines} lines, more than {MOST_LINES}"), fix));
        }
    }
    found
}

/// Names that only certain files may use.
struct Reserved {
    names: &'static [&'static str],
    /// Files, or folders with a `/` at the end.
    allowed: &'static [&'static str],
    what: &'static str,
    fix: &'static str,
}

impl Reserved {
    fn check(&self, sources: &[Source]) -> Vec<String> {
        let mut found = Vec::new();
        let here =
            |path: &str| self.allowed.iter().any(|a| path == *a || a.ends_with('/') && path.starts_with(a));
        for source in sources.iter().filter(|s| s.path.starts_with("src/") && !here(&s.path)) {
            for name in self.names {
                for at in occurrences(&source.shipped, name) {
                    let what = format!("{}: `{name}`", self.what);
                    found.push(finding(source, line_of(&source.shipped, at), &what, self.fix));
                }
            }
        }
        found
    }
}

/// The environment is read by the configuration and the command line alone (I9).
pub(crate) fn the_environment_has_one_door(sources: &[Source]) -> Vec<String> {
    let rule = Reserved {
        names: &[
            "std::env",
            "env::var",
            "env::var_os",
            "env::vars",
            "env::args",
            "env::current_dir",
            "env::temp_dir",
        ],
        allowed: &["src/config/", "src/cli/"],
        what: "the process's environment is read here",
        fix: "read it in config/ or cli/ and hand the value in",
    };
    rule.check(sources)
}

/// Wall time comes from `domain::clock` alone (I9).
pub(crate) fn time_has_one_door(sources: &[Source]) -> Vec<String> {
    let rule = Reserved {
        names: &["SystemTime", "now_utc", "now_local", "UtcDateTime::now", "Utc::now", "Local::now"],
        allowed: &["src/domain/clock.rs"],
        what: "wall time is read here",
        fix: "take a `domain::clock::Clock`, so that tests can hold it",
    };
    rule.check(sources)
}

/// Randomness comes from `domain::random` alone (I9); a signature's nonce stays inside the signer.
pub(crate) fn randomness_has_one_door(sources: &[Source]) -> Vec<String> {
    let rule = Reserved {
        names: &[
            "SystemRandom",
            "rand::",
            "thread_rng",
            "OsRng",
            "getrandom",
            "fastrand",
            "new_v4",
            "now_v7",
            "now_v1",
            "RandomState",
        ],
        allowed: &["src/domain/random.rs", "src/keys/signer.rs"],
        what: "randomness is taken here",
        fix: "take it from `domain::random`",
    };
    rule.check(sources)
}

/// Only `identity` makes private keys and hands them to the signer (I3).
pub(crate) fn private_keys_are_made_in_identity_alone(sources: &[Source]) -> Vec<String> {
    let rule = Reserved {
        names: &[
            "ActiveKey::new",
            "KeyPair::generate",
            "KeyPair::generate_for",
            "EcdsaKeyPair::generate",
            "EcdsaKeyPair::generate_pkcs8",
            "generate_pkcs8",
            "SigningKey::random",
            "PrivateKey::generate",
            "CertifiedKey",
            "PrivateKeyDer",
            "PrivatePkcs8KeyDer",
            "any_supported_type",
            "with_single_cert",
            "with_client_auth_cert",
            "X509Svid",
            "X509Source",
        ],
        allowed: &["src/identity/"],
        what: "a private key is made or taken up here",
        fix: "ask `keys::Signer` for the current key; identity/ alone makes keys",
    };
    rule.check(sources)
}

/// Code that verifies can't name a private key, nor anything that holds one (I8).
pub(crate) fn verifiers_reach_no_private_key(sources: &[Source]) -> Vec<String> {
    const NAMES: &[&str] = &[
        "ActiveKey",
        "Signer",
        "KeyPair",
        "EcdsaKeyPair",
        "SigningKey",
        "PrivateKey",
        "PrivateKeyDer",
        "PrivatePkcs8KeyDer",
        "identity::",
        "token::Issuer",
        "keys::*",
    ];
    let verifies = |path: &str| path.starts_with("src/audit/") || path.starts_with("src/token/verif");
    let verifiers: Vec<_> = sources.iter().filter(|s| verifies(&s.path)).cloned().collect();
    let rule = Reserved {
        names: NAMES,
        allowed: &[],
        what: "a verifier names what holds a private key",
        fix: "take `keys::PublicKey`, `PublicKeySource` or `TrustBundle`",
    };
    rule.check(&verifiers)
}

/// Only `policy` knows Cedar.
pub(crate) fn cedar_stays_in_policy(sources: &[Source]) -> Vec<String> {
    let rule = Reserved {
        names: &["cedar_policy", "cedar_policy_core", "cedar_policy_formatter"],
        allowed: &["src/policy/"],
        what: "Cedar is used here",
        fix: "ask `policy`; its types say all that the rest needs",
    };
    rule.check(sources)
}

/// No file names a folder of the machine that it was written on.
pub(crate) fn no_path_of_the_builders_machine(sources: &[Source]) -> Vec<String> {
    // Put together here, so that this file does not offend itself.
    let folders = [["/tm", "p/w"].concat(), ["/wo", "rk"].concat()];
    let mut found = Vec::new();
    for source in sources {
        for folder in &folders {
            for (at, _) in source.text.match_indices(folder.as_str()) {
                let begins = !source.text[..at]
                    .ends_with(|c: char| is_word(c) || matches!(c, '.' | '/' | '-' | '>' | '}' | '~'));
                let ends = !source.text[at + folder.len()..].starts_with(|c: char| is_word(c) || c == '-');
                if begins && ends {
                    let what = format!("an absolute path `{folder}` of somebody's machine");
                    found.push(finding(
                        source,
                        line_of(&source.text, at),
                        &what,
                        "use a relative path or a temporary folder",
                    ));
                }
            }
        }
    }
    found
}
