//! What the process may use.

use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files and sockets this process may hold to what the host allows; a login
/// shell's 1024 are too few for a thousand machines. Returns the new number.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Keeps what this process holds of secrets out of memory images, which crashes and debuggers of others
/// would make of it.
pub fn keep_memory_private() -> io::Result<()> {
    set_dumpable(false)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
