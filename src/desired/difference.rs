//! What two revisions have under other names or in another form.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::model::Name;

/// What is called `name` before and after; one of them may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a, T> {
    pub name: &'a Name,
    pub before: Option<&'a Arc<T>>,
    pub after: Option<&'a Arc<T>>,
}

type Map<T> = imbl::OrdMap<Name, Arc<T>>;

/// Every difference, in the order of names. What both share is passed over in whole branches: two revisions of
/// thousands that differ in one cost little more than that one.
pub fn differences<'a, T: PartialEq>(
    before: &'a Map<T>,
    after: &'a Map<T>,
) -> impl Iterator<Item = Difference<'a, T>> {
    let most = if before.ptr_eq(after) { 0 } else { usize::MAX };
    before.diff(after).take(most).map(|item| match item {
        DiffItem::Add(name, after) => Difference { name, before: None, after: Some(after) },
        DiffItem::Update { old: (name, before), new: (_, after) } => {
            Difference { name, before: Some(before), after: Some(after) }
        }
        DiffItem::Remove(name, before) => Difference { name, before: Some(before), after: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_in_order() {
        let shared = Arc::new('s');
        let map = |text: &str| -> Map<char> {
            let entry = |word: &str| {
                let (name, value) = word.split_once('=').unwrap();
                let value = value.chars().next().unwrap();
                (name.parse().unwrap(), if value == 's' { shared.clone() } else { Arc::new(value) })
            };
            text.split_whitespace().map(entry).collect()
        };
        let summary = |before: &str, after: &str| {
            let (before, after) = (map(before), map(after));
            let shown = |one: Option<&Arc<char>>| one.map_or('-', |one| **one);
            let words = differences(&before, &after)
                .map(|one| format!("{}:{}{}", one.name, shown(one.before), shown(one.after)));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(summary("a=s b=x d=x e=s", "a=s c=y d=z e=s f=s"), "b:x- c:-y d:xz f:-s");
        assert_eq!(summary("a=s", ""), "a:s-");
        assert_eq!(summary("", "a=s"), "a:-s");
        assert_eq!(summary("a=s b=s", "a=s b=s"), "");
    }

    #[test]
    fn in_large_maps_that_share_their_branches_nothing_is_passed_over() {
        let name = |number: usize| -> Name { format!("n{number:05}").parse().unwrap() };
        let before: Map<usize> = (0..5_000).map(|number| (name(2 * number), Arc::new(number))).collect();
        for step in [1, 3, 64, 65, 700] {
            let mut after = before.clone();
            // Out, in and other values by turns, so that branches part and join.
            for (turn, at) in (0..10_000).step_by(step).enumerate().filter(|(turn, _)| turn % 7 < 4) {
                match turn % 3 {
                    0 => drop(after.remove(&name(at))),
                    1 => drop(after.insert(name(at), Arc::new(at + 1_000_000))),
                    _ => drop(after.insert(name(at | 1), Arc::new(at))),
                }
            }
            let summary: Vec<_> =
                differences(&before, &after).map(|one| (one.name, one.before, one.after)).collect();
            let mut names: Vec<&Name> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            let all = names.into_iter().map(|name| (name, before.get(name), after.get(name)));
            let expected: Vec<_> = all.filter(|(_, before, after)| before != after).collect();
            assert_eq!(summary, expected, "{step}");
        }
    }
}
