//! What the process may use.

use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files and sockets that a large site needs: machines, and those who watch them.
const OPEN_FILES: u64 = 65_536;

/// Raises the number of files and sockets this process may hold to what the host allows; a login
/// shell's 1024 are too few for a thousand machines. Returns the new number.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Root may have more than its shell was given; others can't, which is no mistake.
    if hard < OPEN_FILES && setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).is_ok() {
        return Ok(OPEN_FILES);
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// How many files and sockets this process may hold.
pub fn open_files() -> u64 {
    // Where it can't be said, the least that any host allows.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Keeps what this process holds of secrets out of memory images, which crashes and debuggers of others
/// would make of it.
pub fn keep_memory_private() -> io::Result<()> {
    set_dumpable(false)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
