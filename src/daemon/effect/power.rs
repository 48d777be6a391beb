//! Asks management controllers for the power of machines. Whose turn it is, the state decides
//! ([`schedule`](crate::state::schedule)).
//!
//! May be carried out as often as one likes: nothing is ever switched.

use std::sync::Arc;

use super::Executor;
use crate::daemon::keeper::Keeper;
use crate::model::{Name, Power};
use crate::power::{self, Fault, Limits, Login, Read, Trust};
use crate::state::outbox::{Pending, TaskKind};
use crate::state::schedule::PowerAnswer;
use crate::state::{State, Verb};

/// Reads the power of machines.
pub struct PowerReads {
    pub keeper: Keeper,
    pub trust: Trust,
    pub limits: Limits,
}

impl Executor for PowerReads {
    const KIND: TaskKind = TaskKind::ReadPower;
    /// The state hands out fewer.
    const AT_ONCE: usize = 1024;

    async fn carry_out(&self, pending: Arc<Pending>) -> Verb {
        let state = self.keeper.state();
        let read = self.read(&state, pending.task.subject()).await;
        let answer = match read {
            Ok(Read { state, system }) => {
                PowerAnswer { state: Ok(state), is_login: false, system: Some(system) }
            }
            Err(fault) => {
                PowerAnswer { state: Err(fault.to_string().into()), is_login: fault.is_login(), system: None }
            }
        };
        Verb::Power(pending.id, answer)
    }
}

impl PowerReads {
    async fn read(&self, state: &State, machine: &Name) -> Result<Read, Fault> {
        let found = state.desired().machines.get(machine);
        let power = found.and_then(|machine| machine.power.as_ref()).ok_or(Fault::NoUrl)?;
        let login = login(state, power)?;
        let system = state.schedule().system_of(machine).cloned();
        power::read(power, login.as_ref(), system, &self.trust, &self.limits).await
    }
}

fn login(state: &State, power: &Power) -> Result<Option<Login>, Fault> {
    let Some(name) = &power.credentials else { return Ok(None) };
    let text = state.secrets().get(name.as_str());
    let text = text.ok_or_else(|| Fault::BadLogin(name.clone(), "is not known here"))?;
    let login = Login::parse(&text);
    login.map(Some).ok_or_else(|| Fault::BadLogin(name.clone(), "is not one line with user:password"))
}
