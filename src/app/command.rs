//! Whether a tool server's command can be started at all, asked before anything else is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Environment, split_search_path};
use crate::proxy::config::ChildConfig;

/// A command that can't be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing of that name in `PATH`.
    #[error("there is no program `{0}` in PATH")]
    NotInPath(String),
    /// No such file.
    #[error("there is no file {path}", path = .0.display())]
    Missing(PathBuf),
    /// A file that can't be executed.
    #[error("{path} can't be executed", path = .0.display())]
    NotExecutable(PathBuf),
    /// The directory that it shall start in is not there.
    #[error("its working directory {path} does not exist", path = .0.display())]
    NoDirectory(PathBuf),
}

impl CommandError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NotInPath(name) => format!("install `{name}`, or write the path of the program"),
            Self::Missing(_) => "write the path of a program that exists".to_owned(),
            Self::NotExecutable(path) => {
                format!("chmod +x {}, or name the program that runs it", path.display())
            }
            Self::NoDirectory(path) => format!("mkdir -p {}, or change `cwd`", path.display()),
        }
    }
}

/// Looks the program up as the system will: a name in `PATH` (the child's own, where it is set), a path as it is.
///
/// # Errors
/// Why it can't be started.
pub fn check(child: &ChildConfig, env: &Environment) -> Result<(), CommandError> {
    if let Some(cwd) = child.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        return Err(CommandError::NoDirectory(cwd.clone()));
    }
    if child.command.contains('/') {
        let path = match &child.cwd {
            Some(cwd) => cwd.join(&child.command),
            None => PathBuf::from(&child.command),
        };
        return match (path.is_file(), executable(&path)) {
            (true, true) => Ok(()),
            (true, false) => Err(CommandError::NotExecutable(path)),
            (false, _) => Err(CommandError::Missing(path)),
        };
    }
    let directories = match child.env.get("PATH") {
        Some(path) => split_search_path(path),
        None => env.search_path(),
    };
    let found = directories.iter().any(|dir| executable(&dir.join(&child.command)));
    if found { Ok(()) } else { Err(CommandError::NotInPath(child.command.clone())) }
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_can_not_be_started_is_named_with_its_fix() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "#!/bin/sh\n").unwrap();
        let child = |command: &str| ChildConfig { command: command.to_owned(), ..ChildConfig::default() };
        let env = Environment::of([("PATH", "/usr/bin:/bin")]);
        assert_eq!(check(&child("sh"), &env), Ok(()));
        assert_eq!(check(&child("/bin/sh"), &env), Ok(()));
        assert_eq!(
            check(&child("no-such-program"), &env),
            Err(CommandError::NotInPath("no-such-program".into()))
        );
        assert_eq!(check(&child("/no/such"), &env), Err(CommandError::Missing("/no/such".into())));
        assert_eq!(
            check(&child(&plain.display().to_string()), &env),
            Err(CommandError::NotExecutable(plain))
        );
        let nowhere = ChildConfig { cwd: Some("/no/dir".into()), ..child("sh") };
        assert_eq!(check(&nowhere, &env), Err(CommandError::NoDirectory("/no/dir".into())));
        let own_path =
            ChildConfig { env: [("PATH".to_owned(), "/nowhere".to_owned())].into(), ..child("sh") };
        assert!(check(&own_path, &env).is_err());
    }
}
