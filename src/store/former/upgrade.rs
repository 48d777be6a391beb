//! Installations as versions up to cb52119 noted them: by the deployment's name, with the name of the
//! machine in the record.

use std::collections::BTreeMap;

use crate::model::Name;
use crate::state::{Install, Served};

/// Installations by machine. `assignments` gives the deployment of each machine. Their URLs stay valid:
/// they were made of name and number alone.
///
/// Those versions forgot the earlier name of a deployment. Where a machine's last installation is not that
/// of its present deployment, it is unknown whether that is the same one under another name: then the
/// numbers used on the machine count for it, too, and the machine boots its disk until its number is raised
/// above them.
pub(super) fn installs(mut old: Vec<Install>, assignments: &[(Name, Name)]) -> Vec<Install> {
    old.sort_by(|one, other| (one.since, &one.deployment).cmp(&(other.since, &other.deployment)));
    for (at, install) in old.iter_mut().enumerate() {
        install.epoch = at as u64 + 1;
        install.plain_urls = true;
    }
    let latest: BTreeMap<Name, usize> =
        old.iter().enumerate().map(|(at, install)| (install.machine.clone(), at)).collect();
    for (deployment, machine) in assignments {
        let Some(install) = latest.get(machine).and_then(|at| old.get_mut(*at)) else { continue };
        if install.deployment != *deployment {
            install.former = [deployment.clone()].into();
        }
    }
    old
}

/// What was served, as far as the assignments show.
pub(super) fn served(assignments: &[(Name, Name)], installs: &[Install]) -> Vec<(Name, Served)> {
    let one = |(name, machine): &(Name, Name)| {
        let number =
            installs.iter().filter(|install| install.deployment == *name).map(|one| one.redeploy).max();
        let served = Served::unknown(machine.clone(), number.unwrap_or(0));
        (name.clone(), served)
    };
    assignments.iter().map(one).collect()
}
