//! What happens to the daemon: commits, disks that fail, deaths between any two steps, starts, and what must be true
//! after each.

use voldemort::model::Time;
use voldemort::state::{Duty, LeaseState, Verdict};
use voldemort::store::faulty::{Faults, Found};

use super::{Client, DEATHS, Item, MINUTE, SECOND, World, number};
use crate::machine;
use crate::medium::End;

impl World {
    pub(super) fn plan_commit(&mut self) {
        if self.daemon.is_due() && !self.commit_planned {
            self.commit_planned = true;
            let (wait, generation) = (self.dice.between(1, 6), self.daemon.generation);
            self.later(wait, Item::Commit { generation });
        }
    }

    /// The batch reaches the disk, or not; what it brought is shown when the disk has answered.
    pub(super) fn commit(&mut self) {
        let dies = self.dice.percent(self.trouble.crash).then(|| self.dice.below(DEATHS as u64) as usize);
        if dies == Some(0) {
            return self.crash(0);
        }
        self.break_disk();
        let before = self.daemon.waited();
        if !self.daemon.commit(self.now) {
            self.tally.failed += 1;
            self.commit_planned = false;
            self.refused();
            return self.plan_adoption();
        }
        let (wait, generation) = (self.daemon.waited() - before, self.daemon.generation);
        match wait {
            0 => self.publish(dies),
            // The keeper waits for the disk, and everybody for the keeper.
            _ => self.later(wait, Item::Publish { generation, dies }),
        }
    }

    /// The moment of truth: what is stored is shown, done and answered, one after the other, and it may die before
    /// each.
    pub(super) fn publish(&mut self, dies: Option<usize>) {
        self.commit_planned = false;
        if dies == Some(1) {
            return self.crash(1);
        }
        self.daemon.show();
        let left = self.dice.below(4);
        let mut done = 0;
        loop {
            if dies == Some(2) && done == left {
                return self.crash(2);
            }
            let Some(effect) = self.daemon.effect() else { break };
            self.hand_out(&effect);
            done += 1;
        }
        for (count, (submission, outcome)) in self.daemon.stored().into_iter().enumerate() {
            if dies == Some(3) && count as u64 == left {
                return self.crash(3);
            }
            self.acknowledged(submission, &outcome);
        }
        for (count, (question, told)) in self.daemon.replies(self.now).into_iter().enumerate() {
            if dies == Some(3) && count as u64 == left {
                return self.crash(3);
            }
            self.answer(question, told);
        }
        match dies {
            Some(place) => self.crash(place),
            None => self.plan_adoption(),
        }
    }

    /// A revision that could not be stored is tried again, as the daemon does.
    fn plan_adoption(&mut self) {
        if self.daemon.is_up() && !self.daemon.is_adopted() && !self.adoption_planned {
            self.adoption_planned = true;
            let generation = self.daemon.generation;
            self.later(5 * SECOND, Item::Adopt { generation });
        }
    }

    pub(super) fn adopt_again(&mut self) {
        self.adoption_planned = false;
        // Whatever waits is in one batch with it.
        if !self.daemon.is_adopted() && !self.commit_planned {
            self.daemon.adopt_again();
        }
        self.plan_adoption();
    }

    /// The disk begins to fail, for a while.
    fn break_disk(&mut self) {
        if self.is_failing || !self.dice.percent(self.trouble.disk) {
            return;
        }
        self.is_failing = true;
        let lies = self.dice.percent(self.trouble.lies);
        let faults = match self.dice.below(3) {
            _ if lies => Faults { lies: true, ..Faults::default() },
            0 => Faults { room: Some(self.dice.below(6000)), ..Faults::default() },
            1 => Faults { steps: Some(self.dice.below(12)), ..Faults::default() },
            _ => Faults { slow: 1 + self.dice.below(3 * SECOND), ..Faults::default() },
        };
        self.has_lied |= lies;
        self.daemon.set(faults);
        let wait = self.dice.between(SECOND, 2 * MINUTE);
        self.later(wait, Item::Mend);
    }

    pub(super) fn mend(&mut self) {
        self.is_failing = false;
        self.daemon.set(Faults::default());
    }

    pub(super) fn crash(&mut self, place: usize) {
        self.tally.crashes[place] += 1;
        self.end_executors();
        let (end, chance) = match self.dice.below(2) {
            0 => (End::Killed, 0),
            _ => (End::PowerCut, self.dice.below(u64::MAX >> 11)),
        };
        self.cut |= end == End::PowerCut;
        self.daemon.crash_by(end, chance);
        let down = self.dice.between(SECOND / 10, 20 * SECOND);
        self.later(down, Item::Restart);
    }

    /// It reads what the disk kept. All that was acknowledged is there, or it says that it is not.
    pub(super) fn restart(&mut self) {
        (self.commit_planned, self.adoption_planned) = (false, false);
        if self.is_failing && self.dice.percent(50) {
            self.daemon.set(Faults { steps: Some(self.dice.below(8)), ..Faults::default() });
        }
        if !self.daemon.restart() {
            self.tally.refused += 1;
            return self.later(5 * SECOND, Item::Restart);
        }
        let may_lose = self.has_lied && self.cut;
        let lost = (self.daemon.found != Found::Whole, self.daemon.is_damaged, self.daemon.is_other);
        // Damage stays until it is settled.
        let is_known = self.lost_at > 0 && lost == (false, true, false);
        assert!(
            may_lose || is_known || lost == (false, false, false),
            "the disk lost nothing, and {:?} with damage or other records ({lost:?}): {:#?}",
            self.daemon.found,
            self.daemon.differences
        );
        (self.has_lied, self.cut) = (self.has_lied && !self.cut, false);
        match lost {
            (false, false, true) => self.tally.unnoticed += 1,
            (false, false, false) => {
                self.check_claims();
                self.check_claims6();
            }
            _ => self.doubt(),
        }
        if self.tally.unnoticed == 0 {
            self.check_duties();
            self.effects.started(self.daemon.state().expect("it was started"));
            self.look_at_outbox();
        }
        self.plan_adoption();
    }

    /// Records are missing. Addresses may be given to others from here on, which it says.
    fn doubt(&mut self) {
        self.tally.doubted += 1;
        self.lost_at = self.daemon.generation;
        self.claims.clear();
        self.claims6.clear();
        self.effects.forget();
        self.later(10 * MINUTE, Item::Look);
    }

    /// No acknowledged lease got lost or shorter.
    fn check_claims(&self) {
        let state = self.daemon.state().expect("it was started");
        for (address, (client, until)) in &self.claims {
            if *until <= self.now || self.daemon.desired.fixed_at(*address).is_some() {
                continue;
            }
            let lease = state.leases().stored(*address).expect("an acknowledged lease is lost");
            let mac = self.mac(*client);
            assert!(lease.state == LeaseState::Bound && lease.mac == mac, "{mac} had {address}: {lease:?}");
            assert!(lease.expires >= Time(*until), "the lease of {address} got shorter");
        }
    }

    /// No machine that was wiped under its number is told to begin anew, whatever was lost.
    fn check_duties(&self) {
        if !self.daemon.is_adopted() {
            return;
        }
        let state = self.daemon.state().expect("it was started");
        for machine in self.machines() {
            let deployment = &state.desired().deployments[&machine.name];
            let duty = state.duty(deployment);
            let is_wiped = machine.wipes.contains_key(&deployment.redeploy);
            assert!(
                !is_wiped || !matches!(duty, Duty::Install { permit: true }),
                "{} was wiped under number {} already: {duty:?} ({:?})",
                machine.name,
                deployment.redeploy,
                self.daemon.found
            );
        }
    }

    /// A person looks: what is doubtful has its system, and whoever has none gets a higher number.
    pub(super) fn look(&mut self) {
        if !self.daemon.is_adopted() || self.is_failing || self.commit_planned {
            return self.later(MINUTE, Item::Look);
        }
        if self.lost_at > 0 {
            self.daemon.settle(Verdict::Keep);
            self.daemon.publish_start();
            self.daemon.keep_damaged();
            self.daemon.publish_start();
        }
        let left: Vec<u32> = self.machines().filter(|machine| self.is_left(machine)).map(number).collect();
        match self.second_wave && !left.is_empty() {
            true if self.lost_at > 0 => {
                left.into_iter().for_each(|number| self.numbers[number as usize] += 1);
                self.read_all();
            }
            // They booted their disks before the numbers could be stored.
            true => self.wake(),
            false => {}
        }
        if self.second_wave && !self.is_done() {
            self.later(30 * MINUTE, Item::Look);
        }
    }

    /// Whether nothing will become of a machine by itself.
    fn is_left(&self, machine: &machine::Machine) -> bool {
        machine.state == machine::State::Stuck
            || machine.state == machine::State::Up && !self.is_installed(machine)
    }

    /// Whoever has nothing on its disk is to be installed anew, and every fifth of the others.
    pub(super) fn raise(&mut self) {
        self.second_wave = true;
        self.trouble.power = 0;
        let bare: Vec<u32> =
            self.machines().filter(|machine| machine.installed.is_none()).map(number).collect();
        for number in 0..self.numbers.len() as u32 {
            if number.is_multiple_of(5) || bare.contains(&number) {
                self.numbers[number as usize] += 1;
            }
        }
        self.push();
        self.later(30 * MINUTE, Item::Look);
    }

    /// Machines that rest are started.
    pub(super) fn wake(&mut self) {
        for client in 0..self.clients.len() {
            let Client::Machine(machine) = &self.clients[client] else { continue };
            let attempt = machine.attempt;
            if matches!(machine.state, machine::State::Up | machine::State::Stuck) {
                let wait = self.dice.below(5 * MINUTE);
                self.later(wait, Item::Timer { client, attempt });
            }
        }
    }
}
