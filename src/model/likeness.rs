//! How alike two texts are, for "did you mean".

/// How many characters must be added, dropped or changed to turn one text into the other; `None`
/// if more than `most`.
pub fn distance(left: &str, right: &str, most: usize) -> Option<usize> {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
        if row.iter().min().is_some_and(|least| *least > most) {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= most)
}

/// The candidate most like `word`, if one is like enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = word.chars().count().div_ceil(3);
    let ranked = candidates.into_iter().filter_map(|other| Some((distance(word, other, most)?, other)));
    ranked.min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_stop_at_their_limit() {
        assert_eq!(distance("kernel", "kernal", 2), Some(1));
        assert_eq!(distance("kernel", "kernal", 0), None);
        assert_eq!(distance("kernel", "", 3), None);
        assert_eq!(distance("abcdef", "ghijkl", 3), None);
    }

    #[test]
    fn only_likely_meanings_are_suggested() {
        let keys = ["interface", "address", "subnet"];
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("interfaces", keys), Some("interface"));
        assert_eq!(nearest("x", keys), None);
    }
}
