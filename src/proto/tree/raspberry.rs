//! The files that a Raspberry Pi asks for. Its boot ROM and EEPROM have names of their own (`config.txt`,
//! `start4.elf`, `kernel8.img`, …), below a folder of their own: the serial number's last eight digits, or
//! the hardware address (TFTP_PREFIX 2). All of them are in the tree of the machine's boot; only
//! `cmdline.txt` is made from the boot's command line.
//!
//! A Pi whose duty is to boot its own disk gets "not found": it continues with the next of its BOOT_ORDER.

use super::{Answer, Asker, Method, Refusal, RefusalReason, Standing, facts_at, files, script};
use crate::desired::{Boot, Deployment};
use crate::model::Mac;
use crate::render;
use crate::state::{Duty, Permit, PermitStep, Stage, State};

/// A tree with one of these at its root is one that a Pi starts from: the first programs of
/// models 1 to 3 and of model 4, and what all read, model 5 first of all.
const SIGNS: [&str; 4] = ["bootcode.bin", "start.elf", "start4.elf", "config.txt"];
const CMDLINE: &str = "cmdline.txt";

/// The answer to a name that means nothing else, if `mac` is a machine that boots a Pi's tree.
pub(super) fn open(state: &State, asker: &Asker, method: Method, mac: Mac, path: &str) -> Option<Answer> {
    let machine = state.machine(mac)?;
    let deployment = state.tenant(&machine.name)?;
    let boot = &deployment.boot;
    let tree = boot.tree.as_ref()?;
    if !SIGNS.iter().any(|sign| tree.lookup(sign).is_some()) {
        return None;
    }
    let path = own_folder(path);
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
    match cmdline(state, asker, mac, deployment, boot) {
        Ok(text) => {
            let what = format!("{} boots {} ({})", deployment.name, boot.name, deployment.origin);
            Some(script::serve(Some(mac), Some(deployment), Stage::Script, &what, text))
        }
        Err(error) => {
            refuse(RefusalReason::Busy, format!("the kernel command line can't be rendered: {error}"))
        }
    }
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
    boot: &Boot,
) -> Result<String, render::CmdlineError> {
    let facts = facts_at(state, deployment, mac, state.address_of(deployment, mac), asker.at);
    // Anybody on the network can read it; `check` refuses command lines that want a secret.
    let words = render::cmdline(&boot.cmdline, &facts, &|_| None)?;
    Ok(words.join(" ") + "\n")
}
