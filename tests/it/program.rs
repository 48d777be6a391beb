//! Runs `voldemort` as people do.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a command came to.
pub(crate) struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A command in a folder, with its input and more of an environment.
pub(crate) fn voldemort_with(
    folder: &Path,
    arguments: &[&str],
    input: &str,
    environment: &[(&str, &str)],
) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.args(arguments).current_dir(folder).env_remove("VOLDEMORT_IDENTITY").env_remove("VISUAL");
    command.envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn voldemort(folder: &Path, arguments: &[&str]) -> Ran {
    voldemort_with(folder, arguments, "", &[])
}
