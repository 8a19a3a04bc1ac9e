//! A server's name from the command that starts it, so that `chancery run` needs no name of its own.

use std::path::Path;

use crate::domain::ids::ServerName;

/// Programs that start another one: its name is in their arguments.
const LAUNCHERS: [&str; 19] = [
    "npx", "npm", "pnpm", "yarn", "bun", "bunx", "node", "deno", "uv", "uvx", "pipx", "python", "python3",
    "docker", "podman", "env", "sh", "bash", "tsx",
];
/// Launchers' own words.
const SUBCOMMANDS: [&str; 6] = ["exec", "dlx", "run", "x", "tool", "start"];
/// What the file that starts a package is called: its name is that of a directory above.
const ENTRIES: [&str; 6] = ["index", "main", "__main__", "cli", "server", "app"];
/// Directories of a package that have no name of its own.
const PARTS: [&str; 7] = ["dist", "build", "src", "lib", "out", "bin", "js"];
/// What server packages are called besides what they do.
const AFFIXES: [&str; 3] = ["mcp", "server", "modelcontextprotocol"];

/// Endings of files that programs are in.
const EXTENSIONS: [&str; 7] = [".js", ".mjs", ".cjs", ".ts", ".py", ".sh", ".exe"];

/// `npx -y @modelcontextprotocol/server-filesystem /data` is `filesystem`, `uvx mcp-server-git` is `git`,
/// `./bin/Weather_Server.py` is `weather`, `node dist/index.js` is called after the directory that it is run in, and `mcp`
/// is what nothing usable is left of.
///
/// `here` is the directory that the command is run in.
pub fn server_name(command: &[String], here: &Path) -> Option<ServerName> {
    telling_name(command, here).or_else(|| "mcp".parse().ok())
}

fn telling_name(command: &[String], here: &Path) -> Option<ServerName> {
    let mut words = command.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    let first = words.next()?;
    let program = basename(first);
    let named = match LAUNCHERS.contains(&program) {
        true => package(words.find(|word| !SUBCOMMANDS.contains(word) && !word.contains('='))?, here),
        false if stem(program) != program => package(first, here),
        false => program.to_owned(),
    };
    let named = named.split('@').next().unwrap_or(&named);
    let named = stem(named).to_ascii_lowercase();
    let parts: Vec<&str> =
        named.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let telling: Vec<&str> = parts.iter().copied().filter(|part| !AFFIXES.contains(part)).collect();
    let name = if telling.is_empty() { parts.join("-") } else { telling.join("-") };
    let name: String = name.chars().take(64).collect();
    name.parse().ok()
}

/// The last segment of a path that tells something: `server-git` of `server-git/dist/index.js`, and of `dist/index.js`
/// what its directory is called.
fn package(path: &str, here: &Path) -> String {
    let last = basename(path);
    if !ENTRIES.contains(&last.split('.').next().unwrap_or(last)) {
        return last.to_owned();
    }
    // A word without a slash or an ending is a package's or a module's name.
    let is_file = path.contains('/') || stem(last) != last;
    let here = here.to_str().filter(|_| is_file && !path.starts_with('/')).unwrap_or_default();
    let mut above: Vec<&str> = Vec::new();
    for step in here.split('/').chain(path.split('/')).filter(|step| !matches!(*step, "" | ".")) {
        match step {
            ".." => {
                above.pop();
            }
            step => above.push(step),
        }
    }
    above.pop();
    let mut named = above.iter().rev().map(|step| step.trim_start_matches('@'));
    named.find(|step| !PARTS.contains(step)).map_or_else(|| last.to_owned(), str::to_owned)
}

/// A file's name without the ending that says what it is written in.
fn stem(name: &str) -> &str {
    EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

/// The last segment of a path or package name.
fn basename(word: &str) -> &str {
    word.trim_end_matches('/').rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_package_not_from_its_launcher() {
        for (command, expected) in [
            ("npx -y @modelcontextprotocol/server-filesystem /data", Some("filesystem")),
            ("npx --yes @modelcontextprotocol/server-everything@2026.1.1 stdio", Some("everything")),
            ("uvx mcp-server-git --repository .", Some("git")),
            ("python -m mcp_server_time", Some("time")),
            (
                "node node_modules/@modelcontextprotocol/server-filesystem/dist/index.js /data",
                Some("filesystem"),
            ),
            ("npx @acme/server", Some("acme")),
            ("node dist/index.js", Some("notes")),
            ("node index.js", Some("notes")),
            ("./build/index.js", Some("notes")),
            ("node ../index.js", Some("srv")),
            ("node ../mcp-weather/dist/main.js", Some("weather")),
            ("node /dist/index.js", Some("index")),
            ("python -m server", Some("mcp")),
            ("python /srv/mcp-weather/src/main.py", Some("weather")),
            ("docker run -i --rm mcp/fetch", Some("fetch")),
            ("./bin/Weather_Server.py", Some("weather")),
            ("/usr/bin/chancery demo-server", Some("chancery")),
            ("github-mcp-server stdio", Some("github")),
            ("mcp-server", Some("mcp-server")),
            ("npx", Some("mcp")),
            ("./tools", Some("mcp")),
            ("/opt/server", Some("mcp")),
            ("", Some("mcp")),
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(
                server_name(&words, Path::new("/srv/mcp-notes")).as_ref().map(ServerName::as_str),
                expected,
                "{command}"
            );
        }
    }
}
