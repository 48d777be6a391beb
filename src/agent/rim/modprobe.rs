//! `/sbin/modprobe`: the kernel calls it for file systems, protocols and ciphers that it finds it has not.

use std::process::ExitCode;

use super::load::load_by_name;

/// Reads `-q -- NAME …`, as the kernel calls (kernel/module/kmod.c). Options are of no concern here.
pub(crate) fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut options = true;
    let mut quiet = false;
    let mut names = Vec::new();
    for word in arguments {
        match word.as_str() {
            "--" if options => options = false,
            option if options && option.starts_with('-') => quiet |= option == "-q" || option == "--quiet",
            _ => names.push(word),
        }
    }
    match load_by_name(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !quiet {
                eprintln!("modprobe: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
