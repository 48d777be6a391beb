//! Which known name somebody meant.

/// The candidate nearest to `wanted`: equal but for hyphens, underscores and case, or at most a
/// third of its letters away.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let flat = |text: &str| text.replace('-', "_").to_lowercase();
    let goal = flat(wanted);
    let limit = (goal.chars().count() / 3).max(1);
    known
        .map(|name| (distance(&goal, &flat(name)), name))
        .filter(|(steps, _)| *steps <= limit)
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, name)| name)
}

/// A sentence part that helps with an unknown name: the nearest one, or all there are.
pub(crate) fn hint<'a>(wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    const SHOWN: usize = 40;
    if let Some(name) = nearest(wanted, known.clone()) {
        return format!("; did you mean `{name}`?");
    }
    let total = known.clone().count();
    let names: Vec<&str> = known.take(SHOWN).collect();
    match total {
        0 => "; there are none".to_owned(),
        _ if total > SHOWN => format!("; there are {} and {} more", names.join(", "), total - SHOWN),
        _ => format!("; there are {}", names.join(", ")),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let change = row[j] + usize::from(a != b);
            let mut best = change.min(row[j + 1] + 1).min(next[j] + 1);
            if j > 0 && last == Some(b) && right[j - 1] == a {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(a);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_steps_and_swaps() {
        assert_eq!(distance("hostname", "hostnmae"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("disk", "disk"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn sees_through_hyphens() {
        let known = ["root_hash", "hostname", "disk"];
        assert_eq!(nearest("root-hash", known.into_iter()), Some("root_hash"));
        assert_eq!(nearest("hostnam", known.into_iter()), Some("hostname"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}
