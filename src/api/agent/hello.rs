//! What an agent says, as a command for the state.

use std::sync::Arc;

use super::order::{Next, next, word};
use super::{Hello, OrderResult, Report, Task};
use crate::model::facts::PARTS_MAX;
use crate::model::{Mac, Name};
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
    AgentReport { card: token.card, subnet, epoch: token.epoch, said }
}

/// What a report means; `Ok(None)`: nothing that the state has to know. The error says why it does not fit.
pub fn report(
    state: &State,
    machine: &Name,
    session: &AgentToken,
    report: &Report,
) -> Result<Option<Said>, String> {
    let present = next(state, machine, session);
    let order = match &present {
        Next::Carry(order) if order.id == report.order => order,
        _ => {
            return Err(format!("order {} is not the present one of machine {machine}", report.order));
        }
    };
    let is_verification = matches!(order.task, Task::Verify { .. });
    let is_wipe = matches!(order.task, Task::Wipe { .. });
    Ok(Some(match &report.result {
        OrderResult::Running { .. } => Said::Running,
        OrderResult::Done { .. } if is_wipe => Said::Wiped,
        OrderResult::Done { .. } if is_verification => Said::Verified(true),
        OrderResult::NotBlank { .. } if is_verification => Said::Verified(false),
        OrderResult::NotBlank { .. } => {
            return Err(format!("order {} verifies nothing", report.order));
        }
        OrderResult::Failed { why, .. } if is_wipe || is_verification => {
            let why: String = why.chars().take(WHY_MAX).collect();
            Said::Failed(format!("our agent could not {} it: {why}", word(&order.task)).into())
        }
        OrderResult::Done { .. } | OrderResult::Failed { .. } => return Ok(None),
    }))
}

/// Longest reason that is kept, in characters.
const WHY_MAX: usize = 1000;
