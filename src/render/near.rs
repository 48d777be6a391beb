//! The known name that a misspelt one may mean.

use crate::model::similar::distance;

/// The candidate nearest to `wanted`: equal but for hyphens, underscores and case, or at most a
/// third of its letters away; not `wanted` itself.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let flat = |text: &str| text.replace('-', "_").to_lowercase();
    let goal = flat(wanted);
    let limit = (goal.chars().count() / 3).max(1);
    let others = known.filter(|name| *name != wanted);
    let near = others.filter_map(|name| Some((distance(&goal, &flat(name), limit)?, name)));
    near.min_by_key(|(steps, _)| *steps).map(|(_, name)| name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_through_hyphens() {
        let known = ["root_hash", "hostname", "disk"];
        assert_eq!(nearest("root-hash", known.into_iter()), Some("root_hash"));
        assert_eq!(nearest("hostnam", known.into_iter()), Some("hostname"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}
