//! A tool server in a few lines of shell, for behaviour that no proper server shows, and a gateway in front of
//! whatever server a test needs.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::gateway::{Gateway, wait_for};

/// Everything is permitted but `delete_everything`.
pub(crate) const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("no-deletion") @reason("Nothing is deleted here.")
forbid (principal, action == Mcp::Action::"demo/delete_everything", resource);
"#;

/// Everything is permitted.
pub(crate) const PERMIT_ALL: &str = r#"@id("all") permit (principal, action, resource);"#;

/// Answers `initialize` and lists, then does what the URI of a `resources/read` says; `end` runs after its stdin
/// has ended.
pub(crate) fn script(end: &str) -> String {
    let answer = r#"printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id""#;
    format!(
        r#"trap 'exit 9' TERM
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9][0-9]*\).*/\1/p')
  asked=$(printf '%s' "$line" | sed -n 's/.*"protocolVersion":"\([^"]*\)".*/\1/p')
  case "$line" in
    *'"method":"initialize"'*) {answer} '{{"protocolVersion":"'"$asked"'","capabilities":{{"tools":{{}},"resources":{{}}}},"serverInfo":{{"name":"puppet","version":"1"}}}}' ;;
    *'"method":"tools/list"'*) {answer} '{{"tools":[]}}' ;;
    *puppet:die*) exit 7 ;;
    *puppet:silent*) ;;
    *puppet:hold*) while [ ! -e "$0.go" ]; do sleep 0.02; done; {answer} '{{"contents":[]}}' ;;
    *puppet:flood*) yes '{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"'"$(printf '%01000d' 0)"'"}}}}' | head -n 100000; {answer} '{{"contents":[]}}' ;;
    *puppet:endless*) head -c 200000000 /dev/zero | tr '\0' x; echo; {answer} '{{"contents":[]}}' ;;
    *puppet:noise*) echo 'starting up...'; echo '{{"half":'; echo '[1,2]'; printf '%s\n' '{{"jsonrpc":"2.0","id":"nobody","result":{{}}}}'; {answer} '{{"contents":[]}}' ;;
    *puppet:two-ids*) printf '{{"jsonrpc":"2.0","id":%s,"id":1,"result":{{}}}}\n' "$id" ;;
    *puppet:same-keys*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"a":1,"a":2}}}}\n' "$id" ;;
    *'"id"'*) {answer} '{{"contents":[]}}' ;;
  esac
done
{end}
"#
    )
}

/// Starts a gateway in front of `servers` (YAML), with `policies` and more lines of configuration.
pub(crate) fn gateway(servers: &str, policies: &str, more: &str) -> Gateway {
    Gateway::start_in(configured(servers, policies, more))
}

/// The directory of such a gateway, not started.
pub(crate) fn configured(servers: &str, policies: &str, more: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), servers, policies, more);
    dir
}

/// A gateway whose only server is `script`.
pub(crate) fn puppet_gateway(script: &str, more: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("puppet.sh"), script).unwrap();
    let servers =
        format!("  demo: {{ command: sh, args: [\"{}\"] }}", dir.path().join("puppet.sh").display());
    write(dir.path(), &servers, PERMIT_ALL, more);
    Gateway::start_in(dir)
}

fn write(dir: &Path, servers: &str, policies: &str, more: &str) {
    fs::create_dir(dir.join("policies")).unwrap();
    fs::write(dir.join("policies/test.cedar"), policies).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", unix: mcp.sock, address_file: addresses }}\nservers:\n{servers}\n\
         admission: {{ bootstrap: {{ file: secret }}, peer: {{}} }}\nlog: {{ dir: log }}\npolicies: policies\n{more}\n"
    );
    fs::write(dir.join("chancery.yaml"), text).unwrap();
}

/// The demo server behind a `tee`, which writes down every byte that reaches it.
pub(crate) struct Tap(TempDir);

impl Tap {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The entry `demo` of `servers` (YAML). What is answered has been written down before: `tee` takes its outputs in
    /// order.
    pub(crate) fn server(&self) -> String {
        format!(
            "  demo: {{ command: sh, args: [\"-c\", \"tee -a {}/tap /dev/fd/3 3>&1 >/dev/null | exec {} demo-server\"] }}",
            self.0.path().display(),
            env!("CARGO_BIN_EXE_chancery")
        )
    }

    /// What has reached the servers, once every session's tools have been asked for.
    pub(crate) fn settled(&self) -> String {
        wait_for("the gateway's own questions", || {
            let text = self.bytes();
            let count = |what: &str| text.matches(what).count();
            let opened = count("\"initialize\"");
            (opened > 0 && opened == count("notifications/initialized") && opened == count("tools/list"))
                .then_some(text)
        })
    }

    /// What has reached the servers so far, without the end of the last line: it may come later than the line.
    pub(crate) fn bytes(&self) -> String {
        let text = fs::read_to_string(self.0.path().join("tap")).unwrap_or_default();
        text.trim_end_matches('\n').to_owned()
    }
}
