//! The recipes below `policies/examples/`: each directory is found, not listed, and passes what its user would ask of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// What the guide promises.
const RECIPES: [&str; 10] = [
    "read-only-agent",
    "folder-sandbox",
    "domain-allow-list",
    "call-limits",
    "working-hours",
    "data-flow",
    "per-group-tools",
    "human-only-tools",
    "break-glass",
    "shadow-rollout",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples")
}

/// All directories, sorted; a file beside them is one that nothing tests.
fn recipes() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    for path in &found {
        assert!(path.is_dir(), "{} is no recipe's directory, so nothing tests it", path.display());
    }
    assert!(found.len() >= RECIPES.len(), "{found:?}");
    found
}

fn named(dir: &Path) -> &str {
    dir.file_name().unwrap().to_str().unwrap()
}

/// The directories with policies in `dir`: itself, or those of its two sets. Policies elsewhere would be in no test.
fn sets(dir: &Path) -> Vec<PathBuf> {
    let holds = |dir: &Path| !files(dir, ".cedar").is_empty();
    let mut sets: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    sets.retain(|path| path.is_dir());
    sets.sort();
    assert!(sets.iter().all(|set| holds(set)), "{}: a folder without policies", dir.display());
    if holds(dir) {
        sets.push(dir.to_owned());
    }
    assert!(!sets.is_empty(), "{} has no policies", dir.display());
    sets
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.is_file() && path.to_str().unwrap().ends_with(suffix)).collect();
    found.sort();
    found
}

/// The real binary, in the directory of a recipe, on a machine where the programs that start tool servers are there.
/// None of them is ever started: the tools are those of `tools.json`.
struct Author {
    home: TempDir,
}

impl Author {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for program in ["npx", "uvx"] {
            let file = home.path().join(program);
            fs::write(&file, "#!/bin/sh\necho 'a recipe started a tool server' >&2; exit 1\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home }
    }

    fn run(&self, dir: &Path, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.current_dir(dir).env("XDG_STATE_HOME", self.home.path()).env("PATH", self.home.path());
        command.env("NO_COLOR", "1").env_remove("SPIFFE_ENDPOINT_SOCKET");
        let output = command.args(args).timeout(Duration::from_secs(60)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn passes(&self, dir: &Path, args: &[&str]) -> String {
        let (code, out, err) = self.run(dir, args);
        assert_eq!(code, 0, "{}: chancery {}\n{out}{err}", named(dir), args.join(" "));
        out
    }
}

#[test]
fn the_ten_recipes_of_the_guide_are_there_and_the_guide_leads_to_every_one() {
    let found = recipes();
    let names: Vec<&str> = found.iter().map(|dir| named(dir)).collect();
    for recipe in RECIPES {
        assert!(names.contains(&recipe), "{recipe} is missing from {names:?}");
    }
    let guide = fs::read_to_string(root().join("../../docs/policy.md")).unwrap();
    for name in names {
        let link = format!("(../policies/examples/{name})");
        assert!(guide.contains(&link), "docs/policy.md has no link {link}");
    }
}

#[test]
fn each_recipe_is_whole_says_what_it_is_not_for_and_names_all_its_policies() {
    for dir in recipes() {
        let name = named(&dir);
        for file in ["tools.json", "chancery.yaml"] {
            assert!(dir.join(file).is_file(), "{name} has no {file}");
        }
        let mut heads = String::new();
        for set in sets(&dir) {
            assert!(!files(&set, ".cases.yaml").is_empty(), "{name}: {} has no cases", set.display());
            for file in files(&set, ".cedar") {
                let text = fs::read_to_string(&file).unwrap();
                let statements = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
                let policies = statements("permit (") + statements("forbid (");
                assert_eq!(statements("@id("), policies, "{}: a policy without an id", file.display());
                heads.push_str(text.split("\n\n").next().unwrap_or_default());
            }
        }
        // A forbid that nobody is told the reason of is a riddle to the agent.
        for (word, what) in
            [("// Not against: ", "what it does not protect from"), ("// Change: ", "what to change")]
        {
            let all = sets(&dir).iter().flat_map(|set| files(set, ".cedar")).collect::<Vec<_>>();
            let told = all.iter().any(|file| fs::read_to_string(file).unwrap().contains(word));
            assert!(told, "{name} does not say {what}: no line `{word}…`");
        }
        assert!(heads.starts_with("//"), "{name} has no head");
    }
}

#[test]
fn each_recipe_is_in_order_without_a_warning_under_its_own_configuration() {
    let author = Author::new();
    for dir in recipes() {
        author.passes(&dir, &["config", "check", "chancery.yaml"]);
        let check = ["policy", "check", "-c", "chancery.yaml", "--deny-warnings", "--json"];
        let report: Value = serde_json::from_str(&author.passes(&dir, &check)).unwrap();
        let (policies, findings) = (report["policies"].as_u64(), report["findings"].as_array().unwrap());
        assert!(policies > Some(1) && findings.is_empty(), "{}: {report:#}", named(&dir));
        author.passes(&dir, &["policy", "format", "--check", "."]);
    }
    author.passes(&root(), &["policy", "format", "--check", "../starter.cedar"]);
}

#[test]
fn each_set_of_each_recipe_passes_its_cases_and_each_policy_decides_one() {
    let author = Author::new();
    let mut cases = 0;
    for dir in recipes() {
        for set in sets(&dir) {
            let set = set.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
            let set = if set.is_empty() { "." } else { &set };
            let test = ["policy", "test", "-c", "chancery.yaml", "--policies", set, "--cases", set];
            let report = author.passes(&dir, &[&test[..], &["--require-coverage", "--json"]].concat());
            let report: Value = serde_json::from_str(&report).unwrap();
            let ran = report["cases"].as_array().unwrap();
            let denied = ran.iter().filter(|case| case["decision"]["effect"] != "allow").count();
            assert!(denied > 0 && denied < ran.len(), "{} {set}: cases of one outcome only", named(&dir));
            cases += ran.len();
        }
    }
    assert!(cases > 200, "only {cases}");
}

#[test]
fn each_recipes_tools_are_locked_by_itself_and_are_those_of_its_servers() {
    for dir in recipes() {
        let name = named(&dir);
        let lock = chancery::app::lock::LockFile::read(&dir.join("tools.json")).unwrap();
        let config: Value =
            serde_yaml::from_str(&fs::read_to_string(dir.join("chancery.yaml")).unwrap()).unwrap();
        let servers: Vec<&str> = config["servers"].as_object().unwrap().keys().map(String::as_str).collect();
        let locked: Vec<&str> = lock.servers.keys().map(|server| server.as_str()).collect();
        let mut sorted = servers.clone();
        sorted.sort_unstable();
        assert_eq!(locked, sorted, "{name}");
        assert_eq!(config["pin"], "lock", "{name}");
        assert_eq!(config["lock_file"], "./tools.json", "{name}");
    }
}

#[test]
fn a_copied_recipe_with_a_misspelt_argument_or_a_broken_rule_fails_its_checks() {
    let author = Author::new();
    let copy = tempfile::tempdir().unwrap();
    for file in ["policies.cedar", "policies.cases.yaml", "tools.json", "chancery.yaml"] {
        fs::copy(root().join("folder-sandbox").join(file), copy.path().join(file)).unwrap();
    }
    let policies = copy.path().join("policies.cedar");
    let text = fs::read_to_string(&policies).unwrap();
    fs::write(&policies, text.replacen("context.input.path.normal", "context.input.pth.normal", 1)).unwrap();
    let (code, _, err) = author.run(copy.path(), &["policy", "check", "-c", "chancery.yaml"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("did you mean `path`?"), "{err}");
    let weaker = text.replace("!context.input.path.has_parent_steps &&", "");
    assert_ne!(weaker, text);
    fs::write(&policies, weaker).unwrap();
    let (code, out, _) = author.run(copy.path(), &["policy", "test", "-c", "chancery.yaml"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FAILED  a step up that stays inside could follow a link"), "{out}");
}

#[test]
fn the_shadow_sets_own_cases_are_run_with_its_configuration() {
    let author = Author::new();
    let recipe = root().join("shadow-rollout");
    let copy = tempfile::tempdir().unwrap();
    let mut copied = files(&recipe, "");
    for set in ["active", "next"] {
        fs::create_dir(copy.path().join(set)).unwrap();
        copied.extend(files(&recipe.join(set), ""));
    }
    for file in copied {
        fs::copy(&file, copy.path().join(file.strip_prefix(&recipe).unwrap())).unwrap();
    }
    let test = ["policy", "test", "-c", "chancery.yaml", "--require-coverage"];
    let out = author.passes(copy.path(), &test);
    assert!(out.contains("The shadow set:\n"), "{out}");

    let cases = copy.path().join("next/policies.cases.yaml");
    let text = fs::read_to_string(&cases).unwrap();
    fs::write(&cases, text.replacen("expect: forbidden, by: [no-moves]", "expect: allow", 1)).unwrap();
    let (code, out, err) = author.run(copy.path(), &test);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("FAILED  nothing is moved") && err.contains("no-moves"), "{out}{err}");
    let (code, out, _) = author.run(copy.path(), &[&test[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["passed"], &report["failed"]), (1, &false.into(), &0.into()));
    assert_eq!(report["shadow"]["failed"], 1);
}
