//! MCP's methods, revisions 2024-11-05 to 2026-07-28, and what each one is to the gateway.

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $class:expr,)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// What `method` is to the gateway.
        pub fn classify(method: &str) -> Class {
            match method {
                $($text => $class,)*
                _ if method.starts_with(NOTIFICATION_PREFIX) => Class::OtherNotification,
                _ => Class::Other,
            }
        }

        /// Every method with a name of its own here.
        pub const ALL: &[&str] = &[$($text,)*];
    };
}

/// What every notification's method begins with.
pub const NOTIFICATION_PREFIX: &str = "notifications/";

/// Which server-to-client request a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerRequest {
    /// `sampling/createMessage`
    Sampling,
    /// `elicitation/create`
    Elicitation,
    /// `roots/list`
    Roots,
}

/// What a method is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The handshake.
    Initialize,
    /// A tool is called.
    ToolCall,
    /// Tools are listed.
    ToolList,
    /// Prompts are listed.
    PromptList,
    /// Resources are listed.
    ResourceList,
    /// Resource templates are listed.
    TemplateList,
    /// A prompt is read.
    PromptGet,
    /// A resource is read.
    ResourceRead,
    /// A resource's changes are subscribed to, or no longer.
    ResourceSubscribe,
    /// An argument is completed.
    Completion,
    /// The server's log level is set.
    SetLevel,
    /// Is the other side alive?
    Ping,
    /// The probe of revision 2026-07-28.
    Discover,
    /// The handshake's last message.
    Initialized,
    /// A request is given up.
    Cancelled,
    /// How far a request has come.
    Progress,
    /// Any other notification.
    OtherNotification,
    /// What a server asks of a client.
    ServerRequest(ServerRequest),
    /// Any other method, unknown ones included.
    Other,
}

methods! {
    /// The handshake of revisions up to 2025-11-25.
    INITIALIZE = "initialize" => Class::Initialize,
    /// Liveness.
    PING = "ping" => Class::Ping,
    /// The probe of revision 2026-07-28.
    DISCOVER = "server/discover" => Class::Discover,
    /// Calls a tool.
    TOOLS_CALL = "tools/call" => Class::ToolCall,
    /// Lists tools.
    TOOLS_LIST = "tools/list" => Class::ToolList,
    /// Lists prompts.
    PROMPTS_LIST = "prompts/list" => Class::PromptList,
    /// Reads a prompt.
    PROMPTS_GET = "prompts/get" => Class::PromptGet,
    /// Lists resources.
    RESOURCES_LIST = "resources/list" => Class::ResourceList,
    /// Lists resource templates.
    RESOURCES_TEMPLATES_LIST = "resources/templates/list" => Class::TemplateList,
    /// Reads a resource.
    RESOURCES_READ = "resources/read" => Class::ResourceRead,
    /// Subscribes to a resource.
    RESOURCES_SUBSCRIBE = "resources/subscribe" => Class::ResourceSubscribe,
    /// Ends a subscription.
    RESOURCES_UNSUBSCRIBE = "resources/unsubscribe" => Class::ResourceSubscribe,
    /// Completes an argument.
    COMPLETION_COMPLETE = "completion/complete" => Class::Completion,
    /// Sets the log level.
    LOGGING_SET_LEVEL = "logging/setLevel" => Class::SetLevel,
    /// A server asks the client's model.
    SAMPLING_CREATE_MESSAGE = "sampling/createMessage" => Class::ServerRequest(ServerRequest::Sampling),
    /// A server asks the user.
    ELICITATION_CREATE = "elicitation/create" => Class::ServerRequest(ServerRequest::Elicitation),
    /// A server asks for the client's roots.
    ROOTS_LIST = "roots/list" => Class::ServerRequest(ServerRequest::Roots),
    /// The state of a task (2025-11-25).
    TASKS_GET = "tasks/get" => Class::Other,
    /// The result of a task (2025-11-25).
    TASKS_RESULT = "tasks/result" => Class::Other,
    /// The tasks there are (2025-11-25).
    TASKS_LIST = "tasks/list" => Class::Other,
    /// Gives up a task (2025-11-25).
    TASKS_CANCEL = "tasks/cancel" => Class::Other,
    /// Opens a stream of changes (2026-07-28).
    SUBSCRIPTIONS_LISTEN = "subscriptions/listen" => Class::Other,
    /// The handshake's last message.
    NOTIFICATIONS_INITIALIZED = "notifications/initialized" => Class::Initialized,
    /// A request is given up.
    NOTIFICATIONS_CANCELLED = "notifications/cancelled" => Class::Cancelled,
    /// How far a request has come.
    NOTIFICATIONS_PROGRESS = "notifications/progress" => Class::Progress,
    /// A line of the server's log.
    NOTIFICATIONS_MESSAGE = "notifications/message" => Class::OtherNotification,
    /// The list of tools changed.
    NOTIFICATIONS_TOOLS_LIST_CHANGED = "notifications/tools/list_changed" => Class::OtherNotification,
    /// The list of prompts changed.
    NOTIFICATIONS_PROMPTS_LIST_CHANGED = "notifications/prompts/list_changed" => Class::OtherNotification,
    /// The list of resources changed.
    NOTIFICATIONS_RESOURCES_LIST_CHANGED = "notifications/resources/list_changed" => Class::OtherNotification,
    /// A resource changed.
    NOTIFICATIONS_RESOURCES_UPDATED = "notifications/resources/updated" => Class::OtherNotification,
    /// The client's roots changed.
    NOTIFICATIONS_ROOTS_LIST_CHANGED = "notifications/roots/list_changed" => Class::OtherNotification,
    /// What was asked of the user by URL is done (2025-11-25).
    NOTIFICATIONS_ELICITATION_COMPLETE = "notifications/elicitation/complete" => Class::OtherNotification,
    /// A task's state changed (2025-11-25).
    NOTIFICATIONS_TASKS_STATUS = "notifications/tasks/status" => Class::OtherNotification,
    /// A stream of changes is open (2026-07-28).
    NOTIFICATIONS_SUBSCRIPTIONS_ACKNOWLEDGED = "notifications/subscriptions/acknowledged" => Class::OtherNotification,
}

/// Whether MCP defines `method` as a request: without an id it is no message of MCP, and a lax server might run it.
pub fn is_request(method: &str) -> bool {
    ALL.contains(&method) && !is_notification(method)
}

/// Whether `method` names a notification.
pub fn is_notification(method: &str) -> bool {
    method.starts_with(NOTIFICATION_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_a_request_or_a_notification_and_unknown_ones_are_other() {
        for method in ALL {
            assert_ne!(is_request(method), is_notification(method), "{method}");
        }
        assert_eq!(classify("tools/call"), Class::ToolCall);
        assert_eq!(classify("Tools/call"), Class::Other);
        assert_eq!(classify("notifications/whatever"), Class::OtherNotification);
        assert_eq!(classify("elicitation/create"), Class::ServerRequest(ServerRequest::Elicitation));
        assert!(!is_request("x/y"));
    }
}
