//! How claims stand, for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Claim, ClaimShown, ClaimState, Obstacle};
use crate::model::{Name, Span, Time};
use crate::state::claim::WhyNot;
use crate::state::prototype::missing_file;
use crate::state::{self, lifecycle};

/// Most machines of which one claim says why it does not have them.
const REASONS_MAX: usize = 10_000;
/// What the claims of a pool have in common: it is found out once for a list.
#[derive(Default)]
pub(super) struct Queues {
    places: BTreeMap<Name, usize>,
    obstacles: BTreeMap<Name, Vec<Obstacle>>,
}

/// All of them, by their names.
pub fn all(state: &state::State, now: Time) -> Vec<Claim> {
    let mut queues = Queues::default();
    state.claims().values().map(|claim| row(state, claim, now, &mut queues)).collect()
}

/// The one of this name.
pub fn one(state: &state::State, name: &Name, now: Time) -> Option<Claim> {
    state.claims().get(name).map(|claim| row(state, claim, now, &mut Queues::default()))
}

/// A claim, with what keeps each machine from it.
pub(super) fn shown(state: &state::State, claim: &state::Claim, now: Time) -> ClaimShown {
    let pool = state.desired().pools.get(&claim.pool).filter(|_| claim.place.is_none());
    let machines = pool.into_iter().flat_map(|pool| {
        let machines = state.desired().machines.keys();
        machines.filter_map(|machine| Some((machine.to_string(), state.why_not(pool, machine)?.into())))
    });
    let machines = machines.take(REASONS_MAX).collect();
    ClaimShown { claim: row(state, claim, now, &mut Queues::default()), machines }
}

pub(super) fn row(state: &state::State, claim: &state::Claim, now: Time, queues: &mut Queues) -> Claim {
    let place = claim.place.as_ref();
    let ends = place.and_then(|place| place.taken_back.or(place.ends)).filter(|_| !claim.keep);
    let left = ends.map(|ends| Span(ends.saturating_sub(state.lasting().ran.now)));
    let described = place.and_then(|place| state.desired().machines.get(&place.machine));
    let deployment = state.deployment(&claim.name);
    let leased = described.and_then(|machine| {
        let cards = state.cards(machine);
        let v4 = cards.iter().find_map(|mac| state.leases().address_of(*mac)).map(IpAddr::V4);
        v4.or_else(|| cards.iter().find_map(|mac| Some(IpAddr::V6(state.leases6().of(*mac)?.address))))
    });
    let fixed = deployment.and_then(|one| one.address).map(IpAddr::V4);
    let stage = stage(state, claim);
    let (number, obstacles) = match place {
        Some(_) => (None, Vec::new()),
        None => queues.of(state, claim),
    };
    Claim {
        name: claim.name.to_string(),
        pool: claim.pool.to_string(),
        by: claim.by.to_string(),
        state: stage.into(),
        machine: place.map(|place| place.machine.to_string()),
        address: fixed.or(leased),
        asked: claim.asked.to_string(),
        since: place.map(|place| place.since.to_string()),
        ttl: claim.ttl.map(|ttl| ttl.to_string()),
        ends: left.map(|left| (now + left).to_string()),
        on_return: claim.on_return.into(),
        level: claim.level.into(),
        kept: claim.keep,
        user_data: claim.has_user_data,
        place: number,
        reason: reason(state, claim, number, &obstacles),
        obstacles,
    }
}

fn stage(state: &state::State, claim: &state::Claim) -> ClaimState {
    let Some(place) = &claim.place else { return ClaimState::Queued };
    if claim.is_in_grace() {
        return ClaimState::Ending;
    }
    match state.word(&place.machine) {
        lifecycle::Word::Held => ClaimState::Held,
        lifecycle::Word::Failed => ClaimState::Failed,
        lifecycle::Word::Installing => ClaimState::Installing,
        // A former system may run there.
        lifecycle::Word::NetworkBoot if state.is_to_boot(&place.machine) => ClaimState::Waiting,
        lifecycle::Word::Installed | lifecycle::Word::NetworkBoot => ClaimState::Installed,
        _ => ClaimState::Waiting,
    }
}

/// Why it is as it is.
fn reason(
    state: &state::State,
    claim: &state::Claim,
    number: Option<usize>,
    obstacles: &[Obstacle],
) -> String {
    let Some(place) = &claim.place else {
        let Some(pool) = state.desired().pools.get(&claim.pool) else {
            return format!(
                "the inventory that is served has no pool {} that gives out machines",
                claim.pool
            );
        };
        let queue = number.map_or(String::new(), |number| format!("number {number} in the queue: "));
        let held = state.claimed_of(&claim.pool);
        if let Some(most) = pool.max.filter(|most| held >= *most) {
            return format!("{queue}{held} machines of pool {} are given out, its most is {most}", pool.name);
        }
        let all = obstacles.iter().map(|one| format!("{} {}", one.machines, one.why));
        let all = all.collect::<Vec<_>>().join("; ");
        return format!(
            "{queue}no machine is free ({})",
            if all.is_empty() { "there is none" } else { &all }
        );
    };
    let machine = &place.machine;
    if claim.keep {
        return "it lasts until a manifest takes its machine over".into();
    }
    if claim.is_in_grace() {
        return format!("its time is over: {machine} is taken back, unless it is extended");
    }
    if let Some(two) = state.contest_of(machine) {
        return format!("{two}; then `voldemortctl retry {machine}`");
    }
    if let Some(hold) = state.hold(machine) {
        return format!("machine {machine} is held by {}: {}", hold.by, hold.reason);
    }
    let next = |what: &str| {
        let next = format!("machine {machine} {what}");
        let lacks = state.needs_a_start(machine);
        lacks.map_or(next.clone(), |why| format!("{next}, which somebody has to bring about: {why}"))
    };
    match state.deployment(&claim.name) {
        Some(deployment) if missing_file(&deployment.boot).is_some() => {
            let file = missing_file(&deployment.boot).unwrap_or_default();
            format!(
                "file {file} of boot {}, which machine {machine} was given out with, is not there any more: release the \
                 claim, or put the file back",
                deployment.boot.name
            )
        }
        Some(deployment) => match state.duty(deployment) {
            state::Duty::Install { .. } => next("installs at its next network boot"),
            state::Duty::NetworkBoot if state.is_to_boot(machine) => next("is to boot from the network"),
            state::Duty::NetworkBoot => format!("machine {machine} runs from the network"),
            state::Duty::LocalBoot(why) => format!("machine {machine} boots its own disk: {why}"),
        },
        None => format!("what machine {machine} was to run is not known any more: it boots its own disk"),
    }
}

impl Queues {
    /// A claim's place among those that wait, and what keeps machines from it.
    fn of(&mut self, state: &state::State, claim: &state::Claim) -> (Option<usize>, Vec<Obstacle>) {
        if !self.obstacles.contains_key(&claim.pool) {
            let waiting = state.waiting(&claim.pool);
            self.places.extend(waiting.iter().enumerate().map(|(at, one)| (one.name.clone(), at + 1)));
            let obstacle = |(why, (machines, example)): (WhyNot, (usize, Name))| Obstacle {
                why: why.into(),
                machines,
                example: example.to_string(),
            };
            let found = state.why_waiting(claim).into_iter().map(obstacle).collect();
            self.obstacles.insert(claim.pool.clone(), found);
        }
        let obstacles = self.obstacles.get(&claim.pool).cloned().unwrap_or_default();
        (self.places.get(&claim.name).copied(), obstacles)
    }
}
