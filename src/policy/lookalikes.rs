//! Tools that a person or a model could take for another one: the same name on two servers, or names that only look
//! the same (Unicode Technical Standard 39 §4).

use std::collections::BTreeMap;
use std::fmt;

use unicode_security::confusable_detection::skeleton;

use crate::domain::ids::ServerName;

use super::catalogue::Catalogue;
use super::schema::remark;

/// Most that are told; a server sizes this.
const MOST: usize = 64;

/// Two tools that could be taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookalike {
    /// The names are the same, on two servers; else they differ and look alike.
    pub same: bool,
    /// One of them: server and tool.
    pub one: (ServerName, String),
    /// The other.
    pub other: (ServerName, String),
}

impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((a, tool), (b, other)) = (&self.one, &self.other);
        // Names come from servers: nothing in them may move a cursor or turn the text.
        let (tool, other) = (remark(tool), remark(other));
        if self.same {
            write!(
                f,
                "`{a}` and `{b}` both have a tool `{tool}`: a client that sees both can take one for the other"
            )
        } else {
            write!(
                f,
                "the tools `{a}/{tool}` ({}) and `{b}/{other}` ({}) look alike and are not the same",
                spelt(&self.one.1),
                spelt(&self.other.1)
            )
        }
    }
}

/// The characters of a name that are not plain ASCII, or that it is plain.
fn spelt(name: &str) -> String {
    let odd: Vec<String> =
        name.chars().filter(|c| !c.is_ascii()).map(|c| format!("U+{:04X}", u32::from(c))).collect();
    if odd.is_empty() { "plain ASCII".to_owned() } else { odd.join(" ") }
}

/// What looks the same looks the same here: confusables folded, case and what joins words left out of account.
fn looks(name: &str) -> String {
    let visible: String = name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | '/')).collect();
    let folded: String = skeleton(&visible).flat_map(char::to_lowercase).collect();
    // Lower case brings forth what upper case hid: `I` and `l`.
    skeleton(&folded).collect()
}

/// All pairs in the catalogue, the first of each group with every other of it.
pub(super) fn lookalikes(catalogue: &Catalogue) -> Vec<Lookalike> {
    let mut groups: BTreeMap<String, Vec<(&ServerName, &str)>> = BTreeMap::new();
    for (server, tools) in &catalogue.servers {
        for tool in tools {
            let group = groups.entry(looks(&tool.name)).or_default();
            if !group.contains(&(server, tool.name.as_str())) {
                group.push((server, &tool.name));
            }
        }
    }
    let mut found = Vec::new();
    for group in groups.values() {
        let Some(((server, tool), rest)) = group.split_first() else { continue };
        for (other_server, other) in rest {
            let one = ((*server).clone(), (*tool).to_owned());
            found.push(Lookalike {
                same: tool == other,
                one,
                other: ((*other_server).clone(), (*other).to_owned()),
            });
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ToolDefinition;

    fn catalogue(tools: &[(&str, &str)]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (server, tool) in tools {
            let raw = serde_json::json!({ "name": tool, "inputSchema": {} }).to_string();
            let tool = ToolDefinition::from_list_entry(raw.as_bytes()).unwrap();
            catalogue.servers.entry(server.parse().unwrap()).or_default().push(tool);
        }
        catalogue
    }

    #[test]
    fn names_that_look_alike_are_found_and_names_that_do_not_are_left_alone() {
        for (one, other, alike) in [
            ("send_mail", "send_mаil", true), // a Cyrillic а
            ("read_file", "read\u{200b}_file", true),
            ("read_file", "readFile", true),
            ("Idle", "ldle", true),
            ("transfer", "trаnsfеr", true),
            ("read_file", "write_file", false),
            ("get-sum", "get-product", false),
        ] {
            let found = catalogue(&[("a", one), ("b", other)]).lookalikes();
            assert_eq!(!found.is_empty(), alike, "{one} {other}");
            assert!(found.iter().all(|pair| !pair.same));
        }
        let within = catalogue(&[("a", "send"), ("a", "ѕend")]).lookalikes();
        assert_eq!(within.len(), 1, "on one server too");
        assert!(within[0].to_string().contains("U+0455"), "{}", within[0]);
    }

    #[test]
    fn one_name_on_two_servers_is_told_and_one_tool_is_never_its_own_lookalike() {
        let found = catalogue(&[("a", "search"), ("b", "search"), ("b", "other")]).lookalikes();
        assert_eq!(found.len(), 1);
        assert!(found[0].same && found[0].to_string().contains("both have a tool `search`"));
        assert!(catalogue(&[("a", "search"), ("a", "search")]).lookalikes().is_empty());
    }
}
