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
    assert!(out.contains("chancery run --policies made --name files -- "), "{out}");
    let file = house.dir.path().join("made/policies.cedar");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\n@id(\"files:open\")\npermit "), "{text}");
    assert!(
        text.contains("\npermit (principal in Mcp::Group::\"uid:") && text.contains("\n// permit "),
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
    let tool = schema.split("action \"files/").find(|part| part.contains("path: String")).unwrap();
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
