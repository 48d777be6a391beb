//! Answers our agents on machines: who they are, what they found, what they are to do, how it went.
//!
//! A session is a token that says for itself what it is good for, so that it outlives a restart of the daemon. Which start
//! of the agent speaks for each card is in memory, and begins with what is stored of the machine: of two that do so at a
//! time, neither is believed.

mod speakers;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use super::keeper::{Keeper, KeeperError};
use super::now;
use super::request_handler::{AgentReply, AgentRequest, Method, Opened, RequestHandler};
use super::syslog::{Book, take_console};
use crate::api::agent::hello::{self as said, Rejection, is_boot_id};
use crate::api::agent::order::{self, Next};
use crate::api::agent::{Hello, LINE_MAX, LINES_MAX, Log, OrderResult, Report, WAIT_MAX, Welcome};
use crate::model::Name;
use crate::proto::http::Status;
use crate::proto::tree::{Artifact, Asker, Link, Standing};
use crate::state::agent_boot::AgentToken;
use crate::state::life::{AgentReport, Said};
use crate::state::lifecycle::{Known, Work};
use crate::state::{Command, Event, Stage, State, Verb};
use speakers::{Heard, Message, Speakers, Stored};

/// How often the state is looked at for an agent that waits for an order.
const LOOK: Duration = Duration::from_secs(1);

/// What the boot servers answer machines from: the tree of names, and this.
pub(super) struct Machines {
    pub keeper: Keeper,
    pub logs: Book,
    speakers: Speakers,
}

/// An agent that was let in.
struct Agent {
    session: AgentToken,
    machine: Option<Name>,
}

impl Machines {
    pub(super) fn new(keeper: Keeper, logs: Book) -> Machines {
        Machines { keeper, logs, speakers: Speakers::default() }
    }

    async fn answer(&self, asker: &mut Asker, request: AgentRequest<'_>) -> Result<AgentReply, AgentReply> {
        let unknown = || AgentReply::problem(Status::Unauthorized, "the token opens nothing here");
        let token =
            request.token.and_then(|token| self.keeper.state().agent_token(token)).ok_or_else(unknown)?;
        if asker.link == Link::Unread {
            asker.link = self.keeper.neighbours.link_of(asker).await;
        }
        match (request.method, request.path) {
            (Method::Post, "hello") => self.hello(asker, token, read(request.body)?).await,
            (Method::Get, "order") => self.order(&self.admit(asker, token)?, wait(request.query)).await,
            (Method::Post, "report") => self.report(&self.admit(asker, token)?, read(request.body)?).await,
            (Method::Post, "log") => {
                let agent = self.admit(asker, token)?;
                self.log(asker, &agent, read(request.body)?);
                Ok(AgentReply::done())
            }
            (_, "hello" | "order" | "report" | "log") => {
                Err(AgentReply::problem(Status::MethodNotAllowed, "this is asked for by another method"))
            }
            _ => Err(AgentReply::problem(Status::NotFound, "the agent has no such request")),
        }
    }

    /// Whether the client is where the machine with this card is.
    fn believe(&self, state: &State, asker: &Asker, token: &AgentToken) -> Result<(), AgentReply> {
        match asker.standing_of_card(state, token.card) {
            Standing::Itself | Standing::Unproven | Standing::Unread => Ok(()),
            Standing::Stranger | Standing::Other => {
                let text = format!("the token is of {}, and {asker} is not that machine", token.card);
                self.note(token, text.clone());
                Err(AgentReply::problem(Status::Conflict, text))
            }
        }
    }

    /// One start of an agent that has its session.
    fn admit(&self, asker: &Asker, token: AgentToken) -> Result<Agent, AgentReply> {
        let Some(boot_id) = &token.boot_id else {
            return Err(AgentReply::problem(Status::Unauthorized, "the agent has to say hello first"));
        };
        let state = self.keeper.state();
        self.believe(&state, asker, &token)?;
        let machine = state.machine_of_card(token.card).cloned();
        let from = asker.address.to_string();
        let sent = Message { boot_id, is_hello: false, from: &from };
        let heard = self.speakers.hear(token.card, sent, stored(&state, machine.as_ref()));
        self.refuse_two(&token, machine.as_ref(), heard)?;
        Ok(Agent { session: token, machine })
    }

    /// Two agents at a time speak for one card: neither is believed, and an event says so.
    fn refuse_two(&self, token: &AgentToken, machine: Option<&Name>, heard: Heard) -> Result<(), AgentReply> {
        let card = token.card;
        let text = match heard {
            Heard::Alone => return Ok(()),
            Heard::Unknown => return Err(unknown_again()),
            Heard::Conflict => {
                format!("two machines show the network card {card} at a time: neither is believed")
            }
            Heard::NewConflict([one, other]) => {
                let text = format!(
                    "two machines show the network card {card} at a time, one from {one}, the other from {other}: neither \
                     is believed, and nothing is done until one of them is taken off the network"
                );
                match machine {
                    Some(_) => {
                        let contested = self.said(token, Said::Contested(text.as_str().into()));
                        self.keeper.post(Command::machine(Verb::Agent(contested)));
                    }
                    None => self.note(token, text.clone()),
                }
                text
            }
        };
        Err(AgentReply::problem(Status::Conflict, text))
    }

    async fn hello(&self, asker: &Asker, token: AgentToken, hello: Hello) -> Result<AgentReply, AgentReply> {
        let state = self.keeper.state();
        self.believe(&state, asker, &token)?;
        let is_own = token.boot_id.as_ref().is_none_or(|boot_id| *boot_id == hello.boot_id);
        if !is_boot_id(&hello.boot_id) || !is_own {
            return Err(AgentReply::problem(Status::Unprocessable, "boot-id is not that of this start"));
        }
        let boot_id = hello.boot_id.clone();
        let known = state.machine_of_card(token.card);
        let from = sender(asker, &hello);
        let sent = Message { boot_id: &boot_id, is_hello: true, from: &from };
        let heard = self.speakers.hear(token.card, sent, stored(&state, known));
        self.refuse_two(&token, known, heard)?;
        let present = known.map_or(0, |machine| state.agent_epoch(machine));
        let last = known.and_then(|machine| state.life(machine)).map_or(0, |life| life.epoch);
        // Its order is carried out, and it is there still.
        let is_done = present == 0 && token.epoch > 0 && last == token.epoch;
        if token.epoch != present && !is_done {
            let text = format!(
                "this agent was started under epoch {}, and the present one of its machine is {present}",
                token.epoch
            );
            return Err(AgentReply::problem(Status::Gone, text));
        }
        let subnet = state.subnet_at(asker.address).map(|subnet| subnet.name.clone());
        let report = AgentReport { epoch: present, ..said::hello(hello, &token, subnet) };
        self.speakers.said_hello(token.card, &boot_id, report.clone());
        self.store(report).await?;
        let state = self.keeper.state();
        let machine = state.machine_of_card(token.card).ok_or_else(|| {
            AgentReply::problem(Status::Unavailable, "the machine is not known yet: try again")
        })?;
        let session = state.session_token(token.card, token.epoch, &boot_id);
        let message = message(&state, machine);
        Ok(AgentReply::json(&Welcome { session, machine: machine.to_string(), epoch: token.epoch, message }))
    }

    async fn order(&self, agent: &Agent, wait: Duration) -> Result<AgentReply, AgentReply> {
        let (Some(boot_id), Some(first)) = (&agent.session.boot_id, &agent.machine) else {
            return Err(unknown_again());
        };
        let end = Instant::now() + wait;
        loop {
            let state = self.keeper.state();
            // The name may change while it waits.
            let machine = state.machine_of_card(agent.session.card).unwrap_or(first);
            match order::next(&state, machine, &agent.session) {
                Next::Carry(order) => return Ok(AgentReply::json(&order::signed(&state, &order))),
                Next::Over(why) => return Err(AgentReply::problem(Status::Gone, why)),
                Next::Hello => match self.speakers.last_hello(agent.session.card, boot_id) {
                    Some(report) => self.store(report).await?,
                    None => return Err(unknown_again()),
                },
                Next::Wait => {}
            }
            if Instant::now() >= end {
                return Ok(AgentReply::done());
            }
            sleep_until((Instant::now() + LOOK).min(end)).await;
            if !self.speakers.is_speaker(agent.session.card, boot_id) {
                let text = "another start of the agent speaks for this machine";
                return Err(AgentReply::problem(Status::Gone, text));
            }
        }
    }

    async fn report(&self, agent: &Agent, report: Report) -> Result<AgentReply, AgentReply> {
        let state = self.keeper.state();
        let machine = agent.machine.as_ref().ok_or_else(unknown_again)?;
        let said = match said::report(&state, machine, &agent.session, &report) {
            Ok(said) => said,
            Err(Rejection { why, said }) => {
                if let Some(said) = said {
                    self.store(self.said(&agent.session, said)).await?;
                }
                return Err(AgentReply::problem(Status::Conflict, why));
            }
        };
        if let Some(text) = progress(machine, &report) {
            self.note(&agent.session, text);
        }
        if let Some(said) = said {
            self.store(self.said(&agent.session, said)).await?;
        }
        Ok(AgentReply::done())
    }

    fn log(&self, asker: &Asker, agent: &Agent, log: Log) {
        let state = self.keeper.state();
        let Some(machine) = agent.machine.as_ref() else { return };
        if log.dropped > 0 {
            let text = format!("{} lines of the console were left out", log.dropped);
            take_console(&self.logs, &state, machine, asker.address, &text);
        }
        for line in log.lines.iter().take(LINES_MAX) {
            let line: String = line.chars().take(LINE_MAX).collect();
            take_console(&self.logs, &state, machine, asker.address, &line);
        }
    }

    fn said(&self, session: &AgentToken, said: Said) -> AgentReport {
        let AgentToken { card, epoch, boot_id } = session;
        let start = boot_id.as_deref().map(Arc::from);
        AgentReport { card: *card, subnet: None, epoch: *epoch, start, said }
    }

    /// Has a report stored. What the state refuses does not fit what it knows of the machine.
    async fn store(&self, report: AgentReport) -> Result<(), AgentReply> {
        let stored = self.keeper.ask(Command::machine(Verb::Agent(report))).await;
        match stored {
            Ok(_) => Ok(()),
            Err(KeeperError::Refused(why)) => Err(AgentReply::problem(Status::Conflict, why)),
            Err(error) => Err(AgentReply::problem(Status::Unavailable, error.to_string())),
        }
    }

    fn note(&self, token: &AgentToken, text: String) {
        self.keeper.note(Event { mac: Some(token.card), ..Event::new(now(), Stage::Daemon, text) });
    }
}

impl RequestHandler for Machines {
    async fn open(&self, asker: &mut Asker, method: Method, path: &str, note: &str) -> Opened {
        self.keeper.open(asker, method, path, note).await
    }

    async fn agent(&self, asker: &mut Asker, request: AgentRequest<'_>) -> AgentReply {
        self.answer(asker, request).await.unwrap_or_else(|refused| refused)
    }

    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool) {
        self.keeper.done(asker, artifact, sent, complete);
    }
}

/// What is stored of a machine about who speaks for it.
fn stored<'a>(state: &'a State, machine: Option<&Name>) -> Stored<'a> {
    let life = machine.and_then(|machine| state.life(machine));
    let start = life.and_then(|life| life.start.as_deref());
    Stored { start, is_contested: life.is_some_and(|life| life.contested.is_some()) }
}

/// Who says hello, for people: its address and what it is.
fn sender(asker: &Asker, hello: &Hello) -> String {
    format!("{} ({})", asker.address, hello.facts.clone().bounded().summary())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AgentReply> {
    serde_json::from_slice(body).map_err(|error| {
        AgentReply::problem(Status::Unprocessable, format!("the message can't be read: {error}"))
    })
}

/// How long an agent wants to wait, of `wait=SECONDS`.
fn wait(query: &str) -> Duration {
    let wanted = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "wait");
    let seconds = wanted.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_secs(seconds.min(WAIT_MAX))
}

fn unknown_again() -> AgentReply {
    AgentReply::problem(Status::Unauthorized, "the daemon has to hear of the hardware again: say hello")
}

/// For the machine's console: what happens now.
fn message(state: &State, machine: &Name) -> String {
    match (state.known(machine), state.work(machine)) {
        (_, Work::Fencing | Work::Wiping | Work::Verifying) => {
            format!("machine {machine} is to be wiped: its order follows")
        }
        (Known::Accepted, _) => format!("this is machine {machine}"),
        _ => {
            format!("the hardware is known now, under the name {machine}; nothing is changed on this machine")
        }
    }
}

/// How far the disks are, for the timeline.
fn progress(machine: &Name, report: &Report) -> Option<String> {
    match &report.result {
        OrderResult::Running { disks } if !disks.is_empty() => {
            let one = |disk: &crate::api::agent::DiskProgress| {
                format!("{} {} {} %", disk.id, disk.step, disk.percent.min(100))
            };
            let shown: Vec<String> = disks.iter().take(8).map(one).collect();
            let more = disks.len().saturating_sub(8);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            Some(format!("machine {machine}: {}{more}", shown.join(", ")))
        }
        _ => None,
    }
}
