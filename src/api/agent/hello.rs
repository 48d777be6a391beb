//! What an agent says, as a command for the state.

use std::sync::Arc;

use super::fit::{fitting, partial};
use super::order::{Next, begun, next, word};
use super::{Certificate, Hello, OrderResult, Report, Task};
use crate::model::facts::PARTS_MAX;
use crate::model::{Mac, Name, WipeLevel};
use crate::state::State;
use crate::state::agent_boot::AgentToken;
use crate::state::life::{AgentReport, Said, SeenDisk};

/// Longest id of a start, in characters.
const BOOT_ID_MAX: usize = 64;

/// Whether a text may name a start of the agent: it stands in a token.
pub fn is_boot_id(text: &str) -> bool {
    (1..=BOOT_ID_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The report for the state. The card is that of the token; what the agent says of others shows which machine it is.
pub fn hello(hello: Hello, token: &AgentToken, subnet: Option<Name>) -> AgentReport {
    let facts = hello.facts.bounded();
    let mac = |text: &String| text.parse::<Mac>().ok();
    let mut cards = vec![token.card];
    let shown = facts.nics.iter().flat_map(|nic| nic.permanent_mac.iter().chain([&nic.mac]));
    for card in shown.filter_map(mac).take(PARTS_MAX) {
        if !cards.contains(&card) {
            cards.push(card);
        }
    }
    let seen = |disk: &super::DiskFacts| SeenDisk {
        id: disk.id.as_str().into(),
        bytes: disk.bytes,
        blank: disk.blank && !disk.read_only,
    };
    let disks: Vec<SeenDisk> = facts.disks.iter().map(seen).collect();
    let said = Said::Hello { cards: cards.into(), disks: disks.into(), facts: Some(Arc::new(facts)) };
    AgentReport { card: token.card, subnet, epoch: token.epoch, start: Some(hello.boot_id.into()), said }
}

/// A report that is not accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    pub why: String,
    /// What the state has to know of it, if anything.
    pub said: Option<Said>,
}

impl From<String> for Rejection {
    fn from(why: String) -> Rejection {
        Rejection { why, said: None }
    }
}

/// What a report means; `Ok(None)`: nothing that the state has to know. The error says why it does not fit. A wipe that
/// was done without a certificate of it has failed.
pub fn report(
    state: &State,
    machine: &Name,
    session: &AgentToken,
    report: &Report,
) -> Result<Option<Said>, Rejection> {
    if report.epoch != session.epoch {
        return Err(
            format!("the report is of epoch {}, and the session of {}", report.epoch, session.epoch).into()
        );
    }
    let has_ended = matches!(report.result, OrderResult::Done { .. } | OrderResult::Failed { .. });
    let present = match has_ended.then(|| begun(state, machine, session)) {
        Some(Next::Carry(order)) if matches!(order.task, Task::Wipe { .. }) => Next::Carry(order),
        _ => next(state, machine, session),
    };
    let order = match &present {
        Next::Carry(order) if order.id == report.order => order,
        _ => {
            return Err(format!("order {} is not the present one of machine {machine}", report.order).into());
        }
    };
    let is_verification = matches!(order.task, Task::Verify { .. });
    let is_wipe = matches!(order.task, Task::Wipe { .. });
    Ok(Some(match &report.result {
        OrderResult::Running { .. } => Said::Running,
        OrderResult::Done { certificate } if is_wipe => match wiped(&order.task, certificate.as_ref()) {
            Ok(text) => Said::Wiped(text.into()),
            Err(lacks) => {
                let why = format!("our agent says that its disks are wiped, and does not show it: {lacks}");
                return Err(Rejection { said: Some(Said::Failed(why.as_str().into())), why });
            }
        },
        OrderResult::Done { .. } if is_verification => Said::Verified(true),
        OrderResult::NotBlank { .. } if is_verification => Said::Verified(false),
        OrderResult::NotBlank { .. } => {
            return Err(format!("order {} verifies nothing", report.order).into());
        }
        OrderResult::Failed { why, certificate } if is_wipe || is_verification => {
            let why: String = why.chars().take(WHY_MAX).collect();
            let why = format!("our agent could not {} it: {why}", word(&order.task)).into();
            match is_wipe {
                true => Said::NotWiped(why, certificate.as_ref().map_or_else(String::new, partial).into()),
                false => Said::Failed(why),
            }
        }
        OrderResult::Done { .. } | OrderResult::Failed { .. } => return Ok(None),
    }))
}

/// The text of a certificate that fits an order to wipe.
fn wiped(task: &Task, certificate: Option<&Certificate>) -> Result<String, String> {
    match task {
        Task::Wipe { level, disks } => fitting(certificate, level.known().unwrap_or(WipeLevel::Purge), disks),
        _ => Err("it is no order to wipe".into()),
    }
}

/// Longest reason that is kept, in characters.
const WHY_MAX: usize = 1000;
