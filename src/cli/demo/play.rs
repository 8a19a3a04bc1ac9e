//! The client's part: an unmodified client of the official Rust SDK, and the calls that it makes.

use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject};
use rmcp::service::ServiceError;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use super::DemoError;
use super::stage::Gateway;

/// What the permitted write writes.
pub(super) const NOTE: &str = "Remember the milk.\n";
const HIDDEN: &str = "delete_everything";

/// One call and what the client saw of it.
#[derive(Debug)]
pub(super) struct Scene {
    /// The call as a person reads it.
    pub(super) call: String,
    /// The action that the gateway decides.
    pub(super) action: &'static str,
    /// Whether the policies permit it.
    pub(super) permitted: bool,
    /// Whether the client got a result.
    pub(super) served: bool,
    /// What else was not as it should be.
    pub(super) wrong: Option<String>,
    /// The digest that the denial named.
    pub(super) attestation: Option<String>,
}

/// The calls: name, arguments, action, whether the policies permit it.
fn calls() -> [(&'static str, Value, &'static str, bool); 5] {
    [
        ("read_file", json!({ "path": "welcome.md" }), "files/read_file", true),
        ("write_file", json!({ "path": "notes/today.md", "content": NOTE }), "files/write_file", true),
        ("write_file", json!({ "path": "private/plans.md", "content": "x" }), "files/write_file", false),
        (
            "write_file",
            json!({ "path": "notes/../private/plans.md", "content": "x" }),
            "files/write_file",
            false,
        ),
        (HIDDEN, json!({}), "files/delete_everything", false),
    ]
}

/// Connects, lists, calls, and says goodbye.
pub(super) async fn play(gateway: &Gateway) -> Result<Vec<Scene>, DemoError> {
    crate::telemetry::install_crypto_provider();
    let said = |what: &str, error: &dyn std::fmt::Display| DemoError::Said(format!("{what}: {error}"));
    // The one place where the secret leaves: the header that the gateway asks for.
    let config = StreamableHttpClientTransportConfig::with_uri(gateway.url.as_str())
        .auth_header(gateway.secret.expose());
    // No proxy: the gateway is on this machine.
    let http = reqwest::Client::builder().no_proxy().build().map_err(|e| said("no HTTP client", &e))?;
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let client = ().serve(transport).await.map_err(|e| said("the client could not open a session", &e))?;

    let mut scenes = vec![Scene {
        call: "initialize".to_owned(),
        action: "session/open",
        permitted: true,
        served: true,
        wrong: None,
        attestation: None,
    }];
    let tools = client.list_all_tools().await.map_err(|e| said("tools/list", &e))?;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    let wrong =
        (names != ["list_files", "read_file", "write_file"]).then(|| format!("tools/list showed {names:?}"));
    scenes.push(Scene {
        call: format!("tools/list (shows {})", names.join(", ")),
        action: "tools/list",
        permitted: true,
        served: true,
        wrong,
        attestation: None,
    });
    for (name, arguments, action, permitted) in calls() {
        let shown = arguments.get("path").and_then(Value::as_str).unwrap_or_default();
        let call = format!("{name} {shown}").trim_end().to_owned();
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            _ => JsonObject::new(),
        };
        let outcome = client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments)).await;
        scenes.push(seen(call, action, permitted, outcome)?);
    }
    client.cancel().await.map_err(|e| said("the client did not end well", &e))?;
    Ok(scenes)
}

fn seen(
    call: String,
    action: &'static str,
    permitted: bool,
    outcome: Result<CallToolResult, ServiceError>,
) -> Result<Scene, DemoError> {
    let mut scene = Scene { call, action, permitted, served: false, wrong: None, attestation: None };
    match outcome {
        Ok(result) => {
            scene.served = result.is_error != Some(true);
            if permitted && !scene.served {
                scene.wrong = Some("the tool server answered with an error".to_owned());
            }
        }
        Err(ServiceError::McpError(error)) => {
            let data = error.data.unwrap_or_default();
            scene.attestation = data.get("attestation").and_then(Value::as_str).map(str::to_owned);
            let expected = if action.ends_with(HIDDEN) { -32602 } else { 403 };
            if error.code.0 != expected {
                scene.wrong = Some(format!("the error has code {}, not {expected}", error.code.0));
            }
        }
        Err(error) => return Err(DemoError::Said(format!("{}: {error}", scene.call))),
    }
    Ok(scene)
}
