//! Finds the candidate that a misspelt word may have meant.

/// The candidate nearest to `word`: at most three edits and at most a third of the word away
/// (one edit is always allowed). Edits are insertions, deletions, replacements and swaps of neighbours.
/// The word itself is no candidate: what was written needs no suggestion.
pub fn similar<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let limit = (length / 3).clamp(1, LIMIT);
    let near = |candidate: &'a str| {
        let edits = distance(word, candidate, limit)?;
        (length > 1).then_some((edits, candidate))
    };
    let others = candidates.into_iter().filter(|candidate| *candidate != word);
    others.filter_map(near).min_by_key(|(edits, _)| *edits).map(|(_, found)| found)
}

/// The same, unless another candidate is just as near: then only a person can choose.
pub fn only_similar<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let near = similar(word, candidates.clone())?;
    let edits = distance(word, near, LIMIT)?;
    let rivals = candidates.into_iter().filter(|other| *other != near);
    let tied = rivals.into_iter().any(|other| distance(word, other, edits).is_some());
    (!tied).then_some(near)
}

/// Most edits between a typing mistake and the word that was meant.
const LIMIT: usize = 3;

/// Longer words are not compared: it would take too long.
const LONGEST: usize = 80;

/// Edit distance with transpositions; `None` above `limit`.
pub fn distance(from: &str, to: &str, limit: usize) -> Option<usize> {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len().abs_diff(to.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = previous[j] + usize::from(a != b);
            let mut best = replaced.min(previous[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().filter(|edits| *edits <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_leaves_strangers_alone() {
        let keys = ["profile", "machine", "address", "mac", "protect"];
        assert_eq!(similar("profil", keys), Some("profile"));
        assert_eq!(similar("porfile", keys), Some("profile"));
        assert_eq!(similar("adress", keys), Some("address"));
        assert_eq!(similar("mca", keys), Some("mac"));
        assert_eq!(similar("debian12", ["debian-12", "rescue"]), Some("debian-12"));
        assert_eq!(only_similar("profil", keys), Some("profile"));
        assert_eq!(only_similar("web-3", ["web-1", "web-2"]), None);
        assert_eq!(similar("gateway", keys), None);
        assert_eq!(similar("x", ["y"]), None);
        assert_eq!(similar("size", ["size", "sizes"]), Some("sizes"));
        assert_eq!(similar(&"p".repeat(100_000), keys), None);
    }
}
