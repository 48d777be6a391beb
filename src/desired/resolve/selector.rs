//! Selectors that no machine can ever satisfy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Resolver, listed};
use crate::manifest::checker::plain;
use crate::manifest::document::{Deployment, Resource};
use crate::manifest::similar::similar;
use crate::manifest::{Code, Documents, Kind, Level, Mark, Marked, Mention, Problem};
use crate::model::Name;
use crate::model::wish::{Fact, Wish, WishError, is_wish};

type Labels = BTreeMap<Arc<str>, Arc<str>>;

impl Resolver<'_> {
    pub(super) fn selectors(&mut self) {
        self.selecting = self.earlier.beside.selectors.take().unwrap_or_else(|| self.unsatisfied());
        self.problems.extend(self.selecting.iter().cloned());
    }

    fn unsatisfied(&self) -> Vec<Problem> {
        // A machine, or a label of one, may be hidden behind a mistake.
        if self.incomplete() || self.documents.machines.values().any(|machine| !machine.whole) {
            return Vec::new();
        }
        let documents = self.documents;
        let mut wishes: BTreeMap<&Labels, (Mark, Level, Vec<&Name>)> = BTreeMap::new();
        let chosen = |name: &Name| documents.deployments.get(name).is_some_and(names_machine);
        // Deployments first: the first place of equal wishes is reported.
        let others = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Deployment && kind.selects());
        for kind in [Kind::Deployment].into_iter().chain(others) {
            documents.of(kind).mentions(&mut |name, mention| match mention {
                // Where the machine is named as well, the selector is what may go.
                Mention::Selector(_) if kind == Kind::Deployment && chosen(name) => {}
                Mention::Selector(Marked { value, mark }) => {
                    // A pool may be empty: machines come and go while claims wait.
                    let level = if kind == Kind::Pool { Level::Note } else { Code::NoMatch.level() };
                    wishes.entry(value).or_insert((*mark, level, Vec::new())).2.push(name);
                }
                _ => {}
            });
        }
        if wishes.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<Problem> =
            wishes.iter().flat_map(|(wish, (mark, ..))| wrong_facts(wish, *mark)).collect();
        let is_protected = |name: &Name| {
            let machine = documents.machines.get(name).and_then(|own| own.body.protect.as_ref());
            machine.is_some_and(|protect| protect.value)
        };
        let free = Free::new(documents, |name| self.pinned.contains_key(name));
        let unprotected = Free::new(documents, |name| self.pinned.contains_key(name) || is_protected(name));
        for (wish, (mark, level, names)) in wishes {
            if free.satisfies(wish) {
                if level == Level::Note && !unprotected.satisfies(wish) {
                    found.push(all_protected(mark, &names));
                }
                continue;
            }
            let message = format!("no free machine has the labels that {} asks for", listed(names));
            let words = wish.iter().map(|(key, value)| format!("{} = \"{}\"", plain(key), plain(value)));
            let label = format!("no unpinned machine with {}", words.collect::<Vec<_>>().join(", "));
            let problem = Problem::new(Code::NoMatch, mark, message, label);
            found.push(problem.level(level).help(free.help(wish)));
        }
        found
    }
}

/// Pools that give out nothing as long as their machines are protected.
fn all_protected(mark: Mark, pools: &[&Name]) -> Problem {
    let message = format!("all machines that pool {} selects are protected: claims wait", listed(pools));
    Problem::new(Code::NoMatch, mark, message, "no machine that is not protected")
        .level(Level::Note)
        .help("a protected machine is never given out; set `protect = false` at one of them")
}

fn names_machine(deployment: &Arc<Resource<Deployment>>) -> bool {
    deployment.body.machine.is_some() || !deployment.body.macs.is_empty()
}

/// Machines that a selector may choose.
#[derive(Default)]
struct Free<'a> {
    any: bool,
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Labels>>,
    /// The values that each label has.
    values: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Free<'a> {
    fn new(documents: &'a Documents, pinned: impl Fn(&Name) -> bool) -> Free<'a> {
        let mut free = Free::default();
        for machine in documents.machines.values().filter(|machine| !pinned(&machine.name)) {
            free.any = true;
            for (key, value) in &machine.body.labels {
                free.by_label.entry((key, value)).or_default().push(&machine.body.labels);
                free.values.entry(key).or_default().insert(value);
            }
        }
        free
    }

    /// By its labels alone: what the hardware is, the daemon finds out.
    fn satisfies(&self, wish: &Labels) -> bool {
        // Looking through the machines with the rarest label is enough.
        let mut rarest: Option<&[&Labels]> = None;
        for (key, value) in labels_of(wish) {
            let machines = self.by_label.get(&(&**key, &**value)).map_or(&[][..], Vec::as_slice);
            if rarest.is_none_or(|rarest| machines.len() < rarest.len()) {
                rarest = Some(machines);
            }
        }
        rarest.map_or(self.any, |machines| machines.iter().any(|labels| covers(labels, wish)))
    }

    /// What is wrong with a wish that no machine satisfies: the first of its labels that none has, the
    /// nearest one, or what there is instead.
    fn help(&self, wish: &Labels) -> String {
        if self.values.is_empty() {
            return match self.any {
                true => "no machine that is free has a label: add `labels` to one of them".to_owned(),
                false => "label a machine that is not pinned by a deployment".to_owned(),
            };
        }
        let unknown = labels_of(wish).find(|(key, value)| !self.by_label.contains_key(&(&***key, &***value)));
        let Some((key, value)) = unknown else {
            let labels = labels_of(wish).map(|(key, _)| format!("`{}`", plain(key)));
            return format!(
                "free machines have each of {}, and none has all of them together",
                listed(labels.collect::<Vec<_>>())
            );
        };
        let Some(values) = self.values.get(&**key) else {
            return match similar(key, self.values.keys().copied()) {
                Some(near) => format!("did you mean `{}`?", plain(near)),
                None => format!("the labels of free machines are: {}", listed(self.values.keys().copied())),
            };
        };
        match similar(value, values.iter().copied()) {
            Some(near) => format!("did you mean {} = \"{}\"?", plain(key), plain(near)),
            None => format!(
                "free machines have {} = {}",
                plain(key),
                listed(values.iter().map(|value| format!("\"{}\"", plain(value))))
            ),
        }
    }
}

pub(super) fn covers(labels: &Labels, wish: &Labels) -> bool {
    labels_of(wish).all(|(key, value)| labels.get(key) == Some(value))
}

/// The terms of a selector that are about labels.
pub(super) fn labels_of(wish: &Labels) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
    wish.iter().filter(|(_, value)| !is_wish(value))
}

/// Terms that begin with a comparison and are about no fact, or compare it with something else than its unit.
fn wrong_facts(wish: &Labels, mark: Mark) -> Vec<Problem> {
    let wrong = wish.iter().filter_map(|(key, value)| Some((key, Wish::read(key, value)?.err()?)));
    let problem = |(key, error): (&Arc<str>, WishError)| {
        let message = match &error {
            WishError::Unknown(name) => format!("there is no fact called `{}`", plain(name)),
            error => error.to_string(),
        };
        let problem = Problem::new(Code::BadText, mark, message, "not a wish about hardware");
        match error {
            WishError::Unknown(_) => problem.help(match similar(key, Fact::NAMES.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the facts are: {}", Fact::NAMES.join(", ")),
            }),
            WishError::Value { .. } | WishError::Order(_) => problem,
        }
    };
    wrong.map(problem).collect()
}
