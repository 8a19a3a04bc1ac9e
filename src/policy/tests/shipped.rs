//! The policies that ship in `policies/`, and those that are written for a new server.

use super::*;

macro_rules! shipped {
    ($($file:literal),*) => {
        [$(($file, include_str!(concat!("../../../policies/", $file)))),*]
    };
}

fn shipped(file: &str) -> Engine {
    let all = shipped!(
        "starter.cedar",
        "examples/by-token.cedar",
        "examples/data-flow.cedar",
        "examples/deny-with-reason.cedar",
        "examples/limits.cedar",
        "examples/path-prefix.cedar",
        "examples/path-sandbox.cedar",
        "examples/per-client.cedar",
        "examples/server-requests.cedar",
        "examples/session-limits.cedar",
        "examples/shadow.cedar",
        "examples/who-may-open.cedar",
        "examples/working-hours.cedar"
    );
    let found = std::fs::read_dir("policies/examples").unwrap().count() + 1;
    assert_eq!(all.len(), found, "every shipped file is tested");
    let text = all.iter().find(|(name, _)| *name == file).unwrap().1;
    let formatted =
        cedar_policy_formatter::policies_str_to_pretty(text, &cedar_policy_formatter::Config::default());
    assert!(formatted.is_ok());
    let mut catalogue = reference();
    if file == "examples/path-sandbox.cedar" {
        let rule = |text| InputRule::new(Meaning::Path, text).unwrap();
        let inputs = ["path", "paths", "source", "destination"].map(rule).to_vec();
        let rules = ArgumentRules { inputs, ..ArgumentRules::default() };
        catalogue.rules.insert(name("filesystem"), rules);
    }
    engine(text, &catalogue)
}

fn path(path: &str) -> String {
    format!(r#"{{"path":"{path}"}}"#)
}

#[test]
fn the_starter_set_opens_lists_and_reads_for_the_local_user_and_no_more() {
    let engine = shipped("starter.cedar");
    assert_eq!(effect(&ask(&engine, "filesystem", Action::SessionOpen)), "allow");
    assert_eq!(effect(&ask(&engine, "everything", Action::SessionOpen)), "not_permitted");
    assert_eq!(effect(&method(&engine, "tools/list", None, Direction::Client)), "allow");
    assert_eq!(effect(&call(&engine, "filesystem", "read_text_file", &path("/a"))), "allow");
    let write = r#"{"path":"/a","content":""}"#;
    assert_eq!(effect(&call(&engine, "filesystem", "write_file", write)), "not_permitted");
    let mut other = facts("filesystem");
    other.uid = Some(1001);
    let session = engine.session_principal(&other);
    let salt = Salt::from_bytes([0; 16]);
    let query =
        Query { session: &session, action: Action::SessionOpen, now: NOW, state: &calls(0), salt: &salt };
    assert_eq!(effect(&engine.decide(&query)), "not_permitted");
}

#[test]
fn the_token_example_goes_by_groups_and_claims() {
    let engine = shipped("examples/by-token.cedar");
    let ask = |groups: &[&str], claims: &[(&str, &str)], name, arguments: &str| {
        let mut facts = facts("filesystem");
        facts.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        facts.claims = std::sync::Arc::new(claims.collect());
        let session = engine.session_principal(&facts);
        let salt = Salt::from_bytes([0; 16]);
        let action = Action::ToolCall { name, arguments: Some(arguments.as_bytes()) };
        effect(&engine.decide(&Query {
            session: &session,
            action,
            now: NOW,
            state: &State::default(),
            salt: &salt,
        }))
        .to_owned()
    };
    let (read, write) = (path("/a"), r#"{"path":"/a","content":""}"#);
    assert_eq!(ask(&["oidc:staff"], &[], "read_text_file", &read), "allow");
    assert_eq!(ask(&["oidc:guests"], &[("department", "lab")], "read_text_file", &read), "not_permitted");
    assert_eq!(ask(&[], &[("department", "lab")], "write_file", write), "allow");
    assert_eq!(ask(&["oidc:staff"], &[("department", "office")], "write_file", write), "not_permitted");
    assert_eq!(ask(&["oidc:staff"], &[], "write_file", write), "not_permitted");
    let contractor = [("department", "lab"), ("contractor", "true")];
    assert_eq!(ask(&[], &contractor, "write_file", write), "forbidden");
}

#[test]
fn the_path_example_keeps_to_its_folders() {
    let engine = shipped("examples/path-prefix.cedar");
    let read = |p: &str| effect(&call(&engine, "filesystem", "read_text_file", &path(p))).to_owned();
    assert_eq!(read("/data/public/a"), "allow");
    for bad in
        ["/data/public/../private/key", "/data/private/key", "/data/public", "/data/public/..", "", "../x"]
    {
        assert_eq!(read(bad), "not_permitted", "{bad}");
    }
    let write = |p: &str| {
        effect(&call(&engine, "filesystem", "write_file", &format!(r#"{{"path":"{p}","content":""}}"#)))
            .to_owned()
    };
    assert_eq!((write("/data/scratch/a"), write("/data/public/a")), ("allow".into(), "not_permitted".into()));
    let many = |paths: &str| effect(&call(&engine, "filesystem", "read_multiple_files", paths)).to_owned();
    assert_eq!(many(r#"{"paths":["/data/public/LICENSE"]}"#), "allow");
    assert_eq!(many(r#"{"paths":["/data/public/LICENSE","/etc/passwd"]}"#), "not_permitted");
}

#[test]
fn the_sandbox_example_keeps_to_its_folders_however_a_path_is_spelt() {
    let engine = shipped("examples/path-sandbox.cedar");
    assert!(engine.lint().is_empty(), "{}", lines(&engine.lint()));
    let read = |p: &str| effect(&call(&engine, "filesystem", "read_text_file", &path(p))).to_owned();
    assert_eq!((read("/data/public/a"), read("/data/./public//b/a")), ("allow".into(), "allow".into()));
    for (bad, expected) in [
        ("/data/public/../private/key", "not_permitted"),
        ("/data/public/link/../a", "not_permitted"),
        ("/data/public", "not_permitted"),
        ("public/a", "not_permitted"),
        ("/data/public/%2e%2e/private", "invalid_input"),
        ("/data/public/.env", "forbidden"),
        ("/data/public/server.PEM", "forbidden"),
    ] {
        assert_eq!(read(bad), expected, "{bad}");
    }
    let many = |paths: &str| effect(&call(&engine, "filesystem", "read_multiple_files", paths)).to_owned();
    assert_eq!(many(r#"{"paths":["/data/public/a","/data/public/b/c"]}"#), "allow");
    assert_eq!(many(r#"{"paths":["/data/public/a","/etc/passwd"]}"#), "not_permitted");
}

#[test]
fn the_other_examples_do_what_they_say() {
    let reason = shipped("examples/deny-with-reason.cedar");
    let moved = call(&reason, "filesystem", "move_file", r#"{"source":"/a","destination":"/b"}"#);
    assert_eq!(effect(&moved), "forbidden");
    assert!(moved.determining[0].reason.as_deref().unwrap().starts_with("Files are not moved"));
    let head = |head: &str| format!(r#"{{"path":"/a","head":{head}}}"#);
    assert_eq!(effect(&call(&reason, "filesystem", "read_text_file", &head("1001"))), "forbidden");
    assert_eq!(effect(&call(&reason, "filesystem", "read_text_file", &head("10"))), "allow");
    assert_eq!(effect(&call(&reason, "filesystem", "read_text_file", &head("1e300"))), "invalid_input");

    let client = shipped("examples/per-client.cedar");
    assert_eq!(effect(&call(&client, "filesystem", "read_text_file", &path("/a"))), "allow");
    assert_eq!(
        effect(&call(&client, "filesystem", "write_file", r#"{"path":"/a","content":""}"#)),
        "not_permitted"
    );

    let limits = shipped("examples/session-limits.cedar");
    let session = limits.session_principal(&facts("filesystem"));
    let at = |count, now| {
        let salt = Salt::from_bytes([0; 16]);
        let action = Action::ToolCall { name: "read_text_file", arguments: Some(br#"{"path":"/a"}"#) };
        effect(&limits.decide(&Query { session: &session, action, now, state: &calls(count), salt: &salt }))
    };
    assert_eq!(at(99, NOW), "allow");
    assert_eq!(at(100, NOW), "forbidden");
    assert_eq!(at(0, Timestamp::from_secs(1_767_323_000 + 3601)), "forbidden");
    assert!(!limits.could_be_permitted(&session, Listed::Tool("read_text_file"), NOW, &calls(100)));

    let shadow = shipped("examples/shadow.cedar");
    let write = call(&shadow, "filesystem", "write_file", r#"{"path":"/a","content":""}"#);
    assert_eq!((effect(&write), write.shadow.len()), ("allow", 1));

    let asks = shipped("examples/server-requests.cedar");
    assert_eq!(effect(&method(&asks, "roots/list", None, Direction::Server)), "allow");
    assert_eq!(effect(&method(&asks, "elicitation/create", None, Direction::Server)), "forbidden");
    let sampling = Action::Method { method: "sampling/createMessage", target: None, from: Direction::Server };
    assert_eq!(effect(&ask(&asks, "everything", sampling)), "allow");
    assert_eq!(effect(&ask(&asks, "filesystem", sampling)), "not_permitted");
}

/// The same as [`call`], after what the principal did.
fn after(engine: &Engine, (server, tool): (&str, &str), arguments: &str, now: &str, state: &State) -> Ruling {
    let session = engine.session_principal(&facts(server));
    let salt = Salt::from_bytes([1; 16]);
    let action = Action::ToolCall { name: tool, arguments: Some(arguments.as_bytes()) };
    let now = Timestamp::parse_rfc3339(now).unwrap();
    engine.decide(&Query { session: &session, action, now, state, salt: &salt })
}

#[test]
fn the_example_of_limits_counts_what_it_says() {
    let engine = shipped("examples/limits.cedar");
    let write = r#"{"path":"/a","content":""}"#;
    let noon = "2026-01-02T12:00:00Z";
    let decided = |tool: &str, arguments: &str, state: State| {
        let ruling = after(&engine, ("filesystem", tool), arguments, noon, &state);
        ids(&ruling).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let calls = |minute, hour, day, calls| Calls { calls, minute, hour, day };
    let none = State::default();
    let full = State { all: calls(29, 900, 5_000, 99_999), server: calls(0, 0, 999, 999), ..none.clone() };
    assert_eq!(decided("read_text_file", &path("/a"), full.clone()), "reads-and-writes");
    let minute = State { all: calls(30, 30, 30, 30), ..none.clone() };
    assert_eq!(decided("read_text_file", &path("/a"), minute), "thirty-a-minute");
    let day = State { server: calls(0, 0, 1_000, 1_000), ..none.clone() };
    assert_eq!(decided("write_file", write, day), "thousand-a-day-at-one-server");
    let tool = State { tool: calls(0, 10, 10, 10), ..none.clone() };
    assert_eq!(decided("write_file", write, tool.clone()), "ten-writes-an-hour");
    assert_eq!(decided("read_text_file", &path("/a"), tool), "reads-and-writes");
    let all = State { all: calls(0, 0, 0, 100_000), ..none };
    assert_eq!(decided("write_file", write, all), "a-hundred-thousand-in-all");
}

#[test]
fn the_example_of_data_flow_labels_and_closes() {
    let engine = shipped("examples/data-flow.cedar");
    let read = |p: &str| call(&engine, "filesystem", "read_text_file", &path(p));
    assert_eq!(read("/data/a").labels, []);
    let customers = read("/data/customers/a").labels;
    assert_eq!((&*customers[0].name, customers[0].keeps.unwrap().as_secs()), ("customer-data", 7 * 86_400));
    let env = call(&engine, "everything", "get-env", "{}").labels;
    assert_eq!((&*env[0].name, env[0].keeps), ("environment", None));
    let noon = "2026-01-02T12:00:00Z";
    let labelled = State { labels: vec!["customer-data".into()], ..State::default() };
    let echo =
        |state| effect(&after(&engine, ("everything", "echo"), r#"{"message":"x"}"#, noon, state)).to_owned();
    assert_eq!((echo(&State::default()), echo(&labelled)), ("allow".into(), "forbidden".into()));
    let session = engine.session_principal(&facts("everything"));
    assert!(!engine.could_be_permitted(&session, Listed::Tool("echo"), NOW, &labelled));
    let seen = State { session_labels: vec!["environment".into()], ..State::default() };
    let write = after(&engine, ("filesystem", "write_file"), r#"{"path":"/a","content":""}"#, noon, &seen);
    assert_eq!(&*ids(&write)[0], "no-environment-in-files");
}

#[test]
fn the_example_of_working_hours_knows_weekends_nights_and_freezes() {
    let engine = shipped("examples/working-hours.cedar");
    let write = r#"{"path":"/a","content":""}"#;
    let moved = r#"{"source":"/a","destination":"/b"}"#;
    let at = |tool: &str, arguments: &str, now: &str| {
        effect(&after(&engine, ("filesystem", tool), arguments, now, &State::default()))
    };
    assert_eq!(at("write_file", write, "2026-01-02T09:00:00Z"), "allow");
    assert_eq!(at("write_file", write, "2026-01-02T17:00:00Z"), "not_permitted");
    assert_eq!(at("write_file", write, "2026-01-04T12:00:00Z"), "not_permitted", "a Sunday");
    assert_eq!(at("read_text_file", &path("/a"), "2026-01-04T03:00:00Z"), "allow");
    assert_eq!(at("move_file", moved, "2026-12-23T12:00:00Z"), "allow");
    assert_eq!(at("move_file", moved, "2026-12-24T12:00:00Z"), "forbidden");
    assert_eq!(at("move_file", moved, "2026-12-23T05:59:00Z"), "forbidden");
}

#[test]
fn the_example_of_who_may_open_goes_by_groups_of_tokens_and_of_spiffe_ids() {
    let engine = shipped("examples/who-may-open.cedar");
    let open = |groups: &[&str], server: &str| {
        let mut facts = facts(server);
        facts.groups = groups.iter().map(|&group| group.to_owned()).collect();
        let session = engine.session_principal(&facts);
        let salt = Salt::from_bytes([0; 16]);
        let query = Query {
            session: &session,
            action: Action::SessionOpen,
            now: NOW,
            state: &State::default(),
            salt: &salt,
        };
        effect(&engine.decide(&query)).to_owned()
    };
    let builder =
        ["spiffe://example.org", "spiffe://example.org/agents", "spiffe://example.org/agents/build"];
    assert_eq!(open(&["oidc:staff"], "filesystem"), "allow");
    assert_eq!(open(&builder, "filesystem"), "allow");
    assert_eq!(open(&builder[..2], "filesystem"), "not_permitted");
    assert_eq!(open(&builder[..1], "everything"), "allow");
    assert_eq!(open(&["oidc:staff"], "everything"), "not_permitted");
    assert_eq!(open(&["oidc:staff", "oidc:on-leave"], "filesystem"), "forbidden");
    assert_eq!(open(&[], "filesystem"), "not_permitted");
}

#[test]
fn what_is_written_for_a_new_server_is_usable_at_once_and_permits_only_what_was_approved() {
    for (server, tools) in &reference().servers {
        let catalogue = Catalogue::of(server.clone(), tools.clone());
        for approved in [true, false] {
            let text = starter(&Starter { server, tools, uid: 1000, approved });
            let engine = engine(&text, &catalogue);
            let name = server.as_str();
            assert_eq!(effect(&ask(&engine, name, Action::SessionOpen)), "allow");
            let session = engine.session_principal(&facts(name));
            for tool in tools {
                let shown = engine.could_be_permitted(&session, Listed::Tool(&tool.name), NOW, &calls(0));
                assert_eq!(shown, approved && tool.annotations.read_only == Some(true), "{}", tool.name);
            }
            let all: String = text
                .lines()
                .map(|line| {
                    format!(
                        "{}\n",
                        line.strip_prefix("// permit").map_or(
                            line.strip_prefix("// @id").map_or(line.to_owned(), |r| format!("@id{r}")),
                            |r| format!("permit{r}")
                        )
                    )
                })
                .collect();
            let everything = super::engine(&all, &catalogue);
            let session = everything.session_principal(&facts(name));
            for tool in tools {
                assert!(
                    everything.could_be_permitted(&session, Listed::Tool(&tool.name), NOW, &calls(0)),
                    "{}",
                    tool.name
                );
            }
        }
    }
    let catalogue = reference();
    let (server, tools) = catalogue.servers.iter().next_back().unwrap();
    insta::assert_snapshot!(starter(&Starter { server, tools: &tools[..5], uid: 1000, approved: true }));
}

#[test]
fn a_servers_texts_cannot_break_out_of_the_comments_that_they_stand_in() {
    let title =
        "x\\n\\rpermit (principal, action, resource);\\u2028\\u202epermit (principal, action, resource);";
    let entry = format!(r#"[{{"name":"a\"]; permit","title":"{title}","inputSchema":{{}}}}]"#);
    assert!(serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(&entry).is_ok());
    let hostile = entry.replace("a\\\"]; permit", "a\\\"];permit");
    let tools = tools(&hostile);
    let server = name("t");
    let text = starter(&Starter { server: &server, tools: &tools, uid: 1, approved: false });
    let engine = engine(&text, &Catalogue::of(server, tools));
    assert_eq!(engine.policies.len(), 3, "{text}");
}
