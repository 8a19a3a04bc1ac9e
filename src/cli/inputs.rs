//! `--input`: what arguments mean to policies, said on the command line as `servers.<name>.inputs` says it in a
//! configuration.

use crate::domain::ids::ServerName;
use crate::policy::{ArgumentRules, Catalogue, InputRule, Meaning};

/// What arguments mean.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Inputs {
    /// What arguments mean: `path=path,paths`, `uri=download:from`, `host=hostname`; each an argument's name, or
    /// `<tool>:<argument>`, where `*` is any text. As `servers.<name>.inputs` in a configuration. May be given more than
    /// once.
    #[arg(long = "input", value_name = "MEANING=ARGUMENT[,…]", value_parser = parse)]
    given: Vec<Rules>,
}

/// The rules of one `--input`, and its text.
#[derive(Debug, Clone)]
struct Rules(Vec<InputRule>, String);

fn parse(text: &str) -> Result<Rules, String> {
    let wrong = || "write `path=ARGUMENT`, `uri=ARGUMENT` or `host=ARGUMENT`".to_owned();
    let (meaning, arguments) = text.split_once('=').ok_or_else(wrong)?;
    let known = [Meaning::Path, Meaning::Uri, Meaning::Host];
    let meaning = known.into_iter().find(|known| known.as_str() == meaning).ok_or_else(wrong)?;
    let rules = arguments.split(',').map(|argument| InputRule::new(meaning, argument.trim()));
    let rules: Result<Vec<_>, _> = rules.collect();
    Ok(Rules(rules.map_err(|error| error.to_string())?, text.to_owned()))
}

impl Inputs {
    /// Adds them to what is configured, before it.
    pub(super) fn extend(&self, arguments: &mut ArgumentRules) {
        let own = self.given.iter().flat_map(|rules| rules.0.iter().cloned());
        arguments.inputs = own.chain(arguments.inputs.drain(..)).collect();
    }

    /// Adds them to what is configured for each server with tools.
    pub(super) fn extend_all(&self, catalogue: &mut Catalogue) {
        if self.given.is_empty() {
            return;
        }
        let servers: Vec<ServerName> = catalogue.servers.keys().cloned().collect();
        for server in servers {
            self.extend(catalogue.rules.entry(server).or_default());
        }
    }

    /// The words to give them again with, each after a blank.
    pub(super) fn words(&self) -> Vec<&str> {
        self.given.iter().flat_map(|rules| ["--input", &rules.1]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meaning_takes_several_arguments_and_nothing_else() {
        let rules = parse("path=path, read:*.file").unwrap().0;
        assert_eq!(rules.iter().map(InputRule::text).collect::<Vec<_>>(), ["path", "read:*.file"]);
        for wrong in ["path", "file=path", "path=", "uri=a,,b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let inputs = Inputs { given: vec![parse("host=h").unwrap()] };
        let mut rules = ArgumentRules { inputs: parse("path=h").unwrap().0, ..ArgumentRules::default() };
        inputs.extend(&mut rules);
        assert_eq!(rules.inputs[0].meaning, Meaning::Host, "the command line comes first");
    }
}
