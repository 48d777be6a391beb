//! Asks management controllers for the power of machines. Whose turn it is, the state decides
//! ([`schedule`](crate::state::schedule)).
//!
//! May be carried out as often as one likes: nothing is ever switched.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Executor;
use crate::daemon::keeper::Keeper;
use crate::desired::Machine;
use crate::model::arch::Firmware;
use crate::model::{Cidr, Mac, Name, Power, PowerKind};
use crate::power::{Broadcast, Fault, Login, Question, Read, Tools, driver};
use crate::state::outbox::{Pending, TaskKind};
use crate::state::schedule::PowerAnswer;
use crate::state::{State, Verb};

/// Reads the power of machines.
pub struct PowerReads {
    pub keeper: Keeper,
    pub tools: Arc<Tools>,
}

impl Executor for PowerReads {
    const KINDS: &'static [TaskKind] = &[TaskKind::ReadPower];
    /// The state hands out fewer.
    const AT_ONCE: usize = 1024;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        let answer = match read(&self.keeper.state(), pending.task.subject(), &self.tools).await {
            Ok(Read { state, system }) => PowerAnswer { state: Ok(state), is_login: false, system },
            Err(fault) => {
                PowerAnswer { state: Err(fault.to_string().into()), is_login: fault.is_login(), system: None }
            }
        };
        Verb::Power(pending.id, answer)
    }
}

/// A machine's power now, when it is its controller's turn.
pub(super) async fn read(state: &State, machine: &Name, tools: &Tools) -> Result<Read, Fault> {
    let subject = Subject::of(state, machine)?;
    let _turn = subject.turn(tools).await;
    driver(subject.power.kind).read(subject.question(tools)).await
}

/// A machine whose controller is asked, as a state has it.
pub(super) struct Subject {
    machine: Arc<Machine>,
    pub(super) power: Power,
    macs: Vec<Mac>,
    networks: Vec<Broadcast>,
    uefi: Option<bool>,
    login: Option<Login>,
    system: Option<Arc<str>>,
}

impl Subject {
    pub(super) fn of(state: &State, name: &Name) -> Result<Subject, Fault> {
        let machine = state.desired().machines.get(name).ok_or(Fault::NoUrl)?;
        let power = machine.power.as_ref().ok_or(Fault::NoUrl)?;
        let macs = state.cards(machine);
        let arch = macs.iter().find_map(|mac| state.seen().get(mac)?.arch);
        Ok(Subject {
            login: login(state, power)?,
            networks: networks(state, name),
            uefi: arch.map(|arch| arch.firmware != Firmware::Bios),
            system: state.schedule().system_of(name).cloned(),
            machine: machine.clone(),
            power: power.clone(),
            macs,
        })
    }

    /// Waits until no other request to its controller is under way.
    pub(super) async fn turn(&self, tools: &Tools) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        match self.power.controller() {
            Some(controller) => Some(tools.turn(&controller).await),
            None => None,
        }
    }

    pub(super) fn question<'a>(&'a self, tools: &'a Tools) -> Question<'a> {
        Question {
            machine: &self.machine.name,
            macs: &self.macs,
            networks: &self.networks,
            uefi: self.uefi,
            power: &self.power,
            login: self.login.as_ref(),
            system: self.system.clone(),
            tools,
        }
    }
}

/// The networks that a machine may be on: those that this host is on, and that of its deployment behind a router.
fn networks(state: &State, machine: &Name) -> Vec<Broadcast> {
    let server = state.server();
    let own = |cidr: &Cidr| {
        let addresses = std::iter::once(server.address).chain(server.others.iter().map(|(_, own)| *own));
        addresses.into_iter().find(|address| cidr.contains(*address))
    };
    let subnets = state.desired().subnets.values().filter_map(|subnet| subnet.cidr);
    let here = subnets.chain(server.others.iter().map(|(cidr, _)| *cidr)).filter(|cidr| own(cidr).is_some());
    let tenant = state.tenant(machine).and_then(|tenant| tenant.subnet.cidr);
    let reach = |cidr: Cidr| Some(Broadcast { from: own(&cidr), to: cidr.broadcast()? });
    let all: BTreeSet<Broadcast> = here.chain(tenant).filter_map(reach).collect();
    all.into_iter().collect()
}

fn login(state: &State, power: &Power) -> Result<Option<Login>, Fault> {
    let Some(name) = &power.credentials else { return Ok(None) };
    let text = state.secrets().get(name.as_str());
    let text = text.ok_or_else(|| Fault::BadLogin(name.clone(), "is not known here"))?;
    if power.kind == PowerKind::Wol {
        return Ok(Some(Login::word(&text)));
    }
    let login = Login::parse(&text);
    login.map(Some).ok_or_else(|| Fault::BadLogin(name.clone(), "is not one line with user:password"))
}
