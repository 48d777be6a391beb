//! What two revisions have under other names or in another form.

use std::sync::Arc;

use crate::model::Name;

/// What is called `name` before and after; one of them may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a, T> {
    pub name: &'a Name,
    pub before: Option<&'a Arc<T>>,
    pub after: Option<&'a Arc<T>>,
}

type Map<T> = imbl::OrdMap<Name, Arc<T>>;

/// Every difference, in the order of names. What both share is passed over without a look at it:
/// two revisions of thousands that differ in one cost no more than two walks over pointers.
pub fn differences<'a, T>(before: &'a Map<T>, after: &'a Map<T>) -> impl Iterator<Item = Difference<'a, T>> {
    let most = if before.ptr_eq(after) { 0 } else { usize::MAX };
    let mut former = before.iter().take(most).peekable();
    let mut latter = after.iter().take(most).peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (former.peek(), latter.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                // Shared names are compared by their pointers, which is quicker than by their letters.
                (Some((one, _)), Some((other, _))) if one == other => std::cmp::Ordering::Equal,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            let before = if order.is_le() { former.next() } else { None };
            let after = if order.is_ge() { latter.next() } else { None };
            let name = before.or(after)?.0;
            let (before, after) = (before.map(|(_, one)| one), after.map(|(_, one)| one));
            match (before, after) {
                (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {}
                _ => return Some(Difference { name, before, after }),
            }
        }
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
        let told = |before: &str, after: &str| {
            let (before, after) = (map(before), map(after));
            let shown = |one: Option<&Arc<char>>| one.map_or('-', |one| **one);
            let words = differences(&before, &after)
                .map(|one| format!("{}:{}{}", one.name, shown(one.before), shown(one.after)));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told("a=s b=x d=x e=s", "a=s c=y d=z e=s f=s"), "b:x- c:-y d:xz f:-s");
        assert_eq!(told("a=s", ""), "a:s-");
        assert_eq!(told("", "a=s"), "a:-s");
        assert_eq!(told("a=s b=s", "a=s b=s"), "");
    }
}
