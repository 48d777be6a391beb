//! The network client of the daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    voldemort::cli::ctl::main(std::env::args_os()).into()
}
