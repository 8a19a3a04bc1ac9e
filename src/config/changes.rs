//! Which keys of a configuration file differ from before, so that those that need a restart can be named.

use std::collections::BTreeSet;

use serde_json::Value;

/// The keys that differ, dotted (`limits.sessions`, `servers.files`), in order. A text that can't be read has none; it
/// was refused before.
pub fn changed_keys(before: &str, after: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tree = |text: &str| serde_yaml::from_str::<Value>(text).unwrap_or(Value::Null);
    compare("", &tree(before), &tree(after), &mut found);
    found
}

fn compare(at: &str, before: &Value, after: &Value, found: &mut BTreeSet<String>) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    let (old, new) = match (before, after) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Object(old), Value::Null) => (old, &empty),
        (Value::Null, Value::Object(new)) => (&empty, new),
        _ => {
            found.insert(at.to_owned());
            return;
        }
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        compare(&path, &side(old), &side(new), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_named_and_those_that_were_only_moved_or_commented_are_not() {
        let before = "listen: { tcp: \"127.0.0.1:1\" }\nlimits: { sessions: 1, in_flight: 2 }\npolicies: p\n";
        let after = "# new\npolicies: [p]\nlimits:\n  in_flight: 2\n  sessions: 3\nlisten: { tcp: \"127.0.0.1:1\" }\npin: off\n\
                     servers: { a: { command: x } }\n";
        let changed: Vec<String> = changed_keys(before, after).into_iter().collect();
        assert_eq!(changed, ["limits.sessions", "pin", "policies", "servers.a.command"]);
        assert!(changed_keys(before, before).is_empty());
        assert_eq!(changed_keys("", "pin: lock").into_iter().collect::<Vec<_>>(), ["pin"]);
    }
}
