//! The commands that the daemon's services give to the keeper, by their names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::keeper::{Keeper, KeeperError};
use super::now;
use crate::media::Entry;
use crate::model::{Caller, Cidr, Name, PowerAction};
use crate::plan::{self, Hold, Judgement, Plan, Proposal};
use crate::state::command::Outcome;
use crate::state::lease::LeaseRequest;
use crate::state::outbox::{EffectId, Pending};
use crate::state::upkeep::Freed;
use crate::state::{
    ApiToken, Command, Doubts, Event, Install, InstallStage, Lease6Request, Permit, Report, Stage, State,
    Verb, Verdict,
};

/// How often a revision is judged again because machines did something meanwhile that it concerns.
const ROUNDS: u8 = 3;

/// What became of a revision.
#[derive(Clone, Debug)]
pub enum Adopted {
    Applied(Plan),
    /// A safety rule stopped it; nothing was changed.
    Held(Plan, Vec<Hold>),
    /// It does something else than the plan that was agreed to.
    Stale(Plan),
}

impl Keeper {
    /// Judges a revision beside the keeper, which continues meanwhile, and has it adopted. Where machines that it
    /// concerns changed before that was done, they alone are judged again; after some rounds on the keeper's thread, so
    /// that a revision is not put off for ever where machines never rest.
    pub async fn adopt(&self, proposal: Proposal) -> Result<Adopted, KeeperError> {
        let (proposal, state) = (Arc::new(proposal), self.state());
        let mut judged = beside(move || plan::judge(proposal, &state)).await?;
        for _ in 0..ROUNDS {
            let Some(adoption) = judged.adoption() else { return adopted(judged).await };
            if self.ask_surely(Command::daemon(Verb::Adopt(adoption))).await? == Outcome::Done {
                return adopted(judged).await;
            }
            let state = self.state();
            judged = beside(move || judged.again(&state)).await?;
        }
        self.adopt_at_once(judged).await
    }

    /// Judges on the keeper's thread what changed since it was judged beside it.
    async fn adopt_at_once(&self, judged: Judgement) -> Result<Adopted, KeeperError> {
        let (say, said) = std::sync::mpsc::sync_channel(1);
        let decide = move |state: &State| {
            let judged = judged.again(state);
            let command = judged.adoption().map(|adoption| Command::daemon(Verb::Adopt(adoption)));
            let _ = say.send(judged);
            command
        };
        self.decide(decide).await?;
        adopted(said.try_recv().map_err(|_| KeeperError::Busy)?).await
    }

    /// Makes leases; `done` is called with their addresses when they are durable and published, or at once
    /// where the keeper has too much to do.
    pub fn lease(
        &self,
        requests: Vec<LeaseRequest>,
        done: impl FnOnce(Result<Vec<Option<Ipv4Addr>>, KeeperError>) + Send + 'static,
    ) {
        self.submit(Command::machine(Verb::Lease(requests)), |outcome| {
            done(outcome.map(|outcome| match outcome {
                Outcome::Leased(addresses) => addresses,
                _ => Vec::new(),
            }));
        });
    }

    pub async fn lease6(&self, request: Lease6Request) -> Result<(), KeeperError> {
        self.ask(Command::machine(Verb::Lease6(request))).await.map(drop)
    }

    pub async fn permit(&self, permit: Permit) -> Result<(), KeeperError> {
        self.ask(Command::machine(Verb::Permit(permit))).await.map(drop)
    }

    pub async fn report(&self, report: Report) -> Result<(), KeeperError> {
        self.ask(Command::machine(Verb::Report(report))).await.map(drop)
    }

    /// Records an installation that voldemort did not make, for a deployment which is about to appear.
    pub async fn installed(&self, install: Install) -> Result<(), KeeperError> {
        self.ask(Command::daemon(Verb::Installed(install.into()))).await.map(drop)
    }

    /// Stores a note of the daemon's own under a name, in the place of an earlier one.
    pub async fn remember(
        &self,
        name: impl Into<Cow<'static, str>>,
        note: Vec<u8>,
    ) -> Result<(), KeeperError> {
        self.ask(Command::daemon(Verb::Remember(name.into(), note))).await.map(drop)
    }

    /// Ends whatever keeps an address from others, as an operator wants it; `None` if nothing did.
    pub async fn free(&self, address: IpAddr) -> Result<Option<Freed>, KeeperError> {
        Ok(match self.ask(Command::daemon(Verb::Free(address))).await? {
            Outcome::Freed(freed) => freed,
            _ => None,
        })
    }

    /// Orders a machine to be switched; the answer is the order that waits for its executor.
    pub async fn power(
        &self,
        machine: Name,
        action: PowerAction,
        reason: Arc<str>,
        by: Caller,
    ) -> Result<Option<Arc<Pending>>, KeeperError> {
        Ok(match self.ask(Command { by, verb: Verb::PowerOrder(machine, action, reason) }).await? {
            Outcome::Ordered(pending) => Some(pending),
            _ => None,
        })
    }

    /// Settles doubtful installations; the answer names them.
    pub async fn settle_doubts(&self, doubts: Doubts, verdict: Verdict) -> Result<Vec<Name>, KeeperError> {
        Ok(match self.ask(Command::daemon(Verb::Settle(doubts, verdict))).await? {
            Outcome::Settled(names) => names,
            _ => Vec::new(),
        })
    }

    /// Reports the addresses of this host; never waits. A lost report is repeated by the next look.
    pub fn host(&self, addresses: BTreeSet<IpAddr>) {
        self.post(Command::daemon(Verb::Host(addresses)));
    }

    /// From now on these boot programs are served, by their names. What is lost under load is found again at
    /// the next look.
    pub fn loaders(&self, found: BTreeMap<Box<str>, Entry>) {
        self.post(Command::daemon(Verb::Loaders(found)));
    }

    /// Reports the networks, besides the first, that this host has an address on.
    pub async fn networks(&self, others: Vec<(Cidr, Ipv4Addr)>) {
        self.post_surely(Command::daemon(Verb::Networks(others))).await;
    }

    /// Says that time went by.
    pub fn tick(&self) {
        self.post(Command::daemon(Verb::Tick));
    }

    /// Has a source read again, as a webhook wants it; it will be, also after a crash, when this returns without an error.
    pub async fn fetch(&self, source: Name) -> Result<(), KeeperError> {
        let by = Caller::WEBHOOK;
        self.ask(Command { by, verb: Verb::Fetch(source) }).await.map(drop)
    }

    /// Cancels an effect, as a person wants it. Answers with what it was; `None` if it was not pending.
    pub async fn cancel(&self, id: EffectId, by: Caller) -> Result<Option<Arc<Pending>>, KeeperError> {
        Ok(match self.ask(Command { by, verb: Verb::Cancel(id) }).await? {
            Outcome::Cancelled(pending) => pending,
            _ => None,
        })
    }

    /// Creates a token of the control API, on behalf of the caller that it names.
    pub async fn create_token(&self, token: ApiToken) -> Result<(), KeeperError> {
        let by = token.by.clone().unwrap_or(Caller::DAEMON);
        self.ask(Command { by, verb: Verb::CreateToken(Box::new(token)) }).await.map(drop)
    }

    /// Revokes a token of the control API; what it was, or `None` if there is none of that name.
    pub async fn revoke_token(&self, name: Name, by: Caller) -> Result<Option<Arc<ApiToken>>, KeeperError> {
        Ok(match self.ask(Command { by, verb: Verb::RevokeToken(name) }).await? {
            Outcome::Revoked(token) => token,
            _ => None,
        })
    }

    /// Says what happened; never waits. Under a flood events are lost before answers are.
    pub fn note(&self, event: Event) {
        self.note_all(vec![event]);
    }

    /// The same for many.
    pub fn note_all(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        events.iter().for_each(|event| self.note_reboot(event));
        let count = events.len() as u64;
        if !self.post(Command::machine(Verb::Observe(events))) {
            self.counters().lost(count);
        }
    }

    /// A machine that boots its disk after it got its answers has not reported. That moves it, so that it is
    /// no mere event.
    fn note_reboot(&self, event: &Event) {
        let (Stage::LocalBoot, Some(name)) = (event.stage, &event.deployment) else { return };
        let state = self.state();
        let spent = state.install_of(name).filter(|install| install.stage == InstallStage::Spent);
        if let Some(install) = spent {
            let verb = Verb::Reboot { deployment: name.clone(), epoch: install.epoch, at: event.at };
            self.insist(name.clone(), Command::machine(verb));
        }
    }

    /// Whether a fetch or a refusal is one that was noted a moment ago; then it is only counted.
    pub fn is_echo(&self, stage: Stage, address: IpAddr, what: impl Hash) -> bool {
        let echo = self.dedup.is_repeated(stage, address, what, now());
        if echo {
            self.counters().event(stage);
        }
        echo
    }
}

/// Does what takes processor time off the serving threads.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, KeeperError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| KeeperError::Refused(format!("can't be judged: {error}")))
}

/// What became of a revision that was judged, and adopted where nothing speaks against it.
async fn adopted(judged: Judgement) -> Result<Adopted, KeeperError> {
    Ok(match beside(|| judged.verdict()).await? {
        plan::Verdict::Agreed(plan) => Adopted::Applied(plan),
        plan::Verdict::Held(plan, holds) => Adopted::Held(plan, holds),
        plan::Verdict::Stale(plan) => Adopted::Stale(plan),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Desired;
    use crate::plan::Consent;
    use crate::state::Server;
    use crate::store::Store;

    #[tokio::test]
    async fn a_revision_that_is_never_judged_in_time_is_judged_on_the_keepers_thread() {
        let folder = tempfile::tempdir().unwrap();
        let (store, saved) = Store::open(folder.path(), || [7; 48]).unwrap();
        let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in(Ipv4Addr::LOCALHOST));
        let proposal = |revision: &str, expected| {
            let desired = Arc::new(Desired { revision: revision.into(), ..Desired::default() });
            let (secrets, consent) = (Arc::default(), Consent::default());
            Arc::new(Proposal { desired, kept: None, secrets, consent, expected, plan: None })
        };
        let judged = |proposal| plan::judge(proposal, &keeper.state());
        let other = Some("another".into());
        let stale = keeper.adopt_at_once(judged(proposal("a", other))).await.unwrap();
        assert!(matches!(stale, Adopted::Stale(_)) && keeper.state().desired().revision.is_empty());
        let applied = keeper.adopt_at_once(judged(proposal("b", None))).await.unwrap();
        assert!(matches!(applied, Adopted::Applied(_)) && &*keeper.state().desired().revision == "b");
        keeper.close().await;
        thread.join().unwrap();
    }
}
