//! `chancery keys`: the signing identity, for people (`show`) and for verifiers (`bundle`, `jwks`). Only looks.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use miette::miette;

use super::{Exit, Failure};
use crate::config::{Config, Environment, Purpose};
use crate::domain::clock::Clock;
use crate::identity::{self, Identity, KeyDescription, KeyRole, Kind};

/// Arguments of `chancery keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration whose identity is meant; without one, the default identity of this user.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the keys: ids, validity, thumbprints, where they are.
    Show {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the trust bundle, which `chancery verify --trust-bundle` needs.
    Bundle {
        /// The form to print it in.
        #[arg(long, value_enum, default_value_t = Format::Pem)]
        format: Format,
    },
    /// Print the JSON Web Key Set of every key whose tokens may be alive, as `/.well-known/jwks.json` serves it.
    Jwks,
}

/// The forms of a trust bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// CA certificates in PEM.
    Pem,
    /// SPIFFE bundle JSON.
    Spiffe,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let env = Environment::process();
    let config = match &args.config {
        Some(file) => Config::load(file, Purpose::Run, &env),
        None => Config::defaults(Purpose::Run, &env),
    };
    let config = config.map_err(Failure::misuse)?;
    if matches!(config.identity.kind, Kind::Local(_)) && config.state_dir.join("spire").is_dir() {
        eprintln!(
            "chancery: this is the embedded identity; a gateway with an identity from SPIRE has been here as well: name \
             its configuration (-c FILE), or set SPIFFE_ENDPOINT_SOCKET as it has it"
        );
    }
    print(&args.command, &config.identity, Clock::system(), &mut std::io::stdout().lock())
}

/// Prints what `command` asks of the identity that `config` names.
fn print(
    command: &Command,
    config: &identity::Config,
    clock: Clock,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let identity = Identity::inspect(config, clock).map_err(|error| Failure::misuse(miette!("{error}")))?;
    let json = |error: serde_json::Error| Failure::runtime(miette!("{error}"));
    let text = match command {
        Command::Show { json: true } => {
            serde_json::to_string_pretty(&as_json(&identity, config)).map_err(json)?
        }
        Command::Show { json: false } => as_text(&identity, config),
        Command::Bundle { format: Format::Pem } => identity.bundle().to_pem(),
        Command::Bundle { format: Format::Spiffe } => {
            let bundle = identity.bundle();
            bundle.to_spiffe_json().map_err(|error| Failure::runtime(miette!("{error}")))?
        }
        Command::Jwks => serde_json::to_string_pretty(&identity.jwks()).map_err(json)?,
    };
    match writeln!(out, "{}", text.trim_end()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::runtime(miette!("can't print: {error}")))
        }
        _ => Ok(Exit::Done),
    }
}

/// Where the keys are; of SPIRE's the public halves.
fn dir(config: &identity::Config) -> &Path {
    match &config.kind {
        Kind::Local(local) => &local.dir,
        Kind::Spire(spire) => &spire.dir,
    }
}

fn as_text(identity: &Identity, config: &identity::Config) -> String {
    let mut text = format!("identity   {}\ndirectory  {}\n", identity.spiffe_id(), dir(config).display());
    if let Kind::Spire(spire) = &config.kind {
        let socket = spire.socket.as_deref().unwrap_or("SPIFFE_ENDPOINT_SOCKET of the gateway");
        text.push_str(&format!("from       the SPIRE agent at {socket}\n"));
    }
    let keys = identity.describe();
    if !keys.iter().any(|key| key.role == KeyRole::Signing) {
        let why = identity.why_none().map_or_else(String::new, |why| why.to_string());
        text.push_str(&format!("\nsigning    none: {why}\n"));
    }
    for key in keys {
        let file =
            key.file.as_ref().map(|file| format!("\n           {}", file.display())).unwrap_or_default();
        text.push_str(&format!(
            "\n{role:<10} {id}\n           {algorithm}, sha256:{thumbprint}\n           {from} to {to}{file}\n",
            role = key.role.as_str(),
            id = key.id,
            algorithm = key.algorithm,
            thumbprint = key.thumbprint,
            from = key.not_before,
            to = key.not_after,
        ));
    }
    text
}

fn as_json(identity: &Identity, config: &identity::Config) -> serde_json::Value {
    let key = |key: KeyDescription| {
        serde_json::json!({
            "role": key.role.as_str(),
            "id": key.id,
            "algorithm": key.algorithm,
            "sha256": key.thumbprint,
            "not_before": key.not_before.to_rfc3339(),
            "not_after": key.not_after.to_rfc3339(),
            "file": key.file,
        })
    };
    serde_json::json!({
        "spiffe_id": identity.spiffe_id().as_str(),
        "kind": match &config.kind {
            Kind::Local(_) => "local",
            Kind::Spire(_) => "spire",
        },
        "directory": dir(config),
        "keys": identity.describe().into_iter().map(key).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::keys::{Jwks, Signer as _, TrustBundle};

    struct Place {
        dir: tempfile::TempDir,
        clock: Clock,
    }

    impl Place {
        fn new() -> Self {
            let now = Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
            Self { dir: tempfile::tempdir().unwrap(), clock: Clock::fixed(now) }
        }

        fn config(&self) -> identity::Config {
            let mut local = identity::Local::in_dir(self.dir.path().join("identity"));
            local.trust_domain = Some("example.org".to_owned());
            identity::Config { kind: Kind::Local(local), lead: identity::Config::DEFAULT_LEAD }
        }

        fn opened(&self) -> Arc<Identity> {
            let Kind::Local(local) = self.config().kind else { panic!("not a local identity") };
            Identity::open_local(&local, identity::Config::DEFAULT_LEAD, self.clock.clone()).unwrap()
        }

        fn printed(&self, command: &Command) -> Result<String, Failure> {
            let mut out = Vec::new();
            print(command, &self.config(), self.clock.clone(), &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        }
    }

    #[test]
    fn what_is_printed_is_what_verifiers_read() {
        let place = Place::new();
        let identity = place.opened();
        let kid = identity.current().unwrap().id().to_string();
        for format in [Format::Pem, Format::Spiffe] {
            let text = place.printed(&Command::Bundle { format }).unwrap();
            assert_eq!(TrustBundle::parse("example.org", &text).unwrap(), *identity.bundle());
        }
        let jwks: Jwks = serde_json::from_str(&place.printed(&Command::Jwks).unwrap()).unwrap();
        assert_eq!(jwks, identity.jwks());
        assert!(jwks.find(&kid).is_some());
        let shown = place.printed(&Command::Show { json: true }).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["spiffe_id"], "spiffe://example.org/chancery");
        assert_eq!((&shown["keys"][1]["id"], &shown["keys"][1]["role"]), (&kid.into(), &"signing".into()));
        assert_eq!(shown["keys"][1]["not_after"], "2026-03-02T12:00:00.000Z");
    }

    #[test]
    fn the_text_names_ids_validity_thumbprints_and_files_and_nothing_secret() {
        let place = Place::new();
        let identity = place.opened();
        let text = place.printed(&Command::Show { json: false }).unwrap();
        for key in identity.describe() {
            assert!(text.contains(&key.id) && text.contains(&key.thumbprint), "{text}");
            assert!(key.file.is_none_or(|file| text.contains(&file.display().to_string())), "{text}");
        }
        assert!(text.contains("2026-03-01T11:59:00.000Z to 2026-03-02T12:00:00.000Z"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("signing ")), "{text}");
        assert!(!text.contains("PRIVATE"));
    }

    #[test]
    fn looking_at_an_identity_that_is_not_there_says_how_it_comes_to_be() {
        let place = Place::new();
        for command in [Command::Show { json: false }, Command::Bundle { format: Format::Pem }, Command::Jwks]
        {
            let failure = place.printed(&command).unwrap_err();
            assert!(format!("{failure:?}").contains("first start"), "{failure:?}");
        }
        assert!(!place.dir.path().join("identity").exists());
    }
}
