//! Time went by in the lives of machines: claims end, holds end, releases take long, machines that nobody accepted are
//! forgotten.

use std::sync::Arc;

use super::super::claim::{Claim, GRACE, Granted};
use super::super::life::Order;
use super::super::lifecycle::{Condition, Known, condition, known, tenancy as holding};
use super::super::ran;
use super::super::record::Record;
use super::cycle::Cycle;
use super::hold;
use crate::model::{Name, Span};

/// After so long without progress an order is overdue.
const PATIENCE: Span = Span::seconds(20 * 60);
/// It is asked for again after twice as long each time, up to so many doublings.
const DOUBLINGS: u32 = 6;
/// Machines that nobody accepted are forgotten when nothing was heard of them for so long.
const FORGOTTEN_AFTER: Span = Span::seconds(7 * 24 * 3600);

pub(super) fn tick(cycle: &mut Cycle<'_>) {
    if let Some(note) = cycle.state.lasting.ran.tick(cycle.now) {
        let is_used = !cycle.state.lasting.claims.is_empty() || !cycle.state.lasting.lives.is_empty();
        cycle.out.records.extend(is_used.then(|| Record::Note(ran::NOTE.into(), note)));
    }
    end_claims(cycle);
    let watched: Vec<Name> = cycle.state.derived.watched.iter().cloned().collect();
    for machine in watched {
        let Some(life) = cycle.state.life(&machine).cloned() else { continue };
        if life.hold.as_ref().and_then(|hold| hold.until).is_some_and(|until| until <= cycle.now) {
            hold::release(cycle, &machine);
        }
        let quiet = life.reported.is_none_or(|reported| cycle.now.since(reported).0 >= FORGOTTEN_AFTER.0);
        // With its machine a hold would be forgotten, too.
        if life.known == Known::Discovered
            && quiet
            && life.order.is_none()
            && life.hold.is_none()
            && known::step(life.known, known::Cause::Aged) == Some(Known::Seen)
        {
            cycle.drop_life(&machine);
            continue;
        }
        if let Some(order) = &life.order {
            look_at_order(cycle, &machine, order);
        }
    }
}

/// A claim whose time is over gets nothing new, is announced, and ends after the grace period.
fn end_claims(cycle: &mut Cycle<'_>) {
    while let Some((end, name)) = cycle.state.derived.ends.get_min().cloned() {
        let now = cycle.state.lasting.ran.now;
        let Some(claim) = cycle.state.lasting.claims.get(&name).filter(|_| end <= now).cloned() else {
            return;
        };
        let Some(place) = &claim.place else { return };
        if place.taken_back.is_none() {
            let text = format!(
                "the time of claim {name} of {} is over: machine {} is taken back in {}, unless the claim is extended",
                claim.by, place.machine, GRACE
            );
            let machine = place.machine.clone();
            let place = Some(Granted { taken_back: Some(now.saturating_add(GRACE.0)), ..place.clone() });
            cycle.put_claim(Claim { place, ..Claim::clone(&claim) });
            cycle.say(Some(&machine), text);
        } else if let Err(why) = cycle.take_back(&claim, holding::Cause::Expired) {
            // It is looked at again, and not at each tick.
            let machine = place.machine.clone();
            let place = Some(Granted { taken_back: Some(now.saturating_add(GRACE.0)), ..place.clone() });
            cycle.put_claim(Claim { place, ..Claim::clone(&claim) });
            cycle.say(Some(&machine), format!("claim {name} is over and goes on: {why}"));
        }
    }
}

fn look_at_order(cycle: &mut Cycle<'_>, machine: &Name, order: &Order) {
    let late = order.progress.saturating_add(PATIENCE.0 << order.attempts.min(DOUBLINGS));
    if cycle.state.lasting.ran.now < late || order.condition == Condition::Failed {
        return;
    }
    let Some(next) = condition::step(order.condition, condition::Cause::TimeRanOut) else { return };
    let mut life = cycle.life(machine);
    let Some(own) = life.order.as_mut().map(Arc::make_mut) else { return };
    let why = format!("nothing was heard of it since {}", order.since);
    (own.condition, own.why, own.attempts) = (next, why.as_str().into(), order.attempts + 1);
    let (work, epoch) = (own.work, own.epoch);
    cycle.put_life(machine, life);
    cycle.say(Some(machine), format!("the release of machine {machine} ({work}) is overdue: {why}"));
    // An agent that was lost in the middle comes back under the same order.
    cycle.restart(machine, epoch);
}
