//! A server's name from the command that starts it, so that `chancery run` needs no name of its own.

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
const PARTS: [&str; 8] = ["dist", "build", "src", "lib", "out", "bin", "js", "."];
/// What server packages are called besides what they do.
const AFFIXES: [&str; 3] = ["mcp", "server", "modelcontextprotocol"];

/// `npx -y @modelcontextprotocol/server-filesystem /data` is `filesystem`, `uvx mcp-server-git` is `git`,
/// `./bin/Weather_Server.py` is `weather`, and `mcp` is what nothing usable is left of.
pub fn server_name(command: &[String]) -> Option<ServerName> {
    telling_name(command).or_else(|| "mcp".parse().ok())
}

fn telling_name(command: &[String]) -> Option<ServerName> {
    let mut words = command.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    let program = basename(words.next()?);
    let named = match LAUNCHERS.contains(&program) {
        true => package(words.find(|word| !SUBCOMMANDS.contains(word) && !word.contains('='))?),
        false => program,
    };
    let named = named.split('@').next().unwrap_or(named);
    let named = [".js", ".mjs", ".cjs", ".ts", ".py", ".sh", ".exe"]
        .iter()
        .find_map(|extension| named.strip_suffix(extension))
        .unwrap_or(named)
        .to_ascii_lowercase();
    let parts: Vec<&str> =
        named.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let telling: Vec<&str> = parts.iter().copied().filter(|part| !AFFIXES.contains(part)).collect();
    let name = if telling.is_empty() { parts.join("-") } else { telling.join("-") };
    let name: String = name.chars().take(64).collect();
    name.parse().ok()
}

/// The last segment of a path that tells something: `server-git` of `server-git/dist/index.js`.
fn package(path: &str) -> &str {
    let last = basename(path);
    let stem = last.split('.').next().unwrap_or(last);
    if !ENTRIES.contains(&stem) {
        return last;
    }
    let above = path.trim_end_matches('/').rsplit('/').skip(1);
    let mut above = above.map(|part| part.trim_start_matches('@'));
    above.find(|part| !part.is_empty() && *part != ".." && !PARTS.contains(part)).unwrap_or(last)
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
            ("node dist/index.js", Some("index")),
            ("node ../index.js", Some("index")),
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
            assert_eq!(server_name(&words).as_ref().map(ServerName::as_str), expected, "{command}");
        }
    }
}
