//! What the demo server offers: file tools, arithmetic, a slow tool, one that asks back, a prompt and a resource.

use std::io;
use std::time::Duration;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ClientResult, ContentBlock, ElicitRequest, ElicitRequestParams, ElicitationAction,
    ElicitationSchema, Implementation, JsonObject, ListResourcesResult, PaginatedRequestParams,
    ProgressNotificationParam, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, Role, ServerCapabilities, ServerConfig, ServerRequest,
};
use rmcp::service::RequestContext;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, prompt, prompt_handler, prompt_router, tool, tool_handler,
    tool_router,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::files::Root;

const MOTTO_URI: &str = "demo://motto";
const MOTTO: &str = "Decide, record, forward; in this order.\n";

/// The service behind both transports.
#[derive(Debug, Clone)]
pub(super) struct DemoTools {
    root: Option<Root>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ReadFile {
    /// Path below the root directory.
    path: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct WriteFile {
    /// Path below the root directory.
    path: String,
    /// The new content.
    content: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ListFiles {
    /// Path of a directory below the root directory; the root itself if absent.
    path: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Add {
    /// The first summand.
    a: i64,
    /// The second summand.
    b: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Slow {
    /// How many steps, each of which reports progress; 5 if absent.
    #[schemars(range(min = 0, max = 1000))]
    steps: Option<u32>,
    /// Length of a step in milliseconds; 100 if absent.
    #[schemars(range(min = 0, max = 60000))]
    step_ms: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct AskUser {
    /// What to ask the person at the client.
    question: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Summarize {
    /// Path of the file to summarize.
    path: String,
}

impl DemoTools {
    pub(super) fn new(root: Option<Root>) -> Self {
        Self { root }
    }

    fn in_root<T>(
        &self,
        act: impl FnOnce(&Root) -> io::Result<T>,
        show: impl FnOnce(T) -> String,
    ) -> CallToolResult {
        let Some(root) = &self.root else {
            return failure("the demo server was started without --root");
        };
        match act(root) {
            Ok(value) => CallToolResult::success(vec![ContentBlock::text(show(value))]),
            Err(e) => failure(e.to_string()),
        }
    }
}

fn failure(message: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(message.into())])
}

fn any_object() -> JsonObject {
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "message": { "type": "string", "description": "Any text; other arguments may stand beside it." } },
        "additionalProperties": true,
    });
    match schema {
        serde_json::Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

#[tool_router]
impl DemoTools {
    #[tool(
        description = "Reads a text file below the root directory",
        annotations(title = "Read a file", read_only_hint = true, open_world_hint = false)
    )]
    fn read_file(&self, Parameters(ReadFile { path }): Parameters<ReadFile>) -> CallToolResult {
        self.in_root(|root| root.read(&path), |text| text)
    }

    #[tool(
        description = "Writes a text file below the root directory, replacing what was there",
        annotations(
            title = "Write a file",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn write_file(&self, Parameters(WriteFile { path, content }): Parameters<WriteFile>) -> CallToolResult {
        self.in_root(|root| root.write(&path, &content), |()| format!("wrote {} bytes", content.len()))
    }

    #[tool(
        description = "Lists a directory below the root directory",
        annotations(title = "List files", read_only_hint = true, open_world_hint = false)
    )]
    fn list_files(&self, Parameters(ListFiles { path }): Parameters<ListFiles>) -> CallToolResult {
        self.in_root(|root| root.list(path.as_deref().unwrap_or(".")), |names| names.join("\n"))
    }

    #[tool(
        description = "Deletes every file below the root directory",
        annotations(
            title = "Delete everything",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn delete_everything(&self) -> CallToolResult {
        self.in_root(Root::remove_all, |count| format!("deleted {count} files"))
    }

    #[tool(
        description = "Adds two integers",
        annotations(title = "Add", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> CallToolResult {
        match a.checked_add(b) {
            Some(sum) => CallToolResult::success(vec![ContentBlock::text(sum.to_string())]),
            None => failure("the sum does not fit 64 bits"),
        }
    }

    #[tool(
        description = "Returns its arguments as they came",
        input_schema = std::sync::Arc::new(any_object()),
        annotations(title = "Echo", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    fn echo(&self, arguments: JsonObject) -> CallToolResult {
        CallToolResult::structured(serde_json::Value::Object(arguments))
    }

    #[tool(
        description = "Takes its time, reports progress at every step, and stops when it is cancelled",
        annotations(title = "Slow", read_only_hint = true, open_world_hint = false)
    )]
    async fn slow(
        &self,
        Parameters(Slow { steps, step_ms }): Parameters<Slow>,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let steps = steps.unwrap_or(5).min(1000);
        let step = Duration::from_millis(u64::from(step_ms.unwrap_or(100).min(60_000)));
        let token = context.meta.get_progress_token();
        for done in 1..=steps {
            tokio::select! {
                () = tokio::time::sleep(step) => {}
                () = context.ct.cancelled() => return failure("cancelled"),
            }
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), f64::from(done))
                    .with_total(f64::from(steps))
                    .with_message(format!("step {done} of {steps}"));
                if context.peer.notify_progress(progress).await.is_err() {
                    return failure("the client is gone");
                }
            }
        }
        CallToolResult::success(vec![ContentBlock::text(format!("done after {steps} steps"))])
    }

    #[tool(
        description = "Asks the person at the client a question (elicitation) and returns the answer",
        annotations(title = "Ask the user", read_only_hint = true, open_world_hint = true)
    )]
    async fn ask_user(
        &self,
        Parameters(AskUser { question }): Parameters<AskUser>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let able = context.peer.peer_info().is_some_and(|client| client.capabilities.elicitation.is_some());
        if !able {
            return Ok(failure("the client can't be asked: it does not offer elicitation"));
        }
        let form = ElicitationSchema::builder()
            .required_string("answer")
            .build()
            .map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: question,
            requested_schema: form,
        };
        let asked = context.peer.send_request(ServerRequest::ElicitRequest(ElicitRequest::new(params))).await;
        Ok(match asked {
            Ok(ClientResult::ElicitResult(answer)) => match (answer.action, answer.content) {
                (ElicitationAction::Accept, Some(content)) => {
                    CallToolResult::success(vec![ContentBlock::text(content.to_string())])
                }
                _ => failure("the user did not answer"),
            },
            Ok(_) => failure("the client answered with something else"),
            Err(e) => failure(format!("the client can't be asked: {e}")),
        })
    }
}

#[prompt_router]
impl DemoTools {
    #[prompt(description = "Asks for a summary of one file")]
    async fn summarize(&self, Parameters(Summarize { path }): Parameters<Summarize>) -> Vec<PromptMessage> {
        vec![PromptMessage::new_text(
            Role::User,
            format!("Read the file {path} and summarize it in three sentences."),
        )]
    }
}

#[tool_handler]
#[prompt_handler]
impl ServerHandler for DemoTools {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("chancery-demo-server", env!("CARGO_PKG_VERSION")))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let motto = Resource::new(MOTTO_URI, "motto").with_mime_type("text/plain");
        Ok(ListResourcesResult::with_all_items(vec![motto]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != MOTTO_URI {
            return Err(ErrorData::resource_not_found("there is no such resource", None));
        }
        Ok(ReadResourceResult::new(vec![ResourceContents::text(MOTTO, MOTTO_URI)]).into())
    }
}
