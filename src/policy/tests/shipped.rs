//! The policies that ship in `policies/`, and those that are written for a new server.

use super::*;

fn shipped(text: &str) -> Engine {
    engine(text, &reference())
}

fn path(path: &str) -> String {
    format!(r#"{{"path":"{path}"}}"#)
}

#[test]
fn the_starter_set_opens_lists_and_reads_for_the_local_user_and_no_more() {
    let engine = shipped(include_str!("../../../policies/starter.cedar"));
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

/// Cases say what is permitted; what a permit adds to the principal no case can.
#[test]
fn the_recipe_of_data_flow_labels_all_but_what_it_exempts_by_name() {
    let mut catalogue = reference();
    let rule = InputRule::new(Meaning::Path, "path").unwrap();
    let rules = ArgumentRules { inputs: vec![rule], ..ArgumentRules::default() };
    catalogue.rules.insert(name("filesystem"), rules);
    let text = include_str!("../../../policies/examples/data-flow/policies.cedar");
    let sources = PolicySources::single("policies.cedar", text);
    // Its other servers are not known here.
    let (engine, _dormant) = Engine::compile(&sources, &catalogue).unwrap();
    let labels = |path: &str| {
        let ruling = call(&engine, "filesystem", "read_text_file", &self::path(path));
        assert_eq!(effect(&ruling), "allow", "{path}");
        ruling.labels
    };
    assert_eq!(labels("/srv/public/a"), []);
    for path in ["/srv/customers/a", "/srv/public/../customers/a", "/srv/public/link/../a", "/srv/PUBLIC/a"] {
        let labels = labels(path);
        assert_eq!(labels.len(), 1, "{path}");
        let kept = labels[0].keeps.map(|keeps| keeps.as_secs());
        assert_eq!((&*labels[0].name, kept), ("internal", Some(7 * 86_400)), "{path}");
    }
}

#[test]
fn what_is_written_for_a_new_server_is_usable_at_once_and_permits_only_what_was_approved() {
    let who = [Who::Group("uid:1000".into())];
    for (server, tools) in &reference().servers {
        let catalogue = Catalogue::of(server.clone(), tools.clone());
        for approved in [true, false] {
            let text = starter(&Starter { server, tools, who: &who, approved });
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
    insta::assert_snapshot!(starter(&Starter { server, tools: &tools[..5], who: &who, approved: true }));
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
    let text = starter(&Starter {
        server: &server,
        tools: &tools,
        who: &[Who::Group("uid:1".into())],
        approved: false,
    });
    let engine = engine(&text, &Catalogue::of(server, tools));
    assert_eq!(engine.policies.len(), 3, "{text}");
}
