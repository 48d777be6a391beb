//! Machines under new names: the network cards tell that it is the same one, and what was known
//! of it (installation, protection, tenant) goes on under the new name.

use std::collections::BTreeMap;

use super::Table;
use crate::desired::{Desired, differences};
use crate::model::Name;

/// Former name to new name of each machine whose name went and one of whose cards a new name has.
pub fn machines(before: &Desired, after: &Desired) -> BTreeMap<Name, Name> {
    let mut renamed = BTreeMap::new();
    let differences = differences(&before.machines, &after.machines);
    for machine in differences.filter(|one| one.before.is_none()).filter_map(|one| one.after) {
        let name = &machine.name;
        let mut formers = machine.macs.iter().filter_map(|mac| before.macs.get(mac));
        if let Some(former) = formers.find(|former| !after.machines.contains_key(*former)) {
            renamed.entry(former.clone()).or_insert_with(|| name.clone());
        }
    }
    renamed
}

impl Table {
    /// This table, with what it knows of renamed machines under the names of `after`.
    pub fn under_new_names(&self, after: &Desired) -> Table {
        let renamed = machines(&self.desired, after);
        let mut next = self.clone();
        if renamed.is_empty() {
            return next;
        }
        for (name, install) in &self.installs {
            if let Some(machine) = renamed.get(&install.machine) {
                next.installs.get_mut(name).expect("it was there a line above").machine = machine.clone();
            }
        }
        for (former, now) in &renamed {
            if let Some(tenant) = next.tenants.remove(former) {
                next.assignments.insert(tenant.clone(), now.clone());
                next.tenants.insert(now.clone(), tenant);
            }
            if let Some(reading) = next.power.remove(former) {
                next.power.insert(now.clone(), reading);
            }
            if next.protected.remove(former).is_some() {
                next.protected.insert(now.clone());
            }
        }
        next
    }
}
