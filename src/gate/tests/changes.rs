//! Lists of which something else is to be shown, and what else tells of hidden entries.

use std::time::Duration;

use super::*;

const RESOURCES: &str = r#"
permit (principal, action == Mcp::Action::"session/open", resource);
permit (principal, action in Mcp::Action::"list", resource);
permit (principal, action == Mcp::Action::"completion/complete", resource);
permit (principal, action == Mcp::Action::"files/read", resource);
permit (principal, action == Mcp::Action::"prompts/get", resource) when { resource.name == "greet" };
permit (principal, action == Mcp::Action::"resources/read", resource) when { resource.uri like "file:///public/*" };
forbid (principal, action == Mcp::Action::"files/read", resource) when { principal.session.calls >= 2 };
"#;

fn tools_listed(id: i64) -> Frame {
    frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{}]}}}}"#, tools().join(",")))
}

fn notified(permits: Vec<Permit<ToClient>>) -> Vec<String> {
    let told = |permit: Permit<ToClient>| {
        assert_eq!(permit.standing_kind(), Some(Standing::OwnNotification));
        let outgoing = permit.redeem().unwrap();
        assert_eq!(outgoing.related, None);
        json_of(&outgoing.bytes)["method"].as_str().unwrap().to_owned()
    };
    permits.into_iter().map(told).collect()
}

async fn changes(open: &Open) -> Vec<String> {
    let soon = tokio::time::timeout(Duration::from_secs(20), open.session.list_changes());
    notified(soon.await.expect("a change is told"))
}

#[tokio::test]
async fn replaced_policies_that_show_something_else_are_told_once_and_others_are_not() {
    let world = World::new();
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "tools/list")).await);
    let _shown = delivered(open.session.from_server(tools_listed(1)).await);
    // Of another text, and the same tools are shown.
    world.replace_policies(&format!(
        "{POLICIES}\n@id(\"more\") forbid (principal, action == Mcp::Action::\"other\", resource);"
    ));
    assert!(open.session.shared.changed_lists().is_empty());
    world.replace_policies(&POLICIES.replace("files/write", "files/read"));
    assert_eq!(changes(&open).await, ["notifications/tools/list_changed"]);
    assert!(open.session.shared.changed_lists().is_empty(), "once");
    world.replace_policies(POLICIES);
    assert_eq!(changes(&open).await, ["notifications/tools/list_changed"]);
    world.verified().await;
}

#[tokio::test]
async fn a_client_that_never_listed_and_a_server_that_did_not_declare_it_are_told_nothing() {
    let world = World::new();
    let silent = world.http().await;
    world.replace_policies(&POLICIES.replace("files/write", "files/read"));
    assert!(silent.session.shared.changed_lists().is_empty());

    let route = Route::new(server(), Transport::Tcp);
    let (session, permit) =
        world.gate.open(&secret(2), &route, initialize(), &Arrival::default()).await.unwrap();
    let _sent = permit.redeem().unwrap();
    let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}"#;
    let _ = delivered(session.from_server(frame(answer)).await);
    let _ = forwarded(session.from_client(&secret(2), frame(INITIALIZED), &Arrival::default()).await);
    let list = frame(request(1, "tools/list").to_string());
    let _asked = forwarded(session.from_client(&secret(2), list, &Arrival::default()).await);
    let _shown = delivered(session.from_server(tools_listed(1)).await);
    world.replace_policies(POLICIES);
    assert!(session.shared.changed_lists().is_empty());
}

#[tokio::test]
async fn a_limit_that_is_reached_hides_the_tool_and_the_client_is_told() {
    let world = World::with(Terms { policies: RESOURCES, ..Terms::default() });
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "tools/list")).await);
    let _shown = delivered(open.session.from_server(tools_listed(1)).await);
    let _first = forwarded(open.call(2, "read", "/a").await);
    assert!(open.session.shared.changed_lists().is_empty());
    let _second = forwarded(open.call(3, "read", "/a").await);
    assert_eq!(changes(&open).await, ["notifications/tools/list_changed"]);
    let _asked = forwarded(open.client(&request(4, "tools/list")).await);
    let shown = delivered(open.session.from_server(tools_listed(4)).await);
    assert_eq!(json_of(&shown.bytes)["result"]["tools"], json!([]));
    world.verified().await;
}

#[tokio::test]
async fn templates_are_cut_page_by_page_and_an_empty_page_keeps_its_cursor() {
    let world = World::with(Terms { policies: RESOURCES, ..Terms::default() });
    let open = world.http().await;
    let _asked = forwarded(open.client(&request(1, "resources/templates/list")).await);
    let page = frame(
        r#"{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[{"uriTemplate":"file:///secret/{name}","name":"s"}],"nextCursor":"2"}}"#,
    );
    let shown = json_of(&delivered(open.session.from_server(page).await).bytes);
    assert_eq!(shown["result"], json!({"resourceTemplates": [], "nextCursor": "2"}));
    let next = json!({"jsonrpc":"2.0","id":2,"method":"resources/templates/list","params":{"cursor":"2"}});
    let _asked = forwarded(open.client(&next).await);
    let page = frame(
        r#"{"jsonrpc":"2.0","id":2,"result":{"resourceTemplates":[{"uriTemplate":"file:///{+path}","name":"f"},{"uriTemplate":"note://{id}","name":"n"}]}}"#,
    );
    let shown = json_of(&delivered(open.session.from_server(page).await).bytes);
    assert_eq!(
        shown["result"],
        json!({"resourceTemplates": [{"uriTemplate": "file:///{+path}", "name": "f"}]})
    );
    world.verified().await;
}

#[tokio::test]
async fn arguments_of_what_is_hidden_are_not_completed() {
    let world = World::with(Terms { policies: RESOURCES, ..Terms::default() });
    let open = world.http().await;
    let complete = |id: i64, reference: Value| {
        json!({"jsonrpc":"2.0","id":id,"method":"completion/complete",
            "params":{"ref":reference,"argument":{"name":"a","value":""}}})
    };
    let prompt = |name: &str| json!({"type":"ref/prompt","name":name});
    let template = |uri: &str| json!({"type":"ref/resource","uri":uri});
    let _allowed = forwarded(open.client(&complete(1, prompt("greet"))).await);
    let _allowed = forwarded(open.client(&complete(2, template("file:///{+path}"))).await);
    for (id, hidden) in
        [prompt("secret"), template("file:///secret/{name}"), template("note://{id}")].into_iter().enumerate()
    {
        let id = i64::try_from(id).unwrap() + 3;
        let reply = replied(open.client(&complete(id, hidden)).await);
        assert_eq!(
            (&reply["error"]["code"], &reply["error"]["data"]["reason"]),
            (&json!(403), &json!("not_permitted"))
        );
    }
    let twin = json!({"type":"ref/prompt","name":"greet","Name":"secret"});
    assert_eq!(code(open.client(&complete(9, twin)).await), -32600);
    let records = world.verified().await;
    let refused: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "completion/complete" && record["effect"] == "deny")
        .map(|record| record["resource"].as_str().unwrap())
        .collect();
    assert_eq!(refused[..3], ["files/secret", "files/file:///secret/{name}", "files/note://{id}"]);
}
