//! `voldemort.toml` at an inventory's root: settings of the inventory itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checker::{Checker, Subject, Tree, plain};
use super::kind::Written;
use super::kind::table::table;
use super::shape::Form;
use super::shape::Shape::*;
use super::value::{Extract, Table as TableValue};
use super::{Code, Kind, Level, Mark, Marked, Problem};
use crate::model::{Cpu, Name, OnReturn, Proof, Rate, Window as Times};

/// Its name.
pub(super) const FILE: &str = "voldemort.toml";

/// The only version of the manifest language.
const FORMAT: i64 = 1;

table! {
    pub struct File: "`voldemort.toml` files", "Settings of the inventory itself." {
        format: Option<Marked<i64>> = must "format": Integer(0), "Version of the manifest language: 1.";
        safety: Option<Safety> = may "safety": Table(Safety::FIELDS), "When a revision is held back.";
        agent: Option<Agent> = may "agent": Table(Agent::FIELDS),
            "The program that looks at unknown machines and wipes disks, in the memory of the machine.";
        check: Option<Marked<TableValue>> = may "check":
            Map(&Text(Form::Choice(&["error", "warning", "note", "off"]))),
            "Levels of adjustable checks, by code.";
    }
}

table! {
    #[derive(Default)]
    pub struct Safety: "`safety` tables", "When a revision is held until a person consents." {
        max_remove: Option<Marked<u8>> = may "max-remove": Text(Form::Percent),
            "Largest part of the deployments one revision may remove; \"30%\" if absent.";
        min_existing: Option<Marked<u32>> = may "min-existing": Integer(0),
            "The percentage applies from this many deployments on; 5 if absent.";
        allow_empty: Option<Marked<bool>> = may "allow-empty": Boolean,
            "Whether a revision without any deployment may replace one with some.";
        max_reinstall: Option<Marked<u32>> = may "max-reinstall": Integer(0),
            "How many installed machines one revision may reinstall; no limit if absent.";
        max_in_flight: Option<Marked<u32>> = may "max-in-flight": Integer(1),
            "How many installed machines may be in reinstallation at a time; no limit if absent.";
        max_wipes: Option<Marked<Rate>> = may "max-wipes": Text(Form::Rate),
            "How many machines may begin to be wiped within an hour, for whatever reason, before each further one \
             waits for a person; \"4/h\" if absent.";
        on_release: Option<Marked<OnReturn>> = may "on-release": Text(Form::Choice(OnReturn::NAMES)),
            "What happens to a machine that a revision takes from its deployment, and gives to no other: \"keep\" (as \
             without the key) leaves its disks as they are, \"wipe\" erases them, \"wipe-and-off\" switches it off then. It \
             counts from the revision after the one that brings it.";
        windows: Vec<Marked<Times>> = may "windows": Several(&Text(Form::Window)),
            "When installed machines may be reinstalled, as in \"Mon-Fri 22:00-05:00 Europe/Berlin\"; at any \
             time if absent.";
        asker: Option<Marked<Proof>> = may "asker": Text(Form::Choice(Proof::NAMES)),
            "What proves that a request for an answer file comes from its machine: \"machine\" (as without the \
             key), the hardware or IP address beside the token of the URL; \"token\", the token alone, where another \
             DHCP server gives the addresses and routers or address translation are in between.";
    }
}

table! {
    pub struct Agent: "`agent` tables", "Our agent on machines." {
        boot: Option<AgentBoots> = must "boot": Table(AgentBoots::FIELDS),
            "The boot whose kernel the agent runs on, by the machines' architecture.";
    }
}

table! {
    pub struct AgentBoots: "`boot` tables of `agent`", "Boots by architecture." {
        x86_64: Option<Marked<Name>> = may "x86_64": Text(Form::Name(Kind::Boot)), "For x86-64 machines.";
        aarch64: Option<Marked<Name>> = may "aarch64": Text(Form::Name(Kind::Boot)), "For 64-bit Arm machines.";
    }
    either: ["x86_64", "aarch64"];
}

impl AgentBoots {
    /// The names that are there, by architecture.
    pub fn all(&self) -> impl Iterator<Item = (Cpu, &Marked<Name>)> {
        let all = [(Cpu::X86_64, &self.x86_64), (Cpu::Aarch64, &self.aarch64)];
        all.into_iter().filter_map(|(cpu, name)| Some((cpu, name.as_ref()?)))
    }
}

/// The settings of an inventory.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub safety: Safety,
    pub agent: Option<Agent>,
    /// Levels of adjustable checks; `None` turns one off.
    pub levels: BTreeMap<Code, Option<Level>>,
}

impl Inventory {
    pub(super) fn read(checker: &mut Checker, tree: &Tree) -> Inventory {
        let mark = Mark::new(checker.file, 0..0);
        let mut table = checker.table(Subject { fields: File::FIELDS, name: FILE, mark }, tree);
        let File { format, safety, agent, check } = File::read(&mut table);
        if let Some(Marked { value, mark }) = format.filter(|format| format.value != FORMAT) {
            let message = format!("this voldemort does not know inventory format {value}");
            let problem = Problem::new(Code::Format, mark, message, format!("it knows {FORMAT}"));
            checker.problems.push(problem.help("use a newer voldemort, or write `format = 1`"));
        }
        let levels = check.map_or_else(TableValue::default, |check| check.value);
        Inventory { safety: safety.unwrap_or_default(), agent, levels: levels_of(checker, levels) }
    }
}

impl Safety {
    /// Whether the token of its URL alone proves that a request for an answer file is of its machine.
    pub fn is_asker_proven_by_token(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| asker.value == Proof::Token)
    }
}

/// Checks of earlier versions: who set their levels need not change that.
const RETIRED: [&str; 1] = ["V0019"];

fn levels_of(checker: &mut Checker, table: TableValue) -> BTreeMap<Code, Option<Level>> {
    let mut levels = BTreeMap::new();
    for (key, field) in table.0.into_iter().filter(|(key, _)| !RETIRED.contains(&&**key)) {
        let code = key.parse::<Code>().ok().filter(|code| code.to_string() == *key);
        let Some(code) = code else {
            let message = format!("there is no check called `{}`", plain(&key));
            let problem = Problem::new(Code::UnknownKey, field.key, message, "unknown check");
            let meant = key.to_ascii_uppercase().parse::<Code>().ok().filter(|code| code.adjustable());
            checker.problems.push(match meant {
                Some(code) => problem.help(format!("did you mean {code}?")),
                None => problem.help("checks are called by their codes, as in V0404 = \"off\""),
            });
            continue;
        };
        if !code.adjustable() {
            let message = format!("{code} ({}) can't be changed", code.title());
            let can = Code::ALL.iter().filter(|code| code.adjustable()).map(Code::to_string);
            let help = format!("these can: {}", can.collect::<Vec<_>>().join(", "));
            checker.problems.push(Problem::new(Code::Exclusive, field.key, message, "always on").help(help));
            continue;
        }
        let level = match Arc::<str>::extract(field.value.value).as_deref() {
            Some("error") => Some(Level::Error),
            Some("warning") => Some(Level::Warning),
            Some("note") => Some(Level::Note),
            _ => None,
        };
        levels.insert(code, level);
    }
    levels
}
