//! The `chancery` command: parse, dispatch, exit code.

use std::process::ExitCode;

/// Cedar's evaluation allocates much; mimalloc takes 15–30 % off it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chancery::cli::main()
}
