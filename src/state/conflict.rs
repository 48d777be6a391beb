//! Stored installations of a machine that contradict each other. The reducer writes none; a damaged disk that was
//! repaired by hand, a directory put together of two, or a fault of the program itself may. Nobody knows then
//! what is on the machine's disk: one doubtful installation takes their place, until a person settles it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Install, InstallStage, State};
use crate::model::Name;

/// What a person has to know of a machine's installations.
pub fn text(machine: &Name) -> String {
    format!(
        "the stored installations of machine {machine} contradict each other, and nobody knows what is on its disk"
    )
}

/// Puts one doubtful installation in the place of those that contradict each other; the machines, and why each.
pub fn settle(installs: &mut Vec<Install>) -> Vec<(Name, String)> {
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    let mut by_epoch: BTreeMap<u64, usize> = BTreeMap::new();
    let mut by_machine: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
    let mut copies = BTreeSet::new();
    for (at, install) in installs.iter().enumerate() {
        match by_epoch.get(&install.epoch) {
            Some(other) if installs[*other] == *install => {
                copies.insert(at);
                continue;
            }
            Some(other) => {
                let why = format!("two installations have the number {}", install.epoch);
                found.extend([(*other, why.clone()), (at, why)]);
            }
            None => drop(by_epoch.insert(install.epoch, at)),
        }
        let own = by_machine.entry(&install.machine).or_default();
        for other in own.iter().filter(|other| contradict(&installs[**other], install)) {
            let Install { deployment, redeploy, .. } = install;
            let why = format!("installation {redeploy} of {deployment} was used, and is open");
            found.extend([(*other, why.clone()), (at, why)]);
        }
        own.push(at);
    }
    let mut conflicts: BTreeMap<Name, String> = BTreeMap::new();
    let mut doubtful: BTreeMap<(Name, Name), Install> = BTreeMap::new();
    let mut newest = installs.iter().map(|install| install.epoch).max().unwrap_or(0);
    let mut rest = Vec::with_capacity(installs.len());
    for (at, install) in std::mem::take(installs).into_iter().enumerate() {
        match found.remove(&at) {
            Some(why) => {
                conflicts.entry(install.machine.clone()).or_insert(why);
                merge(&mut doubtful, install);
            }
            None if copies.contains(&at) => {}
            None => rest.push(install),
        }
    }
    for mut install in doubtful.into_values() {
        newest += 1;
        install.epoch = newest;
        rest.push(install);
    }
    *installs = rest;
    conflicts.into_iter().collect()
}

/// Whether one says that a number was used on a box, and the other that it was not.
fn contradict(one: &Install, other: &Install) -> bool {
    let is_settled = |install: &Install| !install.closed && install.stage != InstallStage::Doubtful;
    one.deployment == other.deployment
        && one.redeploy == other.redeploy
        && one.is_of(&other.cards, &other.marks)
        && is_settled(one)
        && is_settled(other)
        && one.is_used() != other.is_used()
}

/// One for each deployment of a machine, with the highest number and all names.
fn merge(doubtful: &mut BTreeMap<(Name, Name), Install>, install: Install) {
    let key = (install.machine.clone(), install.deployment.clone());
    let merged = match doubtful.remove(&key) {
        None => install,
        Some(other) => {
            let (first, last) =
                if other.epoch <= install.epoch { (other, install) } else { (install, other) };
            let former: BTreeSet<Name> = first.former.iter().chain(&*last.former).cloned().collect();
            Install {
                former: former.into_iter().collect(),
                redeploy: first.redeploy.max(last.redeploy),
                again: first.again || last.again,
                ..last
            }
        }
    };
    let (stage, digest) = (InstallStage::Doubtful, "".into());
    // No URL of any of them opens anything.
    let merged = Install { stage, digest, closed: false, plain_urls: false, conflict: true, ..merged };
    doubtful.insert(key, merged);
}

impl State {
    /// The machines whose stored installations contradicted each other, as long as nobody settled that and they
    /// concern what is deployed there.
    pub fn conflicts(&self) -> impl Iterator<Item = &Name> {
        let open = |install: &&Install| {
            let deployed = self.derived.tenants.get(&install.machine);
            let counts = deployed.and_then(|name| self.install_on(&install.machine, name));
            install.conflict
                && install.stage == InstallStage::Doubtful
                && counts.is_some_and(|counts| counts.epoch == install.epoch)
        };
        self.lasting.installs.iter().filter(open).map(|install| &install.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mac, Time};

    fn install(machine: &str, deployment: &str, epoch: u64, stage: InstallStage) -> Install {
        let deployment: Name = deployment.parse().unwrap();
        Install {
            machine: machine.parse().unwrap(),
            cards: [].into(),
            marks: [].into(),
            deployment: deployment.clone(),
            former: [].into(),
            used_as: deployment,
            epoch,
            redeploy: 1,
            stage,
            since: Time(epoch),
            digest: "abc".into(),
            again: false,
            closed: false,
            plain_urls: true,
            conflict: false,
        }
    }

    /// The stages by machine and deployment that are left, and the machines in conflict.
    fn settled(list: &[Install]) -> (Vec<Install>, Vec<String>) {
        let mut list = list.to_vec();
        let found = settle(&mut list);
        let again = settle(&mut list.clone());
        assert_eq!(again, [], "what was settled is at peace");
        (list, found.into_iter().map(|(machine, why)| format!("{machine}: {why}")).collect())
    }

    #[test]
    fn what_agrees_stays_as_it_is() {
        use InstallStage::{Approved, Doubtful, Installed, Spent, Started};
        let closed = Install { closed: true, ..install("m1", "web", 4, Installed) };
        let cards =
            |last: u8| -> std::sync::Arc<[Mac]> { [Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()].into() };
        let one_box = Install { cards: cards(1), ..install("m4", "db", 8, Spent) };
        let other_box = Install { cards: cards(2), ..install("m4", "db", 9, Started) };
        let list = [
            install("m1", "db", 1, Installed),
            install("m1", "web", 2, Started),
            Install { redeploy: 0, ..install("m1", "web", 3, Installed) },
            closed,
            install("m2", "web", 5, Installed),
            install("m3", "app", 6, Doubtful),
            install("m3", "app", 7, Approved),
            one_box,
            other_box,
        ];
        assert_eq!(settled(&list), (list.to_vec(), Vec::new()));
        // The same thing twice is one thing.
        let twice = [list[0].clone(), list[0].clone()];
        assert_eq!(settled(&twice), (vec![list[0].clone()], Vec::new()));
    }

    #[test]
    fn what_contradicts_is_doubtful_under_a_number_of_its_own() {
        use InstallStage::{Installed, Started};
        let (left, found) = settled(&[
            install("m1", "web", 3, Installed),
            install("m1", "web", 4, Started),
            install("m1", "db", 1, Installed),
        ]);
        assert_eq!(found, ["m1: installation 1 of web was used, and is open"]);
        assert_eq!(left.len(), 2);
        let web = &left[1];
        assert_eq!((web.stage, web.epoch, web.redeploy), (InstallStage::Doubtful, 5, 1));
        assert!(web.conflict && !web.plain_urls);

        let (left, found) = settled(&[install("m1", "web", 3, Installed), install("m2", "web", 3, Started)]);
        let why = "two installations have the number 3";
        assert_eq!(found, [format!("m1: {why}"), format!("m2: {why}")]);
        let shown: Vec<_> = left.iter().map(|one| (one.machine.as_str(), one.epoch, one.stage)).collect();
        assert_eq!(shown, [("m1", 4, InstallStage::Doubtful), ("m2", 5, InstallStage::Doubtful)]);
    }
}
