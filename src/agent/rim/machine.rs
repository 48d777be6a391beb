//! The machine behind the conversation: clock, screen, hardware, the thread that works on disks.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TrySendError};
use std::time::{Duration, Instant};

use super::blank::Blanks;
use super::console::{self, say};
use super::network::Network;
use super::{cards, ipmi, load, neighbours, start};
use crate::agent::facts::{self, Calls, Root, disk_names};
use crate::agent::http::Server;
use crate::agent::session::Session;
use crate::agent::wipe;
use crate::agent::work::{End, Machine, News, Work};
use crate::api::agent::{CommandLine, DiskProgress, Facts, LINES_MAX, Log, OrderResult, Task};
use crate::model::Mac;
use crate::thread;

/// How often the management controller is asked for its address.
const CONTROLLER: Duration = Duration::from_secs(600);
/// Disks are all there when none has come for this long.
const QUIET: Duration = Duration::from_secs(2);
/// A controller takes its time to name the first one.
const FIRST_DISK: Duration = Duration::from_secs(12);

/// Speaks with the daemon until an order ends it.
pub(super) fn work(command_line: &CommandLine, network: &'static Network) -> End {
    let server = match Server::read(&command_line.url) {
        Ok(server) => server,
        Err(error) => {
            say(&format!("{error}. This machine restarts in five minutes."));
            std::thread::sleep(Duration::from_secs(300));
            return End::Restart;
        }
    };
    let began = Instant::now();
    say(&format!("looks for an address, then for the daemon at {}", command_line.url));
    // Over IPv6 the router's advertisements are enough: no address is waited for.
    while !network.wait(Duration::from_secs(30)) && !server.is_ipv6() {
        say("no card has an address yet: is there a DHCP server on this network?");
        if began.elapsed() > Duration::from_secs(1_800) {
            say("no address for half an hour: this machine restarts");
            return End::Restart;
        }
    }
    settle();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let session = Session::new(server, command_line.clone(), boot_id.trim().to_owned());
    let machine = Real {
        began: Instant::now(),
        network,
        boot_card: command_line.card,
        blanks: Blanks::default(),
        taken: (0, 0),
        stop: Arc::default(),
        asked: None,
        bmc: None,
    };
    Work::new(session, machine).run()
}

/// Waits until drivers are loaded and disks have come, within limits: what comes later is reported later.
fn settle() {
    let began = Instant::now();
    while !load::settled() && began.elapsed() < load::PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
    }
    start::mount_efi_variables();
    let root = Root::new("/");
    let mut seen = disk_names(&root);
    let mut changed = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = disk_names(&root);
        if now != seen {
            (seen, changed) = (now, Instant::now());
        }
        let enough = if seen.is_empty() { FIRST_DISK } else { QUIET };
        if changed.elapsed() >= enough || began.elapsed() > load::PATIENCE * 2 {
            return;
        }
    }
}

struct Real {
    began: Instant,
    network: &'static Network,
    boot_card: Option<Mac>,
    blanks: Blanks,
    /// Lines and dropped ones of the last log.
    taken: (usize, usize),
    /// Of the order at the disks.
    stop: Arc<AtomicBool>,
    /// When the management controller was asked, and its address.
    asked: Option<Instant>,
    bmc: Option<IpAddr>,
}

impl Machine for Real {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn say(&mut self, text: &str) {
        say(text);
    }

    fn card(&self) -> String {
        let cards = cards::cards(Path::new("/sys"));
        let boot = self.boot_card.filter(|card| cards.iter().any(|one| one.mac == *card));
        // Over IPv6 alone there is none that is in use: one with a link is.
        let linked = || cards.iter().find(|card| card.carrier == Some(true)).map(|card| card.mac);
        boot.or_else(|| self.network.card()).or_else(linked).map(|card| card.to_string()).unwrap_or_default()
    }

    fn facts(&mut self, again: bool) -> Facts {
        let root = Root::new("/");
        if again {
            self.blanks.forget();
        }
        self.blanks.look(&root);
        let bmc = self.controller();
        let calls = Calls {
            permanent_mac: &cards::permanent,
            neighbours: &neighbours::known(),
            blank: &|name| self.blanks.is_blank(&root, name),
            bmc,
        };
        facts::read(&root, &calls)
    }

    fn not_reached(&mut self) {
        self.network.failed();
    }

    fn unsent(&mut self) -> Option<Log> {
        let (lines, dropped) = console::unsent(LINES_MAX);
        self.taken = (lines.len(), dropped);
        let lines: Vec<String> =
            lines.into_iter().map(|line| format!("{:.1}: {}", line.after.as_secs_f64(), line.text)).collect();
        (!lines.is_empty()).then_some(Log { lines, dropped: dropped as u64 })
    }

    fn sent(&mut self) {
        console::sent(self.taken.0, self.taken.1);
    }

    fn begin(&mut self, task: Task) -> Receiver<News> {
        let (sender, receiver) = mpsc::sync_channel(64);
        let stop = Arc::new(AtomicBool::new(false));
        self.stop = Arc::clone(&stop);
        let work = move || {
            let mut hears = |progress: Vec<DiskProgress>| {
                // One that finds no place is followed by others.
                let sent = sender.try_send(News::Progress(progress));
                let is_over =
                    stop.load(Ordering::Relaxed) || matches!(sent, Err(TrySendError::Disconnected(_)));
                if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let result = match task {
                Task::Wipe { level, disks } => match level.known() {
                    Some(level) => wipe::wipe(level, &disks, &mut hears),
                    None => failed(format!("this agent knows no wiping of the level {:?}", level.as_str())),
                },
                Task::Verify { disks } => wipe::verify(&disks, &mut hears),
                _ => failed("it is no order about disks".into()),
            };
            wipe::summary(&result).iter().for_each(|line| say(line));
            let _ = sender.send(News::Ended(result));
        };
        // Where there is no thread, the receiver's end says so.
        let _ = thread::start("disks", work);
        receiver
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn failed(why: String) -> OrderResult {
    OrderResult::Failed { why, certificate: None }
}

impl Real {
    /// The address of the management controller, which is asked seldom: it may take seconds to answer.
    fn controller(&mut self) -> Option<IpAddr> {
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= CONTROLLER);
        if is_due {
            (self.asked, self.bmc) = (Some(Instant::now()), ipmi::address().or(self.bmc));
        }
        self.bmc
    }
}
