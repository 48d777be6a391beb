//! Ends the system: by a restart or by switching the machine off (reboot(2)).

use std::io;

use crate::agent::work::End;

/// Writes out what is not on the disks yet, and ends. Returns only where the kernel refuses.
pub(crate) fn end(how: End) -> io::Error {
    let command = match how {
        End::Restart => libc::LINUX_REBOOT_CMD_RESTART,
        End::Off => libc::LINUX_REBOOT_CMD_POWER_OFF,
    };
    nix::unistd::sync();
    // SAFETY: a plain call with a number; it does not touch this process's memory.
    unsafe { libc::reboot(command) };
    io::Error::last_os_error()
}
