//! Process 1: mounts, what happens after a fault, and the restart at the end.

use std::os::raw::c_ulong;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::statfs::statfs;

use super::console::say;
use super::network::{self, Network};
use super::power::end;
use super::{console, load, machine, neighbours};
use crate::agent::command_line::is_for_agent;
use crate::agent::work::End;
use crate::api::agent::CommandLine;
use crate::thread;

/// Of linux/magic.h: what an initrd's root is, with and without `CONFIG_TMPFS`.
const RAMFS: c_ulong = 0x8584_58f6;
const TMPFS: c_ulong = 0x0102_1994;

/// Faults of the agent itself after which the machine is restarted.
const FAULTS: u32 = 5;

/// Whether `/` is an initrd's and the kernel was started for the agent.
pub(crate) fn is_ours() -> bool {
    let root = statfs("/").map(|root| root.filesystem_type().0 as c_ulong);
    if !matches!(root, Ok(RAMFS | TMPFS)) {
        return false;
    }
    if !Path::new("/proc/cmdline").exists() {
        mount_at("proc", "/proc");
    }
    is_for_agent(&command_line())
}

/// The kernel's command line; signs of no encoding are replaced.
pub(super) fn command_line() -> String {
    let bytes = std::fs::read("/proc/cmdline").unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Never comes back while the kernel lets it restart: the end of process 1 would be a panic of the kernel.
pub(crate) fn main() -> ExitCode {
    prepare();
    console::open();
    let version = env!("CARGO_PKG_VERSION");
    say(&format!(
        "agent {version}. This machine's disks are left as they are unless the daemon sends a signed order."
    ));
    std::panic::set_hook(Box::new(|fault| say(&format!("a fault in the agent: {fault}"))));
    let how = match command_line().parse::<CommandLine>() {
        Ok(start) => run(&start),
        Err(fault) => {
            say(&format!("{fault}. This machine restarts in five minutes."));
            std::thread::sleep(Duration::from_secs(300));
            End::Restart
        }
    };
    loop {
        let error = end(how);
        say(&format!("the kernel does not end: {error}. Switch this machine off and on."));
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Works until an order ends it. After a fault it begins anew, later and later, and restarts at last.
fn run(start: &CommandLine) -> End {
    keep("modules", load::watch);
    let network: &'static Network = Box::leak(Box::default());
    let boot_card = start.card;
    keep("network", move || network::watch(network, boot_card));
    keep("neighbours", neighbours::watch);
    for fault in 1..=FAULTS {
        if let Ok(end) = catch_unwind(AssertUnwindSafe(|| machine::work(start, network))) {
            return end;
        }
        let pause = Duration::from_secs(5 << fault);
        say(&format!("the agent begins anew in {} seconds", pause.as_secs()));
        std::thread::sleep(pause);
    }
    say("this machine restarts after too many faults");
    End::Restart
}

/// Work for ever beside the rest; after a fault it begins anew.
fn keep(name: &'static str, work: impl Fn() + Send + 'static) {
    let again = move || {
        loop {
            let _ = catch_unwind(AssertUnwindSafe(&work));
            std::thread::sleep(Duration::from_secs(5));
        }
    };
    if let Err(error) = thread::start(name, again) {
        say(&format!("there is no thread for {name}: {error}"));
    }
}

/// File systems of the kernel, and signals. What fails shows later, where it is needed.
fn prepare() {
    // The kernel then takes away what ended: nobody waits for a child here.
    // SAFETY: no handler of ours is set.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
    for (kind, place) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        mount_at(kind, place);
    }
}

/// The variables of UEFI firmware; the driver may come later than the rest.
pub(crate) fn mount_efi_variables() {
    let place = "/sys/firmware/efi/efivars";
    let is_empty = |place| std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty(place) {
        mount_at("efivarfs", place);
    }
}

fn mount_at(kind: &str, place: &str) {
    let _ = std::fs::create_dir_all(place);
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    if kind != "devtmpfs" {
        flags |= MsFlags::MS_NODEV;
    }
    // A second mount of the same answers EBUSY.
    let _ = mount(Some(kind), place, Some(kind), flags, None::<&str>);
}
