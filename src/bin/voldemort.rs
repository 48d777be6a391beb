//! The daemon and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    voldemort::cli::run(std::env::args_os()).into()
}
