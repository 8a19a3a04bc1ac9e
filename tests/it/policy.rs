//! `chancery policy` as its users meet it: the real binary, with a real tool server.

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

struct House {
    dir: TempDir,
}

impl House {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.path(name)
    }

    /// Runs `chancery policy …` against the demo's tool server under the name `files`.
    fn policy(&self, args: &[&str]) -> (i32, String, String) {
        let binary = env!("CARGO_BIN_EXE_chancery");
        let mut command = Command::new(binary);
        command.current_dir(self.dir.path()).env("XDG_STATE_HOME", self.dir.path()).env("NO_COLOR", "1");
        command.env_remove("SPIFFE_ENDPOINT_SOCKET");
        command.arg("policy").args(args).args(["--server", "files", "--", binary, "demo-server"]);
        let output = command.timeout(std::time::Duration::from_secs(60)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_init_writes_is_in_order_and_is_never_overwritten_unasked() {
    let house = House::new();
    let (code, out, err) = house.policy(&["init", "--yes", "--dir", "made"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("chancery run --policies made --server files -- "), "{out}");
    assert!(out.contains(" tools of `files` to Mcp::Group::\"uid:"), "{out}");
    let file = house.dir.path().join("made/policies.cedar");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\n@id(\"files:open\")\npermit "), "{text}");
    assert!(
        text.contains("\npermit (\n  principal in Mcp::Group::\"uid:") && text.contains("\n// permit ("),
        "{text}"
    );

    let (code, out, err) = house.policy(&["check", "--json", "--policies", "made"]);
    let report = json(&out);
    assert_eq!(
        (code, &report["valid"], report["findings"].as_array().unwrap().len()),
        (0, &true.into(), 0),
        "{err}"
    );
    let (_, schema, _) = house.policy(&["schema"]);
    assert_eq!(schema, std::fs::read_to_string(house.dir.path().join("made/mcp.cedarschema")).unwrap());

    std::fs::write(&file, "// mine").unwrap();
    let (code, _, err) = house.policy(&["init", "--yes", "--dir", "made"]);
    assert!(code == 2 && err.contains("is there already") && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "// mine");
    let (code, ..) = house.policy(&["init", "--dir", "made", "--force"]);
    assert_eq!(code, 0);
    let unasked = std::fs::read_to_string(&file).unwrap();
    let active = |text: &str| text.lines().filter(|line| line.starts_with("permit")).count();
    assert!(active(&unasked) < active(&text), "nothing is permitted without the author's word: {unasked}");
}

#[test]
fn a_misspelt_attribute_is_shown_where_it_stands_and_fails_the_check() {
    let house = House::new();
    house.policy(&["init", "--yes", "--dir", "made"]);
    let schema = std::fs::read_to_string(house.dir.path().join("made/mcp.cedarschema")).unwrap();
    let tool = schema.split("action \"files/").skip(1).find(|part| part.contains("path: String")).unwrap();
    let tool = tool.split('"').next().unwrap();
    let policy = format!(
        "permit (principal, action == Mcp::Action::\"files/{tool}\", resource)\n  when {{ context.input.pth == \"/a\" }};\n"
    );
    house.write("bad.cedar", &policy);
    let (code, out, err) = house.policy(&["check", "--policies", "bad.cedar"]);
    assert_eq!((code, out.as_str()), (1, ""));
    for part in ["bad.cedar:2:10", "input.pth", "did you mean `path`?"] {
        assert!(err.contains(part), "{err}");
    }
    let (code, out, _) = house.policy(&["check", "--json", "--policies", "bad.cedar"]);
    let report = json(&out);
    let finding = &report["findings"][0];
    assert_eq!((code, &report["valid"]), (1, &false.into()));
    assert_eq!(
        (&finding["line"], &finding["column"], &finding["severity"]),
        (&2.into(), &10.into(), &"error".into())
    );
}

#[test]
fn init_refuses_a_directory_with_other_policies_unless_forced() {
    let house = House::new();
    std::fs::create_dir(house.path("policies")).unwrap();
    house.write("policies/b.cedar", "permit (principal, action, resource);");
    house.write("policies/a.cedar", "// none");
    let (code, _, err) = house.policy(&["init", "--yes"]);
    assert_eq!(code, 2, "{err}");
    for part in ["would be in force too: a.cedar, b.cedar", "another --dir", "--force"] {
        assert!(err.contains(part), "{err}");
    }
    assert!(!Path::new(&house.path("policies/policies.cedar")).exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.current_dir(house.dir.path()).args(["policy", "init", "--", "no-such-program"]);
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("no-such-program") && !said.contains("in force"), "{said}");
    let (code, _, err) = house.policy(&["init", "--yes", "--force"]);
    assert_eq!(code, 0, "{err}");
    assert!(Path::new(&house.path("policies/policies.cedar")).exists());
}

#[test]
fn warnings_are_counted_and_fail_the_check_on_demand() {
    let house = House::new();
    house.write("p.cedar", "forbid (principal, action == Mcp::Action::\"files/gone\", resource);\n");
    let (code, out, err) = house.policy(&["check", "--policies", "p.cedar"]);
    assert!(code == 0 && out.starts_with("1 policy is in order, 1 warning, against "), "{out}");
    assert!(err.contains("this forbid protects nothing"), "{err}");
    for json in [None, Some("--json")] {
        let args = ["check", "--policies", "p.cedar", "--deny-warnings"].into_iter().chain(json);
        assert_eq!(house.policy(&args.collect::<Vec<_>>()).0, 1);
    }
    house.write("p.cedar", "permit (principal, action == Mcp::Action::\"tools/list\", resource);\n");
    assert_eq!(house.policy(&["check", "--policies", "p.cedar", "--deny-warnings"]).0, 0);
}

#[test]
fn the_servers_name_is_given_by_either_word_in_every_command() {
    for command in [&["run"][..], &["policy", "init"], &["policy", "check"], &["policy", "schema"]] {
        for word in ["--name", "--server"] {
            let mut chancery = Command::new(env!("CARGO_BIN_EXE_chancery"));
            let output = chancery.args(command).args([word, "UPPER", "--", "x"]).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("invalid value 'UPPER'"), "{command:?} {word}: {said}");
        }
    }
}

#[test]
fn a_missing_path_or_program_is_misuse_that_names_the_fix() {
    let house = House::new();
    let (code, _, err) = house.policy(&["check", "--policies", "nowhere"]);
    assert!(code == 2 && err.contains("nowhere") && err.contains("policy init"), "{err}");
    assert!(!Path::new(&house.path("nowhere")).exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    let output = command.args(["policy", "schema", "--", "no-such-program"]).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && err.contains("no-such-program"), "{err}");
}
