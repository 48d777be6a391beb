//! The daemon and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.next();
    // As `modprobe`, and as process 1 of a machine that the daemon started over the network.
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    if let Some(code) = voldemort::agent::main(program.as_deref(), words) {
        return code;
    }
    // The daemon starts itself like this to fetch from git: a hang there ends with the child.
    if arguments.peek().is_some_and(|word| word == "internal-fetch") {
        return voldemort::source::git::fetch_main(arguments.skip(1)).into();
    }
    // And like this to commit.
    if arguments.peek().is_some_and(|word| word == "internal-write") {
        return voldemort::source::git::write_main(arguments.skip(1)).into();
    }
    voldemort::cli::run(program.into_iter().chain(arguments)).into()
}
