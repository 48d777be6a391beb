//! `GET /v1/orders` and `POST /v1/machines/NAME/wipe`: the disks of a machine are erased.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::{Row, hold, or_dash};
use crate::api::Word;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::{Caller, Name, WipeLevel};
use crate::state::life;
use crate::state::lifecycle::{Condition, DiskState, Work};
use crate::state::{self, Verb};

/// A row of `GET /v1/orders`: the disks of a machine are to be wiped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MachineOrder")]
pub struct Order {
    pub machine: String,
    /// How far it is.
    pub work: Word<Work>,
    pub condition: Word<Condition>,
    /// Why it is overdue, or failed; else empty.
    pub trouble: String,
    pub level: Word<WipeLevel>,
    /// Whether the machine is switched off afterwards.
    pub off: bool,
    /// What its disks are known by; empty until our agent runs, where those are meant that it finds.
    pub disks: Vec<String>,
    /// Who caused it.
    pub by: String,
    /// What it follows from.
    pub reason: String,
    /// RFC 3339; when it began.
    pub since: String,
    /// How often time ran out since it last got further.
    pub attempts: u32,
    /// Its number: what comes from an older one changes nothing.
    pub epoch: u64,
    /// What it waits for, for people.
    pub next: String,
}

/// A disk that our agent found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Its WWN, else its serial number, model and size.
    pub id: String,
    pub bytes: u64,
    pub state: Word<DiskState>,
}

/// `POST /v1/machines/NAME/wipe`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WipeWanted {
    /// All disks of the machine, by what they are known by (see `disks` of the machine): nothing is wiped where they
    /// are others.
    pub disks: Vec<String>,
    /// `quick`, `clear` or `purge`; `clear` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// All orders, by machine.
pub fn all(state: &state::State) -> Vec<Order> {
    let lives = state.lasting().lives.iter();
    lives.filter_map(|(machine, life)| Some(row(machine, life, life.order.as_ref()?))).collect()
}

/// The order that is carried out on a machine.
pub fn one(state: &state::State, machine: &Name) -> Option<Order> {
    let life = state.life(machine)?;
    Some(row(machine, life, life.order.as_ref()?))
}

fn row(machine: &Name, life: &life::Life, order: &life::Order) -> Order {
    Order {
        machine: machine.to_string(),
        work: order.work.into(),
        condition: order.condition.into(),
        trouble: order.why.to_string(),
        level: order.level.into(),
        off: order.off,
        disks: order.disks.iter().flat_map(|disks| disks.iter()).map(ToString::to_string).collect(),
        by: order.by.to_string(),
        reason: order.reason.to_string(),
        since: order.since.to_string(),
        attempts: order.attempts,
        epoch: order.epoch,
        next: next(machine, life, order),
    }
}

fn next(machine: &Name, life: &life::Life, order: &life::Order) -> String {
    if let Some(hold) = &life.hold {
        return format!("machine {machine} is held by {}: {}", hold.by, hold.reason);
    }
    if order.condition == Condition::Failed {
        return format!("it waits for a person: `voldemortctl retry {machine}`");
    }
    match order.work {
        Work::Fencing => "it waits until our agent runs on the machine: the machine has to restart".into(),
        Work::Wiping => "our agent erases the disks".into(),
        Work::Verifying => "our agent reads the disks back".into(),
        work => work.to_string(),
    }
}

/// The disks that our agent found on a machine.
pub fn disks(life: Option<&Arc<life::Life>>) -> Vec<Disk> {
    let disks = life.into_iter().flat_map(|life| life.disks.iter());
    let row =
        |disk: &life::Disk| Disk { id: disk.id.to_string(), bytes: disk.bytes, state: disk.state.into() };
    disks.map(row).collect()
}

impl Row for Order {
    const COLUMNS: &'static [&'static str] =
        &["MACHINE", "WORK", "CONDITION", "LEVEL", "SINCE", "BY", "REASON", "TROUBLE", "NEXT"];

    fn name(&self) -> &str {
        &self.machine
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.machine.clone(),
            self.work.to_string(),
            self.condition.to_string(),
            self.level.to_string(),
            self.since.clone(),
            self.by.clone(),
            self.reason.clone(),
            or_dash(Some(&self.trouble).filter(|trouble| !trouble.is_empty())),
            self.next.clone(),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let wiped = Route::post("/v1/machines/{name}/wipe", "Has all disks of a machine erased that nobody has")
        .takes::<WipeWanted>()
        .answers::<Machine>(StatusCode::OK, "The machine, with its order")
        .says(StatusCode::NOT_FOUND, "There is no such machine")
        .says(StatusCode::CONFLICT, "Somebody has it, it is protected or held, or it has other disks");
    let cancelled = Route::delete(
        "/v1/orders/{machine}",
        "Cancels the order to wipe a machine that our agent does not run on yet",
    )
    .answers::<Machine>(StatusCode::OK, "The machine, whose disks stay as they are")
    .says(StatusCode::NOT_FOUND, "There is no such machine")
    .says(StatusCode::CONFLICT, "It has no order, or our agent runs under it already");
    Routes::new().add(wiped, wipe::<B>).add(cancelled, cancel::<B>)
}

async fn wipe<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Posted(wanted): Posted<WipeWanted>,
) -> Response {
    let level = match &wanted.level {
        None => WipeLevel::Clear,
        Some(text) => match WipeLevel::named(text) {
            Some(level) => level,
            None => {
                let why = format!("level: `{text}` is none of {}", WipeLevel::NAMES.join(", "));
                return problem(StatusCode::BAD_REQUEST, &why);
            }
        },
    };
    let what = format!("wipe machine {name} ({level}): {}", wanted.disks.join(", "));
    let disks = wanted.disks.iter().map(|disk| Arc::from(disk.as_str())).collect();
    hold::changed(backend, caller, name, what, |name| Verb::Wipe(name, disks, level)).await
}

async fn cancel<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    let what = format!("cancel the wipe of machine {machine}");
    hold::changed(backend, caller, machine, what, Verb::Withdraw).await
}
