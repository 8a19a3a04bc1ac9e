//! Names of telemetry attributes, from the OpenTelemetry semantic conventions for MCP where they define one.

/// The JSON-RPC method.
pub const MCP_METHOD_NAME: &str = "mcp.method.name";
/// The session's id (`sid`, never the token).
pub const MCP_SESSION_ID: &str = "mcp.session.id";
/// The negotiated protocol revision.
pub const MCP_PROTOCOL_VERSION: &str = "mcp.protocol.version";
/// The resource's URI, for `resources/*`.
pub const MCP_RESOURCE_URI: &str = "mcp.resource.uri";
/// `execute_tool` on a tool call.
pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
/// The tool's name.
pub const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";
/// The prompt's name.
pub const GEN_AI_PROMPT_NAME: &str = "gen_ai.prompt.name";
/// The JSON-RPC request id as text.
pub const JSONRPC_REQUEST_ID: &str = "jsonrpc.request.id";
/// The JSON-RPC error code of the answer, as text.
pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// `pipe`, `tcp` or `unix`.
pub const NETWORK_TRANSPORT: &str = "network.transport";
/// What kind of error ended the operation.
pub const ERROR_TYPE: &str = "error.type";
/// `allow` or `deny`.
pub const CHANCERY_DECISION_EFFECT: &str = "chancery.decision.effect";
/// The decision's id.
pub const CHANCERY_DECISION_ID: &str = "chancery.decision.id";
/// Why it was denied.
pub const CHANCERY_DECISION_REASON: &str = "chancery.decision.reason";
/// Ids of the determining policies.
pub const CHANCERY_DECISION_POLICIES: &str = "chancery.decision.policies";
/// The `@reason`s of the determining policies.
pub const CHANCERY_DECISION_REASONS: &str = "chancery.decision.reasons";
/// `enforce` or `shadow`.
pub const CHANCERY_DECISION_MODE: &str = "chancery.decision.mode";
/// Digest of the policy set.
pub const CHANCERY_DECISION_POLICY_SET: &str = "chancery.decision.policy_set";
/// Digest of the attestation.
pub const CHANCERY_ATTESTATION_DIGEST: &str = "chancery.attestation.digest";
/// The server that the message is for.
pub const CHANCERY_SERVER: &str = "chancery.server";
/// Counter of decisions.
pub const METRIC_DECISIONS: &str = "chancery.decisions";
/// Histogram of the whole handling of a message, in seconds.
pub const METRIC_OPERATION_DURATION: &str = "mcp.server.operation.duration";
/// Histogram of policy evaluation, in seconds.
pub const METRIC_EVALUATION_DURATION: &str = "chancery.policy.evaluation.duration";
/// Histogram of appending a record, in seconds.
pub const METRIC_APPEND_DURATION: &str = "chancery.attestation.append.duration";
/// Records waiting for the writer.
pub const METRIC_APPEND_QUEUE: &str = "chancery.attestation.queue.depth";
/// Counter of decisions that policies which are not enforced would have turned.
pub const METRIC_SHADOW_FLIPS: &str = "chancery.policy.shadow_flips";
/// Counter of policies read anew.
pub const METRIC_RELOADS: &str = "chancery.policy.reloads";
/// Tools that differ from what was approved.
pub const METRIC_QUARANTINED: &str = "chancery.tools.quarantined";
/// `allow_to_deny` or `deny_to_allow`.
pub const CHANCERY_SHADOW_FLIP: &str = "chancery.shadow.flip";
/// `set` or `policy`.
pub const CHANCERY_SHADOW_BY: &str = "chancery.shadow.by";
/// What became of policies that were read anew.
pub const CHANCERY_RELOAD_OUTCOME: &str = "chancery.reload.outcome";
/// Counter of refusals before admission.
pub const METRIC_REFUSALS: &str = "chancery.refusals";
/// Sessions open.
pub const METRIC_SESSIONS: &str = "chancery.sessions.active";
/// Seconds until the signing certificate ends.
pub const METRIC_SIGNER_VALIDITY: &str = "chancery.signer.validity";
