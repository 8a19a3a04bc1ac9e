//! `chancery verify`: an attestation log, offline, against what the caller trusts.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use miette::miette;

use super::report::with_help;
use super::{Exit, Failure};
use crate::audit::{self, AuditError, Progress};
use crate::domain::ids::SpiffeId;
use crate::keys::{BundleError, TrustBundle};

/// Logs smaller than this are read before a bar could be seen.
const BAR_FROM_BYTES: u64 = 8 * 1024 * 1024;

/// What is wrong when bundle and identity don't go together.
const OTHER_GATEWAYS: &str = "the bundle and the identity belong to different gateways: take both from the gateway that \
                              wrote the log (`chancery keys bundle`, `chancery keys show`)";

/// Arguments of `chancery verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log's directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The trust bundle, PEM or SPIFFE JSON, from a source you trust (not from the log itself). Give it several
    /// times where the CA rotated meanwhile: the roots of all files count, each for its own time.
    #[arg(long, value_name = "FILE", required = true)]
    trust_bundle: Vec<PathBuf>,
    /// The SPIFFE ID of the gateway whose log it must be.
    #[arg(long, value_name = "SPIFFE_ID")]
    identity: String,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let identity: SpiffeId = args.identity.parse().map_err(|error| {
        let help = "give the gateway's identity as `chancery keys show` prints it";
        Failure::misuse(miette!(help = help, "--identity: {error}"))
    })?;
    let bundle = bundle(&args.trust_bundle, &identity)?;
    let mut bar = Bar(None);
    let report = audit::verify(&args.dir, &bundle, &identity, &mut bar);
    bar.clear();
    let report = report.map_err(|error| with_help(&error, help(&error)))?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(|error| Failure::runtime(miette!("{error}")))?
    } else {
        report.to_string()
    };
    // A closed pipe (`| head`) changes nothing about the outcome.
    let _reader_gone = writeln!(std::io::stdout(), "{text}");
    Ok(if report.ok { Exit::Done } else { Exit::Findings })
}

/// The roots of all files together.
fn bundle(files: &[PathBuf], identity: &SpiffeId) -> Result<TrustBundle, Failure> {
    let mut bundles = Vec::with_capacity(files.len());
    for path in files {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let help = "write it on the gateway's machine with `chancery keys bundle`, and carry it here";
            Failure::misuse(miette!(help = help, "--trust-bundle: can't read {file}: {error}"))
        })?;
        let bundle = TrustBundle::parse(identity.trust_domain(), &text).map_err(|error| {
            if let BundleError::OtherDomain { found, expected, .. } = &error {
                let what =
                    format!("{file} is the trust bundle of `{found}`, but --identity is of `{expected}`");
                return Failure::misuse(miette!(help = OTHER_GATEWAYS, "--trust-bundle: {what}"));
            }
            let help = match error {
                BundleError::Count(_) => "give several files, each with its own --trust-bundle",
                _ => "a trust bundle is one or more CA certificates in PEM, or SPIFFE bundle JSON",
            };
            Failure::misuse(miette!(help = help, "--trust-bundle: {file}: {error}"))
        })?;
        bundles.push(bundle);
    }
    TrustBundle::union(bundles).map_err(|error| {
        let help = "give only the bundles of the time of this log";
        Failure::misuse(miette!(help = help, "--trust-bundle: {error}"))
    })
}

fn help(error: &AuditError) -> String {
    match error {
        AuditError::Missing { .. } | AuditError::NotALog { .. } => {
            "name the directory that `log.dir` of the gateway's configuration, or its --log, names; under `chancery run` \
             each run has one below logs/run in the state directory"
                .to_owned()
        }
        AuditError::TrustDomain { .. } => OTHER_GATEWAYS.to_owned(),
        AuditError::Read { path, .. } => {
            format!("make {} readable for the user that verifies, or verify a copy", path.display())
        }
    }
}

/// A bar on a terminal's stderr; nothing anywhere else.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn clear(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn begin(&mut self, bytes: u64) {
        if bytes < BAR_FROM_BYTES || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(bytes);
        let template = "verifying {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.0 = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}
