//! Resources as they were written, with the places of all they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inventory::Inventory;
use super::{Kind, Mark, Problem, Table};
use crate::model::Name;

pub use super::kind::{
    Address, Boot, Deployment, Documents, Extra, Ipv6, Iso, Machine, Mention, Pool, Power, Settings, Subnet,
    Template, Variable, Written, WrittenRoute,
};

/// A resource and where it stands.
#[derive(Clone, Debug)]
pub struct Resource<T> {
    pub name: Name,
    /// The name in the header.
    pub mark: Mark,
    /// Whether nothing was wrong with it; otherwise settings may be missing that were meant to be there.
    pub whole: bool,
    pub body: T,
}

/// A checked table on its way to being a resource.
pub(super) struct Place {
    pub name: Name,
    /// The name in the header.
    pub mark: Mark,
    pub whole: bool,
    pub table: Table,
}

impl Place {
    pub(super) fn read<T: Written>(self) -> Resource<T> {
        let Place { name, mark, whole, mut table } = self;
        Resource { name, mark, whole, body: T::read(&mut table) }
    }
}

/// The resources of one kind, whichever it is.
pub trait Collection {
    /// Where a resource stands; `None` if there is none of this name.
    fn mark(&self, name: &Name) -> Option<Mark>;

    /// Names in order, with the places of the headers.
    fn headers(&self) -> Box<dyn Iterator<Item = (&Name, Mark)> + '_>;

    /// Shows everything in them that reaches beyond one resource, with the name of the resource.
    fn mentions<'a>(&'a self, visit: &mut dyn FnMut(&'a Name, Mention<'a>));

    /// Takes note that settings of a resource may be missing.
    fn mark_uncertain(&mut self, name: &Name);
}

impl<T: Written + Clone> Collection for BTreeMap<Name, Arc<Resource<T>>> {
    fn mark(&self, name: &Name) -> Option<Mark> {
        self.get(name).map(|resource| resource.mark)
    }

    fn headers(&self) -> Box<dyn Iterator<Item = (&Name, Mark)> + '_> {
        Box::new(self.values().map(|resource| (&resource.name, resource.mark)))
    }

    fn mentions<'a>(&'a self, visit: &mut dyn FnMut(&'a Name, Mention<'a>)) {
        for resource in self.values() {
            resource.body.mentions(&mut |mention| visit(&resource.name, mention));
        }
    }

    fn mark_uncertain(&mut self, name: &Name) {
        if let Some(resource) = self.get_mut(name).filter(|resource| resource.whole) {
            Arc::make_mut(resource).whole = false;
        }
    }
}

impl Documents {
    /// The settings of the source that a problem was found in.
    fn inventory_of(&self, problem: &Problem) -> Option<&Inventory> {
        match self.sources.source(problem.mark().file) {
            source if source == self.sources.leading() => self.inventory.as_ref(),
            source => self.beside.get(source?),
        }
    }

    /// `voldemort.toml` of each source that has one, by the sources' names: whichever moved last.
    pub fn inventories(&self) -> impl Iterator<Item = &Inventory> {
        let leading = self.inventory.iter().map(|own| (self.sources.leading(), own));
        let mut all: Vec<_> =
            self.beside.iter().map(|(name, own)| (Some(name), own)).chain(leading).collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(_, own)| own)
    }

    /// Whether there is a resource, other than a deployment, that chooses among machines by labels.
    pub fn has_selecting(&self) -> bool {
        let selecting = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Deployment && kind.selects());
        selecting.map(|kind| self.of(kind).headers().next()).any(|first| first.is_some())
    }

    /// Problems in the order of their places, with the levels that `[check]` gives them.
    pub fn weigh(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let weigh = |problem: Problem| match self
            .inventory_of(&problem)
            .and_then(|own| own.levels.get(&problem.code))
        {
            None => Some(problem),
            Some(level) => level.map(|level| problem.level(level)),
        };
        let mut problems: Vec<Problem> = problems.into_iter().filter_map(weigh).collect();
        problems.sort_by_key(|problem| (problem.mark(), problem.code));
        problems
    }
}
