//! The script that boots our agent in the memory of a machine: one with an order, or an unknown one that is to be
//! looked at.

use std::net::IpAddr;

use super::script::{self, Written};
use super::{Answer, Asker, Form, Refusal, RefusalReason, Standing};
use crate::desired::{Boot, Subnet};
use crate::model::Mac;
use crate::model::agent_command_line::CommandLine;
use crate::render::{self, CmdlineError, Value, Values};
use crate::state::agent_boot::AgentBoot;
use crate::state::{Stage, State};

/// The answer, if the machine with this card is to boot the agent now.
pub(super) fn open(state: &State, asker: &Asker, form: Form, mac: Mac) -> Option<Answer> {
    let cpu = state.seen().get(&mac).and_then(|seen| seen.arch).map(|arch| arch.cpu);
    let due = state.agent_boot(mac, || subnet_of(state, asker), cpu)?;
    let Some(boot) = due.boot else {
        let cpu = cpu.map_or("its architecture".to_owned(), |cpu| cpu.to_string());
        let reason = format!("our agent is to run on it, and [agent] names no boot for {cpu}");
        return Some(script::local_boot(state, form, mac, None, &reason));
    };
    let standing = asker.standing_of_card(state, mac);
    if standing == Standing::Unread {
        return Some(Answer::Identify);
    }
    if !standing.may_start() {
        let text = format!("the script of {mac} was asked for by {asker}, which is not that machine");
        return Some(refuse(RefusalReason::Forbidden, text, mac));
    }
    let what = match due.machine {
        Some(machine) => format!("machine {machine} boots our agent from boot {}", boot.name),
        None => format!("an unknown machine boots our agent from boot {}", boot.name),
    };
    Some(match render(state, asker, form, mac, boot, &due) {
        Ok(text) => script::serve(Some(mac), None, Stage::Script, &what, text),
        Err(error) => {
            let text = format!("the kernel command line of our agent can't be rendered: {error}");
            refuse(RefusalReason::Busy, text, mac)
        }
    })
}

fn refuse(reason: RefusalReason, text: String, mac: Mac) -> Answer {
    Answer::Refuse(Refusal { mac: Some(mac), ..Refusal::new(reason, text) })
}

/// The subnet that a request comes from.
pub(super) fn subnet_of<'a>(state: &'a State, asker: &Asker) -> Option<&'a Subnet> {
    state.subnet_at(asker.address).map(|subnet| &**subnet)
}

pub(super) fn render(
    state: &State,
    asker: &Asker,
    form: Form,
    mac: Mac,
    boot: &Boot,
    due: &AgentBoot<'_>,
) -> Result<String, CmdlineError> {
    let server = own_address(state, asker);
    let url = state.server().url_at(server);
    let text = |value: String| Value::String(value);
    let values = Values::from([
        ("mac".to_owned(), text(mac.to_string())),
        ("server_url".to_owned(), text(url.clone())),
        ("media_url".to_owned(), text(format!("{url}/{}", boot.prefix))),
    ]);
    let mut cmdline = render::cmdline(&boot.cmdline, &values, &|_| None)?;
    let (token, key) = (state.boot_token(mac, due.epoch), state.token_key().agent_key());
    let own = CommandLine { url, token, key, card: Some(mac) };
    cmdline.extend(own.to_string().split(' ').map(str::to_owned));
    let comment = match due.machine {
        Some(machine) => format!("our agent on machine {machine}, from boot {}", boot.name),
        None => {
            format!("our agent, which looks at the hardware and changes nothing, from boot {}", boot.name)
        }
    };
    // Without packages of modules the operator's own initrd has the agent.
    let initrd = match &boot.agent {
        Some(agent) => vec![agent],
        None => boot.initrd.iter().collect(),
    };
    script::write(state, asker, form, mac, Written { boot, initrd, server, cmdline, comment })
}

/// The daemon's address by which the asker reaches it.
fn own_address(state: &State, asker: &Asker) -> IpAddr {
    match (state.server().known(asker.at), asker.address) {
        (Some(own), _) => own,
        (None, IpAddr::V4(address)) => state.server().address_for(address).into(),
        (None, IpAddr::V6(_)) => state.server().address.into(),
    }
}
