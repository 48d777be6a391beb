//! What the agent does from its first contact to the order that ends it. Time, threads and devices are behind
//! [`Machine`], so that a test goes through hours of it at once.

mod carry_out;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::session::{Refusal, Session, Wire};
use crate::api::agent::{DiskProgress, Facts, Log, OrderResult, Task};

/// How the machine is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The firmware boots its next choice.
    Restart,
    Off,
}

/// News of an order that a thread carries out.
#[derive(Debug)]
pub(super) enum News {
    Progress(Vec<DiskProgress>),
    Ended(OrderResult),
}

/// The machine that the agent runs on.
pub(super) trait Machine {
    /// Since the agent started.
    fn now(&self) -> Duration;
    fn pause(&mut self, time: Duration);
    /// For the person at the screen, and for the daemon.
    fn say(&mut self, text: &str);
    /// The card in use.
    fn card(&self) -> String;
    /// What the machine is now; `again`: contents of disks may have changed.
    fn facts(&mut self, again: bool) -> Facts;
    /// The daemon is not reached by the card in use.
    fn not_reached(&mut self);
    /// Lines that the daemon does not have yet, if any.
    fn unsent(&mut self) -> Option<Log>;
    /// It has the lines of the last [`Machine::unsent`].
    fn sent(&mut self);
    /// Carries out an order about disks beside the conversation.
    fn begin(&mut self, task: Task) -> Receiver<News>;
    /// Asks what was begun last to stop, which a command that a disk carries out by itself may delay for hours.
    fn stop(&mut self);
}

/// A daemon that was never reached for this long may never be: the machine's own system boots after a restart,
/// if the firmware finds nobody in the network.
const NEVER_REACHED: Duration = Duration::from_secs(600);
/// A token that is refused this often opens nothing any more.
const UNKNOWN: u32 = 6;
/// After so many failures another card is tried.
const FAILURES_OF_A_CARD: u32 = 4;
/// While devices still appear.
const EARLY: Duration = Duration::from_secs(90);

/// The conversation and what is known of it.
pub(super) struct Work<W, M> {
    session: Session<W>,
    machine: M,
    /// What the daemon knows.
    shown: Option<Facts>,
    greeted: bool,
    ever_greeted: bool,
    failures: u32,
    unknown: u32,
    /// What was said last of a failure: it is not repeated.
    complaint: String,
    /// When the hardware was looked at last.
    looked: Duration,
    /// Whether an order has changed disks since.
    stale: bool,
    /// An order that was withdrawn and may still be at the disks: no other begins before it has ended.
    leftover: Option<Receiver<News>>,
}

impl<W: Wire, M: Machine> Work<W, M> {
    pub(super) fn new(session: Session<W>, machine: M) -> Work<W, M> {
        Work {
            session,
            machine,
            shown: None,
            greeted: false,
            ever_greeted: false,
            failures: 0,
            unknown: 0,
            complaint: String::new(),
            looked: Duration::ZERO,
            stale: false,
            leftover: None,
        }
    }

    /// Goes on until something ends it.
    pub(super) fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.turn() {
                self.flush();
                return end;
            }
        }
    }

    /// One request, or one order from its beginning to its end.
    fn turn(&mut self) -> Result<(), End> {
        if !self.greeted || self.hardware_changed() {
            return self.hello();
        }
        self.flush();
        let wait = if self.machine.now() < EARLY { 5 } else { 50 };
        match self.session.order(wait) {
            Ok(order) => {
                self.reached();
                match order {
                    None => Ok(()),
                    Some(Ok(order)) => self.carry_out(order),
                    Some(Err(fault)) => {
                        self.complain(&format!("an order is not carried out: {fault}"));
                        self.machine.pause(Duration::from_secs(10));
                        Ok(())
                    }
                }
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    /// Looks at the hardware every few seconds at first, then every minute.
    fn hardware_changed(&mut self) -> bool {
        let now = self.machine.now();
        let pause = Duration::from_secs(if now < EARLY { 5 } else { 60 });
        if !self.stale && now < self.looked + pause {
            return false;
        }
        self.looked = now;
        let facts = self.machine.facts(std::mem::take(&mut self.stale));
        if self.shown.as_ref() == Some(&facts) {
            return false;
        }
        self.shown = Some(facts);
        true
    }

    fn hello(&mut self) -> Result<(), End> {
        if self.shown.is_none() || self.stale {
            self.looked = self.machine.now();
            self.shown = Some(self.machine.facts(std::mem::take(&mut self.stale)));
        }
        let facts = self.shown.clone().unwrap_or_default();
        match self.session.hello(self.machine.card(), &facts) {
            Ok(welcome) => {
                self.reached();
                if !self.greeted {
                    self.machine.say(&format!("this machine is {}: {}", welcome.machine, welcome.message));
                }
                (self.greeted, self.ever_greeted, self.unknown) = (true, true, 0);
                Ok(())
            }
            Err(Refusal::Unknown(why)) => {
                self.unknown += 1;
                self.complain(&why);
                if self.unknown >= UNKNOWN {
                    self.machine.say("the daemon refuses this start of the machine: it restarts");
                    return Err(End::Restart);
                }
                self.machine.pause(Duration::from_secs(20));
                Ok(())
            }
            Err(refusal) => {
                let unreadable = matches!(refusal, Refusal::Unreadable(_));
                self.refused(refusal)?;
                // What it does not read, it need not know: the orders go on.
                self.greeted |= unreadable && self.ever_greeted;
                Ok(())
            }
        }
    }

    fn reached(&mut self) {
        if self.failures > 0 && !self.complaint.is_empty() {
            self.machine.say("the daemon is reached again");
        }
        self.failures = 0;
        self.complaint.clear();
    }

    /// Waits as the refusal asks for.
    fn refused(&mut self, refusal: Refusal) -> Result<(), End> {
        self.complain(&refusal.to_string());
        match refusal {
            Refusal::NotReached(_) => {
                self.failures += 1;
                if self.failures.is_multiple_of(FAILURES_OF_A_CARD) {
                    self.machine.not_reached();
                }
                if !self.ever_greeted && self.machine.now() > NEVER_REACHED {
                    self.machine.say("the daemon was not reached for ten minutes: this machine restarts");
                    return Err(End::Restart);
                }
                self.machine.pause(Duration::from_secs(1 << self.failures.min(5)));
            }
            Refusal::Busy(_, time) => self.machine.pause(time.max(Duration::from_secs(1))),
            Refusal::Unknown(_) => self.greeted = false,
            Refusal::Conflict(_) => self.machine.pause(Duration::from_secs(2)),
            Refusal::Over(_) => {
                self.machine.pause(Duration::from_secs(5));
                return Err(End::Restart);
            }
            Refusal::Unreadable(_) => self.machine.pause(Duration::from_secs(30)),
        }
        Ok(())
    }

    /// Says a thing once, until another is said or it is over.
    fn complain(&mut self, text: &str) {
        if self.complaint != text {
            self.machine.say(text);
            self.complaint = text.to_owned();
        }
    }

    /// Sends what was said. It is not worth a second try: the next round has the same lines.
    fn flush(&mut self) {
        while let Some(log) = self.machine.unsent() {
            match self.session.log(&log) {
                // Lines that it does not take are lost: they would hold up those after them.
                Ok(()) | Err(Refusal::Unreadable(_)) => self.machine.sent(),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
