//! A disk's own commands that sanitize it, tried in order until one is said to have succeeded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::device::{Bench, Commands, Device, Refusal, Seen};
use super::{WITHDRAWN, ata, nvme};
use crate::api::agent::MethodUsed;

/// Time between two looks at the progress.
const POLL: Duration = Duration::from_secs(2);
/// A sanitize whose progress does not change for this many looks (eight hours) is given up.
const STUCK: u32 = 4 * 3600;
/// A disk that is busy may fail to answer this many times in a row (a minute).
const SILENT: u32 = 30;

/// What is known of a disk while it is wiped.
pub(super) struct Purge<'a> {
    pub disk: &'a Seen,
    pub device: &'a mut dyn Device,
    pub bench: &'a dyn Bench,
    /// The namespaces of its subsystem that the order names.
    pub ordered: &'a BTreeSet<u32>,
    /// Says what is done and how far it is, in percent.
    pub step: &'a dyn Fn(&str, u8),
    /// Set when the order was withdrawn.
    pub stop: &'a AtomicBool,
    /// Whether the disk looks as if it had been wiped; if not, why.
    pub looks_wiped: &'a mut dyn FnMut(&mut dyn Device) -> Result<(), String>,
    pub tried: &'a mut Vec<MethodUsed>,
}

impl Purge<'_> {
    /// Whether a command of the disk has wiped it. What was tried is noted either way.
    pub(super) fn run(mut self) -> bool {
        match self.device.commands() {
            Commands::Nvme => self.nvme(),
            Commands::Ata => self.ata(),
            Commands::None => {
                self.note("purge", "the disk has no commands that sanitize it".into());
                false
            }
        }
    }

    fn note(&mut self, method: &str, status: String) {
        self.tried.push(MethodUsed { method: method.into(), status });
    }

    /// Notes how a method ended; whether it has wiped the disk.
    fn ended(&mut self, method: &str, result: Result<(), String>, well: &str) -> bool {
        let (wiped, status) = match result {
            Err(why) => (false, why),
            Ok(()) => match (self.looks_wiped)(self.device) {
                Ok(()) => (true, well.to_owned()),
                Err(why) => (false, format!("{well}, but {why}")),
            },
        };
        self.note(method, status);
        wiped
    }

    fn nvme(&mut self) -> bool {
        // The disk continues by itself after a power cut, and takes no other commands until it is done.
        match self.log() {
            Ok((nvme::Sanitize::Running(_), action)) => {
                let method = action.map_or("nvme-sanitize", nvme::Action::name);
                let result = self.follow_nvme(method);
                if self.ended(method, result, "ok (begun before this start)") {
                    return true;
                }
            }
            Ok((nvme::Sanitize::Failed, _)) => self.leave_failure(),
            _ => {}
        }
        let mut data = [0; nvme::IDENTIFY];
        if let Err(refusal) = self.device.nvme(&nvme::identify_controller(), &mut data) {
            self.note("nvme-identify", refusal.to_string());
            return false;
        }
        let abilities = nvme::Abilities::of(&data);
        match self.other_namespaces(abilities) {
            Ok(others) => self.sanitize(abilities, &others) || self.format(abilities, &others),
            Err(refusal) => {
                self.note("nvme-identify", format!("its namespaces are not known: {refusal}"));
                // What wipes all of them may wipe one that the order does not name.
                !abilities.formats_all && self.format(abilities, &[])
            }
        }
    }

    /// The namespaces of the subsystem that the order does not name; an error where they are not known.
    fn other_namespaces(&mut self, abilities: nvme::Abilities) -> Result<Vec<u32>, Refusal> {
        // Controllers of NVMe 1.0 have no list.
        if abilities.is_one && !abilities.manages {
            return Ok(Vec::new());
        }
        let mut found = BTreeSet::new();
        for allocated in [false, true] {
            let mut data = [0; nvme::IDENTIFY];
            match self.device.nvme(&nvme::namespaces(allocated), &mut data) {
                Ok(_) => found.extend(nvme::numbers(&data)),
                // Disks without management of namespaces know only those that are attached.
                Err(_) if allocated && !abilities.manages => {}
                Err(refusal) => return Err(refusal),
            }
        }
        match found.is_empty() {
            // There is at least the one that is to be wiped.
            true => Err(Refusal::Lost("the list of them is empty".into())),
            false => Ok(found.difference(self.ordered).copied().collect()),
        }
    }

    fn sanitize(&mut self, abilities: nvme::Abilities, others: &[u32]) -> bool {
        let actions = [
            (abilities.block, nvme::Action::Block),
            (abilities.crypto, nvme::Action::Crypto),
            (abilities.overwrite, nvme::Action::Overwrite),
        ];
        let actions: Vec<nvme::Action> =
            actions.into_iter().filter(|(can, _)| *can).map(|(_, action)| action).collect();
        if actions.is_empty() {
            self.note("nvme-sanitize", "the disk has no such command".into());
        } else if !others.is_empty() {
            self.note("nvme-sanitize", spared(others));
        } else {
            for action in actions {
                if self.stop.load(Ordering::Relaxed) {
                    return false;
                }
                let started = self.device.nvme(&nvme::sanitize(action), &mut []);
                let result = match started {
                    Ok(_) => self.follow_nvme(action.name()),
                    Err(refusal) => Err(refusal.to_string()),
                };
                let has_failed = result.is_err();
                if self.ended(action.name(), result, "ok") {
                    return true;
                }
                if has_failed {
                    self.leave_failure();
                }
            }
        }
        false
    }

    /// After a failed sanitize a disk takes other commands again only after a command that ends the failure.
    fn leave_failure(&mut self) {
        if let Err(refusal) = self.device.nvme(&nvme::sanitize(nvme::Action::ExitFailure), &mut []) {
            // It may not have got as far as to fail.
            if matches!(self.log(), Ok((nvme::Sanitize::Failed, _))) {
                self.note(nvme::Action::ExitFailure.name(), refusal.to_string());
            }
        }
    }

    fn log(&mut self) -> Result<(nvme::Sanitize, Option<nvme::Action>), Refusal> {
        let mut log = [0; nvme::LOG];
        self.device.nvme(&nvme::sanitize_log(), &mut log)?;
        Ok(nvme::sanitize_state(&log))
    }

    fn follow_nvme(&mut self, method: &str) -> Result<(), String> {
        self.follow(method, &|purge| match purge.log()? {
            (nvme::Sanitize::Running(progress), _) => Ok(State::Running(progress)),
            (nvme::Sanitize::Done, _) => Ok(State::Done),
            (nvme::Sanitize::Failed, _) => Ok(State::Failed("failed, says the disk's sanitize log")),
            (nvme::Sanitize::Never, _) => Ok(State::Failed("the disk's sanitize log knows nothing of it")),
        })
    }

    fn format(&mut self, abilities: nvme::Abilities, others: &[u32]) -> bool {
        let Some((_, namespace)) = &self.disk.namespace else {
            self.note("nvme-format", "the number of its namespace is not known".into());
            return false;
        };
        let namespace = *namespace;
        if !abilities.format {
            self.note("nvme-format", "the disk has no such command".into());
            return false;
        }
        if abilities.formats_all && !others.is_empty() {
            self.note("nvme-format", spared(others));
            return false;
        }
        let mut data = [0; nvme::IDENTIFY];
        if let Err(refusal) = self.device.nvme(&nvme::identify_namespace(namespace), &mut data) {
            self.note("nvme-identify", refusal.to_string());
            return false;
        }
        let present = nvme::Format::of(&data);
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let erasing = [(true, nvme::Erase::UserData), (abilities.crypto_format, nvme::Erase::Crypto)];
        for (_, erase) in erasing.into_iter().filter(|(can, _)| *can) {
            (self.step)(erase.name(), 0);
            let done = self.device.nvme(&nvme::format(namespace, present, erase), &mut []);
            let result = done.map(drop).map_err(|refusal| refusal.to_string());
            if self.ended(erase.name(), result, "ok") {
                return true;
            }
        }
        false
    }

    fn ata(&mut self) -> bool {
        let mut data = [0; ata::IDENTIFY];
        if let Err(refusal) = self.device.ata(&ata::identify(), &mut data) {
            self.note("ata-identify", refusal.to_string());
            return false;
        }
        let Some(actions) = ata::actions(&data).filter(|actions| !actions.is_empty()) else {
            self.note("ata-sanitize", "the disk has no such command".into());
            return false;
        };
        match self.ata_state(false) {
            Ok(ata::Sanitize::Running(_)) => {
                let result = self.follow_ata("ata-sanitize");
                if self.ended("ata-sanitize", result, "ok (begun before this start)") {
                    return true;
                }
            }
            Ok(ata::Sanitize::Frozen) => {
                let why = "the machine's firmware has locked it until the next power cycle".to_owned();
                self.note("ata-sanitize", why);
                return false;
            }
            _ => {}
        }
        for action in actions {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let started = self.device.ata(&action.command(), &mut []);
            let result = match started {
                Ok(_) => self.follow_ata(action.name()),
                Err(refusal) => Err(refusal.to_string()),
            };
            let has_failed = result.is_err();
            if self.ended(action.name(), result, "ok") {
                return true;
            }
            if has_failed {
                // Whether that was needed shows with the next command.
                let _ = self.ata_state(true);
            }
        }
        false
    }

    fn ata_state(&mut self, clear: bool) -> Result<ata::Sanitize, Refusal> {
        let registers = self.device.ata(&ata::status(clear), &mut [])?;
        Ok(ata::Sanitize::of(&registers))
    }

    fn follow_ata(&mut self, method: &str) -> Result<(), String> {
        self.follow(method, &|purge| match purge.ata_state(false)? {
            ata::Sanitize::Running(progress) => Ok(State::Running(progress)),
            ata::Sanitize::Done => Ok(State::Done),
            _ => Ok(State::Failed("failed, says the disk's sanitize status")),
        })
    }

    /// Waits until a sanitize has ended, and says how.
    fn follow(
        &mut self,
        method: &str,
        look: &dyn Fn(&mut Self) -> Result<State, Refusal>,
    ) -> Result<(), String> {
        let (mut last, mut same, mut silent) = (None, 0, 0);
        loop {
            match look(self) {
                Ok(State::Done) => return Ok(()),
                Ok(State::Failed(why)) => return Err(why.into()),
                Ok(State::Running(progress)) => {
                    silent = 0;
                    same = if last == Some(progress) { same + 1 } else { 0 };
                    last = Some(progress);
                    (self.step)(method, (u32::from(progress) * 100 / 65536) as u8);
                }
                Err(refusal) => {
                    silent += 1;
                    if silent > SILENT {
                        return Err(format!("its progress can't be read: {refusal}"));
                    }
                }
            }
            if same > STUCK {
                return Err("given up: no progress for eight hours".into());
            }
            // The disk goes on by itself.
            if self.stop.load(Ordering::Relaxed) {
                return Err(WITHDRAWN.into());
            }
            self.bench.pause(POLL);
        }
    }
}

enum State {
    Running(u16),
    Done,
    Failed(&'static str),
}

fn spared(others: &[u32]) -> String {
    let list = others.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "not done: it would also wipe the namespaces {list} of the same disk, which the order does not name"
    )
}
