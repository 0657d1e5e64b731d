//! `peercam-agent`: the command line is in [`peercam_agent::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peercam_agent::cli::main()
}
