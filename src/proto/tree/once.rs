//! The script of a machine whose next network boot leads elsewhere, by a person's order.

use std::sync::Arc;

use super::{Answer, Asker, Form, Method, Refusal, RefusalReason, Standing, agent, script};
use crate::desired::{Deployment, Place};
use crate::model::Mac;
use crate::state::agent_boot::AgentBoot;
use crate::state::boot_once::DueBoot;
use crate::state::{Stage, State};

/// The answer; that the boot has begun is stored before it is sent.
pub(super) fn open(
    state: &State,
    asker: &Asker,
    method: Method,
    form: Form,
    mac: Mac,
    due: DueBoot<'_>,
) -> Answer {
    let DueBoot { machine, boot, .. } = due;
    if let Some(answer) = first(state, asker, method, mac, due) {
        return answer;
    }
    let text = if state.is_agent_boot(boot) {
        let due = AgentBoot { machine: Some(machine), epoch: state.agent_epoch(machine), boot: Some(boot) };
        agent::render(state, asker, form, mac, boot, &due)
    } else {
        let Some(deployment) = stand_in(state, asker, due) else {
            let text = format!("machine {machine} asks from {}, which is in no subnet", asker.address);
            return refuse(RefusalReason::NotFound, text, mac);
        };
        script::render(state, asker, form, mac, &deployment)
    };
    match text {
        Ok(text) => {
            let what = format!("machine {machine} boots {} this once", boot.name);
            script::serve(Some(mac), None, Stage::Script, &what, text)
        }
        Err(error) => {
            let text = format!("the kernel command line of boot {} can't be rendered: {error}", boot.name);
            refuse(RefusalReason::Busy, text, mac)
        }
    }
}

/// What comes before the machine's script, or what it has in its place, is served: who asks is known, and that the boot
/// has begun is stored.
pub(super) fn first(
    state: &State,
    asker: &Asker,
    method: Method,
    mac: Mac,
    due: DueBoot<'_>,
) -> Option<Answer> {
    let standing = asker.standing_of_card(state, mac);
    if standing == Standing::Unread {
        return Some(Answer::Identify);
    }
    if !standing.may_start() {
        let text = format!("the script of {mac} was asked for by {asker}, which is not that machine");
        return Some(refuse(RefusalReason::Forbidden, text, mac));
    }
    (!due.has_begun && method != Method::Head).then(|| Answer::Begin(due.machine.clone()))
}

/// What the machine is for, with the other boot: its values are those of the command line. A machine that is for nothing
/// has its name and its network.
pub(super) fn stand_in(state: &State, asker: &Asker, due: DueBoot<'_>) -> Option<Deployment> {
    let DueBoot { machine, boot, .. } = due;
    if let Some(tenant) = state.tenant(machine) {
        return Some(Deployment { boot: boot.clone(), template: None, ..Deployment::clone(tenant) });
    }
    Some(Deployment {
        name: machine.clone(),
        place: Place::Machine(machine.clone()),
        address: None,
        address6: None,
        subnet: state.subnet_at(asker.address)?.clone(),
        boot: boot.clone(),
        template: None,
        profile: None,
        user_data: None,
        values: Arc::default(),
        redeploy: 0,
        options: Default::default(),
        digest: "".into(),
        origin: boot.origin.clone(),
    })
}

fn refuse(reason: RefusalReason, text: String, mac: Mac) -> Answer {
    Answer::Refuse(Refusal { mac: Some(mac), ..Refusal::new(reason, text) })
}
