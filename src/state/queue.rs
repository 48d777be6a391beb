//! Who waits for a machine: claims, and deployments that choose theirs and found none free. There is one queue. Callers
//! are served in turn, whoever got a machine longest ago first, and of each caller the first that asked first; the
//! deployments of the inventory are one caller.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Claim, State};
use crate::desired::Place;
use crate::model::{Caller, Name};

/// The name of the stored note that holds when deployments began to wait.
pub const NOTE: &str = "queue";

/// Somebody who waits for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiter {
    Claim(Name),
    Deployment(Name),
}

/// Who waits of one caller, by number.
pub(super) type Queue = imbl::OrdMap<u64, Waiter>;

/// The bytes of the note: names and numbers, separated by spaces and line ends.
pub fn note(unplaced: &imbl::OrdMap<Name, u64>) -> Vec<u8> {
    unplaced.iter().map(|(name, number)| format!("{name} {number}\n")).collect::<String>().into_bytes()
}

/// What a note says; a line that can't be read says nothing, and its deployment begins to wait anew.
pub fn of_note(note: Option<&[u8]>) -> imbl::OrdMap<Name, u64> {
    let text = note.and_then(|note| std::str::from_utf8(note).ok()).unwrap_or_default();
    let line = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.parse::<Name>().ok()?, number.parse::<u64>().ok()?))
    };
    text.lines().filter_map(line).collect()
}

impl State {
    /// Everybody who waits, in the order in which they are served. Nobody is looked at before it is their turn.
    pub fn in_turn(&self) -> impl Iterator<Item = &Waiter> {
        let given = |caller: &Arc<str>| self.derived.given.get(caller).copied().unwrap_or(0);
        let mut callers: Vec<_> =
            self.derived.queues.iter().map(|(caller, queue)| (given(caller), queue.iter())).collect();
        let mut turn: VecDeque<&Waiter> = VecDeque::new();
        std::iter::from_fn(move || {
            if turn.is_empty() {
                let mut next: Vec<(u64, u64, &Waiter)> = Vec::with_capacity(callers.len());
                callers.retain_mut(|(given, queue)| {
                    let one = queue.next();
                    next.extend(one.map(|(number, waiter)| (*given, *number, waiter)));
                    one.is_some()
                });
                next.sort_by_key(|(given, number, _)| (*given, *number));
                turn.extend(next.into_iter().map(|(_, _, waiter)| waiter));
            }
            turn.pop_front()
        })
    }

    /// The claims of a pool that wait, in the order in which they are served.
    pub fn waiting(&self, pool: &Name) -> Vec<Arc<Claim>> {
        let claim = |waiter: &Waiter| match waiter {
            Waiter::Claim(name) => self.lasting.claims.get(name).filter(|claim| claim.pool == *pool).cloned(),
            Waiter::Deployment(_) => None,
        };
        self.in_turn().filter_map(claim).collect()
    }

    /// Whether a machine may be given to a deployment that chooses its own.
    pub(super) fn suits(&self, deployment: &Name, machine: &Name) -> bool {
        let place = self.desired.deployments.get(deployment).map(|deployment| &deployment.place);
        let (Some(Place::Select(labels)), Some(declared)) = (place, self.desired.machines.get(machine))
        else {
            return false;
        };
        self.lacks(declared, labels).is_none() && !self.is_kept_from(deployment, machine)
    }

    /// Takes note that somebody waits, or does not any more.
    pub(super) fn index_waiter(&mut self, caller: Arc<str>, number: u64, waiter: Option<Waiter>) {
        let mut queue = self.derived.queues.get(&caller).cloned().unwrap_or_default();
        match waiter {
            Some(waiter) => drop(queue.insert(number, waiter)),
            None => drop(queue.remove(&number)),
        }
        match queue.is_empty() {
            true => drop(self.derived.queues.remove(&caller)),
            false => drop(self.derived.queues.insert(caller, queue)),
        }
    }

    /// The same of deployments, whose numbers are given.
    pub(super) fn index_unplaced(&mut self, unplaced: imbl::OrdMap<Name, u64>) {
        let caller: Arc<str> = Caller::DAEMON.to_string().into();
        let waiter = |(name, number): (&Name, &u64)| (*number, Waiter::Deployment(name.clone()));
        let queue: Queue = unplaced.iter().map(waiter).collect();
        match queue.is_empty() {
            true => drop(self.derived.queues.remove(&caller)),
            false => drop(self.derived.queues.insert(caller, queue)),
        }
        self.lasting.unplaced = unplaced;
    }

    /// The deployments that choose their machine and have none, with the numbers that they have in the queue already.
    pub(super) fn without_machine(&self) -> BTreeMap<Name, Option<u64>> {
        if self.desired.selects == 0 {
            return BTreeMap::new();
        }
        let chooses = self.desired.deployments.iter().filter(|(name, deployment)| {
            matches!(deployment.place, Place::Select(_)) && !self.lasting.assignments.contains_key(*name)
        });
        chooses.map(|(name, _)| (name.clone(), self.lasting.unplaced.get(name).copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let unplaced: imbl::OrdMap<Name, u64> = [("a", 7), ("b-2", u64::MAX)]
            .map(|(name, number)| (name.parse().unwrap(), number))
            .into_iter()
            .collect();
        assert_eq!(of_note(Some(&note(&unplaced))), unplaced);
        assert!(of_note(None).is_empty() && of_note(Some(b"\xff x\n")).is_empty());
        assert_eq!(of_note(Some(b"a x\nb 2\n-- 3\n")).len(), 1);
    }
}
