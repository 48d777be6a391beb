//! SIGTERM, SIGINT and SIGHUP, on a thread of their own: the daemon ends on a signal, even if
//! every other thread hangs.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;

use super::log;

/// What an operator wants of a running daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// How often the sources were to be read again (SIGHUP).
    pub reloads: u64,
    /// The daemon is to end.
    pub stop: bool,
}

/// Keeps the signals for [`listen`]: called before any other thread starts, which inherits it.
pub(super) fn hold() -> io::Result<()> {
    Ok(signals().thread_block()?)
}

/// Orders from now on. After the first order to stop a second signal ends the process at once, and so
/// does the end of `limit`.
pub(super) fn listen(limit: Duration) -> io::Result<watch::Receiver<Orders>> {
    let (orders, queue) = watch::channel(Orders::default());
    let wait = move || {
        let mut stopping = false;
        loop {
            match signals().wait() {
                Ok(Signal::SIGHUP) => orders.send_modify(|orders| orders.reloads += 1),
                Ok(signal) if stopping => {
                    tracing::warn!("{signal} again: the daemon ends at once");
                    end();
                }
                Ok(_) => {
                    stopping = true;
                    orders.send_modify(|orders| orders.stop = true);
                    end_after(limit);
                }
                Err(error) => tracing::error!(%error, "signals can't be waited for"),
            }
        }
    };
    crate::thread::start("signals", wait)?;
    Ok(queue)
}

fn signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
}

fn end_after(limit: Duration) {
    let wait = move || {
        std::thread::sleep(limit);
        tracing::error!("the daemon did not stop within {} s: it is ended", limit.as_secs());
        end();
    };
    if crate::thread::start("last-resort", wait).is_err() {
        end();
    }
}

/// Notifies nothing that may hang. Everything that was acknowledged is on disk.
fn end() -> ! {
    log::flush();
    // SAFETY: it takes a plain number and does not return; nothing of this process runs after it.
    unsafe { libc::_exit(1) }
}
