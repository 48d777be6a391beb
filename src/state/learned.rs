//! Boot programs that machines are learned to need: what they fetched, and what came of it.
//!
//! A program that was fetched whole, after which firmware asks again by the same way without any script having been
//! fetched, did not run: Secure Boot refuses it, or its driver hangs. After [`FAILURES`] such boots in a row it gives way
//! to the next that fits ([`super::loader`]). The first program after it that leads to its script is stored for that
//! card, architecture and way, and offered from then on, until it fails as often itself. Nothing is learned where a
//! manifest names the program, nor of boots that lead to the machine's own disk.

use std::sync::Arc;

use super::lifecycle::Boot;
use super::{Event, State};
use crate::desired::Machine;
use crate::model::{BootWay, ClientArch, Mac, Name, Span, Time};

/// So many boots in a row end with a program before it gives way.
const FAILURES: u8 = 2;
/// Firmware that asks again earlier still belongs to the same boot: a message that came twice. OVMF in a virtual machine
/// asks 4 s after a reset, and at once if it goes on to its next boot option.
const SETTLED: Span = Span::seconds(1);
/// Firmware requests what it was offered within this time: OVMF waits 4 s for further offers.
const EXCHANGE: Span = Span::seconds(8);
/// Cards whose boots are watched at most; beyond that all are forgotten and watched anew.
const WATCHED_MAX: usize = 1 << 16;

/// What lasts of a card's boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardBoots {
    /// How often it booted our agent without a report, while no revision declared its machine.
    pub tries: u8,
    /// When it did so last; 0 if it never did.
    pub tried: Time,
    /// One for each architecture and way.
    pub loaders: Vec<Learned>,
}

/// A boot program that a machine is learned to need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    pub arch: ClientArch,
    pub way: BootWay,
    pub program: &'static str,
    pub since: Time,
}

/// What is known of the boot programs that a machine was offered by one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Experience {
    pub learned: Option<&'static str>,
    /// Those that did not run.
    pub failed: Vec<&'static str>,
}

/// The boots of a card by one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    arch: ClientArch,
    way: BootWay,
    /// What it was offered last, and when.
    program: &'static str,
    asked: Time,
    /// When a program was fetched whole since the boot began.
    fetched: Option<Time>,
    /// Whether iPXE spoke since.
    runs: bool,
    /// How many boots in a row ended with the program.
    fails: u8,
    failed: Vec<&'static str>,
}

/// What an event of a boot showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// The program did not run, and gives way.
    GivesWay(ClientArch, BootWay, &'static str),
    /// After others had failed, it led to its script.
    Leads(ClientArch, BootWay, &'static str),
}

impl Trial {
    /// Firmware asks again. Returns the program if that gives way now; `counts` says whether it was to lead anywhere.
    fn ask(&mut self, now: Time, counts: impl FnOnce() -> bool) -> Option<&'static str> {
        let fetched = self.fetched?;
        let is_soon = |at: Time, since: Time, span: Span| at >= since && at < since + span;
        // The offer of an exchange was still of the former boot: the acknowledgement names the same program.
        let is_one_exchange = self.asked > fetched
            && is_soon(self.asked, fetched, SETTLED)
            && is_soon(now, self.asked, EXCHANGE);
        if is_soon(now, fetched, SETTLED) || is_one_exchange {
            return None;
        }
        (self.fetched, self.runs) = (None, false);
        // A clock that was set back shows nothing.
        if now < fetched || !counts() {
            return None;
        }
        self.fails += 1;
        if self.fails < FAILURES {
            return None;
        }
        self.fails = 0;
        if self.failed.contains(&self.program) {
            // Every one was tried: it begins anew.
            self.failed.clear();
        }
        self.failed.push(self.program);
        Some(self.program)
    }
}

impl State {
    /// What is known of boot programs for firmware that asks by `way` now.
    pub fn experience(&self, card: Mac, arch: ClientArch, way: BootWay, now: Time) -> Experience {
        if self.observed.trials.is_empty() && self.lasting.boots.is_empty() {
            return Experience::default();
        }
        let trial = self.trials(card).iter().find(|one| one.arch == arch && one.way == way);
        let failed = match trial {
            None => Vec::new(),
            Some(trial) if trial.fetched.is_none() => trial.failed.clone(),
            Some(trial) => {
                let mut trial = trial.clone();
                trial.ask(now, || self.leads_on(card));
                trial.failed
            }
        };
        let learned = self.learned_loader(card, arch, way).map(|one| one.program);
        Experience { learned: learned.filter(|program| !failed.contains(program)), failed }
    }

    fn trials(&self, card: Mac) -> &[Trial] {
        self.observed.trials.get(&card).map_or(&[], |trials| trials.as_slice())
    }

    /// What is learned of a card, else of another one of the same machine.
    fn learned_loader(&self, card: Mac, arch: ClientArch, way: BootWay) -> Option<&Learned> {
        let of = |card: &Mac| {
            let boots = self.lasting.boots.get(card)?;
            boots.loaders.iter().find(|one| one.arch == arch && one.way == way)
        };
        if self.lasting.boots.is_empty() {
            return None;
        }
        of(&card).or_else(|| self.machine(card)?.macs.iter().find_map(of))
    }

    /// What is learned of a machine's boot programs, and by which card.
    pub fn learned_loaders(&self, machine: &Machine) -> Vec<(Mac, &Learned)> {
        if self.lasting.boots.is_empty() {
            return Vec::new();
        }
        self.loaders_of(self.cards(machine))
    }

    /// The same of some cards.
    pub fn loaders_of(&self, cards: impl IntoIterator<Item = Mac>) -> Vec<(Mac, &Learned)> {
        let of = |card: Mac| {
            let loaders = self.lasting.boots.get(&card).map(|boots| boots.loaders.as_slice());
            loaders.into_iter().flatten().map(move |one| (card, one))
        };
        cards.into_iter().flat_map(of).collect()
    }

    /// The programs that did not run on a card since the daemon started, by way; the first that fits again where all
    /// failed.
    pub fn failed_loaders(&self, card: Mac) -> Vec<(ClientArch, BootWay, &[&'static str])> {
        let failed = self.trials(card).iter().filter(|trial| !trial.failed.is_empty());
        failed.map(|trial| (trial.arch, trial.way, trial.failed.as_slice())).collect()
    }

    /// Whether a network boot of this card is to lead to anything but the machine's own disk.
    fn leads_on(&self, card: Mac) -> bool {
        match self.machine_of_card(card) {
            Some(machine) => self.boot_of(machine, false) != Boot::Disk || self.boot_once(machine).is_some(),
            None => true,
        }
    }

    /// Whether the event may say something of a boot program.
    pub(super) fn concerns_loaders(&self, event: &Event) -> bool {
        event.offered.is_some() || !self.observed.trials.is_empty()
    }

    /// Takes in an event of a boot.
    pub(super) fn learn_loader(&mut self, event: &Event) -> Option<Lesson> {
        use super::Stage::*;
        let mac = event.mac?;
        match event.stage {
            Offer | Ack => match (event.offered, event.arch) {
                (Some(offered), Some(arch)) => self.asks(mac, event.at, arch, offered),
                _ => {
                    let trial = self.latest_trial(mac).filter(|_| event.ipxe == Some(true))?;
                    trial.runs = trial.fetched.is_some();
                    None
                }
            },
            Loader | File => {
                let trial = self.latest_trial(mac)?;
                trial.fetched.get_or_insert(event.at);
                None
            }
            // What runs and is refused its script shows nothing of the program.
            Refused => {
                let trial = self.latest_trial(mac).filter(|trial| trial.runs)?;
                (trial.fetched, trial.runs) = (None, false);
                None
            }
            Script | LocalBoot => self.leads(mac),
            _ => None,
        }
    }

    fn asks(
        &mut self,
        card: Mac,
        at: Time,
        arch: ClientArch,
        offered: super::event::Offered,
    ) -> Option<Lesson> {
        if self.observed.trials.len() >= WATCHED_MAX && !self.observed.trials.contains_key(&card) {
            self.observed.trials = imbl::OrdMap::new();
        }
        let leads_on = self.leads_on(card);
        let trials = Arc::make_mut(self.observed.trials.entry(card).or_default());
        let super::event::Offered { way, program } = offered;
        let known = trials.iter().position(|one| one.arch == arch && one.way == way);
        let Some(trial) = known.map(|at| &mut trials[at]) else {
            let fresh = Trial {
                arch,
                way,
                program,
                asked: at,
                fetched: None,
                runs: false,
                fails: 0,
                failed: Vec::new(),
            };
            trials.push(fresh);
            return None;
        };
        let gives_way = trial.ask(at, || leads_on);
        if trial.program != program {
            trial.fails = 0;
        }
        (trial.program, trial.asked) = (program, at);
        gives_way.map(|program| Lesson::GivesWay(arch, way, program))
    }

    /// The boots by the way that firmware of this card, or else of another card of its machine, used last.
    fn latest_trial(&mut self, mac: Mac) -> Option<&mut Trial> {
        let card = self.booting_card(mac)?;
        let trials = Arc::make_mut(self.observed.trials.get_mut(&card)?);
        trials.iter_mut().max_by_key(|trial| trial.asked)
    }

    fn booting_card(&self, mac: Mac) -> Option<Mac> {
        let trials = &self.observed.trials;
        if trials.is_empty() || trials.contains_key(&mac) {
            return Some(mac);
        }
        let machine = self.machine(mac)?;
        machine.macs.iter().copied().find(|card| trials.contains_key(card))
    }

    /// A script was fetched.
    fn leads(&mut self, mac: Mac) -> Option<Lesson> {
        let is_known = self.machine_of_card(mac).is_some();
        let card = self.booting_card(mac)?;
        let trial = self.latest_trial(mac)?;
        let Trial { arch, way, program, .. } = *trial;
        let is_new = trial.fetched.is_some() && !trial.failed.is_empty();
        (trial.fetched, trial.runs, trial.fails) = (None, false, 0);
        // Of a stranger nothing is stored; what failed is remembered until it is known.
        if trial.failed.is_empty() || is_known {
            self.forget_trial(card, arch, way);
        }
        (is_new && is_known).then_some(Lesson::Leads(arch, way, program))
    }

    fn forget_trial(&mut self, card: Mac, arch: ClientArch, way: BootWay) {
        let Some(trials) = self.observed.trials.get_mut(&card).map(Arc::make_mut) else { return };
        trials.retain(|one| one.arch != arch || one.way != way);
        if trials.is_empty() {
            self.observed.trials.remove(&card);
        }
    }

    /// The cards by which this is learned of a machine.
    pub(super) fn cards_that_learned(&self, card: Mac) -> Vec<Mac> {
        let machine: Option<&Name> = self.machine_of_card(card);
        let own = machine.and_then(|machine| self.desired.machines.get(machine));
        let mut cards = own.map(|own| self.cards(own)).unwrap_or_default();
        let found = machine.and_then(|machine| self.life(machine)).map(|life| life.cards.clone());
        cards.extend(found.iter().flat_map(|cards| cards.iter()));
        cards.push(card);
        cards.sort();
        cards.dedup();
        cards.retain(|card| self.lasting.boots.contains_key(card));
        cards
    }
}
