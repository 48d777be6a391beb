//! The consent that a plan needs before it is applied.

use std::io::{IsTerminal, Write};

use crate::plan::{Impact, Plan};

/// Most machines that a question names.
const NAMED_MAX: usize = 10;

/// The consent given on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consent {
    /// `--auto-approve`, or a plan that was saved and reviewed.
    pub approved: bool,
    /// `--allow-reinstalls`.
    pub reinstalls: Option<usize>,
}

/// Why there is no consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoConsent {
    /// There is no terminal to ask on, or the flags do not fit the plan.
    Refused(String),
    /// The person who was asked did not consent.
    Declined,
}

/// Asks, or finds that no question is needed. No flag without a number of machines ever consents to the
/// loss of data on disks.
pub(super) fn ask(plan: &Plan, given: Consent) -> Result<(), NoConsent> {
    let wiped = plan.blast.wiped.len();
    if let Some(number) = given.reinstalls.filter(|number| *number != wiped) {
        let why = format!("--allow-reinstalls {number} was given, but this plan reinstalls {wiped} machines");
        return Err(NoConsent::Refused(why));
    }
    let agreed = given.approved && (wiped == 0 || given.reinstalls.is_some());
    if agreed {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(NoConsent::Refused(match (wiped, given.approved) {
            (0, _) => "apply asks before it changes anything, and this is no terminal; add --auto-approve"
                .to_owned(),
            (_, true) => {
                format!("this plan wipes {wiped} machines; add --allow-reinstalls {wiped} to consent")
            }
            (_, false) => format!(
                "apply asks before it changes anything, and this is no terminal; this plan wipes {wiped} \
                 machines: add --auto-approve --allow-reinstalls {wiped} to consent"
            ),
        }));
    }
    let (question, answers) = question(plan);
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answers.iter().any(|wanted| answer.trim() == *wanted) => Ok(()),
        _ => Err(NoConsent::Declined),
    }
}

/// The worst consequence, and the answer that consents to it.
fn question(plan: &Plan) -> (String, Vec<String>) {
    let wiped = &plan.blast.wiped;
    let list = |names: Vec<String>| match names.len() {
        0..=NAMED_MAX => names.join(", "),
        more => format!("{} and {} more", names[..NAMED_MAX].join(", "), more - NAMED_MAX),
    };
    let disk = |one: &crate::plan::blast::Wiped| {
        format!("{} ({})", one.machine, one.disk.as_deref().unwrap_or("a disk of the installer's choice"))
    };
    let disks = list(wiped.iter().map(disk).collect());
    match (wiped.as_slice(), plan.worst()) {
        ([one], _) => {
            let name = one.deployment.clone();
            (
                format!("What is on {disks} will be LOST. Type the deployment's name, {name}, to continue: "),
                vec![name],
            )
        }
        ([_, _, ..], _) => {
            let number = wiped.len();
            let words = format!("wipe {number} machines");
            let text = format!(
                "What is on {number} machines will be LOST: {disks}.\nType {number} or `{words}` to continue: "
            );
            (text, vec![number.to_string(), words])
        }
        ([], Some(Impact::Release)) => {
            let machines = list(plan.blast.released.clone());
            (format!("This releases machines: {machines}. Type yes to continue: "), vec!["yes".into()])
        }
        ([], worst) => {
            let worst = worst.map_or(String::new(), |worst| format!(" (the worst: {worst})"));
            (format!("Apply this{worst}? Type yes to continue: "), vec!["yes".into()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::blast::{Blast, Wiped};

    fn plan(wiped: usize) -> Plan {
        let one = |n: usize| Wiped {
            machine: format!("m{n}"),
            deployment: format!("d{n}"),
            disk: None,
            released: false,
        };
        Plan {
            format_version: String::new(),
            id: String::new(),
            from: String::new(),
            to: String::new(),
            lineage: String::new(),
            serial: 0,
            deployments_before: 0,
            given_up: Vec::new(),
            changes: Vec::new(),
            blast: Blast { wiped: (0..wiped).map(one).collect(), ..Blast::default() },
            uncompared: 0,
        }
    }

    #[test]
    fn data_is_lost_only_by_the_exact_number() {
        let given = |approved, reinstalls| Consent { approved, reinstalls };
        assert_eq!(ask(&plan(0), given(true, None)), Ok(()));
        assert_eq!(ask(&plan(2), given(true, Some(2))), Ok(()));
        assert!(matches!(ask(&plan(2), given(true, Some(3))), Err(NoConsent::Refused(_))));
        assert_eq!(question(&plan(1)).1, ["d0"]);
        assert_eq!(question(&plan(3)).1, ["3", "wipe 3 machines"]);
        assert!(question(&plan(30)).0.contains("and 20 more"));
    }
}
