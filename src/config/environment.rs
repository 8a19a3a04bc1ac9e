//! The one door to the environment (invariant I9): variables are read here and handed on as values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diagnostic::ConfigError;

/// The environment's variables: the process's, or those that a test sets.
#[derive(Debug, Clone, Default)]
pub struct Environment(Option<BTreeMap<String, String>>);

impl Environment {
    /// The process's own.
    pub fn process() -> Self {
        Self(None)
    }

    /// Just these.
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self(Some(variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()))
    }

    /// A variable's value, if it is set, not empty and UTF-8.
    pub fn var(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Some(fixed) => fixed.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The user's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// `$XDG_STATE_HOME/chancery`, by default `~/.local/state/chancery` (XDG base directories: a relative path
    /// counts as not set).
    ///
    /// # Errors
    /// When neither variable is set.
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        let xdg = self.var("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = xdg.or_else(|| self.home().map(|home| home.join(".local/state")));
        base.map(|base| base.join("chancery")).ok_or(ConfigError::NoStateDir)
    }

    /// The directories in which programs are looked for: `PATH`, or what the system searches without one.
    pub fn search_path(&self) -> Vec<PathBuf> {
        split_search_path(&self.var("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned()))
    }

    /// The directory that relative paths begin at; empty where the process has none, and no such path can be opened.
    pub fn working_dir(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_default()
    }

    /// Replaces a leading `~/` by the home directory.
    pub(super) fn expand_home(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => Path::new(path).to_owned(),
        }
    }

    /// Replaces each `${NAME}` by that variable and `$$` by `$`.
    ///
    /// # Errors
    /// What is wrong, for a person: an unknown variable, an unclosed brace.
    pub(super) fn interpolate(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                after
            } else if let Some(inner) = after.strip_prefix('{') {
                let (name, after) = inner.split_once('}').ok_or("`${` has no closing `}`")?;
                out.push_str(&self.var(name).ok_or_else(|| format!("the environment has no `{name}`"))?);
                after
            } else {
                out.push('$');
                after
            };
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// The directories of a search path as `PATH` holds it.
pub fn split_search_path(text: &str) -> Vec<PathBuf> {
    std::env::split_paths(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_follows_xdg() {
        let dir = |env: Environment| env.state_dir().ok().map(|d| d.display().to_string());
        let both = Environment::of([("HOME", "/h"), ("XDG_STATE_HOME", "/x")]);
        assert_eq!(dir(both).as_deref(), Some("/x/chancery"));
        let relative = Environment::of([("HOME", "/h"), ("XDG_STATE_HOME", "x")]);
        assert_eq!(dir(relative).as_deref(), Some("/h/.local/state/chancery"));
        assert_eq!(dir(Environment::of([])), None);
    }

    #[test]
    fn variables_are_put_in_and_unknown_ones_are_named() {
        let env = Environment::of([("KEY", "s3cret$x")]);
        assert_eq!(env.interpolate("Bearer ${KEY} $5 $${KEY}").unwrap(), "Bearer s3cret$x $5 ${KEY}");
        assert!(env.interpolate("${NOPE}").unwrap_err().contains("NOPE"));
        assert!(env.interpolate("${KEY").is_err());
    }
}
