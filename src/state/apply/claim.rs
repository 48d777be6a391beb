//! Somebody asks for a machine of a pool, has it for longer, or gives it back.

use std::sync::Arc;

use super::super::claim::{CLAIMS_MAX, Claim, Granted, Wanted};
use super::super::command::Outcome;
use super::super::lifecycle::tenancy as holding;
use super::super::prototype;
use super::super::user_data::{self, Sealed};
use super::cycle::Cycle;
use crate::desired::Pool;
use crate::model::{Name, Span};

/// A claim is made. It gets a machine at once if it is its turn and one is free, else it waits.
pub(super) fn claim(mut cycle: Cycle<'_>, wanted: Wanted) -> Outcome {
    let Wanted { pool, ttl, name: base, key, prototype, user_data } = wanted;
    let made = key.as_ref().and_then(|key| cycle.state.derived.keyed.get(key));
    let made = made.and_then(|name| cycle.state.lasting.claims.get(name));
    if let Some(made) = made.filter(|made| made.by == *cycle.by) {
        return Outcome::Claimed(made.clone());
    }
    let Some(own) = cycle.state.desired.pools.get(&pool).cloned() else {
        let known = cycle.state.desired.pools.keys().map(Name::to_string).collect::<Vec<_>>().join(", ");
        return Outcome::Refused(format!("there is no pool {pool}; there are: {known}"));
    };
    if let Some(why) = refusal(&cycle, &own, ttl, user_data.as_ref()) {
        return Outcome::Refused(why);
    }
    // What it runs is stored with it, or is stored for another claim already.
    let runs = prototype::key(&own);
    let prototype = prototype.filter(|(key, _)| *key == runs).map(|(_, prototype)| prototype);
    if prototype.is_none() && !cycle.state.prototypes().contains_key(&runs) {
        return Outcome::Moved;
    }
    let (name, number) = match new_name(&mut cycle, base.as_ref().unwrap_or(&pool)) {
        Ok(found) => found,
        Err(why) => return Outcome::Refused(why),
    };
    cycle.put_prototype(&runs, &own, prototype);
    cycle.put_claim(Claim {
        name: name.clone(),
        pool,
        number,
        by: cycle.by.clone(),
        asked: cycle.now,
        ttl: ttl.or(own.ttl),
        on_return: own.on_return,
        level: own.level,
        place: None,
        keep: false,
        key,
        prototype: Some(runs),
        has_user_data: user_data.is_some(),
    });
    user_data.into_iter().for_each(|sealed| cycle.put_user_data(&name, sealed));
    cycle.serve_queue();
    cycle.state.lasting.claims.get(&name).map_or(Outcome::Done, |claim| Outcome::Claimed(claim.clone()))
}

/// Why the pool does not give this caller a machine, as it is wanted.
fn refusal(cycle: &Cycle<'_>, pool: &Pool, ttl: Option<Span>, user_data: Option<&Sealed>) -> Option<String> {
    let name = &pool.name;
    if let (Some(most), Some(wanted)) = (pool.ttl, ttl)
        && wanted > most
    {
        return Some(format!("pool {name} gives machines for {most} at most, not for {wanted}"));
    }
    if cycle.state.lasting.claims.len() >= CLAIMS_MAX {
        return Some(format!("{CLAIMS_MAX} claims are open; release some first"));
    }
    let of_caller = || cycle.state.asked_by(name, cycle.by);
    if let Some(most) = pool.per_caller.filter(|most| of_caller() >= *most) {
        return Some(format!("{} has {most} claims of pool {name} already, its most", cycle.by));
    }
    let sealed = user_data?;
    if !pool.prototype.reads_user_data() {
        return Some(format!(
            "machines of pool {name} are given no user data: no template of its profile uses `user_data`, and nothing \
             leads cloud-init to `nocloud_url`"
        ));
    }
    let most = user_data::TOTAL_MAX >> 20;
    (cycle.state.user_data_bytes() + sealed.len() > user_data::TOTAL_MAX).then(|| {
        format!(
            "the user data of all claims would have more than {most} MiB: release some claims first, or claim without"
        )
    })
}

/// A name that begins with `base` and that neither a claim ever had nor a manifest has, and its number.
fn new_name(cycle: &mut Cycle<'_>, base: &Name) -> Result<(Name, u64), String> {
    loop {
        let number = cycle.next_number();
        let name = format!("{base}-{number}");
        let name: Name = name.parse().map_err(|_| format!("{name} is too long for a name"))?;
        let desired = &cycle.state.desired;
        if !desired.deployments.contains_key(&name) && !desired.machines.contains_key(&name) {
            return Ok((name, number));
        }
    }
}

/// A claim ends later, by so much from now. One whose time was over goes on.
pub(super) fn extend(mut cycle: Cycle<'_>, name: &Name, ttl: Span) -> Outcome {
    let (claim, place) = match had(&cycle, name) {
        Ok(found) => found,
        Err(why) => return Outcome::Refused(why),
    };
    let most = cycle.state.desired.pools.get(&claim.pool).and_then(|pool| pool.ttl);
    if let Some(most) = most.filter(|most| ttl > *most) {
        return Outcome::Refused(format!(
            "pool {} gives machines for {most} at most, not for {ttl}",
            claim.pool
        ));
    }
    let ends = Some(cycle.state.lasting.ran.now.saturating_add(ttl.0));
    let place = Some(Granted { ends, taken_back: None, ..place });
    cycle.put_claim(Claim { place, ..Claim::clone(&claim) });
    Outcome::Done
}

/// A claim lasts until a revision has a deployment with its name on its machine.
pub(super) fn keep(mut cycle: Cycle<'_>, name: &Name) -> Outcome {
    let (claim, place) = match had(&cycle, name) {
        Ok(found) => found,
        Err(why) => return Outcome::Refused(why),
    };
    let place = Some(Granted { taken_back: None, ..place });
    cycle.put_claim(Claim { place, keep: true, ..Claim::clone(&claim) });
    Outcome::Done
}

/// A claim is given back, or not waited for any more.
pub(super) fn release(mut cycle: Cycle<'_>, name: &Name) -> Outcome {
    let Some(claim) = cycle.state.lasting.claims.get(name).cloned() else {
        return Outcome::Refused(format!("there is no claim {name}"));
    };
    match cycle.take_back(&claim, holding::Cause::Released) {
        Ok(()) => Outcome::Done,
        Err(why) => Outcome::Refused(why),
    }
}

fn had(cycle: &Cycle<'_>, name: &Name) -> Result<(Arc<Claim>, Granted), String> {
    let claim = cycle.state.lasting.claims.get(name).ok_or_else(|| format!("there is no claim {name}"))?;
    let place = claim.place.clone().ok_or_else(|| format!("claim {name} still waits for a machine"))?;
    Ok((claim.clone(), place))
}

/// The machine of a claim is installed: its user data are erased, unless the installed system reads them as well.
pub(super) fn installed(mut cycle: Cycle<'_>, name: &Name) {
    let Some(claim) = cycle.state.lasting.claims.get(name).filter(|claim| claim.has_user_data).cloned()
    else {
        return;
    };
    if cycle.state.outlives_user_data(&claim) {
        cycle.erase_user_data(name);
        cycle.put_claim(Claim { has_user_data: false, ..Claim::clone(&claim) });
    }
}
