//! Changes that are the same, as one: 400 machines that one line of a profile changes are one thing to read.

use std::collections::HashMap;

use super::{Change, Patch};

/// Changes that differ in names alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold<'a> {
    /// The one that stands for all: it has the diffs of what is served, if any has.
    pub shown: &'a Change,
    /// All of them, in their order.
    pub all: Vec<&'a Change>,
}

/// The same changes together, in the order of the first of each. `leaders` are all changes of the plan: those that others
/// are served like may be elsewhere.
pub fn fold<'a>(changes: &[&'a Change], leaders: &'a [Change]) -> Vec<Fold<'a>> {
    let named: HashMap<&str, &Change> = leaders
        .iter()
        .filter(|change| !change.served.is_empty())
        .map(|change| (change.name.as_str(), change))
        .collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut folds: Vec<Fold<'a>> = Vec::new();
    for change in changes.iter().copied() {
        let place = *places.entry(key(change, &named)).or_insert(folds.len());
        match folds.get_mut(place) {
            Some(fold) => {
                if fold.shown.served.is_empty() && !change.served.is_empty() {
                    fold.shown = change;
                }
                fold.all.push(change);
            }
            None => folds.push(Fold { shown: change, all: vec![change] }),
        }
    }
    folds
}

/// What is equal for changes that are the same.
fn key(change: &Change, named: &HashMap<&str, &Change>) -> String {
    // A rename and a move are of one resource.
    let own = match (&change.former_name, &change.former_machine) {
        (None, None) => "",
        _ => change.name.as_str(),
    };
    let served = match &change.served_like {
        Some(leader) => named.get(leader.as_str()).map(|leader| served(leader)).unwrap_or_default(),
        None => served(change),
    };
    let Change { impact, action, kind, machine, installs, protected, .. } = change;
    let has_machine = machine.is_some();
    let details: Vec<String> = change.details.iter().map(|detail| general(detail, change)).collect();
    let reason = general(&change.reason, change);
    format!(
        "{impact} {action:?} {kind} {own} {has_machine} {installs} {protected}\n{reason}\n{details:?}\n{served:?}"
    )
}

/// The lines that differ: those around them may have the machine's own address or name.
fn served(change: &Change) -> Vec<(String, Vec<String>, usize)> {
    let differs = |line: &&String| line.starts_with(['+', '-']);
    let lines =
        |patch: &Patch| patch.lines.iter().filter(differs).map(|line| general(line, change)).collect();
    let of = |patch: &Patch| (general(&patch.name, change), lines(patch), patch.left_out);
    change.served.iter().map(of).collect()
}

/// A text with words in the place of the change's own names.
pub fn general(text: &str, change: &Change) -> String {
    let machine = change.machine.as_deref().unwrap_or_default();
    let text = replaced(text, machine, "the machine");
    replaced(&text, &change.name, &format!("the {}", change.kind))
}

/// A text with another word in the place of one that stands by itself.
fn replaced(text: &str, word: &str, by: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let last = before.chars().next_back().or(out.chars().next_back().filter(|_| before.is_empty()));
        let is_word = !last.is_some_and(inside) && !after.chars().next().is_some_and(inside);
        out += before;
        out += if is_word { by } else { word };
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Impact};

    fn change(name: &str, machine: &str, reason: &str) -> Change {
        Change {
            impact: Impact::Live,
            action: Action::Update,
            kind: "deployment".into(),
            name: name.into(),
            former_name: None,
            machine: Some(machine.into()),
            former_machine: None,
            installs: false,
            protected: false,
            reason: reason.into(),
            origin: "a.toml:1:1".into(),
            details: Vec::new(),
            served: Vec::new(),
            served_like: None,
        }
    }

    #[test]
    fn what_differs_in_names_alone_is_one() {
        let patch = |host: &str| Patch {
            name: "ks.cfg".into(),
            lines: vec![" host ".to_owned() + host, "-timezone UTC".into(), "+timezone CET".into()],
            left_out: 0,
        };
        let mut all = vec![
            change("w-1", "m-1", "m-1 is installed anew; what w-1 has is lost"),
            change("w-2", "m-2", "m-2 is installed anew; what w-2 has is lost"),
            change("w-3", "m-3", "m-3 is installed anew; what w-3 has is lost"),
            change("w-4", "m-4", "nothing happens"),
        ];
        all[0].served = vec![patch("w-1")];
        all[1].served = vec![patch("w-2")];
        all[2].served_like = Some("w-1".into());
        let rows: Vec<&Change> = all.iter().collect();
        let folds = fold(&rows, &all);
        assert_eq!(folds.iter().map(|fold| fold.all.len()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(
            general(&folds[0].shown.reason, folds[0].shown),
            "the machine is installed anew; what the deployment has is lost"
        );
        let mut other = all.clone();
        other[1].served[0].lines[2] = "+timezone CEST".into();
        other[2].former_name = Some("x".into());
        let rows: Vec<&Change> = other.iter().collect();
        assert_eq!(fold(&rows, &other).len(), 4, "another line, and a rename");
    }

    #[test]
    fn a_name_inside_of_a_word_stays() {
        let one = change("a", "web-1", "");
        assert_eq!(
            general("web-1 web-10 web-1.x a b-a a", &one),
            "the machine web-10 the machine.x the deployment b-a the deployment"
        );
    }
}
