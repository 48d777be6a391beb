//! What each machine is for: its tenancy, under a number, the epoch, that is raised by whatever gives the machine to
//! another or gives a permission anew. Permissions, URLs and reports carry the epoch that they are of, and what
//! comes from an older one changes nothing.
//!
//! An installation is begun under the epoch of its tenancy. Epochs are numbers of the whole lineage, so that no two
//! tenancies, and no two installations, have the same.

use std::collections::{BTreeMap, BTreeSet};

use imbl::ordmap::DiffItem;

use super::{Install, State, lineage, rename};
use crate::desired::differences;
use crate::model::{Name, Time};

/// The name of the stored note that holds the highest epoch.
pub const NOTE: &str = "epochs";

/// No lineage has given so many epochs: the highest one where the note is damaged.
const BEYOND: u64 = 1 << 40;

/// A machine's present tenancy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenancy {
    /// Who has the machine: a deployment or a claim.
    pub holder: Name,
    pub is_claim: bool,
    /// The highest `redeploy` number that the deployment had in it. A number that is lowered and raised again gives no
    /// permission anew.
    pub redeploy: u64,
    pub epoch: u64,
    /// When this epoch began.
    pub since: Time,
}

/// The bytes of the note of the highest epoch.
pub fn note(newest: u64) -> Vec<u8> {
    newest.to_le_bytes().to_vec()
}

/// The highest epoch of a note; 0 where there is none.
pub fn of_note(note: Option<&[u8]>) -> u64 {
    note.map_or(0, |note| note.try_into().map_or(BEYOND, u64::from_le_bytes))
}

/// Tenancies of assignments that earlier versions stored without an epoch, as pairs of deployment and machine. Each
/// gets the epoch of the machine's last installation, so that the report of one under way counts, else a new one
/// above `newest`.
pub fn upgraded<'a>(
    former: impl IntoIterator<Item = &'a (Name, Name)>,
    installs: &[Install],
    redeploy: impl Fn(&Name) -> Option<u64>,
    mut newest: u64,
) -> Vec<(Name, Tenancy)> {
    let mut last: BTreeMap<&Name, u64> = BTreeMap::new();
    for install in installs {
        let epoch = last.entry(&install.machine).or_default();
        *epoch = install.epoch.max(*epoch);
    }
    let tenancy = |(deployment, machine): &(Name, Name)| {
        let epoch = last.get(machine).copied().unwrap_or_else(|| {
            newest += 1;
            newest
        });
        let redeploy = redeploy(deployment).unwrap_or(0);
        (
            machine.clone(),
            Tenancy { holder: deployment.clone(), is_claim: false, redeploy, epoch, since: Time::default() },
        )
    };
    former.into_iter().map(tenancy).collect()
}

impl State {
    /// The present tenancy of a machine.
    pub fn tenancy(&self, machine: &Name) -> Option<&Tenancy> {
        self.lasting.tenancies.get(machine)
    }

    /// The epoch of the tenancy that a deployment has now, wherever it is.
    pub fn epoch_of(&self, deployment: &Name) -> Option<u64> {
        let tenancy = self.tenancy(self.lasting.assignments.get(deployment)?)?;
        (tenancy.holder == *deployment).then_some(tenancy.epoch)
    }

    /// The epoch of a tenancy, or of an order, that is newer than an installation of its machine: the installation's
    /// is over.
    pub fn superseded_by(&self, install: &Install) -> Option<u64> {
        let tenancy = self.tenancy(&install.machine).map(|tenancy| tenancy.epoch);
        let order = self.life(&install.machine).map(|life| life.epoch);
        let present = tenancy.max(order)?;
        (present > install.epoch).then_some(present)
    }

    /// Gives a machine's tenancy a new epoch, and answers with it.
    pub(super) fn raise_epoch(&mut self, machine: &Name, now: Time) -> u64 {
        let epoch = self.lasting.installs.next_epoch();
        if let Some(tenancy) = self.lasting.tenancies.get_mut(machine) {
            (tenancy.epoch, tenancy.since) = (epoch, now);
            self.lasting.installs.count(epoch);
        }
        epoch
    }

    /// The tenancies under a revision that was just adopted; `former` is the state before it. One goes on with its
    /// deployment and its machine under new names; whatever else comes to a machine, and a number that is raised,
    /// begins an epoch.
    ///
    /// `renamed` has the new names of machines, `followed` the machines between which installations went with their
    /// boxes.
    pub(super) fn renew_tenancies(
        &mut self,
        former: &State,
        renamed: &BTreeMap<Name, Name>,
        followed: &BTreeMap<Name, BTreeSet<Name>>,
        now: Time,
    ) {
        self.lasting.tenancies = former.lasting.tenancies.clone();
        rename::by_new_names(&mut self.lasting.tenancies, renamed);
        let new_names: BTreeSet<&Name> = renamed.values().collect();
        let is_renamed = |machine: &Name| renamed.contains_key(machine) || new_names.contains(machine);
        let exchanged: BTreeSet<&Name> = followed.keys().filter(|machine| !is_renamed(machine)).collect();
        for machine in self.touched(former, renamed, &exchanged) {
            let Some(name) = self.derived.tenants.get(&machine).cloned() else {
                self.lasting.tenancies.remove(&machine);
                continue;
            };
            // A claim's tenancy goes on whatever a revision has.
            let Some(deployment) = self.desired.deployments.get(&name) else { continue };
            let redeploy = deployment.redeploy;
            let was = self.lasting.tenancies.get(&machine);
            let goes_on = was.filter(|was| {
                let served = former.lasting.served.get(&was.holder);
                let is_rename = || {
                    served.is_some_and(|served| {
                        lineage::is_rename(&was.holder, served, deployment, former, &self.desired)
                    })
                };
                (was.holder == name || is_rename())
                    && redeploy <= was.redeploy
                    && !exchanged.contains(&machine)
            });
            let tenancy = match goes_on {
                Some(was) if was.holder == name && !was.is_claim => continue,
                Some(was) => Tenancy { holder: name, is_claim: false, ..was.clone() },
                None => {
                    let epoch = self.lasting.installs.next_epoch();
                    let highest = was.filter(|was| was.holder == name).map_or(0, |was| was.redeploy);
                    let redeploy = redeploy.max(highest);
                    self.lasting.installs.count(epoch);
                    Tenancy { holder: name, is_claim: false, redeploy, epoch, since: now }
                }
            };
            self.lasting.tenancies.insert(machine, tenancy);
        }
    }

    /// The machines whose tenancies may be others than in `former`.
    fn touched(
        &self,
        former: &State,
        renamed: &BTreeMap<Name, Name>,
        exchanged: &BTreeSet<&Name>,
    ) -> BTreeSet<Name> {
        let mut touched: BTreeSet<Name> = exchanged.iter().map(|machine| (*machine).clone()).collect();
        touched.extend(renamed.iter().flat_map(|(was, is)| [was.clone(), is.clone()]));
        for item in former.derived.tenants.diff(&self.derived.tenants) {
            let (DiffItem::Add(machine, _)
            | DiffItem::Update { new: (machine, _), .. }
            | DiffItem::Remove(machine, _)) = item;
            touched.insert(machine.clone());
        }
        // What was served before the start is not loaded: every number may be another.
        let changed = differences(&former.desired.deployments, &self.desired.deployments)
            .filter(|one| one.before.map(|one| one.redeploy) != one.after.map(|one| one.redeploy));
        touched.extend(changed.filter_map(|one| self.lasting.assignments.get(one.name).cloned()));
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::InstallStage;

    #[test]
    fn assignments_of_earlier_versions_get_the_epoch_of_the_last_installation_or_a_new_one() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let install = |epoch| Install {
            machine: name("m1"),
            cards: [].into(),
            marks: [].into(),
            deployment: name("web"),
            former: [].into(),
            used_as: name("web"),
            epoch,
            redeploy: 1,
            stage: InstallStage::Spent,
            since: Time(1),
            digest: "".into(),
            again: false,
            closed: false,
            plain_urls: false,
            conflict: false,
        };
        let former = [(name("db"), name("m2")), (name("web"), name("m1"))];
        let found =
            upgraded(&former, &[install(3), install(5)], |one| (one.as_str() == "web").then_some(4), 9);
        let shown: Vec<_> = found
            .iter()
            .map(|(at, one)| (at.as_str(), one.holder.as_str(), one.redeploy, one.epoch))
            .collect();
        assert_eq!(shown, [("m2", "db", 0, 10), ("m1", "web", 4, 5)]);
    }

    #[test]
    fn a_damaged_note_is_beyond_all_epochs() {
        assert_eq!((of_note(None), of_note(Some(&note(7))), of_note(Some(b"x"))), (0, 7, BEYOND));
    }
}
