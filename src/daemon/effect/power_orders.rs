//! Switches machines: carries out what persons and rules order of their power, restarts into our agent, and switches
//! off what was released.
//!
//! Each request is stored before it is sent ([`Progress::Sent`]) and its outcome is read back; after a crash what was
//! stored as sent is read and never sent again. Whether the task is still wanted is looked at last, right before
//! sending. What is left open stays in the outbox: what keeps it shows in `voldemortctl get effects`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Executor;
use super::power::Subject;
use crate::daemon::keeper::Keeper;
use crate::daemon::now;
use crate::model::{Name, PowerState, PowerStep, Span, Time};
use crate::power::{Fault, Tools, driver};
use crate::state::outbox::{Pending, Progress, Task, TaskKind};
use crate::state::power_order::{self, Next, PATIENCE, TURN};
use crate::state::{Command, State, Verb};

/// So long a machine that was released may wait to be switched off.
const DAY: Span = Span::seconds(24 * 3600);

/// How this goes on in time.
#[derive(Clone, Copy, Debug)]
pub struct Tempo {
    /// Between two looks at what a machine, or the state, does.
    pub look: Duration,
    /// Between two machines that are switched on: many at once draw more current than lines carry.
    pub between_power_ons: Duration,
}

impl Default for Tempo {
    fn default() -> Tempo {
        Tempo { look: Duration::from_secs(2), between_power_ons: Duration::from_millis(TURN.0) }
    }
}

/// Switches machines.
pub struct PowerOrders {
    keeper: Keeper,
    tools: Arc<Tools>,
    tempo: Tempo,
    /// When the next machine that is to be switched on gets its first request.
    begin: Mutex<Instant>,
    /// When the next machine may be switched on.
    power_on: Mutex<Instant>,
}

impl PowerOrders {
    pub fn new(keeper: Keeper, tools: Arc<Tools>, tempo: Tempo) -> PowerOrders {
        let now = Instant::now();
        PowerOrders { keeper, tools, tempo, begin: Mutex::new(now), power_on: Mutex::new(now) }
    }
}

impl Executor for PowerOrders {
    const KINDS: &'static [TaskKind] = &[TaskKind::Power, TaskKind::Restart, TaskKind::PowerOff];
    /// They wait for machines most of the time; each controller gets one request at a time.
    const AT_ONCE: usize = 4096;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        let id = pending.id;
        let mut work = Work { orders: self, sent: pending.sent, pending };
        if work.can_go_without_boot() {
            // Nothing was switched yet. It may not have arrived, and twice is as good as once.
            work.sent.take_if(|sent| sent.step == PowerStep::BootOnce);
        }
        let ended = match work.steps().await {
            Ok(end) | Err(end) => end,
        };
        Verb::Progress(id, ended)
    }
}

/// A task that is being carried out.
struct Work<'a> {
    orders: &'a PowerOrders,
    pending: Arc<Pending>,
    /// The last request that was sent, or may have been.
    sent: Option<power_order::Sent>,
}

/// The end of an attempt.
type End<T> = Result<T, Progress>;

impl Work<'_> {
    fn task(&self) -> &Task {
        &self.pending.task
    }

    fn machine(&self) -> &Name {
        self.pending.task.subject()
    }

    async fn look_later(&self) {
        tokio::time::sleep(self.orders.tempo.look).await;
    }

    /// Makes one request after the other until what is wanted is seen.
    async fn steps(&mut self) -> End<Progress> {
        loop {
            let state = self.orders.keeper.state();
            if !state.wants(self.task()) {
                // Right after a start the machines of the stored revision may not be known yet.
                if !self.orders.keeper.is_restored() {
                    self.look_later().await;
                    continue;
                }
                return self.settle_boot(Progress::GivenUp("it is not wanted any more".into())).await;
            }
            if let Some(why) = state.delays(self.task()) {
                self.waits(&why)?;
                self.look_later().await;
                continue;
            }
            let Some(subject) = self.subject(&state)? else {
                self.look_later().await;
                continue;
            };
            let can = subject.power.kind.capabilities();
            let steps = self.task().steps(can);
            let seen = self.seen(&state, &subject, can.read).await?;
            match power_order::next(&steps, self.sent.map(|sent| sent.step), seen) {
                Next::Done => {
                    self.nothing_helps(&steps)?;
                    return self.settle_boot(Progress::Done).await;
                }
                Next::Send(step) => {
                    self.late(seen)?;
                    if self.sent.is_none() && steps.contains(&PowerStep::On) {
                        // The others of a crowd wait here: later they would be off, and controllers forget a boot.
                        self.pace(&self.orders.begin).await;
                    }
                    self.send(step).await?;
                }
                Next::Wait => {
                    self.late(seen)?;
                    self.look_later().await;
                }
            }
        }
    }

    /// How to reach the machine's controller; `None` while there is no way and the task can wait.
    fn subject(&self, state: &State) -> End<Option<Subject>> {
        let is_patient = matches!(self.task(), Task::Restart { .. });
        let found = state.desired().machines.get(self.machine());
        if is_patient && found.is_none_or(|machine| machine.power.is_none()) {
            let why = format!(
                "machine {} has no `power`: it waits until somebody restarts it by hand, and goes on by itself then",
                self.machine()
            );
            self.waits(&why)?;
            return Ok(None);
        }
        Subject::of(state, self.machine())
            .map(Some)
            .map_err(|fault| Progress::Failed(fault.to_string().into()))
    }

    /// Says once why nothing happens.
    fn waits(&self, why: &str) -> End<()> {
        let said = self.pending.trouble.as_ref().is_some_and(|trouble| *trouble.why == *why);
        self.late(None)?;
        if said { Ok(()) } else { Err(Progress::Failed(why.into())) }
    }

    /// The machine's power as it is now: by its controller, or by what the network shows since it was woken.
    async fn seen(&self, state: &State, subject: &Subject, can_read: bool) -> End<Option<PowerState>> {
        if !can_read {
            let since = self.sent.map(|sent| sent.at);
            let is_seen =
                since.is_some_and(|at| state.last_seen(self.machine()).is_some_and(|seen| seen > at));
            return Ok(is_seen.then_some(PowerState::On));
        }
        let read = {
            let _turn = subject.turn(&self.orders.tools).await;
            driver(subject.power.kind).read(subject.question(&self.orders.tools)).await
        };
        match read {
            Ok(read) => {
                let verb = Verb::PowerSeen(self.machine().clone(), read.state);
                self.orders.keeper.post(Command::daemon(verb));
                Ok(Some(read.state))
            }
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    /// Sends one request, which is on disk before.
    async fn send(&mut self, step: PowerStep) -> End<()> {
        if step == PowerStep::On {
            self.pace(&self.orders.power_on).await;
        }
        let before = self.sent;
        self.note(step).await?;
        // Last: much may have happened while it waited.
        let state = self.orders.keeper.state();
        if step != PowerStep::ClearBoot && (!state.wants(self.task()) || state.delays(self.task()).is_some())
        {
            let why = "it was held back at the last moment: what the machine is for has changed";
            return Err(Progress::NotSent(why.into(), before));
        }
        let subject = match Subject::of(&state, self.machine()) {
            Ok(subject) => subject,
            Err(fault) => return Err(Progress::NotSent(fault.to_string().into(), before)),
        };
        let sending = {
            let _turn = subject.turn(&self.orders.tools).await;
            driver(subject.power.kind).send(subject.question(&self.orders.tools), step).await
        };
        let Err(failure) = sending else { return Ok(()) };
        if failure.may_have_acted {
            // What came of it is read from now on.
            tracing::warn!("{}: {}", self.machine(), failure.fault);
            return Ok(());
        }
        if step == PowerStep::BootOnce && self.can_go_without_boot() {
            tracing::warn!("{} boots as its firmware is set up: {}", self.machine(), failure.fault);
            return Ok(());
        }
        match self.failed(&failure.fault) {
            Progress::Failed(why) => Err(Progress::NotSent(why, before)),
            end => Err(end),
        }
    }

    /// Whether the machine comes to us all the same where its firmware is set up for that: then it is switched.
    fn can_go_without_boot(&self) -> bool {
        use crate::model::PowerAction::BootOnce;
        !matches!(self.task(), Task::Power { order, .. } if order.action == BootOnce)
    }

    /// Stores that a request is sent, before it is.
    async fn note(&mut self, step: PowerStep) -> End<()> {
        let sent = power_order::Sent { step, at: now() };
        let verb = Verb::Progress(self.pending.id, Progress::Sent(sent));
        match self.orders.keeper.ask_surely(Command::daemon(verb)).await {
            Ok(_) => {
                self.sent = Some(sent);
                Ok(())
            }
            Err(error) => Err(Progress::Failed(error.to_string().into())),
        }
    }

    /// Waits for the turn of this machine: one after the other passes, as far apart as machines are switched on.
    async fn pace(&self, next: &Mutex<Instant>) {
        let mut next = next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + self.orders.tempo.between_power_ons;
    }

    /// What a fault means for the task.
    fn failed(&self, fault: &Fault) -> Progress {
        // Controllers lock users out, and what a driver can't do it can't do later.
        if fault.is_login() || fault.is_final() {
            return Progress::GivenUp(fault.to_string().into());
        }
        match self.is_late() {
            true => Progress::GivenUp(format!("it takes too long: {fault}").into()),
            false => Progress::Failed(fault.to_string().into()),
        }
    }

    /// Whether the time is over in which the task, or its last request, should have come to its end.
    fn is_late(&self) -> bool {
        let end = |since: Time| since + PATIENCE;
        match self.task() {
            Task::Power { order, .. } => now() >= order.end(self.sent),
            // It waits for its controller or for a person, and is asked for again when the order is overdue.
            Task::Restart { .. } => self.sent.is_some_and(|sent| now() >= end(sent.at)),
            _ => now() >= self.sent.map_or(self.pending.since + DAY, |sent| end(sent.at)),
        }
    }

    fn late(&self, seen: Option<PowerState>) -> End<()> {
        if !self.is_late() {
            return Ok(());
        }
        let seen = seen.map_or("it was not seen on the network".to_owned(), |seen| format!("it is {seen}"));
        let why = match self.sent {
            Some(sent) => format!("{} was sent at {}, and {seen}: it is not sent again", sent.step, sent.at),
            None => "it takes too long".to_owned(),
        };
        Err(Progress::GivenUp(why.into()))
    }

    /// A restart of a machine that can't be switched off ends by nothing but the machine itself.
    fn nothing_helps(&self, steps: &[PowerStep]) -> End<()> {
        match steps.is_empty() {
            true => Err(Progress::GivenUp("its driver can do nothing of the kind".into())),
            false => Ok(()),
        }
    }

    /// Takes a boot from the network away that would last, once the machine has made it.
    async fn settle_boot(&mut self, end: Progress) -> End<Progress> {
        let Some(sent) = self.sent.filter(|sent| sent.step != PowerStep::ClearBoot) else { return Ok(end) };
        let state = self.orders.keeper.state();
        let Ok(subject) = Subject::of(&state, self.machine()) else { return Ok(end) };
        let steps = self.task().steps(subject.power.kind.capabilities());
        if !steps.contains(&PowerStep::BootOnce) {
            return Ok(end);
        }
        let lasts = {
            let _turn = subject.turn(&self.orders.tools).await;
            driver(subject.power.kind).boot_lasts(subject.question(&self.orders.tools)).await
        };
        if lasts != Ok(true) {
            return Ok(end);
        }
        let booted = || {
            let seen = self.orders.keeper.state().last_seen(self.machine());
            seen.is_some_and(|seen| seen > sent.at) || now() >= sent.at + PATIENCE
        };
        while !booted() {
            self.look_later().await;
        }
        self.send(PowerStep::ClearBoot).await?;
        Ok(end)
    }
}
