//! Names that must exist.

use super::{Resolver, listed};
use crate::manifest::document::{Deployment, Resource};
use crate::manifest::similar::{only_similar, similar};
use crate::manifest::{Code, Kind, Mark, Marked, Mention, Problem};
use crate::model::Name;
use crate::render::builtin;

/// So many unknown names get a suggestion.
const HINTED_MAX: usize = 100;

impl Resolver<'_> {
    /// Looks at every reference once, where it is written.
    pub(super) fn references(&mut self) {
        // Of a secret that several name the first place is reported: shared settings before single ones.
        let first = [Kind::Profile, Kind::Deployment, Kind::Machine];
        let rest = Kind::ALL.into_iter().filter(|kind| !first.contains(kind));
        let documents = self.documents;
        for kind in first.into_iter().chain(rest) {
            documents.of(kind).mentions(&mut |_, mention| match mention {
                Mention::Name(kind, name) => self.reference(kind, name),
                Mention::Value(value) => self.secrets(value),
                Mention::Variables(values) => values.values().for_each(|field| self.secrets(&field.value)),
                Mention::Selector(_) | Mention::Options(_) => {}
            });
        }
    }

    pub(super) fn reference(&mut self, kind: Kind, wanted: &Marked<Name>) {
        if self.exists(kind, &wanted.value) || self.may_exist(kind, &wanted.value) {
            return;
        }
        let kind_name = kind.name();
        let message = format!("there is no {kind_name} called `{}`", wanted.value);
        let mut problem =
            Problem::new(Code::UnknownName, wanted.mark, message, format!("unknown {kind_name}"));
        // Comparing thousands of unknown names with thousands of known ones would take too long.
        if self.dangling.len() < HINTED_MAX {
            problem =
                problem.help(self.hint(kind, wanted)).fix(wanted.mark, self.only_name(kind, &wanted.value));
        }
        self.dangling.insert(wanted.mark, (problem, Vec::new()));
    }

    fn hint(&self, kind: Kind, wanted: &Marked<Name>) -> String {
        let (names, kind_name) = (self.names(kind), kind.name());
        if names.is_empty() {
            return format!(
                "the inventory has no {kind_name} at all; one begins with [{kind_name}.{}]",
                wanted.value
            );
        }
        let all = format!("all {}: {}", kind.fields().plural, listed(names.iter().map(|(name, _)| name)));
        let Some(near) = similar(wanted.value.as_str(), names.iter().map(|(name, _)| *name)) else {
            return all;
        };
        let place = match names.iter().find(|(name, _)| *name == near).and_then(|(_, mark)| *mark) {
            Some(mark) => {
                let origin = self.documents.sources.origin(mark);
                format!(" ({}:{})", origin.file, origin.line)
            }
            None => " (built in)".to_owned(),
        };
        format!("a {kind_name} with a similar name exists: `{near}`{place}; {all}")
    }

    /// What can only have been meant.
    fn only_name(&self, kind: Kind, wanted: &Name) -> Option<String> {
        let names = self.names(kind);
        let near = only_similar(wanted.as_str(), names.iter().map(|(name, _)| *name));
        near.filter(|_| !kind.is_tied_to_hardware()).map(|near| format!("\"{near}\""))
    }

    fn exists(&self, kind: Kind, name: &Name) -> bool {
        let is_builtin = || kind == Kind::Template && builtin::lookup(name.as_str()).is_some();
        self.documents.of(kind).mark(name).is_some() || is_builtin()
    }

    /// Whether the name may be defined where mistakes hide it.
    fn may_exist(&self, kind: Kind, name: &Name) -> bool {
        let mentions = |file: &u32| {
            let bytes = &self.documents.sources.get(*file).bytes;
            bytes.windows(name.as_str().len()).any(|window| window == name.as_str().as_bytes())
        };
        self.documents.unread.contains(&(kind, name.clone())) || self.documents.unparsed.iter().any(mentions)
    }

    /// The names that a reference to this kind may have; those of built-in ones have no place.
    fn names(&self, kind: Kind) -> Vec<(&str, Option<Mark>)> {
        let own = self.documents.of(kind).headers().map(|(name, mark)| (name.as_str(), Some(mark)));
        let builtins = builtin::all().iter().map(|builtin| (builtin.name, None));
        own.chain(builtins.filter(|_| kind == Kind::Template)).collect()
    }

    /// Says which deployments a dangling reference of a profile concerns.
    pub(super) fn concerns(&mut self, mark: Mark, deployment: &Name) {
        if let Some((_, names)) = self.dangling.get_mut(&mark) {
            self.silent += 1;
            names.push(deployment.clone());
        }
    }

    /// Reports the references that lead nowhere.
    pub(super) fn unknown_names(&mut self) {
        for (mark, (mut problem, names)) in std::mem::take(&mut self.dangling) {
            let own = |name: &Name| {
                let deployment = self.documents.deployments.get(name);
                deployment.is_some_and(|own| own.mark.file == mark.file && self.is_own(own, mark))
            };
            match names.as_slice() {
                [] => {}
                [name] if own(name) => {}
                [name] => problem.notes.push(format!("used by deployment {name}")),
                names => {
                    problem.notes.push(format!("used by {} deployments: {}", names.len(), listed(names)))
                }
            }
            self.problems.push(problem);
        }
    }

    fn is_own(&self, deployment: &Resource<Deployment>, mark: Mark) -> bool {
        let body = &deployment.body;
        let settings = &body.settings;
        [&body.profile, &settings.subnet, &settings.boot, &settings.template, &settings.user_data]
            .into_iter()
            .flatten()
            .any(|name| name.mark == mark)
    }
}
