//! The daemon and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.next();
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
