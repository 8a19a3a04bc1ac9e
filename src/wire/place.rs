//! Where in a message the scanner stands, and which keys mean something there.

/// A run of bytes inside one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u32,
    /// One past the last byte; equal to `start` where there is nothing.
    pub(super) end: u32,
}

impl Span {
    /// The run, if there is one.
    pub(super) fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        let run = bytes.get(self.start as usize..self.end as usize)?;
        (!run.is_empty()).then_some(run)
    }
}

/// The objects whose members are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The message itself.
    Envelope,
    /// `params`
    Params,
    /// `params.arguments`
    Arguments,
    /// `params._meta`
    Meta,
    /// `params.clientInfo`
    ClientInfo,
    /// `result`
    Result,
    /// Anywhere else.
    Other,
}

/// The values that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Version,
    Id,
    Method,
    Params,
    Result,
    Error,
    Name,
    Uri,
    Arguments,
    Meta,
    ParamsProgressToken,
    RequestId,
    ParamsProtocolVersion,
    ClientInfo,
    MetaProgressToken,
    Traceparent,
    ClientName,
    ClientVersion,
    ResultProtocolVersion,
    None,
}

/// Where each remembered value stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slots([Span; Slot::None as usize]);

impl Slots {
    /// Where `slot`'s value stands; an empty span where there is none.
    pub(super) fn span(&self, slot: Slot) -> Span {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    /// The value as it stands in `bytes`.
    pub(super) fn of<'a>(&self, slot: Slot, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.span(slot).of(bytes)
    }

    pub(super) fn set(&mut self, slot: Slot, span: Span) {
        if let Some(place) = self.0.get_mut(slot as usize) {
            *place = span;
        }
    }
}

impl Place {
    /// What the member `key` of this object is.
    pub(super) fn slot(self, key: &[u8]) -> Slot {
        match (self, key) {
            (Self::Envelope, b"jsonrpc") => Slot::Version,
            (Self::Envelope, b"id") => Slot::Id,
            (Self::Envelope, b"method") => Slot::Method,
            (Self::Envelope, b"params") => Slot::Params,
            (Self::Envelope, b"result") => Slot::Result,
            (Self::Envelope, b"error") => Slot::Error,
            (Self::Params, b"name") => Slot::Name,
            (Self::Params, b"uri") => Slot::Uri,
            (Self::Params, b"arguments") => Slot::Arguments,
            (Self::Params, b"_meta") => Slot::Meta,
            (Self::Params, b"progressToken") => Slot::ParamsProgressToken,
            (Self::Params, b"requestId") => Slot::RequestId,
            (Self::Params, b"protocolVersion") => Slot::ParamsProtocolVersion,
            (Self::Params, b"clientInfo") => Slot::ClientInfo,
            (Self::Meta, b"progressToken") => Slot::MetaProgressToken,
            (Self::Meta, b"traceparent") => Slot::Traceparent,
            (Self::ClientInfo, b"name") => Slot::ClientName,
            (Self::ClientInfo, b"version") => Slot::ClientVersion,
            (Self::Result, b"protocolVersion") => Slot::ResultProtocolVersion,
            _ => Slot::None,
        }
    }

    /// Where the scanner stands inside the object that is `slot`'s value.
    pub(super) fn inside(slot: Slot) -> Self {
        match slot {
            Slot::Params => Self::Params,
            Slot::Arguments => Self::Arguments,
            Slot::Meta => Self::Meta,
            Slot::ClientInfo => Self::ClientInfo,
            Slot::Result => Self::Result,
            _ => Self::Other,
        }
    }

    /// Whether keys that could be taken for one another are refused here (invariant I2, and two places more: in
    /// `_meta` stands who is answered, and a result's `Tools` beside `tools` would show what a list filter hid).
    pub(super) fn refuses_twins(self) -> bool {
        !matches!(self, Self::Other | Self::ClientInfo)
    }

    /// Keys that peers look for here; nothing that could be taken for one of them may stand in its place.
    pub(super) fn known(self) -> &'static [&'static str] {
        match self {
            Self::Envelope => &["jsonrpc", "id", "method", "params", "result", "error"],
            Self::Params => PARAMS,
            Self::Meta => &["progressToken", "traceparent", "tracestate", "baggage"],
            Self::Result => RESULT,
            Self::Arguments | Self::ClientInfo | Self::Other => &[],
        }
    }
}

/// Every key that an MCP revision up to 2026-07-28 defines in some method's params.
const PARAMS: &[&str] = &[
    "name",
    "arguments",
    "uri",
    "_meta",
    "cursor",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "requestId",
    "reason",
    "progressToken",
    "progress",
    "total",
    "message",
    "level",
    "logger",
    "data",
    "ref",
    "argument",
    "context",
    "messages",
    "modelPreferences",
    "systemPrompt",
    "includeContext",
    "temperature",
    "maxTokens",
    "stopSequences",
    "metadata",
    "tools",
    "toolChoice",
    "requestedSchema",
    "mode",
    "url",
    "elicitationId",
    "task",
    "taskId",
    "inputResponses",
    "requestState",
];

/// Every key of a result that the gateway or a client acts on.
const RESULT: &[&str] = &[
    "tools",
    "prompts",
    "resources",
    "resourceTemplates",
    "nextCursor",
    "protocolVersion",
    "capabilities",
    "serverInfo",
    "instructions",
    "content",
    "structuredContent",
    "isError",
    "_meta",
    "contents",
    "messages",
    "completion",
    "roots",
    "action",
    "task",
    "tasks",
];
