//! What a person at the machine sees: short sentences on every console of the kernel, screen and serial line alike.
//! The same lines go to the daemon.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Lines that wait for the daemon; the oldest are dropped, for the newest say why nobody fetches them.
const KEPT: usize = 1_000;
/// Longer lines are cut, in bytes.
const LONGEST: usize = 1_000;

/// A line that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Since the agent started.
    pub after: Duration,
    pub text: String,
}

#[derive(Debug)]
struct Console {
    since: Instant,
    outputs: Vec<File>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Said>,
    /// How many were dropped since lines were last taken.
    dropped: usize,
}

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Opens the consoles; to be called once /dev and /sys are there. Before, and in tests, nothing is shown.
pub(crate) fn open() {
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let mut names: Vec<&str> = active.split_whitespace().collect();
    if names.is_empty() {
        names.push("console");
    }
    // A serial line that nobody reads must not hold the agent up.
    let open = |name: &&str| {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(format!("/dev/{name}"))
            .ok()
    };
    let outputs = names.iter().filter_map(open).collect();
    let _ = CONSOLE.set(Console { since: Instant::now(), outputs, waiting: Mutex::default() });
}

/// Shows a line and keeps it for the daemon. What is not printable becomes `?`: disks and neighbours name
/// themselves, and a console obeys escapes.
pub(crate) fn say(text: &str) {
    let Some(console) = CONSOLE.get() else { return };
    let fits = text.char_indices().take_while(|(at, sign)| at + sign.len_utf8() <= LONGEST);
    let text: String = fits.map(|(_, sign)| if sign.is_control() { '?' } else { sign }).collect();
    let line = format!("voldemort: {text}\r\n");
    for mut output in &console.outputs {
        // A console that is full loses the line.
        let _ = output.write_all(line.as_bytes());
    }
    let mut waiting = console.waiting();
    if waiting.lines.len() == KEPT {
        waiting.lines.pop_front();
        waiting.dropped += 1;
    }
    waiting.lines.push_back(Said { after: console.since.elapsed(), text });
}

/// The oldest lines that wait for the daemon, and how many were dropped before them. They stay until [`sent`].
pub(crate) fn unsent(most: usize) -> (Vec<Said>, usize) {
    let Some(console) = CONSOLE.get() else { return (Vec::new(), 0) };
    let waiting = console.waiting();
    (waiting.lines.iter().take(most).cloned().collect(), waiting.dropped)
}

/// The daemon has the first lines, and knows of those dropped before them.
pub(crate) fn sent(lines: usize, dropped: usize) {
    let Some(console) = CONSOLE.get() else { return };
    let mut waiting = console.waiting();
    // Lines dropped meanwhile were among the sent ones.
    let gone = waiting.dropped.saturating_sub(dropped).min(lines);
    let more = (lines - gone).min(waiting.lines.len());
    waiting.lines.drain(..more);
    waiting.dropped -= dropped + gone;
}

impl Console {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
