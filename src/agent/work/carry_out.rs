//! One order, from its signature to its last report.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{End, Machine, News, Work};
use crate::agent::session::{Refusal, Wire};
use crate::api::agent::{DiskProgress, Order, OrderResult, Report, Task};

/// Shortest and longest time between two reports of an order that runs.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(30);
/// How long an order that ends the agent tries to say so first.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// What comes of an order whose report was refused.
enum Standing {
    /// It goes on.
    Valid,
    /// It was withdrawn, or is for somebody else.
    Withdrawn,
}

impl<W: Wire, M: Machine> Work<W, M> {
    pub(super) fn carry_out(&mut self, order: Order) -> Result<(), End> {
        let what = match &order.task {
            Task::Wipe { level, disks } => format!("wipe {} ({})", disks_named(disks.len()), level.as_str()),
            Task::Verify { disks } => format!("read back {}", disks_named(disks.len())),
            Task::Reboot => "restart".into(),
            Task::PowerOff => "switch off".into(),
            Task::LocalDisk => "restart, to boot from its own disk".into(),
        };
        self.machine.say(&format!("order for {}: {what}: {}", order.machine, order.reason));
        let end = match order.task {
            Task::Wipe { .. } | Task::Verify { .. } => return self.work_on_disks(order),
            Task::Reboot | Task::LocalDisk => End::Restart,
            Task::PowerOff => End::Off,
        };
        let deadline = self.machine.now() + LAST_WORDS;
        match self.report_until(&order, OrderResult::Done { certificate: None }, Some(deadline))? {
            Standing::Valid => Err(end),
            Standing::Withdrawn => Ok(()),
        }
    }

    fn work_on_disks(&mut self, order: Order) -> Result<(), End> {
        if let Standing::Withdrawn = self.report_running(&order, &[])? {
            return Ok(());
        }
        if let Some(former) = self.leftover.take() {
            self.machine.say("a former order is still at the disks: it is waited for");
            if self.follow(&order, former)?.is_none() {
                return Ok(());
            }
        }
        self.stale = true;
        let news = self.machine.begin(order.task.clone());
        let Some(result) = self.follow(&order, news)? else { return Ok(()) };
        self.machine.say(&match &result {
            OrderResult::Failed { why, .. } => format!("the order failed: {why}"),
            OrderResult::NotBlank { why } => format!("the disks are not blank: {why}"),
            _ => "the order is carried out".into(),
        });
        self.report_until(&order, result, None).map(drop)
    }

    /// Reports that an order runs until the thread at the disks has ended; `None`: the order was withdrawn.
    fn follow(&mut self, order: &Order, news: Receiver<News>) -> Result<Option<OrderResult>, End> {
        let mut disks: Vec<DiskProgress> = Vec::new();
        let mut reported = self.machine.now();
        loop {
            let mut is_new = false;
            match news.recv_timeout(Duration::from_secs(1)) {
                Ok(News::Progress(progress)) => (disks, is_new) = (progress, true),
                Ok(News::Ended(result)) => return Ok(Some(result)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the agent had a fault while it worked on the disks".into();
                    return Ok(Some(OrderResult::Failed { why, certificate: None }));
                }
            }
            let since = self.machine.now().saturating_sub(reported);
            if since < SOONEST || since < LATEST && !is_new {
                continue;
            }
            reported = self.machine.now();
            if let Standing::Withdrawn = self.report_running(order, &disks)? {
                self.machine.say("the order was withdrawn: it is broken off");
                self.machine.stop();
                self.leftover = Some(news);
                return Ok(None);
            }
            self.flush();
        }
    }

    /// Tells once how far an order is. That the daemon is not there for a while does not stop it.
    fn report_running(&mut self, order: &Order, disks: &[DiskProgress]) -> Result<Standing, End> {
        let report = report(order, OrderResult::Running { disks: disks.to_vec() });
        match self.session.report(&report) {
            Ok(()) => self.reached(),
            Err(Refusal::Conflict(_)) => return Ok(Standing::Withdrawn),
            Err(Refusal::Over(why)) => return self.refused(Refusal::Over(why)).map(|()| Standing::Withdrawn),
            Err(Refusal::Unknown(_)) => {
                self.greeted = false;
                self.greet_once();
            }
            Err(refusal) => self.complain(&refusal.to_string()),
        }
        Ok(Standing::Valid)
    }

    /// Says how an order ended until the daemon has it, or the time is over.
    fn report_until(
        &mut self,
        order: &Order,
        result: OrderResult,
        deadline: Option<Duration>,
    ) -> Result<Standing, End> {
        let mut report = report(order, result);
        loop {
            match self.session.report(&report) {
                Ok(()) => {
                    self.reached();
                    return Ok(Standing::Valid);
                }
                Err(Refusal::Conflict(why)) => {
                    self.complain(&why);
                    return Ok(Standing::Withdrawn);
                }
                Err(Refusal::Unreadable(why)) => {
                    self.complain(&why);
                    // The result has to arrive, and be it without all that is known of it.
                    if !shorten(&mut report.result) {
                        return Ok(Standing::Valid);
                    }
                }
                Err(Refusal::Unknown(_)) => {
                    self.greeted = false;
                    self.hello()?;
                }
                Err(refusal) => self.refused(refusal)?,
            }
            if deadline.is_some_and(|deadline| self.machine.now() > deadline) {
                return Ok(Standing::Valid);
            }
        }
    }

    /// A new session for what runs; if there is none, the next report tries again.
    fn greet_once(&mut self) {
        let facts = self.shown.clone().unwrap_or_default();
        self.greeted = self.session.hello(self.machine.card(), &facts).is_ok();
    }
}

fn report(order: &Order, result: OrderResult) -> Report {
    Report { order: order.id.clone(), epoch: order.epoch, result }
}

/// Leaves out of a result what is longest: the places of samples, which follow from their seed, and then the whole
/// certificate. Whether there was something to leave out.
fn shorten(result: &mut OrderResult) -> bool {
    let (OrderResult::Done { certificate } | OrderResult::Failed { certificate, .. }) = result else {
        return false;
    };
    let disks = certificate.iter_mut().flat_map(|certificate| &mut certificate.disks);
    let samples = disks.filter_map(|disk| disk.samples.as_mut());
    let mut shorter = false;
    for samples in samples.filter(|samples| !samples.offsets.is_empty()) {
        samples.offsets.clear();
        shorter = true;
    }
    shorter || certificate.take().is_some()
}

fn disks_named(count: usize) -> String {
    if count == 1 { "a disk".into() } else { format!("{count} disks") }
}
