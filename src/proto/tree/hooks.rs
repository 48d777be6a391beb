//! What installers report.

use super::{Answer, Refusal, RefusalReason};
use crate::model::Name;
use crate::table::{Outcome, Purpose, Report, Table};

pub fn open(table: &Table, name: &Name, token: &str, outcome: Outcome, note: &str) -> Answer {
    let current = table.desired.deployments.get(name).map(|deployment| deployment.redeploy);
    let recorded = table.installs.get(name).map(|install| install.redeploy);
    // The number may have been raised while the installer ran: its report still counts.
    let numbers = [recorded, current].into_iter().flatten();
    match numbers.into_iter().find(|redeploy| table.accepts(token, Purpose::Hooks, name, *redeploy)) {
        Some(redeploy) => {
            Answer::Report(Report { deployment: name.clone(), redeploy, outcome, note: note.into() })
        }
        None => Answer::Refuse(Refusal {
            deployment: Some(name.clone()),
            ..Refusal::new(
                RefusalReason::Forbidden,
                format!("this is no report URL of an installation of {name}"),
            )
        }),
    }
}
