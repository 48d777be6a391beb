//! The files that a Raspberry Pi asks for. Its boot ROM and EEPROM have names of their own (`config.txt`,
//! `start4.elf`, `kernel8.img`, …), below a folder of their own: the serial number's last eight digits, or
//! the hardware address (TFTP_PREFIX 2). All of them are in the tree of the machine's boot; only
//! `cmdline.txt` is made from the boot's command line.
//!
//! A Pi whose duty is to boot its own disk gets "not found": it continues with the next of its BOOT_ORDER. One whose next
//! network boot leads elsewhere by a person's order gets the files of that boot, which has begun with its `cmdline.txt`.

use super::{Answer, Asker, Method, Refusal, RefusalReason, Standing, facts_at, files, once, script};
use crate::desired::Deployment;
use crate::model::Mac;
use crate::render;
use crate::state::boot_once::DueBoot;
use crate::state::{Duty, Permit, PermitStep, Stage, State};

const CMDLINE: &str = "cmdline.txt";

/// The answer to a name that means nothing else, if `mac` is a machine that boots a Pi's tree.
pub(super) fn open(state: &State, asker: &Asker, method: Method, mac: Mac, path: &str) -> Option<Answer> {
    let path = own_folder(path);
    if let Some(due) = state.due_boot(mac).filter(|due| due.boot.starts_a_pi()) {
        return Some(this_once(state, asker, method, mac, path, due));
    }
    let machine = state.machine(mac)?;
    let deployment = state.tenant(&machine.name)?;
    let boot = &deployment.boot;
    if !boot.starts_a_pi() {
        return None;
    }
    let refuse = |reason, text| {
        let (mac, deployment) = (Some(mac), Some(deployment.name.clone()));
        Some(Answer::Refuse(Refusal { mac, deployment, ..Refusal::new(reason, text) }))
    };
    match state.duty(deployment) {
        Duty::LocalBoot(reason) => {
            return refuse(RefusalReason::NotFound, format!("boots its own disk: {reason}"));
        }
        Duty::Install { permit } if path == CMDLINE => match asker.standing(state, machine, deployment) {
            Standing::Unread => return Some(Answer::Identify),
            standing if !standing.may_start() => {
                let text = format!("{CMDLINE} of {mac} was asked for by {asker}, which is not that machine");
                return Some(Answer::Refuse(Refusal::new(RefusalReason::Forbidden, text)));
            }
            _ if !permit || method == Method::Head => {}
            _ => return Some(Answer::Permit(Permit::new(state, deployment, PermitStep::Start))),
        },
        Duty::Install { .. } | Duty::NetworkBoot => {}
    }
    if path != CMDLINE || boot.cmdline.is_empty() {
        return Some(files::media(state, asker, method, Some(mac), &boot.prefix, path));
    }
    match cmdline(state, asker, mac, deployment) {
        Ok(text) => {
            let what = format!("{} boots {} ({})", deployment.name, boot.name, deployment.origin);
            Some(script::serve(Some(mac), Some(deployment), Stage::Script, &what, text))
        }
        Err(error) => refuse(RefusalReason::Busy, unrendered(&error)),
    }
}

/// The answer of the boot that a person ordered for this once.
fn this_once(state: &State, asker: &Asker, method: Method, mac: Mac, path: &str, due: DueBoot<'_>) -> Answer {
    let DueBoot { machine, boot, .. } = due;
    if path == CMDLINE
        && let Some(answer) = once::first(state, asker, method, mac, due)
    {
        return answer;
    }
    if path != CMDLINE || boot.cmdline.is_empty() {
        return files::media(state, asker, method, Some(mac), &boot.prefix, path);
    }
    let text = match once::stand_in(state, asker, due) {
        Some(deployment) => cmdline(state, asker, mac, &deployment).map_err(|error| unrendered(&error)),
        None => Err(format!("machine {machine} asks from {}, which is in no subnet", asker.address)),
    };
    match text {
        Ok(text) => {
            let what = format!("machine {machine} boots {} this once", boot.name);
            script::serve(Some(mac), None, Stage::Script, &what, text)
        }
        Err(why) => Answer::Refuse(Refusal { mac: Some(mac), ..Refusal::new(RefusalReason::Busy, why) }),
    }
}

fn unrendered(error: &render::CmdlineError) -> String {
    format!("the kernel command line can't be rendered: {error}")
}

/// The path without the folder of the machine's serial number.
fn own_folder(path: &str) -> &str {
    let serial = |folder: &str| folder.len() == 8 && folder.bytes().all(|digit| digit.is_ascii_hexdigit());
    match path.split_once('/') {
        Some((folder, rest)) if serial(folder) => rest,
        _ => path,
    }
}

/// One line, as the firmware wants it.
fn cmdline(
    state: &State,
    asker: &Asker,
    mac: Mac,
    deployment: &Deployment,
) -> Result<String, render::CmdlineError> {
    let facts = facts_at(state, deployment, mac, state.address_of(deployment, mac), asker.at);
    // Anybody on the network can read it; `check` refuses command lines that want a secret.
    let words = render::cmdline(&deployment.boot.cmdline, &facts, &|_| None)?;
    Ok(words.join(" ") + "\n")
}
