//! One network boot of a machine that leads to another boot than what the machine is for: a rescue system, or our agent.
//!
//! A person orders it, and it ends by itself when that boot is over, or when its time is. The machine's installation,
//! its permission to install and its tenancy are what they were. Whoever holds or protects a machine afterwards, or has it
//! installed, released or wiped, comes first.

use std::sync::Arc;

use super::lifecycle::Work;
use super::{Event, State};
use crate::desired::{Boot, Deployment};
use crate::model::{Caller, Mac, Name, Span, Time};

/// How long the order waits for its boot, where nobody says so.
pub const USUAL: Span = Span::seconds(60 * 60);
/// The longest that it may wait.
pub const LONGEST: Span = Span::seconds(7 * 24 * 60 * 60);
/// Requests of the same boot come within this time after its first; then the order is over in any case.
pub(super) const ONE_BOOT: Span = Span::seconds(5 * 60);
/// A machine that asks to boot this long after its script was fetched boots anew.
const SETTLED: Span = Span::seconds(5);

/// Variables of command lines that belong to an installation.
const OF_INSTALLATION: [&str; 6] =
    ["answers_url", "answers_base_url", "completed_url", "failed_url", "progress_url", "nocloud_url"];
/// Those that are known of every machine.
const KNOWN: [&str; 17] = [
    "address",
    "address6",
    "disk",
    "dns",
    "domain",
    "gateway",
    "hostname",
    "mac",
    "media_url",
    "name",
    "netmask",
    "packages",
    "prefix_length",
    "server_url",
    "ssh_keys",
    "timezone",
    "users",
];

/// The next network boot of a machine leads to this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOnce {
    pub boot: Name,
    pub by: Caller,
    pub since: Time,
    /// When it ends unless the machine has booted.
    pub until: Time,
    /// When the machine fetched its script; from then on only that boot's repetitions get it.
    pub begun: Option<Time>,
}

impl BootOnce {
    pub(super) fn is_over(&self, now: Time) -> bool {
        match self.begun {
            Some(begun) => now < begun || now >= begun + ONE_BOOT,
            None => now >= self.until,
        }
    }
}

/// A machine whose network boot leads elsewhere now.
#[derive(Clone, Copy, Debug)]
pub struct DueBoot<'a> {
    pub machine: &'a Name,
    pub boot: &'a Arc<Boot>,
    /// Whether its script was fetched already.
    pub has_begun: bool,
}

impl State {
    /// The order about a machine's next network boot.
    pub fn boot_once(&self, machine: &Name) -> Option<&Arc<BootOnce>> {
        self.lasting.once.get(machine)
    }

    /// What the machine with this card boots now instead of what it is for, if anything.
    pub fn due_boot(&self, card: Mac) -> Option<DueBoot<'_>> {
        if self.lasting.once.is_empty() {
            return None;
        }
        let (machine, once) = self.lasting.once.get_key_value(self.machine_of_card(card)?)?;
        let boot = self.desired.boots.get(&once.boot)?;
        let due = DueBoot { machine, boot, has_begun: once.begun.is_some() };
        self.kept_from_boot(machine).is_none().then_some(due)
    }

    /// What the machine with this card boots from the network that has this deployment, if no order about its disks is
    /// carried out on it.
    pub fn tenancy_boot<'a>(&'a self, card: Mac, tenant: Option<&'a Deployment>) -> Option<&'a Arc<Boot>> {
        let once = self.due_boot(card).map(|due| due.boot);
        once.or(tenant.map(|tenant| &tenant.boot))
    }

    /// Whether a boot is one that our agent runs on.
    pub fn is_agent_boot(&self, boot: &Boot) -> bool {
        self.desired.agent.boots.values().any(|own| own.name == boot.name)
    }

    /// Why a machine boots nothing but what it is for.
    pub fn kept_from_boot(&self, machine: &Name) -> Option<String> {
        if self.lasting.protected.contains(machine) {
            return Some(format!("machine {machine} is protected (`protect = true`)"));
        }
        if let Some(why) = self.kept_from(machine) {
            return Some(why);
        }
        match self.work(machine) {
            Work::Installing => Some(format!("machine {machine} is to be installed, which comes first")),
            Work::Fencing | Work::Wiping | Work::Verifying => {
                Some(format!("machine {machine} is being released or wiped, which comes first"))
            }
            Work::None | Work::NetworkBoot => None,
        }
    }

    /// Why a machine can't boot this once.
    pub(super) fn unfit_for(&self, machine: &Name, boot: &Boot) -> Option<String> {
        let cards = self.desired.machines.get(machine).map(|own| self.cards(own)).unwrap_or_default();
        let arch = cards.iter().find_map(|card| self.observed.seen.get(card)?.arch);
        if let Some(arch) = arch.filter(|arch| arch.cpu != boot.cpu) {
            let Boot { name, cpu, .. } = boot;
            return Some(format!("boot {name} is for {cpu}, and machine {machine} has {}", arch.cpu));
        }
        let tenant = self.tenant(machine);
        if !boot.starts_a_pi() && tenant.is_some_and(|own| own.boot.starts_a_pi()) {
            return Some(format!(
                "machine {machine} starts from a Raspberry Pi's tree, and boot {} has none",
                boot.name
            ));
        }
        let is_known = |name: &str| {
            KNOWN.contains(&name) || tenant.is_some_and(|tenant| tenant.values.contains_key(name))
        };
        let mut used = boot.cmdline.iter().flat_map(|word| word.variables()).map(|one| one.name.as_str());
        let missing = used.find(|name| OF_INSTALLATION.contains(name) || !is_known(name))?;
        let what = match OF_INSTALLATION.contains(&missing) {
            true => "which belongs to an installation: it is an installer's boot",
            false => "which nothing defines for this machine",
        };
        Some(format!("the command line of boot {} needs `{missing}`, {what}", boot.name))
    }

    /// The machine whose one boot is over with this event: it asks to boot anew.
    pub(super) fn ends_boot_once(&self, event: &Event) -> Option<&Name> {
        if self.lasting.once.is_empty() || event.ipxe.is_none() {
            return None;
        }
        let machine = self.machine_of_card(event.mac?)?;
        let begun = self.lasting.once.get(machine)?.begun?;
        (event.at < begun || event.at >= begun + SETTLED).then_some(machine)
    }
}
