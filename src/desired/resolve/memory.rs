//! Memory: what a boot needs against what its machine is known to have.

use std::collections::{BTreeMap, HashMap};

use super::selector::{covers, labels_of};
use super::{Resolver, listed};
use crate::desired::{Boot, Deployment, Place};
use crate::manifest::document;
use crate::manifest::{Code, Mark, Marked, Problem, Resource};
use crate::model::{Name, Size};

/// What a boot needs, and how that is known.
#[derive(Clone, Copy)]
struct Need {
    size: Size,
    /// The boot's `memory`; without one the kernel and the initrds alone need this.
    written: Option<Mark>,
}

/// A machine that has less, and the deployment that leads to it.
struct Short<'a> {
    deployment: &'a Name,
    /// Where the deployment chose the machine.
    chosen: Mark,
    machine: &'a Resource<document::Machine>,
    memory: &'a Marked<Size>,
}

impl Resolver<'_> {
    /// One problem for each boot that machines have too little memory for.
    pub(super) fn memory(&mut self) {
        let documents = self.documents;
        let known =
            Known::new(documents.machines.values().map(|own| &**own), |name| self.pinned.contains_key(name));
        let mut short: BTreeMap<&Name, (Need, Vec<Short>)> = BTreeMap::new();
        for deployment in self.desired.deployments.values() {
            let Some(need) = self.need(&deployment.boot) else { continue };
            let Some(found) = known.short(documents, deployment, need.size) else { continue };
            short.entry(&deployment.boot.name).or_insert((need, Vec::new())).1.push(found);
        }
        let problems: Vec<Problem> =
            short.iter().filter_map(|(boot, (need, found))| self.too_little(boot, *need, found)).collect();
        self.problems.extend(problems);
    }

    fn need(&self, boot: &Boot) -> Option<Need> {
        let written = self.documents.boots.get(&boot.name)?.body.memory.as_ref();
        if let Some(Marked { value, mark }) = written {
            return Some(Need { size: *value, written: Some(*mark) });
        }
        let kernel = boot.kernel.entry.as_ref()?.len();
        let initrd: u64 =
            boot.initrd.iter().filter_map(|file| file.entry.as_ref()).map(|entry| entry.len()).sum();
        // The kernel unpacks an initrd while its packed form still lies in memory.
        Some(Need { size: Size(initrd.saturating_mul(2).saturating_add(kernel)), written: None })
    }

    fn too_little(&self, boot: &Name, need: Need, short: &[Short]) -> Option<Problem> {
        let first = short.iter().min_by_key(|one| one.chosen)?;
        let (machine, has) = (&first.machine.name, first.memory.value);
        let message = format!("machine `{machine}` has less memory than boot `{boot}` needs");
        let label = format!("leads to `{machine}`");
        let header = self.documents.boots.get(boot)?.mark;
        let needs = match need.written {
            Some(_) => format!("`{boot}` needs {}", need.size),
            None => format!("kernel and initrd of `{boot}` need at least {}", need.size),
        };
        let mut problem = Problem::new(Code::TooLittleMemory, first.chosen, message, label)
            .also(first.memory.mark, format!("`{machine}` has {has}"))
            .also(need.written.unwrap_or(header), needs);
        if need.written.is_none() {
            problem =
                problem.note("an initrd is in memory twice while it is unpacked: as loaded, and as files");
        }
        let others = short.iter().filter(|one| one.chosen != first.chosen).map(|one| one.deployment);
        let others: Vec<&Name> = others.collect();
        if !others.is_empty() {
            problem = problem.note(format!("the same happens to {}", listed(others)));
        }
        Some(problem.help("choose a machine with more memory, or correct `memory`"))
    }
}

/// Machines whose memory is known, by what selectors look at.
struct Known<'a> {
    /// Free ones by label, the smallest memory first.
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Resource<document::Machine>>>,
}

impl<'a> Known<'a> {
    fn new(
        machines: impl Iterator<Item = &'a Resource<document::Machine>>,
        pinned: impl Fn(&Name) -> bool,
    ) -> Known<'a> {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for machine in machines.filter(|machine| machine.body.memory.is_some() && !pinned(&machine.name)) {
            for (key, value) in &machine.body.labels {
                by_label.entry((&**key, &**value)).or_default().push(machine);
            }
        }
        for machines in by_label.values_mut() {
            machines.sort_by_key(|machine| machine.body.memory.as_ref().map(|memory| memory.value));
        }
        Known { by_label }
    }

    /// A machine that the deployment leads to, or may lead to, and that has less than it needs.
    fn short(
        &self,
        documents: &'a crate::manifest::Documents,
        deployment: &Deployment,
        need: Size,
    ) -> Option<Short<'a>> {
        let written = documents.deployments.get(&deployment.name)?;
        let (chosen, machine) = match &deployment.place {
            Place::Machine(name) => (written.body.machine.as_ref()?.mark, &**documents.machines.get(name)?),
            Place::Select(_) => {
                let select = written.body.select.as_ref()?;
                let mut lists =
                    labels_of(&select.value).map(|(key, value)| self.by_label.get(&(&**key, &**value)));
                let rarest = lists.try_fold(None, |best: Option<&Vec<_>>, list| {
                    let list = list?;
                    Some(Some(best.filter(|best| best.len() <= list.len()).unwrap_or(list)))
                });
                let small = rarest??.iter().take_while(|machine| {
                    machine.body.memory.as_ref().is_some_and(|memory| memory.value < need)
                });
                let fits = small.into_iter().find(|machine| covers(&machine.body.labels, &select.value));
                (select.mark, *fits?)
            }
        };
        let memory = machine.body.memory.as_ref().filter(|memory| memory.value < need)?;
        Some(Short { deployment: &written.name, chosen, machine, memory })
    }
}
