//! The command line: one file for each command, diagnostics in [`report`], exit codes in [`exit`].
//!
//! Each command's file holds its `Args` (what clap parses) and `run(args) -> Result<Exit, Failure>`. An error
//! is one diagnostic on stderr; stdout belongs to what the command was asked to print, and under
//! `chancery run` to the protocol alone.
//!
//! layer: L7

use std::process::ExitCode;

use clap::Parser;

mod bootstrap;
mod config;
mod demo;
mod demo_server;
mod exit;
mod gateways;
mod inputs;
mod keys;
mod policy;
mod principal;
mod report;
mod run;
mod serve;
mod session;
mod verify;

pub(crate) use exit::Exit;
pub(crate) use report::Failure;

/// An authorization gateway for the Model Context Protocol.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, about, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Stand between an MCP client and one tool server on stdio.
    Run(run::Args),
    /// Serve configured tool servers over streamable HTTP, on TCP or a Unix socket.
    Serve(serve::Args),
    /// Verify an attestation log offline.
    Verify(verify::Args),
    /// Show it all at work: a gateway, a tool server, a client, the log, its verification, a tampered copy.
    Demo(demo::Args),
    /// Show the signing identity.
    Keys(keys::Args),
    /// Check policies, or make the first ones for a real server.
    Policy(policy::Args),
    /// List, show and revoke the sessions of a running gateway.
    Session(session::Args),
    /// Show what a running gateway knows of principals for policies to read, and take it away.
    Principal(principal::Args),
    /// Make or rotate a bootstrap secret.
    Bootstrap(bootstrap::Args),
    /// Check a configuration file or print its JSON Schema.
    Config(config::Args),
    /// The tool server of the demo, on stdio or HTTP.
    #[command(hide = true)]
    DemoServer(demo_server::Args),
}

/// Parses the command line, runs the command, prints its diagnostic if it failed.
pub fn main() -> ExitCode {
    report::install();
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Session(args) => session::run(args),
        Command::Principal(args) => principal::run(args),
        Command::Bootstrap(args) => bootstrap::run(args),
        Command::Config(args) => config::run(args),
        Command::DemoServer(args) => demo_server::run(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.print().into(),
    }
}

/// Runs `work` on a multi-threaded runtime of its own: commands that need one start it here.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::runtime(miette::miette!("can't start the runtime: {error}")))?;
    let out = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    Ok(out)
}
