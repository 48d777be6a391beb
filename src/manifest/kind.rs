//! The kinds of resources, one file each: what a table of the kind is called, its settings with their
//! forms and help, and the structure that it is read into. `table!` makes all of it of one
//! description. Everything else (parsing, overlays, references, schema, flags of commands, edits) goes
//! by the description, so that a new kind is a file here, its `mod` and `pub use` lines and its line in
//! `kinds!`.

mod boot;
mod deployment;
mod extra;
mod machine;
mod pool;
mod profile;
mod settings;
mod subnet;
pub mod table;
mod template;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Collection, Place, Resource};
use super::inventory::Inventory;
use super::{Fields, Mark, Sources};
use crate::model::Name;

pub use boot::{Boot, Iso};
pub use deployment::{Address, Deployment};
pub use extra::{Extra, Options, WrittenRoute};
pub use machine::{Machine, Power};
pub use pool::Pool;
pub use profile::Profile;
pub use settings::{Settings, Variables, WITHOUT};
pub use subnet::{Ipv6, Subnet};
pub use table::{Mention, Written};
pub use template::{Template, Variable};

macro_rules! kinds {
    ($($plural:ident: $kind:ident = $name:literal,)*) => {
        /// A kind of resource: the first part of a table's header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Kind {
            $(#[serde(rename = $name)] $kind,)*
        }

        impl Kind {
            pub const ALL: [Kind; [$($name),*].len()] = [$(Kind::$kind,)*];

            /// As written in headers.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }

            /// The settings of such a resource.
            pub const fn fields(self) -> &'static Fields {
                match self {
                    $(Kind::$kind => $kind::FIELDS,)*
                }
            }
        }

        /// All resources of one revision.
        #[derive(Clone, Debug, Default)]
        pub struct Documents {
            pub sources: Sources,
            $(pub $plural: BTreeMap<Name, Arc<Resource<$kind>>>,)*
            /// `voldemort.toml`, if there is one.
            pub inventory: Option<Inventory>,
            /// The same of further sources.
            pub beside: BTreeMap<Name, Inventory>,
            /// Resources that exist but could not be read: references to them are no mistakes.
            pub unread: BTreeSet<(Kind, Name)>,
            /// Files that are not valid TOML: they may define anything they mention.
            pub unparsed: Vec<u32>,
        }

        /// A resource of whichever kind.
        #[derive(Clone, Debug)]
        pub(super) enum AnyResource {
            $($kind(Arc<Resource<$kind>>),)*
        }

        impl AnyResource {
            pub(super) fn read(kind: Kind, place: Place) -> AnyResource {
                match kind {
                    $(Kind::$kind => AnyResource::$kind(Arc::new(place.read())),)*
                }
            }

            pub(super) fn kind(&self) -> Kind {
                match self {
                    $(AnyResource::$kind(_) => Kind::$kind,)*
                }
            }

            /// Its name, and where that stands.
            pub(super) fn header(&self) -> (&Name, Mark) {
                match self {
                    $(AnyResource::$kind(own) => (&own.name, own.mark),)*
                }
            }
        }

        impl Documents {
            /// The resources of a kind.
            pub fn of(&self, kind: Kind) -> &dyn Collection {
                match kind {
                    $(Kind::$kind => &self.$plural,)*
                }
            }

            pub(super) fn of_mut(&mut self, kind: Kind) -> &mut dyn Collection {
                match kind {
                    $(Kind::$kind => &mut self.$plural,)*
                }
            }

            /// Puts a resource in, in the place of one of its name.
            pub(super) fn put(&mut self, resource: AnyResource) {
                match resource {
                    $(AnyResource::$kind(own) => drop(self.$plural.insert(own.name.clone(), own)),)*
                }
            }

            /// Puts a resource in unless there is one of its name; then this is where that stands.
            pub(super) fn add(&mut self, resource: &AnyResource) -> Option<Mark> {
                match resource {
                    $(AnyResource::$kind(own) => add(&mut self.$plural, own),)*
                }
            }

            /// The same inventory with the resources of some kinds only, all of which could be read.
            pub(super) fn with_kinds(&self, wanted: impl Fn(Kind) -> bool) -> Documents {
                Documents {
                    sources: self.sources.clone(),
                    $($plural: if wanted(Kind::$kind) { self.$plural.clone() } else { BTreeMap::new() },)*
                    inventory: self.inventory.clone(),
                    beside: self.beside.clone(),
                    ..Documents::default()
                }
            }
        }
    };
}

kinds! {
    subnets: Subnet = "subnet",
    boots: Boot = "boot",
    templates: Template = "template",
    profiles: Profile = "profile",
    machines: Machine = "machine",
    deployments: Deployment = "deployment",
    pools: Pool = "pool",
}

fn add<T>(all: &mut BTreeMap<Name, Arc<Resource<T>>>, own: &Arc<Resource<T>>) -> Option<Mark> {
    match all.entry(own.name.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(own.clone());
            None
        }
        Entry::Occupied(first) => Some(first.get().mark),
    }
}

impl Kind {
    /// As written in headers.
    pub fn named(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text)
    }

    /// Whether such a resource is tied to a physical machine, by a hardware address of its own. Names of
    /// neighbours in a rack are alike, and the wrong one would be wiped: no name is ever guessed.
    pub fn is_tied_to_hardware(self) -> bool {
        self.fields().key("mac").is_some()
    }

    /// Whether such a resource chooses among machines by their labels.
    pub fn selects(self) -> bool {
        self.fields().keys.iter().any(|key| matches!(key.shape, super::Shape::Selector))
    }
}

#[cfg(test)]
mod tests;
